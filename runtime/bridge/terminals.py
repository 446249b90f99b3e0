"""A terminal as a small subtree: the shell's process, the parser of what it prints, and its commands.

`commands` depends on `pty`, and `parser` on `commands`: a shell that dies is restarted with both, once. A parser that
fails is restarted alone, and parses again what was not dealt with; so it does when `commands` has failed. A shell that
dies again and again is not restarted any more: the user is told, and the terminal is down until it is started by hand.
"""

from __future__ import annotations

from ...actors.parser.stream import StreamParser
from ...actors.terminal.commands import Commands
from ...actors.terminal.process import PtyProcess
from ...actors.terminal.settings import TerminalSettings
from ...supervisors.recovery import MATRIX, Alert, Category, Policy, Restart, Row
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, supervisor

SHELL_RESTARTS = 10
"""Restarts of one terminal's parts within a minute, before it is given up."""
SHELL_START = 10.0
"""Seconds that a shell's process has to start."""
PART_START = 2.0
"""Seconds that the others have, which ask `pty`: one that ends just then is not restarted before they have failed."""

PARTS = Policy(
    tuple(row for row in MATRIX if row.category in (Category.TERMINAL, Category.PARSER)), name="terminal", general=()
)
"""The matrix's rows on terminals and parsers. Anything else is a restart, which parses again what was not dealt with:
an actor that went on without the message that failed would have lost output, and never find its next prompt."""

SHELL = PARTS.replacing(
    Row("FileSystem", None, Restart(), Alert(), 3), Row("Resource", "Recoverable", Restart(), Alert(), 3), name="shell"
)
"""A shell that can't be started again, for want of its folder, its program or of files: the user is told, and the
terminal waits to be started by hand, in place of being given up with its name and settings."""


def terminal_spec(settings: TerminalSettings) -> ChildSpec:
    """The subtree of one terminal; once given up, it is forgotten."""
    return supervisor(
        settings.name,
        child("pty", lambda: PtyProcess(settings), start_timeout=SHELL_START, policy=SHELL),
        child("commands", lambda: Commands(settings), depends_on=["pty"], start_timeout=PART_START),
        child("parser", lambda: StreamParser(settings.nonce), depends_on=["commands"], start_timeout=PART_START),
        strategy="dependents",
        max_restarts=SHELL_RESTARTS,
        within=60.0,
        policy=PARTS,
        restart="temporary",
    )
