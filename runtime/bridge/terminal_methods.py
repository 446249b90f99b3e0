"""The bridge's `terminal/` methods."""

from __future__ import annotations

import secrets
from math import inf
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ...actors.errors import ActorStopped
from ...actors.ipc.jsonrpc import Code, RpcError
from ...actors.ref import Ref
from ...actors.resources import Resource
from ...actors.terminal.commands import CommandResult, Commands
from ...actors.terminal.integration import INTEGRATED, kind_of
from ...actors.terminal.settings import TerminalSettings
from ...supervisors.dynamic import DynamicSupervisor
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


@method("terminal/create", CreateTerminal)
async def create_terminal(session: ClientSession, asked: CreateTerminal) -> dict[str, Any]:
    """Start a terminal; its name."""
    settings = TerminalSettings(session.new_terminal_name(), cwd=asked.cwd, cols=asked.cols, rows=asked.rows)
    if asked.shell is not None:
        settings.shell = asked.shell
    if kind_of(settings.shell) == "sh":
        those = ", ".join(INTEGRATED)
        raise RpcError(Code.INVALID_PARAMS, f"the shell {settings.shell!r} can't be driven yet; these can: {those}")
    settings.env |= asked.env or {}
    await session.require(Resource.FILES, FILES)
    await session.require(Resource.PROCESSES, 1)
    await session.terminals.call(DynamicSupervisor.start_child, terminal_spec(settings))
    return {"terminal": settings.name}


@attrs.frozen
class Execute:
    """Of `terminal/execute`. `timeout` in seconds; without it the command may take any time."""

    terminal: str
    command: str
    timeout: float | None = None


@method("terminal/execute", Execute, in_order="terminal")
async def execute(session: ClientSession, asked: Execute) -> dict[str, Any]:
    """Run a command in a terminal; how it ended. What it prints comes as `terminal/output` meanwhile."""
    if asked.timeout is not None and not 0 < asked.timeout < inf:
        raise RpcError(Code.INVALID_PARAMS, f"timeout={asked.timeout!r} must be seconds above 0")
    if "\0" in asked.command:
        raise RpcError(Code.INVALID_PARAMS, "a command can't hold a NUL")
    commands = session.terminal(asked.terminal, "commands").within(None)
    session.follow_terminal(asked.terminal)
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
    }


def _readable(folder: str | None) -> str | None:
    """A folder's name as JSON can carry it: what is no UTF-8 in it is replaced."""
    return None if folder is None else folder.encode(errors="surrogateescape").decode(errors="replace")


@attrs.frozen
class OneTerminal:
    """Of what names a terminal and nothing else."""

    terminal: str


@method("terminal/close", OneTerminal)
async def close_terminal(session: ClientSession, asked: OneTerminal) -> dict[str, Any]:
    """End a terminal and all that runs in it."""
    session.terminal(asked.terminal)
    await session.terminals.call(DynamicSupervisor.stop_child, asked.terminal)
    return {}


@method("terminal/list", Nothing)
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
    """Start a terminal's shell again: in place of one that was given up, or that hangs."""
    parts: Ref[Supervisor] = session.terminal(asked.terminal)
    await parts.call(Supervisor.stop_child, "pty")
    await parts.call(Supervisor.restart_child, "pty")
    return {}
