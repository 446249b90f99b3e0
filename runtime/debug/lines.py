"""JSON lines: cutting a stream of bytes into them, and what the answers look like.

A request is `{"id": 1, "command": "call", "args": {…}}`; its answer `{"id": 1, "ok": …}`, or `{"id": 1, "error":
{"type": …, "message": …}}`. `{"cancel": 1}` gives a request up. What comes unasked is `{"event": {…}}`.
"""

from __future__ import annotations

from typing import Any

import orjson

from ...actors.reasons import plain
from ...actors.shorten import short
from .declaring import converter

LONGEST_LINE = 1024 * 1024
"""Bytes of a request."""
LONGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer."""
LONGEST_MESSAGE = 4000
"""Characters of an error's message."""


class TooLong:
    """Stands for a line that was longer than allowed, and is gone."""


class LineSplitter:
    """Cuts bytes into lines. Keeps at most `longest` bytes; of a longer line, `TooLong` is all that is left."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._begun = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes | TooLong]:
        """The lines that these bytes complete, without their ends."""
        lines: list[bytes | TooLong] = []
        *complete, rest = data.split(b"\n")
        for end in complete:
            self._add(end)
            lines.append(TooLong() if self._dropping else bytes(self._begun))
            self._begun.clear()
            self._dropping = False
        self._add(rest)
        return lines

    def flush(self) -> list[bytes | TooLong]:
        """The last line, if the stream ended without a line's end."""
        return self.feed(b"\n") if self._begun or self._dropping else []

    def _add(self, data: bytes) -> None:
        if self._dropping or len(self._begun) + len(data) > self._longest:
            self._dropping = True
            self._begun.clear()
        else:
            self._begun += data


def answer_line(id: Any, value: Any) -> bytes:
    """An answer; a value that JSON has no form for is told by its repr, wholly or where it stands."""
    try:
        line = orjson.dumps(
            {"id": id, "ok": converter.unstructure(value)}, default=short, option=orjson.OPT_NON_STR_KEYS
        )
    except Exception:  # endless, too deep, a number too large, text that is no UTF-8
        line = orjson.dumps({"id": id, "ok": short(value)})
    if len(line) > LONGEST_ANSWER:
        return _error(id, "TooLarge", f"the answer is {len(line)} bytes long; at most {LONGEST_ANSWER} are sent")
    return line + b"\n"


def error_line(id: Any, error: BaseException) -> bytes:
    """An error as an answer, its message in one line."""
    error = plain(error)
    message = " ".join(str(error).split()) or type(error).__name__
    return _error(id, type(error).__name__, _utf8(message[:LONGEST_MESSAGE]))


def event_line(event: dict[str, Any]) -> bytes:
    """Something that comes unasked."""
    fields = {name: _utf8(value) if isinstance(value, str) else value for name, value in event.items()}
    return orjson.dumps({"event": fields}, default=short) + b"\n"


def _error(id: Any, type: str, message: str) -> bytes:
    return orjson.dumps({"id": id, "error": {"type": type, "message": message}}) + b"\n"


def _utf8(text: str) -> str:
    """The text with what UTF-8 has no form for (parts of file names, say) spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
