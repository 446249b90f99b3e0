"""What a file holds, as JSON can carry it: text where it is UTF-8, else base64."""

from __future__ import annotations

import base64
import binascii
import codecs
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

Encoding: TypeAlias = Literal["utf-8", "base64"]

PIECE = 1024 * 1024
"""Bytes that are read, written or decoded at once; other threads get their turn in between."""
_BASE64_PIECE = 3 * 256 * 1024


@attrs.frozen
class FileRead:
    """The contents of a file: text, or the base64 of what is not UTF-8."""

    data: str
    encoding: Encoding = "utf-8"
    cached: bool = False
    """Whether it comes from the cache. It is the file's contents as of now, unless it is `stale`."""
    stale: bool = False
    """Whether the file could not be read, and this is what it held when it last could."""


def content_of(pieces: Sequence[bytes]) -> FileRead:
    """What these bytes are, put together. It may take its time: for a thread."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return FileRead("".join([*map(decoder.decode, pieces), decoder.decode(b"", True)]))
    except UnicodeDecodeError:
        data = b"".join(pieces)
        starts = range(0, len(data), _BASE64_PIECE)
        return FileRead("".join(base64.b64encode(data[n : n + _BASE64_PIECE]).decode() for n in starts), "base64")


def bytes_of(data: str, encoding: str) -> bytes:
    """The bytes that are meant. Raises ValueError that says what is wrong with them. For a thread, too."""
    if encoding == "utf-8":
        try:
            return data.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"data holds half a surrogate pair at {error.start}, which is no text; send bytes as base64"
            ) from None
    if encoding == "base64":
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"data is no base64: {error}") from None
    raise ValueError(f'encoding={encoding!r} must be "utf-8" or "base64"')
