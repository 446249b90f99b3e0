"""Values as short text, for people: whatever the value is, this neither raises nor grows with it."""

from __future__ import annotations

import reprlib

LONGEST = 400
"""Characters of a text."""


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 5
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 20
        self.maxstring = self.maxlong = self.maxother = LONGEST // 2

    def repr_bytes(self, value: bytes, level: int) -> str:
        """Without spelling out what is then cut off."""
        return self.repr_str(value, level)  # type: ignore[arg-type]


_short = _Short()


def short(value: object, longest: int = LONGEST) -> str:
    """A value's repr, cut in the middle to `longest` characters; a repr that raises is named instead."""
    try:
        text = _short.repr(value)
    except Exception as error:
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    if len(text) > longest:
        half = (longest - 1) // 2
        text = f"{text[: longest - 1 - half]}…{text[-half:]}"
    return text
