"""How far a terminal is from what it should be; each mode leaves out more than the one before it."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

Mode: TypeAlias = Literal[
    "full",  # the shell that was asked for says where its commands begin and end
    "no integration",  # it does not: output is collected until it is quiet, and there is no exit code
    "raw output",  # and what is printed is not looked at: it is all output
    "another shell",  # the one that was asked for can't be started; the other may well be integrated
    "minimal",  # /bin/sh, without start-up files, wherever there is a folder
]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)


def worst(*modes: Mode) -> Mode:
    """The one that leaves out most."""
    return max(modes, key=MODES.index)
