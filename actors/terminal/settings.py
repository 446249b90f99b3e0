"""What outlives the actors of a terminal: its settings, with which a shell starts, and where its shell stands."""

from __future__ import annotations

import os
import secrets
from typing import Literal, TypeAlias

import attrs

from .integration import Kind, kind_of
from .modes import Mode
from .shells import CONFIGURED, Choice

Line: TypeAlias = Literal[
    "empty",
    "begun",
    "entered",
    "ahead",  # entered before the prompt was there
    "over",  # entered, and a prompt has begun since
]


@attrs.define(eq=False)
class TerminalSettings:
    """One terminal's settings, shared by its actors."""

    name: str
    shell: str = "bash"
    shells: tuple[str, ...] = CONFIGURED
    """What else is tried, in this order, where that shell can't be started."""
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
    choice: Choice = attrs.field(factory=lambda: Choice("bash"))
    """Which of the shells it is that may be tried."""
    read: int = attrs.field(default=attrs.Factory(lambda self: self.begin, takes_self=True))
    """The offset behind the last byte that was read."""
    consumed: int = attrs.field(default=attrs.Factory(lambda self: self.begin, takes_self=True))
    """The offset behind the last byte that the commands actor has dealt with."""
    marks: Literal["unknown", "yes", "no"] = "unknown"
    """Whether the shell marks its commands, and its markers arrive."""
    missed: frozenset[str] = frozenset("BD")
    """The kinds of markers that have to come before a shell that marks nothing is believed to do so again."""
    has_prompted: bool = False
    """Whether it has ever told the end of a prompt: that its line editor knows the keys that precede a command."""
    in_prompt: bool = False
    """Whether a prompt has begun, and its end was not told."""
    at_prompt: bool = False
    """Whether it waits for a command, and none was typed."""
    line: Line = "empty"
    """What has been typed by hand since the last command."""
    command: Literal["none", "typed", "begun"] = "none"
    """The command in hand. It outlives who asked for it: until its end, the next one has to wait."""
    entered: bool = False
    """Whether all of that command was written to the shell."""
    interrupted: bool = False
    """Whether that command was interrupted, and so may end without having begun."""
    has_ended: bool = False
    """Whether it has ended, and the commands actor knows."""
    was_used: bool = False
    """Whether it has shown a prompt, or something was typed: it has not failed to start."""

    @property
    def kind(self) -> Kind:
        """How it is spoken to."""
        return "sh" if self.choice.is_last else kind_of(self.choice.shell)

    @property
    def mode(self) -> Mode:
        """What the terminal lacks for the shell that it has."""
        return self.choice.mode

    def typed_by_hand(self, *, entered: bool, interrupted: bool = False) -> None:
        """Somebody has typed something, and perhaps entered it, or ^C."""
        if interrupted and self.command != "none":
            self.interrupted = True
        if self.command == "none" and entered:
            self.line, self.at_prompt = "entered" if self.at_prompt else "ahead", False
        elif self.command == "none":
            self.line = "begun"

    def prompted(self) -> None:
        """A prompt has ended, with no command in hand: the shell reads a line, unless one was typed ahead.

        Where none has begun since a line was entered it was only drawn again, and the line is still open.
        """
        self.was_used = self.has_prompted = True
        self.at_prompt = self.line not in ("ahead", "entered")
        if self.line in ("ahead", "over"):
            self.line = "entered" if self.line == "ahead" else "empty"

    def lost(self, *missed: str) -> None:
        """It marks its commands no more, until markers of these kinds have come."""
        self.marks, self.missed, self.command, self.at_prompt = "no", frozenset(missed), "none", False

    def marked(self, kind: str) -> None:
        """A marker of this kind came."""
        if self.marks == "no":
            self.missed -= {kind}
        if self.marks == "unknown" or not self.missed:
            self.marks = "yes"
        if kind == "A":
            self.in_prompt = True
            if self.line == "entered":
                self.line = "over"
        elif kind in ("B", "C"):
            self.in_prompt = False
