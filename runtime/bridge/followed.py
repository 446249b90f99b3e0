"""`Followed`: the terminals of whose output a session is told, from when it asks until each is closed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...actors.context import Context, Monitor
from ...actors.errors import ActorStopped, ComponentNotFound, MailboxFull
from ...actors.ref import Ref
from ...actors.terminal.process import PtyProcess


class Followed:
    """Those of the actor whose `ctx` this is, and whose methods `output` and `screen` are told what is printed."""

    def __init__(self, ctx: Context, terminals: str, output: Callable[..., Any], screen: Callable[..., Any]) -> None:
        self._ctx = ctx
        self._terminals = terminals
        self._output = output
        self._screen = screen
        self._monitors: dict[str, Monitor | None] = {}
        """By terminal, what tells of its end; None while it is yet to start."""

    def follow(self, name: str, *, screen: bool = False) -> None:
        """Hear what commands print in a terminal, with `screen` all that is printed. It may be yet to start."""
        topic = f"{self._terminals}/{name}"
        if self._monitors.get(name) is None:
            self._ctx.subscribe(f"{topic}/output", self._output)
            self._monitors[name] = None
            with suppress(ComponentNotFound):
                self._monitors[name] = self._ctx.monitor(self._ctx.find(topic))
        if screen:
            self._ctx.subscribe(f"{topic}/screen", self._screen)

    def leave(self, name: str) -> None:
        """Nothing more is to be heard of a terminal, or will be."""
        self._monitors.pop(name, None)
        for topic in ("output", "screen"):
            self._ctx.unsubscribe(f"{self._terminals}/{name}/{topic}")

    def slow_down(self, seconds: float) -> None:
        """Have them wait for so long, 0 to go on. Each looks itself whether others keep up."""
        for name in self._monitors:
            try:
                pty: Ref[PtyProcess] = self._ctx.find(f"{self._terminals}/{name}/pty")
            except ComponentNotFound:
                continue  # of whose end it is about to hear
            with suppress(ActorStopped, MailboxFull):  # the next time
                pty.cast(PtyProcess.slow_down, self._ctx.path, seconds)
