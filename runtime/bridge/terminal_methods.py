"""The bridge's `terminal/` methods."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ...actors.errors import ActorStopped
from ...actors.files.near import ask_disk
from ...actors.ipc.jsonrpc import Code, RpcError
from ...actors.ref import Ref
from ...actors.resources import Resource
from ...actors.terminal.commands import MOST_WAITING, Commands
from ...actors.terminal.process import PtyProcess
from ...actors.terminal.running import CommandResult
from ...actors.terminal.settings import TerminalSettings
from ...actors.terminal.texts import working_directory_missing
from ...supervisors.dynamic import DynamicSupervisor
from ...supervisors.errors import ChildStateError, StartFailed
from ...supervisors.supervisor import ChildInfo, Supervisor
from .methods import Nothing, method
from .terminals import terminal_spec

if TYPE_CHECKING:
    from .session import ClientSession

FILES = 8
"""Descriptors that have to be there for one more terminal: its own, and some for what goes on already."""


@attrs.frozen
class CreateTerminal:
    """Of `terminal/create`; what is left out is as the terminal's defaults are."""

    shell: str | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    cols: int = 80
    rows: int = 24
    screen: bool = False
    """Whether the client wants to see all that is printed, prompts and what is typed included."""


@method("terminal/create", CreateTerminal)
async def create_terminal(session: ClientSession, asked: CreateTerminal) -> dict[str, Any]:
    """Start a terminal; its name, the shell that could be started, and the mode it is in so far."""
    await _check(asked)
    settings = TerminalSettings(session.new_terminal_name(), cwd=asked.cwd, cols=asked.cols, rows=asked.rows)
    if asked.shell is not None:
        settings.shell = asked.shell
    settings.env |= asked.env or {}
    await session.require(Resource.FILES, FILES)
    await session.require(Resource.PROCESSES, 1)
    if asked.screen:
        session.followed.follow(settings.name, screen=True)
    try:
        await session.terminals.call(DynamicSupervisor.start_child, terminal_spec(settings))
        what = await session.terminal(settings.name, "commands").call(Commands.what_it_is)
    except BaseException as error:  # cancelled, too: nobody will know its name
        session.followed.leave(settings.name)
        if not isinstance(error, StartFailed):
            session.terminals.cast(DynamicSupervisor.stop_child, settings.name)
        raise
    if asked.screen:
        session.followed.follow(settings.name, screen=True)
    return {"terminal": settings.name, "shell": what.shell, "mode": what.mode}


async def _check(asked: CreateTerminal) -> None:
    """Raise RpcError for what no shell could be started with: it is not to be tried with one after the other."""
    named = {"shell": asked.shell or "", "cwd": asked.cwd or "", **(asked.env or {})}
    for name, value in named.items():
        if "\0" in value or "\0" in name:
            raise _wrong(f"{name}={value!r} can't hold a NUL")
    for name in asked.env or {}:
        if not name or "=" in name:
            raise _wrong(f"{name!r} can't be the name of a variable: it is to be text without '='")
    for name, size in (("cols", asked.cols), ("rows", asked.rows)):
        if not 1 <= size <= 65_535:
            raise _wrong(f"{name} must be from 1 to 65535, not {size}")
    if asked.shell == "":
        raise _wrong("shell='' must be a shell's name or path")
    if asked.cwd is not None and not (asked.cwd and await _is_folder(os.path.abspath(asked.cwd))):
        raise _wrong(working_directory_missing(asked.cwd))


async def _is_folder(path: str) -> bool:
    """Whether it is one; OSError if too many wait already for a disk that does not answer."""
    return await ask_disk(path, partial(os.path.isdir, path), _FAR)


_FAR = trio.CapacityLimiter(8)
"""Threads that may wait for somebody else's disk."""


def _wrong(said: str) -> RpcError:
    return RpcError(Code.INVALID_PARAMS, said)


@attrs.frozen
class Execute:
    """Of `terminal/execute`. `timeout` in seconds; without it the command may take any time."""

    terminal: str
    command: str
    timeout: float | None = None


@method("terminal/execute", Execute, in_order="terminal", most_waiting=MOST_WAITING)
async def execute(session: ClientSession, asked: Execute) -> dict[str, Any]:
    """Run a command in a terminal; how it ended. What it prints comes as `terminal/output` meanwhile."""
    if asked.timeout is not None and not 0 < asked.timeout < inf:
        raise _wrong(f"timeout={asked.timeout!r} must be seconds above 0")
    if "\0" in asked.command:
        raise _wrong("a command can't hold a NUL")
    commands = session.terminal(asked.terminal, "commands").within(None)
    session.followed.follow(asked.terminal)
    key = secrets.token_hex(8)
    try:
        result: CommandResult = await commands.call(Commands.execute, asked.command, asked.timeout, key)
    except trio.Cancelled:
        commands.cast(Commands.give_up, key)
        raise
    return {
        "output": result.output.data,
        "encoding": result.output.encoding,
        "exitCode": result.exit_code,
        "cwd": _readable(result.cwd),
        "mode": result.mode,
        "duration": result.duration,
        "truncated": result.truncated,
        **({"note": result.note} if result.note is not None else {}),
    }


def _readable(folder: str | None) -> str | None:
    """A folder's name as JSON can carry it: what is no UTF-8 in it is replaced."""
    return None if folder is None else folder.encode(errors="surrogateescape").decode(errors="replace")


@attrs.frozen
class Write:
    """Of `terminal/write`: text, or with the encoding "base64" any bytes."""

    terminal: str
    data: str
    encoding: str = "utf-8"


@method("terminal/write", Write, in_order="terminal", queue="typing")
async def write(session: ClientSession, asked: Write) -> dict[str, Any]:
    """Type something, as a user does; answered once it was typed. What is on the screen is told from now on."""
    data = _bytes_of(asked)
    pty = session.terminal(asked.terminal, "pty").within(None)
    session.followed.follow(asked.terminal, screen=True)
    await pty.call(PtyProcess.type_by_hand, data)
    return {}


def _bytes_of(asked: Write) -> bytes:
    match asked.encoding:
        case "utf-8":
            return asked.data.encode(errors="surrogateescape")
        case "base64":
            try:
                return base64.b64decode(asked.data, validate=True)
            except (binascii.Error, ValueError) as error:
                raise _wrong(f"data is no base64: {error}") from None
        case other:
            raise _wrong(f"encoding={other!r} must be 'utf-8' or 'base64'")


@attrs.frozen
class Resize:
    """Of `terminal/resize`: characters."""

    terminal: str
    cols: int
    rows: int


@method("terminal/resize", Resize, in_order="terminal", queue="sizes")
async def resize(session: ClientSession, asked: Resize) -> dict[str, Any]:
    """Make a terminal this large, also for the shells to come."""
    await session.terminal(asked.terminal, "pty").call(PtyProcess.resize, asked.cols, asked.rows)
    return {}


@attrs.frozen
class OneTerminal:
    """Of what names a terminal and nothing else."""

    terminal: str


@method("terminal/interrupt", OneTerminal)
async def interrupt(session: ClientSession, asked: OneTerminal) -> dict[str, Any]:
    """Do once what ^C does to whatever runs in a terminal."""
    await session.terminal(asked.terminal, "commands").call(Commands.interrupt)
    return {}


@method("terminal/close", OneTerminal)
async def close_terminal(session: ClientSession, asked: OneTerminal) -> dict[str, Any]:
    """End a terminal and all that runs in it."""
    session.terminal(asked.terminal)
    await session.terminals.call(DynamicSupervisor.stop_child, asked.terminal)
    return {}


@method("terminal/list", Nothing, only_reads=True)
async def list_terminals(session: ClientSession, _: Nothing) -> dict[str, Any]:
    """The terminals that there are."""
    children = await session.terminals.call(DynamicSupervisor.children)
    return {"terminals": [{"terminal": info.name, "state": await _state_of(info)} for info in children]}


async def _state_of(terminal: ChildInfo) -> str:
    """As good as that of the actor that takes the commands: it needs the shell, and waits for it."""
    if terminal.state != "running":
        return terminal.state
    try:
        parts = {info.name: info for info in await terminal.ref.call(Supervisor.children)}
    except ActorStopped:
        return "stopped"
    return parts["commands"].state


@method("terminal/restart", OneTerminal)
async def restart_terminal(session: ClientSession, asked: OneTerminal) -> dict[str, Any]:
    """Start a terminal's shell again: in place of one that was given up, or that hangs. Commands that wait go on."""
    pty: Ref[PtyProcess] = session.terminal(asked.terminal, "pty")
    try:
        await pty.call(PtyProcess.renew, await pty.call(PtyProcess.which))
    except ActorStopped:  # its shell stays down
        await _start_again(session.terminal(asked.terminal))
    return {}


async def _start_again(parts: Ref[Supervisor]) -> None:
    """Start the shell of a terminal that has none; several may ask for that at once."""
    try:
        await parts.call(Supervisor.restart_child, "pty")
    except ChildStateError as error:
        if error.state != "running":
            raise
