"""`make demo`: the bridge at work, and what becomes of it when its parts are killed. Ends by itself.

The bridge runs in a process of its own, in a temporary folder. This process is its client: a small tree with an
`IpcLink`. What the bridge's supervisors did is read from their own events, through the debug socket.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs
import trio
from loguru import logger
from trio_util import periodic

from ..actors.actor import Actor
from ..actors.deferred import Reply
from ..actors.errors import UkemiError
from ..actors.events import Event
from ..actors.ipc import IpcLink, LinkSession
from ..actors.ipc.jsonrpc import RpcError
from ..actors.ref import Ref
from ..runtime.debug.client import Client, ClientError
from ..runtime.runtime import Runtime
from ..supervisors.backoff import Backoff
from ..supervisors.events import ChildRestarted
from ..supervisors.tree import child, supervisor
from .faults import ActorKilled, ConnectionCut, Fault, GarbageSent, ProcessKilled

LINES = 100_000
"""Lines printed while the parser is killed again and again."""
PATIENCE = 18.0
"""Seconds after which the demo gives up on itself."""
_WIDTH = 100


class Screen(Actor):
    """Counts what terminals print, as the notifications tell it."""

    def __init__(self) -> None:
        self.text = ""
        self._awaited: tuple[str, Reply] | None = None

    def on_start(self) -> None:
        """Listen to the link beside it."""
        self.ctx.subscribe("/editor/link/terminal/output", self.show)

    def show(self, note: dict[str, Any]) -> None:
        """A piece of output."""
        self.text += note["data"]
        if self._awaited is not None and self._awaited[0] in self.text:
            self._awaited[1].send(None)
            self._awaited = None

    def wait_for(self, text: str) -> None:
        """Answers once this text was printed."""
        self._awaited = (text, self.ctx.defer())

    def take(self) -> str:
        """All since the last time."""
        text, self.text = self.text, ""
        return text


@attrs.define(eq=False)
class Stage:
    """What the scenes play with."""

    folder: Path
    debug: Client
    editor: Runtime
    terminal: str = ""

    @property
    def link(self) -> Ref[IpcLink]:
        """The link to the bridge."""
        return self.editor.ref("link", IpcLink)

    async def ask(self, method: str, **params: Any) -> Any:
        """A request to the bridge."""
        return await self.link.call(IpcLink.request, method, params)

    async def execute(self, command: str) -> dict[str, Any]:
        """Run a command in the terminal."""
        result: dict[str, Any] = await self.ask("terminal/execute", terminal=self.terminal, command=command)
        return result

    async def restarts(self, path: str) -> int:
        """How often the bridge's supervisors have restarted an actor."""
        tree: dict[str, Any] = await trio.to_thread.run_sync(self.debug.run, "tree", {"actor": path})
        return int(tree["restarts"])

    async def restarted(self, path: str, before: int) -> None:
        """Wait until the supervisors have restarted it more often than `before`."""
        async for _ in periodic(0.002):  # in another process there is no event to wait for
            if await self.restarts(path) > before:
                return

    async def last_restart(self, path: str) -> dict[str, Any]:
        """The supervisor's own event of it."""
        events: list[dict[str, Any]] = await trio.to_thread.run_sync(self.debug.run, "events", {"last": 500})
        return [e for e in events if e["kind"] == "ChildRestarted" and e["path"] == path][-1]

    def shell_pid(self) -> int:
        """The shell's process id."""
        return int(self.debug.run("call", {"actor": self.part("pty"), "method": "pid", "args": []}))

    def part(self, name: str) -> str:
        """The path of a part of the terminal, in the bridge."""
        return f"/bridge/terminals/{self.terminal}/{name}"


async def main() -> None:
    """All scenes."""
    say("The bridge starts in a process of its own, and a shell in it.")
    async with staged() as stage:
        stage.terminal = (await stage.ask("terminal/create"))["terminal"]
        for command in ("uname -s", "cd / && pwd", "ls nowhere"):
            result = await stage.execute(command)
            show(f"$ {command}", f"{result['output'].strip()}   [exit {result['exitCode']}, cwd {result['cwd']}]")

        await play_restart(stage, ProcessKilled("the shell is killed (SIGKILL) while idle", stage.shell_pid), "pty")
        await play_busy_shell(stage)
        await play_parser(stage)
        await play_connection(stage)
        await play_garbage(stage)

        say("The tree, after all that:")
        tree = await trio.to_thread.run_sync(stage.debug.run, "tree")
        draw(tree)
        await stage.ask("terminal/close", terminal=stage.terminal)
    say("Go on yourself:")
    beside = shutil.which("ukemi", path=str(Path(sys.executable).parent))
    ukemi = os.path.relpath(beside) if beside is not None else "ukemi"
    show(f"{ukemi} run", "the bridge (or your own tree: MODULE:TREE)")
    show(f"{ukemi} tree", "from another terminal: the running tree")
    show(f"{ukemi} repl", "from another terminal: look inside it, kill something, watch it get up")


async def play_restart(stage: Stage, fault: Fault, part: str) -> None:
    """A fault, the restart that the supervisor counted, and the next command."""
    before = await stage.restarts(stage.part(part))
    begun = perf_counter()
    await fault.inflict()
    await stage.restarted(stage.part(part), before)
    result = await stage.execute("echo up again in $PWD")
    seconds = perf_counter() - begun
    await report_restart(stage, fault, part, before, seconds, result["output"].strip())


async def play_busy_shell(stage: Stage) -> None:
    """The shell dies under a command: its caller learns of it, the next command works."""
    before = await stage.restarts(stage.part("pty"))
    fault = ProcessKilled("the shell is killed (SIGKILL) while a command runs", stage.shell_pid)
    answers: list[str] = []

    async def run_and_lose() -> None:
        try:
            await stage.execute("echo begun; sleep 60")
        except RpcError as error:
            answers.append(error.message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_and_lose)
        await stage.editor.ref("screen", Screen).call(Screen.wait_for, "begun")
        begun = perf_counter()
        await fault.inflict()
    result = await stage.execute("echo up again in $PWD")
    seconds = perf_counter() - begun
    await report_restart(stage, fault, "pty", before, seconds, result["output"].strip())
    show("  its caller was told", *answers)


async def play_parser(stage: Stage) -> None:
    """The parser dies, again and again, while a command prints: not a byte is lost."""
    before = await stage.restarts(stage.part("parser"))
    fault = ActorKilled("the parser is killed 3 times while a command prints", stage.debug, stage.part("parser"))
    await stage.editor.ref("screen", Screen).call(Screen.take)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.execute, f"seq {LINES}")
        await stage.editor.ref("screen", Screen).call(Screen.wait_for, "1")
        begun = perf_counter()
        for kills in range(3):
            await fault.inflict()
            await stage.restarted(stage.part("parser"), before + kills)
    await stage.execute("true")
    seconds = perf_counter() - begun
    text = await stage.editor.ref("screen", Screen).call(Screen.take)
    expected = "".join(f"{n}\r\n" for n in range(1, LINES + 1))
    whole = "every byte arrived, once and in order" if text == expected else "BYTES WERE LOST"
    await report_restart(stage, fault, "parser", before, seconds, f"{LINES} lines, {whole}")
    if text != expected:
        raise UkemiError(f"the parser lost output: {len(text)} characters of {len(expected)}")


async def play_connection(stage: Stage) -> None:
    """The connection breaks: the client's own supervisor connects again, the session goes on."""
    fault = ConnectionCut("the client's connection is cut", stage.link)
    begun = perf_counter()
    async with stage.editor.events.follow() as events:
        await fault.inflict()
        restart = await next_restart(events)
    result = await stage.execute("echo still in $PWD")
    seconds = perf_counter() - begun
    show(f"✗ {fault.what}")
    show(
        "  the client's supervisor",
        f"restarted {restart.path} in {restart.took * 1000:.1f} ms (restart {restart.restarts})",
    )
    show("  next command answered", f"after {seconds * 1000:.1f} ms, in the same session: {result['output'].strip()}")


async def next_restart(events: trio.MemoryReceiveChannel[Event]) -> ChildRestarted:
    """The next restart that a supervisor tells of."""
    while not isinstance(event := await events.receive(), ChildRestarted):
        pass
    return event


async def play_garbage(stage: Stage) -> None:
    """Another client sends a malformed frame: its own connection ends, nobody else notices."""
    fault = GarbageSent("another client sends a malformed frame", stage.folder / "bridge.sock")
    begun = perf_counter()
    await fault.inflict()
    result = await stage.execute("echo unharmed")
    seconds = perf_counter() - begun
    events = await trio.to_thread.run_sync(stage.debug.run, "events", {"last": 50})
    ended = [e for e in events if e["kind"] == "ActorExited" and "/connections/" in e["path"]][-1]
    show(f"✗ {fault.what}")
    show("  the supervisor", f"let {ended['path']} go: {ended['reason']}")
    show("  next command answered", f"after {seconds * 1000:.1f} ms: {result['output'].strip()}")


async def report_restart(stage: Stage, fault: Fault, part: str, before: int, seconds: float, answer: str) -> None:
    """What failed, what the supervisor did by its own account, and how long it took."""
    after = await stage.restarts(stage.part(part))
    if after <= before:
        raise UkemiError(f"{stage.part(part)} was not restarted: {before} restarts before, {after} after")
    event = await stage.last_restart(stage.part(part))
    show(f"✗ {fault.what}")
    show(
        "  the supervisor", f"restarted {event['path']} in {event['took'] * 1000:.1f} ms (restarts: {before} → {after})"
    )
    show("  it had seen", event["reason"])
    show("  next command answered", f"after {seconds * 1000:.1f} ms: {answer}")


# --- the stage


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """The bridge in a process of its own, a debug client, and the editor: all gone at the end."""
    with tempfile.TemporaryDirectory(prefix="ukemi-") as name:
        folder = Path(name)
        async with running_bridge(folder) as debug:
            session = LinkSession()
            tree = supervisor(
                "editor",
                child(
                    "link",
                    lambda: IpcLink(folder / "bridge.sock", session=session),
                    backoff=Backoff(initial=0.01, maximum=1.0),
                ),
                child("screen", Screen),
            )
            async with Runtime(tree) as editor:
                yield Stage(folder, debug, editor)


@asynccontextmanager
async def running_bridge(folder: Path) -> AsyncIterator[Client]:
    """`ukemi run` in that folder, up; stopped in order at the end."""
    command = [sys.executable, "-m", "ukemi", "run", "--state-dir", str(folder), "--log-level", "ERROR"]
    said = folder / "stderr"
    with said.open("wb") as stderr:
        bridge = await trio.lowlevel.open_process(command, stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        debug = await connected(bridge, folder / "debug.sock", said)
        with debug:
            yield debug
    finally:
        bridge.terminate()
        with trio.move_on_after(5.0) as limit:
            limit.shield = True
            await bridge.wait()
        if bridge.returncode is None:
            bridge.kill()


async def connected(bridge: trio.Process, socket: Path, said: Path) -> Client:
    """A debug client, once the bridge is up."""
    async for _ in periodic(0.02):
        try:
            return await trio.to_thread.run_sync(Client, socket)
        except ClientError:
            if bridge.poll() is not None:
                raise UkemiError(f"the bridge could not start: {said.read_text().strip()}") from None
    raise AssertionError("periodic does not end")


# --- what is shown


def say(text: str) -> None:
    """A heading."""
    print(f"\n{text}", flush=True)


def show(what: str, *details: str) -> None:
    """A line, or two columns."""
    print(f"  {what:<26} {'; '.join(details)}"[: _WIDTH * 2].rstrip() if details else f"\n  {what}", flush=True)


def draw(node: dict[str, Any], indent: int = 1) -> None:
    """A tree of nodes."""
    restarts = f", restarted {node['restarts']} ×" if node["restarts"] else ""
    print(f"{'    ' * indent}{node['name']}: {node['state']}{restarts}")
    for below in node["children"]:
        draw(below, indent + 1)


def run() -> None:
    """The entry point."""
    logger.remove()
    begun = perf_counter()

    async def bounded() -> None:
        with trio.fail_after(PATIENCE):
            await main()

    try:
        trio.run(bounded)
    except* (UkemiError, trio.TooSlowError) as group:
        sys.exit(f"the demo failed: {group.exceptions[0]}")
    print(f"\nAll of it took {perf_counter() - begun:.1f} s.")


if __name__ == "__main__":
    run()
