"""One command: what is asked for, what it has printed, and how it ended."""

from __future__ import annotations

from typing import Any

import attrs

from ..deferred import Reply
from .capture import Capture, Text
from .modes import Mode


@attrs.frozen
class CommandResult:
    """How a command ended. Times in seconds."""

    output: Text
    exit_code: int | None
    cwd: str | None
    mode: Mode
    """How much the terminal could tell: with full shell integration, everything."""
    duration: float
    truncated: bool
    note: str | None = None
    """What is to be known of an output of which no marker tells the end."""


@attrs.define(eq=False)
class Running:
    """The command in hand."""

    key: str
    reply: Reply
    timeout: float | None
    since: float
    late: bool = False
    deadline: Any = None
    """The timer of its own time."""
    patience: Any = None
    """The timer of what is next done about one that takes too long, or is given up."""
    capture: Capture = attrs.field(factory=Capture)
    """What it has printed."""
    printed_at: float = attrs.field(default=attrs.Factory(lambda self: self.since, takes_self=True))
    """When it last printed something, or was typed."""
    hot: float = 0.0
    """Seconds of silence after that for which it still counts as busy."""

    def end(self) -> None:
        """No time is kept any more."""
        for timer in (self.deadline, self.patience):
            if timer is not None:
                timer.cancel()
