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
from functools import cache
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
    """Split into text and runs of known sequences by turns; text comes first and last, and may be empty.

    A run is some sequences that follow each other directly, and it may end with a prompt: text, and the sequence that
    ends it. Its sequences have their introducers between them, but not before the first; `apart` takes it apart. The
    stream's end counts as a sequence's end: it is for the caller to keep back what is open.
    """
    return _known(_has_c1_end(stream, 0, len(stream))).split(stream)


def apart(run: bytes) -> tuple[list[bytes], bytes]:
    """Return a run's sequences, all without introducer, and the prompt before the last of them, where there is one."""
    sequences = run.split(INTRODUCER)
    if len(sequences) == 1 or sequences[-2].endswith(b"\x07"):  # no prompt ends like that
        return sequences, b""
    _, sequences[-2], prompt = _PROMPTED.split(sequences[-2], 1)
    return sequences, prompt


def goes_on(body: bytes | bytearray, begin: int, end: int) -> bool:
    """Tell whether nothing in this part of an OSC's payload ends or aborts it."""
    return _BODY.fullmatch(body, begin, end) is not None and not _has_c1_end(body, begin, end)


def malformed(text: bytes) -> int:
    """Count what ought to be a marker in the text that `split` left, and is none."""
    return len(_MALFORMED.findall(text))


def _has_c1_end(body: bytes | bytearray, begin: int, end: int) -> bool:
    """Tell whether U+009C is there. Single bytes are found by far the fastest, and mostly there is no 9C or no C2."""
    return (
        body.find(b"\x9c", begin, end) >= 0
        and body.find(b"\xc2", begin, end) >= 0
        and _C1_END.search(body, begin, end) is not None
    )


# All bytes that an OSC string may hold, but for the slash and C2, which some patterns treat apart.
_BYTES = rb"\x00-\x06\x08-\x17\x19\x1c-\x2e\x30-\xc1\xc3-\xff"
_IGNORED = rb"[\x00-\x06\x08-\x17\x19\x1c-\x1f]"
_NOT_IGNORED = rb"[\x07\x18\x1a\x1b\x20-\xff]"
_SKIPPED = _IGNORED + rb"*+"
_ZEROS = rb"[0\x00-\x06\x08-\x17\x19\x1c-\x1f]"
_BEL, _ST = rb"\x07", rb"\x1b\\"
_RARE_ENDS = (rb"\xc2\x9c", rb"(?![^\x1b])")  # the second: before an ESC, or at the stream's end
_PROMPT = rb"[\x20-\xff]{1,128}+"
_MOST = 8  # sequences in a run


def _spelled(word: bytes) -> bytes:
    """Match `word` with ignored bytes behind any letter."""
    return b"".join(re.escape(bytes([letter])) + _SKIPPED for letter in word)


def _one_of(*patterns: bytes) -> bytes:
    """Match the first that matches; one that begins with a plain letter is passed over by its first byte."""
    return b"(?:" + b"|".join(patterns) + b")"


def _sequences(run: bytes, many: Callable[[bytes], bytes]) -> re.Pattern[bytes]:
    """Build the pattern of known sequences. `run` matches printable bytes, `many` repeats some as often as can be.

    What shells really write is tried first. What has failed is not tried again in another way: a sequence without
    ignored bytes in its number is not read as one with some, nor a payload that is aborted gone through twice.
    """
    body, end = many(_BYTES + b"/"), _one_of(_BEL, _ST, *_RARE_ENDS)
    arguments = b";" + run + _one_of(_BEL, _ST, body + end)
    ended = _one_of(arguments, end)
    closed = _one_of(
        _BEL, arguments, _ST, _IGNORED + _SKIPPED + ended, *_RARE_ENDS
    )  # the same, the frequent ones first
    single = _spelled(b"Single") + _one_of(*map(_spelled, (b"Start", b"Entry", b"Delete", b"End")))
    words = (_spelled(b"SetMark") + ended, _spelled(b"Env") + _one_of(_spelled(b"Json"), single) + ended)
    something = rb"(?=[\x20-\xff])(?!\xc2\x9c)" + body + end
    vscode = _SKIPPED + _spelled(b"33;") + _one_of(b"[A-IP]" + _SKIPPED + ended, *words)
    finalterm = _SKIPPED + _spelled(b"33;") + b"[A-D]" + _SKIPPED + ended
    folders = (
        _spelled(b"7;file://") + many(_BYTES) + b"/" + body + end,
        _spelled(b"9;9;") + something,
        _spelled(b"1337;CurrentDir=") + something,
    )
    first = _one_of(
        b"633;" + _one_of(b"[A-IP]" + closed, *words),
        b"133;[A-D]" + closed,
        b"6(?!33;" + _NOT_IGNORED + b")" + vscode,
        b"1(?!33;" + _NOT_IGNORED + b")" + finalterm,
        *folders,
        _ZEROS + _ZEROS + rb"*+" + _one_of(b"6" + vscode, b"1" + finalterm, *folders),
    )
    return re.compile(rb"\x1b\](" + first + _more(run) + b")")


def _more(run: bytes) -> bytes:
    """Match what may follow in a run: what shells really write. It is there for speed only."""
    plain = _one_of(_BEL, b";" + run + _one_of(_BEL, _ST), _ST)
    sequence = rb"\x1b\]" + _one_of(b"633;[A-IP]" + plain, b"133;[A-D]" + plain)
    more = b""
    for _ in range(1, _MOST):  # this is matched faster than a repeated group
        more = _one_of(sequence + more, b"")
    ended = rb"\x1b\]" + _one_of(b"633;B", b"133;B") + _one_of(_BEL, _ST)
    return more + _one_of(*(b"(?<=;A" + end + b")" + _PROMPT + ended for end in (_BEL, _ST)), b"")


_BODY = re.compile(rb"[\x20-\xff]*+[" + _BYTES + rb"/\xc2]*+")  # a class that is one range is tested much faster
_MALFORMED = re.compile(rb"\x1b\]" + _ZEROS + rb"*+" + _one_of(_spelled(b"633;"), _spelled(b"133;")))
_PROMPTED = re.compile(rb"\A([^\x07\x1b]*+(?:\x07|\x1b\\)?)")  # what a prompt stands behind, if there is one
_C1_END = re.compile(rb"\xc2\x9c")  # for two bytes, a pattern is searched faster than bytes.find does


@cache
def _known(has_c1_end: bool) -> re.Pattern[bytes]:
    """The pattern of known sequences, compiled when it is first needed: that takes longer than all else at a start.

    Where there is no U+009C at all, a C2 is a byte like others.
    """
    if has_c1_end:
        return _sequences(rb"[\x20-\xc1\xc3-\xff]*+", lambda some: b"[%b]*+(?:\xc2(?!\x9c)[%b]*+)*" % (some, some))
    return _sequences(rb"[\x20-\xff]*+", lambda some: b"[" + some + rb"\xc2]*+")
