"""A terminal as the bridge runs it, alone in a tree."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from ukemi import Actor, Feature, Ref, Runtime, supervisor
from ukemi.actors.terminal.commands import Commands
from ukemi.actors.terminal.printing import OutputChunk
from ukemi.actors.terminal.process import PtyProcess
from ukemi.actors.terminal.running import CommandResult
from ukemi.actors.terminal.settings import TerminalSettings
from ukemi.runtime.bridge.terminals import SHELL_INTEGRATION, terminal_spec
from ukemi.supervisors.tree import child

from ...expecting import PATIENCE


class Screen(Actor):
    """Sees what the terminal prints."""

    def __init__(self) -> None:
        self.chunks: list[OutputChunk] = []

    def on_start(self) -> None:
        self.ctx.subscribe("/app/t/output", self.show)

    def show(self, chunk: OutputChunk) -> None:
        self.chunks.append(chunk)

    def printed(self) -> str:
        return "".join(chunk.data for chunk in self.chunks)


@attrs.frozen
class Terminal:
    """A running one, of the name `t`."""

    runtime: Runtime
    settings: TerminalSettings

    @property
    def commands(self) -> Ref[Commands]:
        return self.runtime.ref("/app/t/commands", Commands).within(PATIENCE)

    @property
    def pty(self) -> Ref[PtyProcess]:
        return self.runtime.ref("/app/t/pty", PtyProcess)

    async def run(self, command: str, timeout: float | None = None, key: str = "") -> CommandResult:
        result: CommandResult = await self.commands.call(Commands.execute, command, timeout, key)
        return result

    async def pid(self) -> int:
        return await self.pty.call(PtyProcess.pid)

    async def kill_shell(self) -> None:
        os.kill(await self.pid(), signal.SIGKILL)

    async def printed(self, wanted: str) -> str:
        """All that was printed, once `wanted` is in it."""
        screen = self.runtime.ref("screen", Screen)
        with trio.fail_after(PATIENCE):
            while wanted not in (text := await screen.call(Screen.printed)):
                await trio.sleep(0.001)
        return text

    def restarts(self, name: str) -> int:
        return self.runtime.tree().find(f"/app/t/{name}").restarts


@asynccontextmanager
async def terminal(home: Path, *, encode: bool | None = None, **settings: Any) -> AsyncIterator[Terminal]:
    """Run a terminal that starts in `home`, without the user's own files."""
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    made = TerminalSettings("t", **{"cwd": str(home), "env": env, **settings})
    features = [Feature(SHELL_INTEGRATION)]
    screen = child("screen", Screen, mailbox=100_000)
    tree = supervisor("app", screen, terminal_spec(made), features=features, max_restarts=100)
    async with Runtime(tree, encode_messages=encode) as runtime:
        yield Terminal(runtime, made)
