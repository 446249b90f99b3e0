"""The LSP base protocol's framing: a `Content-Length` header, a blank line, and that many bytes."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import IpcError

LARGEST = 16 * 1024 * 1024
"""Bytes of the largest body that is taken, unless told otherwise."""
LARGEST_HEADER = 8 * 1024
"""Bytes of the longest header that is taken, without the blank line behind it."""

_BLANK = b"\r\n\r\n"
_USUAL = b"Content-Length: "  # the whole header, as nearly all write it
_MOST_DIGITS = 19  # of a length; Python refuses to read a number of thousands


class FramingError(IpcError):
    """The stream can't be followed any further: nobody knows where the next frame begins."""


def frame(body: bytes) -> bytes:
    """A body with its header."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class FrameReader:
    """Cuts a stream of bytes, however it is split, into bodies. Linear in what it is fed, but for an unfinished header,
    which is short."""

    def __init__(self, largest: int = LARGEST) -> None:
        self.largest = largest
        """Bytes of the largest body that is taken from now on."""
        self._rest = bytearray()
        self._wanted = 0
        """Bytes of the rest without which there is nothing new to be seen in it."""
        self._behind = 0
        """Where in the rest the body begins; 0 where its header is not complete."""

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete; without its header, once that is."""
        return len(self._rest) - self._behind

    @property
    def size(self) -> int:
        """Bytes of the frame that is not complete, once they all are there; 0 where its header is not."""
        return self._wanted if self._rest else 0

    @property
    def is_whole(self) -> bool:
        """Whether all that was fed were complete frames."""
        return not self._rest

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete now; to be iterated to the end.

        Raises FramingError where the stream is broken, behind the bodies that came before; it is of no more use then.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        begin, size = 0, len(data)
        self._behind = 0
        while begin < size:
            end = data.find(_BLANK, begin, begin + LARGEST_HEADER + len(_BLANK))
            if end < 0:
                if size - begin >= LARGEST_HEADER + len(_BLANK):
                    raise FramingError(f"no end of the header within {LARGEST_HEADER} bytes")
                self._wanted = 0
                break
            body = end + len(_BLANK)
            stop = body + content_length(data[begin:end], self.largest)
            if stop > size:
                self._wanted, self._behind = stop - begin, body - begin
                break
            yield data[body:stop]
            begin = stop
        self._rest += data[begin:]


def content_length(header: bytes, largest: int) -> int:
    """The length that a header names. Raises FramingError if there is none, or too large a one."""
    if header.startswith(_USUAL):
        digits = header[len(_USUAL) :]
        if digits.isdigit() and len(digits) <= _MOST_DIGITS and (length := int(digits)) <= largest:
            return length
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
