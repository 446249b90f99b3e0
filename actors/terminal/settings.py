"""What outlives the actors of a terminal: its settings, with which a shell starts, and where its shell stands."""

from __future__ import annotations

import os
import secrets
from typing import Literal

import attrs


@attrs.define(eq=False)
class TerminalSettings:
    """One terminal's settings, shared by its actors."""

    name: str
    shell: str = "bash"
    cwd: str | None = None
    """The folder to start in, by default this process's own; from then on where the shell says that it is."""
    env: dict[str, str] = attrs.field(factory=lambda: dict(os.environ))
    cols: int = 80
    rows: int = 24
    nonce: str = attrs.field(factory=lambda: secrets.token_hex(8))
    """Tells the shell's own markers from what a program prints."""
    at: ShellState = attrs.field(factory=lambda: ShellState(0))


@attrs.define(eq=False)
class ShellState:
    """Where the present shell stands.

    Offsets go on from shell to shell, so that what an earlier one printed, or was sent, and still waits in a mailbox is
    told from what belongs to this one.
    """

    begin: int
    """The offset of the shell's first byte; names the shell."""
    read: int = attrs.field(default=attrs.Factory(lambda self: self.begin, takes_self=True))
    """The offset behind the last byte that was read."""
    is_marked: bool = False
    """Whether the shell has marked anything yet."""
    at_prompt: bool = False
    """Whether it waits for a command, and none was typed."""
    command: Literal["none", "typed", "begun"] = "none"
    """The command in hand. It outlives who asked for it: until its end, the next one has to wait."""
    interrupted: bool = False
    """Whether that command was interrupted, and so may end without having begun."""
