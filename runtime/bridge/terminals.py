"""A terminal as a small subtree: the shell's process, the parser of what it prints, and its commands.

`commands` depends on `pty`, and `parser` on `commands`: a shell that dies is restarted with both, once. A parser that
fails is restarted alone, and parses again what was not dealt with; so it does when `commands` has failed.
"""

from __future__ import annotations

from ...actors.parser.stream import StreamParser
from ...actors.terminal.commands import Commands
from ...actors.terminal.process import PtyProcess
from ...actors.terminal.settings import TerminalSettings
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, supervisor

SHELL_RESTARTS = 10
"""Restarts of one terminal's parts within a minute, before it is given up."""


def terminal_spec(settings: TerminalSettings) -> ChildSpec:
    """The subtree of one terminal; once given up, it is forgotten."""
    return supervisor(
        settings.name,
        child("pty", lambda: PtyProcess(settings), start_timeout=10.0),
        child("commands", lambda: Commands(settings), depends_on=["pty"]),
        child("parser", lambda: StreamParser(settings.nonce), depends_on=["commands"]),
        strategy="dependents",
        max_restarts=SHELL_RESTARTS,
        within=60.0,
        restart="temporary",
    )
