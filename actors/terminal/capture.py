"""What a command has printed: all of it while it is short, else its head and tail, so that memory is bounded."""

from __future__ import annotations

import base64
import codecs
from collections import deque

import attrs

from .texts import HEAD_SHARE, MAX_CHARACTERS, truncated

_KEEP = 4 * MAX_CHARACTERS
"""Bytes of head and tail each: a character of UTF-8 has at most four."""
_CONTINUATION = bytes(range(0x80, 0xC0))


class Capture:
    """Collects output. `add` bytes; `result()` is the whole, shortened as `texts.truncated` does it."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._is_cut = False
        self._size = 0
        self._dropped = 0
        """Characters between head and tail that were not kept."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was printed."""
        return not self._head

    def add(self, data: bytes) -> None:
        """Some more of it."""
        self._size += len(data)
        room = _KEEP - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail.append(data)
            self._tail_size += len(data)
            while self._tail_size - len(self._tail[0]) > _KEEP:
                dropped = self._tail.popleft()
                self._tail_size -= len(dropped)
                self._dropped += _characters(dropped)
                self._is_cut = True

    def result(self) -> tuple[Text, bool]:
        """What was printed, and whether something of it was left out. What is no UTF-8 counts by bytes."""
        tail = b"".join(self._tail)
        codec = "utf-8" if self._is_text(tail) else "latin-1"
        if not self._is_cut:
            whole = (self._head + tail).decode(codec)
            shown = truncated(whole)
            return _as_text(shown, codec), shown != whole
        first = int(MAX_CHARACTERS * HEAD_SHARE)
        begin = self._head.decode(codec, "replace")[:first]
        end = tail.decode(codec, "replace")[first - MAX_CHARACTERS :]
        size = self._size
        if codec == "utf-8":
            size = _characters(self._head) + self._dropped + _characters(tail)
        omitted = max(0, size - len(begin) - len(end))
        return _as_text(f"{begin}\n[...{omitted} characters omitted...]\n{end}", codec), True

    def _is_text(self, tail: bytes) -> bool:
        """Whether what was kept is UTF-8; where it was cut, that may be in the middle of a character."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(self._head)
            if self._is_cut:
                decoder.reset()
                tail = tail[:3].lstrip(_CONTINUATION) + tail[3:]
            decoder.decode(tail, final=True)
        except UnicodeDecodeError:
            return False
        return True


def _as_text(shown: str, codec: str) -> Text:
    return Text(shown) if codec == "utf-8" else as_text(shown.encode(codec))


def _characters(data: bytes | bytearray) -> int:
    """How many characters begin in this piece of UTF-8."""
    return len(data) if data.isascii() else len(data.translate(None, _CONTINUATION))


@attrs.frozen
class Text:
    """Output as JSON can carry it."""

    data: str
    encoding: str = "utf-8"
    """"utf-8", or "base64" for what is not UTF-8."""


def as_text(data: bytes) -> Text:
    """Bytes as text where they are, as base64 where not."""
    try:
        return Text(data.decode())
    except UnicodeDecodeError:
        return Text(base64.b64encode(data).decode(), "base64")


class TextStream:
    """Output as it comes, cut between characters: what may be the first half of one waits for the next bytes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes, *, final: bool = False) -> Text | None:
        """The next piece; None if there is nothing yet."""
        held, _ = self._decoder.getstate()
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError:
            self._decoder.reset()
            return as_text(held + data)
        return Text(text) if text else None
