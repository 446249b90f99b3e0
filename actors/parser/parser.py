"""How a stream is cut up: a chunk becomes text and markers, and what is not yet whole waits for the next chunk.

What makes it fast is to look at as little as possible. A chunk without an ESC is handed on as it is. In any other,
only its last ESC can begin something unfinished: from there on it may have to be held back. What comes before is split
by one pattern, in C, and a sequence that was seen before is looked up instead of read.

What makes it linear is that a byte which was held is searched once when it comes in and once or twice when its sequence
ends, however many chunks that took.
"""

from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Final

import attrs
from attrs import validators

from .fields import read
from .grammar import ESC, HEAD, INTRODUCER, apart, goes_on, malformed, may_become_marker, payload, split
from .marker import Marker, unread

OVERFLOW: Final = "Parser buffer overflow, resetting"
PARSER_ERROR: Final = "Parser error: {}"
"""What an owner logs when `ParserStats.overflows` has grown. The parser itself logs nothing."""

_C1_LEAD: Final = 0xC2  # the first byte of U+009C: as the last of an open payload, it may be half its end
_MEMO_ENTRIES: Final = 256
_MEMO_LENGTH: Final = 256
_BRIEF: Final = 12  # so long a sequence comes again in other runs: it has hardly any arguments


class RecoveryMode(Enum):
    """What to do with what is broken. No mode loses a byte, and all but the last find the same markers."""

    SKIP_INVALID = "skip_invalid"
    """What cannot be a marker passes as text at once, and the search goes on behind it. The default."""
    BUFFER_PARTIAL = "buffer_partial"
    """Any OSC that is cut off is held until its end is there, a title or a link too: no text ends inside one."""
    RESET_ON_ERROR = "reset_on_error"
    """As SKIP_INVALID, and after a malformed sequence the parser forgets the payloads that it remembered."""
    RAW_PASSTHROUGH = "raw_passthrough"
    """Nothing is parsed: everything is text."""


# An enum's members cost more to look up than the rest of a small feed.
_BUFFERING, _RESETTING, _RAW = RecoveryMode.BUFFER_PARTIAL, RecoveryMode.RESET_ON_ERROR, RecoveryMode.RAW_PASSTHROUGH


@attrs.frozen
class ParserStats:
    """A parser's counters since it was made, but for `held`."""

    fed: int
    """Bytes taken in."""
    held: int
    """Bytes held back now: the length of `MarkerParser.pending`."""
    overflows: int
    """Sequences whose payload was longer than `max_payload`, and which passed as text for that. See OVERFLOW."""
    resets: int
    """Times that RESET_ON_ERROR made the parser forget."""


class _Memo(dict[bytes, Sequence[bytes | Marker]]):
    """Runs and what they are: the same few come again at every prompt."""

    __slots__ = ("_read",)

    def __init__(self, nonce: str | None) -> None:
        self._read = partial(read, nonce=nonce)

    def __missing__(self, run: bytes) -> Sequence[bytes | Marker]:
        sequences, prompt = apart(run)
        found: list[bytes | Marker] = []
        for sequence in sequences:
            if len(sequence) <= _BRIEF and len(sequences) > 1:
                found += self[sequence]
            else:
                found.append(unread(INTRODUCER + sequence, self._read))
        if prompt:
            found.insert(-1, prompt)
        if len(run) <= _MEMO_LENGTH:
            if len(self) >= _MEMO_ENTRIES:
                self.clear()
            self[run] = found
        return found


def _can_be_sent(parser: object, attribute: object, nonce: str | None) -> None:
    """Refuse a nonce that no sequence could carry, and the one that a sequence without any would match."""
    if nonce is not None and (not nonce or ";" in nonce or not nonce.isprintable()):
        raise ValueError("a nonce must be printable, without a semicolon, and not empty")


@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class MarkerParser:
    """Takes the shell's markers out of a stream of bytes.

    `feed` and `flush` return text and markers in the order of the stream; text is never empty, and no two pieces of it
    follow each other. Not a byte is lost or added: the text and each `Marker.raw`, put together, are the input. How the
    stream was cut into chunks has no influence on the markers, only on how soon text comes out. A piece of text may end
    inside a character, as a chunk may.

    The bytes held back are all the state that the output depends on, and a feed that raises has not changed it: to go
    on after a crash, give a new parser what is `pending`, and then the chunk that failed.

    nonce: what the shell was given to sign its sequences with; a marker that carries it is `trusted`.
    mode: what to do with what is broken.
    max_payload: bytes between introducer and end, beyond which a sequence is text. No more than this is held back.
    """

    _nonce: str | None = attrs.field(
        default=None,
        alias="nonce",
        repr=False,
        validator=[validators.optional(validators.instance_of(str)), _can_be_sent],
    )
    _mode: RecoveryMode = attrs.field(
        default=RecoveryMode.SKIP_INVALID,
        alias="mode",
        kw_only=True,
        validator=validators.instance_of(RecoveryMode),
    )
    _max_payload: int = attrs.field(default=65_536, alias="max_payload", kw_only=True, validator=validators.ge(1))
    _held: bytearray = attrs.field(init=False, repr=False, factory=bytearray)
    _memo: _Memo = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda parser: _Memo(parser._nonce), takes_self=True)
    )
    _fed: int = attrs.field(init=False, repr=False, default=0)
    _overflows: int = attrs.field(init=False, repr=False, default=0)
    _resets: int = attrs.field(init=False, repr=False, default=0)

    @property
    def mode(self) -> RecoveryMode:
        """What it does with what is broken."""
        return self._mode

    @property
    def pending(self) -> bytes:
        """The bytes held back: the beginning of a sequence, or a lone ESC at a chunk's end."""
        return bytes(self._held)

    def stats(self) -> ParserStats:
        """Count what has passed."""
        return ParserStats(self._fed, len(self._held), self._overflows, self._resets)

    def feed(self, data: bytes) -> list[bytes | Marker]:
        """Take the next chunk, and return what is certain by now. Raises TypeError for what is not bytes."""
        if not isinstance(data, bytes):
            raise TypeError(f"feed() takes bytes, not {type(data).__name__}")
        found: list[bytes | Marker]
        if self._held:
            if ESC not in data and self._still_open(data):
                self._held += data
                found = []
            else:
                found = self._parse(bytes(self._held) + data)
        elif ESC not in data or self._mode is _RAW:
            found = [data] if data else []
        else:
            found = self._parse(data)
        self._fed += len(data)
        return found

    def flush(self) -> list[bytes | Marker]:
        """Return what was held back, at the end of the stream: what is unfinished is text.

        A lone ESC at the very end has ended the sequence before it. The parser may be fed again afterwards.
        """
        held = bytes(self._held)
        if held.startswith(INTRODUCER) and held.endswith(ESC):
            found = self._split(held[:-1], ESC)
        else:
            found = self._split(b"", held)
        self._held.clear()
        return found

    def _parse(self, data: bytes) -> list[bytes | Marker]:
        """Split what is closed in `data`, which has an ESC in it, and hold the rest."""
        cut = self._cut(data)
        found = self._split(data[:cut])
        self._held[:] = data[cut:]
        return found

    def _cut(self, data: bytes) -> int:
        """Find where that begins which only the next chunk can tell.

        An ESC ends any sequence, so only the last one can begin an open one; if it is the last byte, it may also be the
        first half of the ST of the sequence before.
        """
        end, last = len(data), data.rfind(ESC)
        if last < end - 1:
            return last if self._is_open(data, last, end) else end
        before = data.rfind(ESC, 0, last)
        return before if before >= 0 and self._is_open(data, before, last) else last

    def _is_open(self, data: bytes, begin: int, end: int) -> bool:
        """Tell whether a sequence worth holding begins at `begin` and has not ended before `end`."""
        body = begin + len(INTRODUCER)
        return (
            data.startswith(INTRODUCER, begin)
            and self._is_worth_holding(data[body : min(body + HEAD, end)], end - body, data[end - 1])
            and goes_on(data, body, end)
        )

    def _still_open(self, data: bytes) -> bool:
        """Tell whether all of `data`, no ESC in it, belongs to the sequence held. Only what is new is searched."""
        if not data:
            return True
        held = self._held
        new = held[-1:] + data  # the last byte may be half an end: an ESC, or the C2 of U+009C
        if not goes_on(new, 0, len(new)):
            return False
        head = held[len(INTRODUCER) : len(INTRODUCER) + HEAD] + data[:HEAD]
        return self._is_worth_holding(head[:HEAD], len(held) + len(data) - len(INTRODUCER), data[-1])

    def _is_worth_holding(self, head: bytes | bytearray, length: int, last: int) -> bool:
        """Tell whether an open payload may yet make a marker: it fits, and begins as one does."""
        if length - (last == _C1_LEAD) > self._max_payload:
            return False
        return self._mode is _BUFFERING or may_become_marker(head)

    def _split(self, closed: bytes, rest: bytes = b"") -> list[bytes | Marker]:
        """Turn `closed`, in which every sequence has ended, into text and markers, and add `rest` as text."""
        pieces = split(closed)
        if len(closed) > self._max_payload and max(map(len, pieces[1::2]), default=0) > self._max_payload:
            pieces = self._without_overlong(pieces)
        if rest:
            pieces[-1] += rest
        if self._mode is _RESETTING:
            self._reset_after_errors(pieces[::2])
        found: list[bytes | Marker] = [pieces[0]] if pieces[0] else []
        for markers, text in zip(map(self._memo.__getitem__, pieces[1::2]), pieces[2::2], strict=True):
            found += markers
            if text:
                found.append(text)
        return found

    def _without_overlong(self, pieces: list[bytes]) -> list[bytes]:
        """Take the sequences apart, and make text of those whose payload is too long."""
        kept, text = list[bytes](), [pieces[0]]
        for run, following in zip(pieces[1::2], pieces[2::2], strict=True):
            sequences, prompt = apart(run)
            for number, sequence in enumerate(sequences, 1):
                if number == len(sequences):
                    text.append(prompt)
                if len(payload(sequence)) > self._max_payload:
                    self._overflows += 1
                    text += (INTRODUCER, sequence)
                else:
                    kept += (b"".join(text), sequence)
                    text = []
            text.append(following)
        return [*kept, b"".join(text)]

    def _reset_after_errors(self, texts: list[bytes]) -> None:
        errors = sum(map(malformed, texts))
        if errors:
            self._resets += errors
            self._memo.clear()
