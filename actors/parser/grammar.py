r"""What a shell sequence looks like in bytes, as patterns that run in C.

An OSC string begins at ``ESC ]``. It ends at BEL, at ST (``ESC \``) or at U+009C, which in UTF-8 is C2 9C and nothing
else: a bare 9C is part of some other character. A lone ESC ends it too, and belongs to what follows. CAN and SUB abort
it: then it is no sequence but text. Other C0 bytes are ignored wherever they stand, in the number as well, and the
number may have leading zeros. ESC means the same in every state of a terminal, so a search for ``ESC ]`` without any
context is exact; the 8-bit introducer (U+009D) is not looked for, as no shell sends it.

Known are

    633 ; A … I, P, SetMark, EnvJson, EnvSingle{Start,Entry,Delete,End}  [; anything]
    133 ; A … D                                                          [; anything]
    7 ; file://host/path      9 ; 9 ; path      1337 ; CurrentDir=path

Any other OSC is text, an unknown kind under 633 and 133 included. What is wrong further behind (an exit code that is no
number) does not unmake a marker: a command whose end is told badly has ended all the same.

A search is linear whatever it meets: no attempt runs past an ESC, and what can be matched in two ways is matched by
possessive repeats. Those are of single bytes only, as Python before 3.11.5 gets possessive groups wrong.
"""

import re
from collections.abc import Callable
from typing import Final, get_args

from .marker import Kind

ESC: Final = b"\x1b"
INTRODUCER: Final = b"\x1b]"
IGNORED: Final = bytes({*range(0x20)} - {*b"\x07\x18\x1a\x1b"})
HEAD: Final = 64  # as much of a payload as tells what it is: an opening (20 bytes at most), zeros, ignored bytes

KINDS_633: Final[dict[bytes, Kind]] = {kind.encode(): kind for kind in get_args(Kind) if kind != "Cwd"}
KINDS_133: Final[dict[bytes, Kind]] = {b"A": "A", b"B": "B", b"C": "C", b"D": "D"}
_FOLDERS = (b"7;file://", b"9;9;", b"1337;CurrentDir=")
_OPENINGS = (*(b"633;%b;" % kind for kind in KINDS_633), *(b"133;%b;" % kind for kind in KINDS_133), *_FOLDERS)
_BEGINNINGS = frozenset(opening[:length] for opening in _OPENINGS for length in range(len(opening)))


def may_become_marker(head: bytes | bytearray) -> bool:
    """Tell whether an unfinished OSC whose payload begins with `head` can still be a marker."""
    sent = bytes(head).removesuffix(b"\xc2").translate(None, IGNORED).lstrip(b"0")  # a last C2 may be half an end
    return sent in _BEGINNINGS or sent.startswith(_OPENINGS)


def payload(sequence: bytes) -> bytes:
    """Return what stands between a sequence's introducer, which it is given without, and its end."""
    for end in (b"\x07", b"\x1b\\", b"\xc2\x9c"):
        if sequence.endswith(end):
            return sequence[: -len(end)]
    return sequence


def split(stream: bytes) -> list[bytes]:
    """Split into text and known sequences by turns; text comes first and last, and may be empty.

    Sequences that follow each other directly may come as one run, with their introducers between them but not before
    the first. The stream's end counts as a sequence's end: it is for the caller to keep back what is open.
    """
    if b"\xc2" in stream and _C1_END.search(stream):  # the first test is by far the faster, and mostly enough
        return _SEQUENCES_AND_C1.split(stream)
    return _SEQUENCES.split(stream)


def goes_on(body: bytes | bytearray, begin: int, end: int) -> bool:
    """Tell whether nothing in this part of an OSC's payload ends or aborts it."""
    return _BODY.fullmatch(body, begin, end) is not None and _C1_END.search(body, begin, end) is None


def malformed(text: bytes) -> int:
    """Count what ought to be a marker in the text that `split` left, and is none."""
    return len(_MALFORMED.findall(text))


# All bytes that an OSC string may hold, but for the slash and C2, which some patterns treat apart.
_BYTES = rb"\x00-\x06\x08-\x17\x19\x1c-\x2e\x30-\xc1\xc3-\xff"
_SKIPPED = rb"[\x00-\x06\x08-\x17\x19\x1c-\x1f]*+"
_ZEROS = rb"[0\x00-\x06\x08-\x17\x19\x1c-\x1f]"
_END = rb"(?:\x07|\x1b\\|\xc2\x9c|(?=\x1b)|\Z)"


def _spelled(word: bytes) -> bytes:
    """Match `word` with ignored bytes behind any letter."""
    return b"".join(re.escape(bytes([letter])) + _SKIPPED for letter in word)


def _one_of(*patterns: bytes) -> bytes:
    """Match the first that matches; one that begins with a plain letter is passed over by its first byte."""
    return b"(?:" + b"|".join(patterns) + b")"


def _sequences(run: bytes, many: Callable[[bytes], bytes]) -> re.Pattern[bytes]:
    """Build the pattern of known sequences. `run` matches printable bytes, `many` repeats some as often as can be."""
    body = many(_BYTES + b"/")
    arguments = b"(?:;" + body + b")?"
    something = rb"(?=[\x20-\xff])(?!\xc2\x9c)" + body
    single = _spelled(b"Single") + _one_of(*map(_spelled, (b"Start", b"Entry", b"Delete", b"End")))
    word = _one_of(_spelled(b"SetMark"), _spelled(b"Env") + _one_of(_spelled(b"Json"), single))
    known = (
        _spelled(b"633;") + _one_of(b"[A-IP]" + _SKIPPED, word) + arguments + _END,
        _spelled(b"133;") + b"[A-D]" + _SKIPPED + arguments + _END,
        _spelled(b"7;file://") + many(_BYTES) + b"/" + body + _END,
        _spelled(b"9;9;") + something + _END,
        _spelled(b"1337;CurrentDir=") + something + _END,
    )
    # What shells really write is a part of the first two. It is tried before them, and in runs, for speed only.
    plain = rb"(?:\x07|;" + run + rb"(?:\x07|\x1b\\)|\x1b\\)"
    common = (b"633;[A-IP]" + plain, b"133;[A-D]" + plain)
    first = _one_of(*common, *known, _ZEROS + _ZEROS + rb"*+" + _one_of(*known))
    return re.compile(rb"\x1b\](" + first + rb"(?:\x1b\]" + _one_of(*common) + rb"){0,7})")


_BODY = re.compile(rb"[\x20-\xff]*+[" + _BYTES + rb"/\xc2]*+")  # a class that is one range is tested much faster
_MALFORMED = re.compile(rb"\x1b\]" + _ZEROS + rb"*+" + _one_of(_spelled(b"633;"), _spelled(b"133;")))
_C1_END = re.compile(rb"\xc2\x9c")  # for two bytes, a pattern is searched faster than bytes.find does
# Where there is no U+009C at all, a C2 is a byte like others.
_SEQUENCES = _sequences(rb"[\x20-\xff]*+", lambda some: b"[" + some + rb"\xc2]*+")
_SEQUENCES_AND_C1 = _sequences(rb"[\x20-\xc1\xc3-\xff]*+", lambda some: b"[%b]*+(?:\xc2(?!\x9c)[%b]*+)*" % (some, some))
