"""The LSP base protocol's framing: a `Content-Length` header, a blank line, and that many bytes."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import IpcError

LARGEST = 16 * 1024 * 1024
"""Bytes of the largest body that is taken, unless told otherwise."""
LARGEST_HEADER = 8 * 1024
"""Bytes of the longest header that is taken, without the blank line behind it."""

_BLANK = b"\r\n\r\n"
_MOST_DIGITS = 19  # of a length; Python refuses to read a number of thousands


class FramingError(IpcError):
    """The stream can't be followed any further: nobody knows where the next frame begins."""


def frame(body: bytes) -> bytes:
    """A body with its header."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class FrameReader:
    """Cuts a stream of bytes, however it is split, into bodies. Linear in what it is fed."""

    def __init__(self, largest: int = LARGEST) -> None:
        self.largest = largest
        self._buffer = bytearray()
        self._searched = 0
        self._length: int | None = None

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete now; to be iterated to the end.

        Raises FramingError where the stream is broken, behind the bodies that came before; it is of no more use then.
        """
        self._buffer += data
        while self._length is not None or self._take_header():
            assert self._length is not None
            if len(self._buffer) < self._length:
                return
            body = bytes(self._buffer[: self._length])
            del self._buffer[: self._length]
            self._length = None
            yield body

    def _take_header(self) -> bool:
        end = self._buffer.find(_BLANK, self._searched)
        searched = end if end >= 0 else max(0, len(self._buffer) - len(_BLANK) + 1)
        if searched > LARGEST_HEADER:
            raise FramingError(f"no end of the header within {LARGEST_HEADER} bytes")
        if end < 0:
            self._searched = searched
            return False
        self._length = content_length(bytes(self._buffer[:end]), self.largest)
        del self._buffer[: end + len(_BLANK)]
        self._searched = 0
        return True


def content_length(header: bytes, largest: int) -> int:
    """The length that a header names. Raises FramingError if there is none, or too large a one."""
    for line in header.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            raise FramingError(f"{line[:80]!r} is no header field")
        if name.strip().lower() == b"content-length":
            digits = value.strip()
            if not digits.isdigit():
                raise FramingError(f"Content-Length is {digits[:80]!r}, and must be a number of bytes")
            if len(digits) > _MOST_DIGITS or int(digits) > largest:
                size = digits[:_MOST_DIGITS].decode()
                raise FramingError(f"a frame of {size} bytes is too large; at most {largest} are taken")
            return int(digits)
    raise FramingError("the header has no Content-Length")
