"""The debug commands, all of them; `wellbeing` declares those that tell how well the runtime does, `mending` others.

Each is an async function of a `Session` and of what it takes; see `declaring` for what its signature and docstring
become. What it returns is sent as plain data; whatever it raises becomes the client's error, and harms nobody else.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import StringIO
from typing import Any, Literal

import attrs
import trio
from loguru import logger

from ...actors.place import Stats
from ...actors.protocol import is_message_name
from ...actors.reasons import describe
from ...actors.registry import SERVICES
from ...actors.shorten import short
from ...supervisors.spec import ChildSpec
from ...supervisors.supervisor import Supervisor
from ..nodes import Node, node_of
from .declaring import ActorName, BadCommand, Code, CommandName, Commands, Description, MethodName
from .mending import MENDING
from .session import Session, event_data
from .wellbeing import WELLBEING

COMMANDS = Commands()
MOST_NAMES = 200
"""Names that one completion offers."""


@attrs.frozen
class Hello:
    """What a client learns first."""

    tree: str
    """The name of the tree."""
    pid: int
    allow_eval: bool
    commands: tuple[Description, ...]


@attrs.frozen
class ActorInfo:
    """What `info` tells."""

    kind: str
    state: str
    stats: Stats
    restarts: int
    last_crash: str | None
    spec: dict[str, Any]
    messages: tuple[str, ...]


@attrs.frozen
class Evaluated:
    """What `eval` tells: the result's repr, None for None, and what was printed."""

    value: str | None
    output: str


@COMMANDS.declare(shown="fields")
async def hello(session: Session) -> Hello:
    """Who is there, and which commands it knows."""
    commands = tuple(command.description for command in COMMANDS.values())
    return Hello(session.runtime.spec.name, os.getpid(), session.allow_eval, commands)


@COMMANDS.declare(shown="help")
async def help_(session: Session, command: CommandName | None = None) -> tuple[Description, ...]:
    """What the commands do, or one of them.

    Words are split as in a shell. An argument of a message is a JSON value if it is one, else text: 2, true, null,
    '{"a": 1}', hello; text that looks like JSON has to be quoted twice: '"2"'.
    """
    chosen = COMMANDS.values() if command is None else [COMMANDS.find(command)]
    return tuple(each.description for each in chosen)


@COMMANDS.declare(shown="tree")
async def tree(session: Session, actor: ActorName | None = None) -> Node:
    """The running tree, or what is below one actor.

    The runtime's own services are a tree beside it: tree /ukemi.
    """
    if actor is None:
        return session.runtime.tree()
    cell = session.cell(actor)
    return node_of(cell, session.child_info(cell))


@COMMANDS.declare(shown="fields")
async def info(session: Session, actor: ActorName) -> ActorInfo:
    """An actor's kind, state, counts, spec, last crash and messages."""
    cell = session.cell(actor)
    stats, child = cell.stats(), session.child_info(cell)
    spec = cell.spec
    running = getattr(cell.incarnation, "actor", None)
    return ActorInfo(
        kind=type(running).__qualname__ if running is not None else cell.methods.owner,
        state=child.state if child is not None else stats.state,
        stats=stats,
        restarts=child.restarts if child is not None else max(0, stats.incarnation - 1),
        last_crash=cell.last_crash,
        spec=_spec_data(spec) if isinstance(spec, ChildSpec) else {},
        messages=tuple(f"{each.name}{_shown_signature(each.signature)}" for each in _messages(session, actor)),
    )


@COMMANDS.declare(shown="fields")
async def state(session: Session, actor: ActorName) -> dict[str, str]:
    """An actor's attributes, each as a short repr; nothing of it is run.

    Of an actor that is down there is none.
    """
    running = getattr(session.cell(actor).incarnation, "actor", None)
    if running is None:
        raise BadCommand(f"state: {actor} is not running; it has no state")
    slots = (name for kind in type(running).__mro__ for name in _slots(kind))
    attributes: dict[str, Any] = {}
    for name in slots:
        with suppress(AttributeError):  # a slot that was never set
            attributes[name] = object.__getattribute__(running, name)
    attributes |= getattr(running, "__dict__", {})
    return {name: short(value) for name, value in attributes.items() if name != "ctx"}


@COMMANDS.declare()
async def call(session: Session, actor: ActorName, method: MethodName, *args: Any) -> Any:
    """Send an actor a message and show the reply."""
    cell = session.cell(actor)
    return await cell.ref.call(method, *session.arguments(cell, method, args))


@COMMANDS.declare(shown="text")
async def cast(session: Session, actor: ActorName, method: MethodName, *args: Any) -> str:
    """Send an actor a message and do not wait for it."""
    cell = session.cell(actor)
    cell.ref.cast(method, *session.arguments(cell, method, args))
    return f"sent {method} to {cell.path}"


@COMMANDS.declare(shown="text")
async def kill(session: Session, actor: ActorName) -> str:
    """End an actor at once, as a crash; its supervisor decides what next."""
    cell = session.cell(actor)
    if cell.incarnation is None:
        raise BadCommand(f"kill: {cell.path} is not running ({cell.state})")
    cell.kill()
    return f"killed {cell.path}"


@COMMANDS.declare(shown="text")
async def restart(session: Session, actor: ActorName) -> str:
    """Stop an actor in order, if it runs, and start it again; its dependents too."""
    cell = session.cell(actor)
    supervisor = session.supervisor_of(cell, "restart")
    child = session.child_info(cell)
    if child is not None and child.state != "stopped":
        await supervisor.call(Supervisor.stop_child, cell.name)
    await supervisor.call(Supervisor.restart_child, cell.name)
    return f"restarted {cell.path}"


@COMMANDS.declare(shown="text")
async def stop(session: Session, actor: ActorName) -> str:
    """Stop an actor in order, its dependents first, until `restart`; the tree's root: the whole runtime."""
    cell = session.cell(actor)
    if cell.path == session.runtime.tree().path:
        session.runtime.ask_to_stop()
        return f"stopping {cell.path}"
    await session.supervisor_of(cell, "stop").call(Supervisor.stop_child, cell.name)
    return f"stopped {cell.path}"


@COMMANDS.declare(shown="text")
async def suspend(session: Session, actor: ActorName) -> str:
    """Let an actor take no message until `resume`; its mail waits, stop and kill still work."""
    cell = session.cell(actor)
    cell.suspend(True)
    return f"suspended {cell.path}"


@COMMANDS.declare(shown="text")
async def resume(session: Session, actor: ActorName) -> str:
    """Let a suspended actor take its messages again."""
    cell = session.cell(actor)
    cell.suspend(False)
    return f"resumed {cell.path}"


@COMMANDS.declare(shown="text")
async def trace(session: Session, actor: ActorName, switch: Literal["on", "off"] = "on") -> str:
    """Show each message that an actor handles, as it comes, until `trace ACTOR off` or the end of the session."""
    cell = session.cell(actor)
    session.trace(cell, switch == "on")
    return f"tracing {cell.path}" if switch == "on" else f"no longer tracing {cell.path}"


@COMMANDS.declare(shown="events")
async def events(session: Session, last: int = 20) -> list[dict[str, Any]]:
    """What happened last in the runtime, oldest first."""
    remembered = list(session.runtime.events)
    return [event_data(event) for event in remembered[max(0, len(remembered) - last) :]]


@COMMANDS.declare()
async def names(session: Session, prefix: str = "") -> list[str]:
    """The actors' names that begin so, or their paths if it begins with a slash; at most 200."""
    if prefix.startswith("/"):
        found = {cell.path for cell in session.runtime.system.registry if cell.path.startswith(prefix)}
    else:
        cells = (cell for cell in session.runtime.system.registry if not f"{cell.path}/".startswith(f"/{SERVICES}/"))
        found = {cell.name for cell in cells if cell.name.startswith(prefix)}
    return sorted(found)[:MOST_NAMES]


@COMMANDS.declare()
async def messages(session: Session, actor: ActorName) -> list[str]:
    """The names of an actor's messages."""
    return [each.name for each in _messages(session, actor)]


@COMMANDS.declare(shown="evaluated")
async def eval_(session: Session, code: Code) -> Evaluated:
    """Run Python in the runtime's process, if it was started with --allow-eval.

    `runtime` and `ref("name")` are there, and `await` works: await ref("counter").call("add", 2). Variables stay until
    the session ends. What blocks, blocks the whole runtime.
    """
    if not session.allow_eval:
        raise BadCommand("eval is not allowed here: start the runtime with --allow-eval")
    logger.bind(actor=session.path).warning("eval: {}", code)
    output = StringIO()
    scope = session.namespace
    scope.update(runtime=session.runtime, ref=session.runtime.ref, trio=trio, print=partial(print, file=output))
    try:
        value = await _evaluate(code, scope)
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise BadCommand(f"eval: the code raised {describe(error)}") from error
    if value is not None:
        scope["_"] = value
    return Evaluated(None if value is None else short(value, 10_000), output.getvalue())


COMMANDS.update(WELLBEING)
COMMANDS.update(MENDING)


# --- helpers


async def _evaluate(code: str, scope: dict[str, Any]) -> Any:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        compiled = compile(code, "<eval>", "eval", flags)
    except SyntaxError:
        compiled = compile(code, "<eval>", "exec", flags)
    run: Callable[..., Any] = eval
    value = run(compiled, scope)
    return await value if compiled.co_flags & inspect.CO_COROUTINE else value


def _messages(session: Session, actor: str) -> list[Any]:
    table = session.cell(actor).methods
    return [method for name, method in table.own.items() if is_message_name(name)]


def _shown_signature(signature: inspect.Signature) -> str:
    _, *parameters = signature.parameters.values()
    return str(signature.replace(parameters=parameters)).replace("'", "")


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if not name.startswith("__"))


def _spec_data(spec: ChildSpec) -> dict[str, Any]:
    """What a child was declared with, as plain data."""
    left_out = {"name", "factory", "tree"}
    values = {field.name: getattr(spec, field.name) for field in attrs.fields(ChildSpec) if field.name not in left_out}
    tree = spec.tree
    inside = {} if tree is None else {f.name: getattr(tree, f.name) for f in attrs.fields(type(tree))}
    inside = {name: value for name, value in inside.items() if name not in ("name", "children")}
    plain = (str, int, float, bool, tuple, type(None))
    both = {**values, **inside}
    return {name: value if isinstance(value, plain) else short(value) for name, value in both.items()}
