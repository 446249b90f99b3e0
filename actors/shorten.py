"""Values as short text, for people: whatever the value is, this neither raises nor grows with it."""

from __future__ import annotations

import reprlib
from itertools import islice
from typing import Any

LONGEST = 400
"""Characters of a text."""
LOOKED_AT = 400
"""Values within a value that are looked at: each takes a character at least."""


class _Short(reprlib.Repr):
    """Of one value: it counts what it has looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.left = LOOKED_AT
        self.maxlevel = 5
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 20
        self.maxstring = self.maxlong = self.maxother = LONGEST // 2

    def repr1(self, value: Any, level: int) -> str:
        """Without going through what is then cut off."""
        self.left -= 1
        return super().repr1(value, level) if self.left >= 0 else "..."

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        """In its own order: sorting a big one takes long."""
        if level <= 0 and value:
            return "{...}"
        pairs = [
            f"{self.repr1(key, level - 1)}: {self.repr1(inner, level - 1)}"
            for key, inner in islice(value.items(), self.maxdict)
        ]
        return "{" + ", ".join(pairs + ["..."] * (len(value) > self.maxdict)) + "}"

    def repr_set(self, value: set[Any], level: int) -> str:
        """See `repr_dict`."""
        return self._members(value, level, "{", "}", self.maxset) if value else "set()"

    def repr_frozenset(self, value: frozenset[Any], level: int) -> str:
        """See `repr_dict`."""
        return self._members(value, level, "frozenset({", "})", self.maxfrozenset) if value else "frozenset()"

    def _members(self, value: Any, level: int, left: str, right: str, most: int) -> str:
        inner = [self.repr1(each, level - 1) for each in islice(value, most)] if level > 0 else ["..."]
        return left + ", ".join(inner + ["..."] * (level > 0 and len(value) > most)) + right

    def repr_bytes(self, value: bytes, level: int) -> str:
        """Without spelling out what is then cut off."""
        return self.repr_str(value, level)  # type: ignore[arg-type]


def short(value: object, longest: int = LONGEST) -> str:
    """A value's repr, cut in the middle to `longest` characters; a repr that raises is named instead."""
    try:
        text = _Short().repr(value)
    except Exception as error:
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return cut(text, longest)


def cut(text: str, longest: int = LONGEST) -> str:
    """A text, cut in the middle to `longest` characters."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[-half:]}"
