"""Names of files in messages: text where they are UTF-8, else base64."""

from __future__ import annotations

import base64
import os


def decode_path(path: str, encoding: str) -> str:
    """A path as Python has it, of one that came in a message. ValueError for what is none."""
    if encoding == "base64":
        try:
            return os.fsdecode(base64.b64decode(path, validate=True))
        except ValueError as error:
            raise ValueError(f"path={path!r} is no base64: {error}") from None
    if encoding != "utf-8":
        raise ValueError(f'encoding={encoding!r} must be "utf-8" or "base64"')
    return path


def encode_path(path: str) -> tuple[str, str]:
    """A path as a message can carry it, and its encoding."""
    return (path, "utf-8") if is_text(path) else (in_base64(path), "base64")


def is_text(path: str) -> bool:
    """Whether it is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_base64(path: str) -> str:
    """A path as Python has it, as base64."""
    return base64.b64encode(os.fsencode(path)).decode()
