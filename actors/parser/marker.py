"""What the parser finds: one shell sequence, taken out of the text and understood.

A marker is a value: immutable, comparable, hashable, and the same object may be handed out again for the same bytes.

The parser makes it of its bytes alone, and what these say is read when it is first asked for: many a marker is only
passed on, and to make a million of them must not take longer than to find them. Nobody can tell the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal[
    "A",  # the prompt starts
    "B",  # the prompt ends, what the user types begins
    "C",  # the command's output starts
    "D",  # the command is finished
    "E",  # the command line, as the shell read it
    "F",  # a continuation prompt starts
    "G",  # and ends
    "H",  # a right prompt starts
    "I",  # and ends
    "P",  # a property: Key=Value
    "SetMark",
    "EnvJson",
    "EnvSingleStart",
    "EnvSingleEntry",
    "EnvSingleDelete",
    "EnvSingleEnd",
    "Cwd",  # OSC 7, 9;9 and 1337;CurrentDir: the shell's folder
]


class _Unread:
    """What a marker that `unread` made has besides its bytes: how to read them."""

    __slots__ = ("_read",)
    _read: Callable[[Marker], None]


@attrs.frozen(repr=False)
class Marker(_Unread):
    """A shell sequence. A field that its kind does not have is None.

    Text is decoded as UTF-8 with U+FFFD for what is not; a folder as the operating system's names are (surrogate
    escapes), so that any folder can be named again. C0 bytes in the payload are ignored, as terminals ignore them;
    `raw` still has them.
    """

    osc: int
    """633, 133, 7, 9 or 1337."""
    kind: Kind
    raw: bytes
    """The very bytes of the sequence, introducer and terminator included. Where a lone ESC ended it there is no
    terminator: that ESC begins what follows and comes out there."""
    exit_code: int | None = None
    """D: the exit code. None where the shell sent none (no command ran) or no number."""
    command: str | None = None
    """E: the command line, unescaped; empty where the shell sent none."""
    nonce: str | None = None
    """633: the argument behind the kind's own ones, where there is one. It proves nothing yet: see `trusted`."""
    key: str | None = None
    """P and EnvSingleEntry/Delete: the name. SetMark: "Id" where it has one."""
    value: str | None = None
    """What belongs to `key`; EnvJson: the JSON text; EnvSingleStart: its clear flag."""
    cwd: str | None = None
    """P;Cwd and kind Cwd: the folder. None where the payload can name none (it is empty or holds a NUL)."""
    trusted: bool = False
    """It carried the parser's own nonce: the shell wrote it, and not some program's output. Only OSC 633 can be."""
    hidden: bool = False
    """SetMark: the mark is not to be shown."""

    if not TYPE_CHECKING:  # for a type checker, a name that a marker has not stays an error

        def __getattr__(self, name: str) -> Any:
            """Read the fields. Python asks here only for what is not set."""
            if name not in _FIELDS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            self._read(self)
            return getattr(self, name)

    def __repr__(self) -> str:
        """Show what is set, but for the nonce: it is a secret, and this ends in logs."""
        fields = {name: getattr(self, name) for name in _SHOWN}
        shown = (f"{name}={value!r}" for name, value in fields.items() if value is not None and value is not False)
        return f"Marker({', '.join([str(self.osc), self.kind, *shown])})"


# How any object is made and its slots are filled, past an `__init__` and a `__setattr__` that take far longer.
_new: Final = object.__new__
_set_raw: Final[Callable[[Marker, bytes], None]] = vars(Marker)["raw"].__set__
_set_read: Final[Callable[[Marker, Callable[[Marker], None]], None]] = vars(_Unread)["_read"].__set__


def unread(raw: bytes, read: Callable[[Marker], None]) -> Marker:
    """Make a marker that has only `raw`; when another field is asked for, `read` is called to fill in all of them."""
    marker = _new(Marker)
    _set_raw(marker, raw)
    _set_read(marker, read)
    return marker


_FIELDS: Final = tuple(field.name for field in attrs.fields(Marker) if field.name != "raw")
_SHOWN: Final = ("exit_code", "command", "key", "value", "cwd", "trusted", "hidden")
