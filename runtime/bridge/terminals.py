"""A terminal as a small subtree: the shell's process, the parser of what it prints, and its commands.

`commands` and `parser` depend on `pty`: a shell that dies is restarted with both, once. One of the two that fails is
restarted alone, and what was not dealt with is parsed again. A shell that dies again and again is not restarted any
more: the user is told, and the terminal is down until it is started by hand.

Its modes are fallbacks: of `pty`, other shells, down to the least that there is; of `commands`, ways that need no
markers; of `parser`, those that find none. Another shell stays while it lives; the others give way as soon as they can.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from ...actors.actor import Actor
from ...actors.parser.fallbacks import PassingParser, SkippingParser
from ...actors.parser.stream import StreamParser
from ...actors.terminal.integration import kind_of
from ...actors.terminal.marked import MarkedCommands
from ...actors.terminal.plain import PlainCommands, RawCommands
from ...actors.terminal.process import PtyProcess
from ...actors.terminal.settings import TerminalSettings
from ...actors.terminal.shells import choices_here
from ...supervisors.features import Feature
from ...supervisors.recovery import MATRIX, Alert, Category, Policy, Restart, Row
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, supervisor

SHELL_RESTARTS = 10
"""Restarts of one terminal's parts within a minute, before it is given up."""
SHELL_LEAVES = 10
"""How often in a row, less than 5 s apart, a shell that has left is started again."""
SHELL_START = 10.0
"""Seconds that a shell's process has to start."""
PART_START = 2.0
"""Seconds that the others have, which ask `pty`: one that ends just then is not restarted before they have failed."""
SHELL_INTEGRATION = "shell_integration"
"""The bridge's feature that a terminal's own depends on."""

PARTS = Policy(
    tuple(row for row in MATRIX if row.category in (Category.TERMINAL, Category.PARSER)), name="terminal", general=()
)
"""The matrix's rows on terminals and parsers. Anything else is a restart, which parses again what was not dealt with:
an actor that went on without the message that failed would have lost output, and never find its next prompt."""

SHELL = PARTS.replacing(
    Row("Resource", "Recoverable", Restart(), Alert(), 3),
    Row("Terminal", "Warning", Restart(), Alert(), SHELL_LEAVES),
    Row("Terminal", "Info", Restart(), Alert(), sys.maxsize),
    name="shell",
)
"""A shell that can't be started for want of files: no other shell could be. The user is told, and the terminal waits to
be started by hand, in place of being given up with its name and settings. One that has left, as `exit` does it, is no
shell that fails, nor is one that was ended so that another takes its place: by a command's timeout, by hand."""


def terminal_spec(settings: TerminalSettings) -> ChildSpec:
    """The subtree of one terminal; once given up, it is forgotten."""
    return supervisor(
        settings.name,
        _pty(settings),
        _commands(settings),
        _parser(settings),
        strategy="dependents",
        max_restarts=SHELL_RESTARTS,
        within=60.0,
        policy=PARTS,
        restart="temporary",
    )


def _pty(settings: TerminalSettings) -> ChildSpec:
    """The shell that was asked for, and what is tried where it can't be started."""
    _, *others = choices_here(settings.shell, settings.shells, settings.env)
    return child(
        "pty",
        lambda: PtyProcess(settings),
        fallback={choice.name: partial(PtyProcess, settings, choice) for choice in others},
        gives_way="on restart",
        start_timeout=SHELL_START,
        policy=SHELL,
    )


def _commands(settings: TerminalSettings) -> ChildSpec:
    """The mode that the shell is made for, and those below it. sh lacks nothing that it could have."""
    modes: dict[str, Callable[[], Actor]] = {
        "full": lambda: MarkedCommands(settings),
        "no integration": lambda: PlainCommands(settings),
        "raw output": lambda: RawCommands(settings),
    }
    feature = None
    if kind_of(settings.shell) == "sh":
        del modes["full"]
    else:
        name = f"{SHELL_INTEGRATION} of {settings.name}"
        feature = Feature(name, depends_on=[SHELL_INTEGRATION], fallback="commands without exit code")
    first, *below = modes.items()
    return child(
        "commands",
        first[1],
        fallback=dict(below),
        goes_without=False,
        feature=feature,
        depends_on=["pty"],
        start_timeout=PART_START,
    )


def _parser(settings: TerminalSettings) -> ChildSpec:
    return child(
        "parser",
        lambda: StreamParser(settings.nonce),
        fallback={"skip markers": SkippingParser, "raw passthrough": PassingParser},
        goes_without=False,
        depends_on=["pty"],
        start_timeout=PART_START,
    )
