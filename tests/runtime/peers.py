"""What links and bridges are tried with: methods that count how often they run, and a line that can be cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from ukemi import RECOVERY, Actor, Backoff, Degrade, Ref, Restart, Row, Runtime, child, supervisor
from ukemi.actors.ipc import Link, LinkSession
from ukemi.actors.ipc.sockets import connect_unix, listen_unix
from ukemi.runtime.bridge.delivery import pass_on
from ukemi.runtime.bridge.link import link_spec
from ukemi.runtime.bridge.methods import METHODS, method
from ukemi.runtime.bridge.session import ClientSession

from ..expecting import PATIENCE

SOON = Backoff(0.001, 0.01)
AT_ONCE = RECOVERY.replacing(Row("Network", "Critical", Restart(backoff=SOON), Degrade(), 5), name="at once")
"""The matrix, but quick to reconnect."""


# --- methods of the bridge that only tests have


@attrs.frozen
class Numbered:
    """Of both."""

    n: int


@attrs.frozen
class Ran:
    """What the methods have run, and what holds up the slow one."""

    slow: Counter[int] = attrs.field(factory=Counter)
    quick: Counter[int] = attrs.field(factory=Counter)
    order: list[int] = attrs.field(factory=list)
    gate: list[trio.Event] = attrs.field(factory=list)
    """While there is one, slow requests wait for it."""


@contextmanager
def counted() -> Iterator[Ran]:
    """`test/slow` takes a turn or more and tells a notification, `test/quick` answers at once; both return 2 n."""
    ran = Ran()

    @method("test/slow", Numbered)
    async def slow(session: ClientSession, asked: Numbered) -> int:
        ran.slow[asked.n] += 1
        ran.order.append(asked.n)
        await pass_on(session.ctx.ref, "notify", "test/note", {"n": asked.n})
        await trio.lowlevel.checkpoint()
        for gate in ran.gate:
            await gate.wait()
        return 2 * asked.n

    @method("test/quick", Numbered)
    def quick(session: ClientSession, asked: Numbered) -> int:
        ran.quick[asked.n] += 1
        ran.order.append(asked.n)
        return 2 * asked.n

    try:
        yield ran
    finally:
        del METHODS["test/slow"], METHODS["test/quick"]


# --- a line that can be cut


@attrs.define(eq=False)
class Line:
    """Between clients that connect to `path`, and what listens at `to`."""

    path: Path
    to: Path
    up: int = 0
    """Bytes that have passed from the clients."""
    down: int = 0
    """Bytes that have passed to them."""
    cut_up: int | None = None
    """Cut the connection once so many have passed."""
    cut_down: int | None = None
    cuts: int = 0
    connections: int = 0
    _scopes: list[trio.CancelScope] = attrs.field(factory=list)

    async def cut(self) -> None:
        """Cut all connections that there are."""
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()
        await trio.lowlevel.checkpoint()

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        listener = await listen_unix(self.path)
        task_status.started()
        await trio.serve_listeners(self._pass_on, [listener])

    async def _pass_on(self, client: trio.SocketStream) -> None:
        self.connections += 1
        async with client, trio.open_nursery() as nursery:
            self._scopes.append(nursery.cancel_scope)
            try:
                server = await connect_unix(self.to)
            except OSError:
                return
            async with server:
                nursery.start_soon(self._copy, client, server, "up", nursery.cancel_scope)
                await self._copy(server, client, "down", nursery.cancel_scope)

    async def _copy(self, source: Any, target: Any, way: str, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some():
                passed, is_cut = self._passed(data, way)
                await target.send_all(passed)
                if is_cut:
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    def _passed(self, data: bytes, way: str) -> tuple[bytes, bool]:
        """What passes of the data, and whether the connection is cut behind it."""
        so_far, cut = getattr(self, way), getattr(self, f"cut_{way}")
        is_cut = cut is not None and so_far + len(data) >= cut
        if is_cut:
            data = data[: cut - so_far]
            setattr(self, f"cut_{way}", None)
            self.cuts += 1
        setattr(self, way, so_far + len(data))
        return data, is_cut


# --- an application with a link


class Ear(Actor):
    """Hears what the link publishes."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_start(self) -> None:
        self.ctx.subscribe("/app/link/*", self.hear)

    def hear(self, note: dict[str, Any]) -> None:
        self.heard.append(note["params"])

    def all(self) -> list[Any]:
        return self.heard


@attrs.frozen
class App:
    """An application whose actor `link` is a link to a bridge."""

    runtime: Runtime
    session: LinkSession

    @property
    def link(self) -> Ref[Link]:
        return self.runtime.ref("link", Link).within(PATIENCE)

    async def ask(self, method: str, n: int, lane: str = "") -> Any:
        return await self.link.call(Link.request, method, {"n": n}, lane)

    async def heard(self, count: int) -> list[Any]:
        """The notifications, once there are so many."""
        with trio.fail_after(PATIENCE):
            while len(heard := await self.runtime.ref("ear").call("all")) < count:
                await trio.sleep(0.001)
        return list(heard)

    async def until(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        with trio.fail_after(PATIENCE):
            while not await is_so():
                await trio.sleep(0.001)

    async def is_connected(self) -> bool:
        return (await self.link.call(Link.state)).connected


@asynccontextmanager
async def linked_app(path: Path, *, encode: bool | None = None, **options: Any) -> AsyncIterator[App]:
    """With what `link_spec` takes."""
    session = LinkSession()
    spec = link_spec("link", path, session=session, **{"policy": AT_ONCE, "backoff": SOON, **options})
    async with Runtime(supervisor("app", child("ear", Ear), spec), encode_messages=encode) as runtime:
        yield App(runtime, session)
