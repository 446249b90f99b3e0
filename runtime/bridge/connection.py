"""`Connection`: one client's connection, as an actor that ends with it.

It translates between frames and its session. A frame that can't be understood gets its error; one that makes the
stream unreadable ends this connection, and harms nobody else. It also ends with its session: the client begins anew.
"""

from __future__ import annotations

import secrets
from itertools import count
from typing import Any

import trio

from ...actors.actor import Actor
from ...actors.errors import ComponentNotFound
from ...actors.ipc.framing import FramingError
from ...actors.ipc.jsonrpc import BadMessage, Code, Notification, Request, Response, RpcError, decode
from ...actors.ipc.wire import Wire
from ...actors.messages import Down
from ...actors.protocol import local
from ...actors.ref import Ref
from ...supervisors.dynamic import DynamicSupervisor
from ...supervisors.tree import child
from ..metrics import Metrics
from .delivery import pass_on
from .failures import as_rpc_error, failure_data
from .session import ClientSession

FAREWELL = 1.0
"""Seconds that a client has to take the error that ends its connection."""

_names = count(1)


class Connection(Actor):
    """Serves one stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._wire = Wire(stream)
        self._session: Ref[ClientSession] | None = None

    def on_start(self) -> None:
        """Begin to serve."""
        self.ctx.start_task(self._serve)
        self.ctx.start_task(self._send)

    def on_down(self, down: Down) -> None:
        """The session has ended."""
        self.ctx.stop()

    @local
    def tell(self, message: Notification | Response) -> None:
        """Send a message to the client."""
        self._wire.send(message)

    # ---

    async def _send(self) -> None:
        try:
            await self._wire.run_sender()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ctx.stop()  # the client has gone: that is how connections end

    async def _serve(self) -> None:
        async with self._wire:
            try:
                while (body := await self._wire.receive()) is not None:
                    await self._take(body)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except FramingError as error:
                answer = RpcError(Code.PARSE_ERROR, str(error), failure_data(error, self.ctx.path))
                self._wire.send(Response(None, error=answer))
                with trio.move_on_after(FAREWELL):
                    await self._wire.flush()
                raise
        self.ctx.stop()

    async def _take(self, body: bytes) -> None:
        try:
            message = decode(body)
            if isinstance(message, Request):
                await self._asked(message)
            elif isinstance(message, Notification):
                await self._notified(message)
        except BadMessage as error:
            self._wire.send(Response(error.id, error=as_rpc_error(error, self.ctx.path)))

    async def _asked(self, request: Request) -> None:
        if request.method == "initialize":
            system = self.ctx._incarnation.cell.system
            begun = system.clock()
            await self._initialize(request)
            Metrics.of(system).record(request.method, system.clock() - begun)
        elif self._session is None:
            raise BadMessage(Code.NOT_INITIALIZED, f"{request.method} before initialize", request.id)
        elif request.method == "shutdown":
            self._wire.send(Response(request.id))
        else:
            await pass_on(self._session, ClientSession.request, self.ctx.ref, request)

    async def _notified(self, note: Notification) -> None:
        if note.method == "exit":
            if self._session is not None:
                await pass_on(self._session, ClientSession.end)
            self.ctx.stop()
        elif note.method == "$/cancelRequest" and self._session is not None:
            await pass_on(self._session, ClientSession.cancel, self.ctx.ref, note.params.get("id"))

    async def _initialize(self, request: Request) -> None:
        if self._session is not None:
            raise BadMessage(Code.INVALID_REQUEST, "this connection has been initialized already", request.id)
        name, last_seq = request.params.get("session"), request.params.get("lastSeq", 0)
        if not isinstance(last_seq, int) or isinstance(last_seq, bool) or last_seq < 0:
            raise BadMessage(Code.INVALID_PARAMS, f"lastSeq={last_seq!r} must be a whole number from 0 up", request.id)
        session = self._known_session(name)
        if session is None:
            session, last_seq = await self._new_session(), 0
        self.ctx.monitor(session)
        self._session = session
        await pass_on(session, ClientSession.attach, self.ctx.ref, request, last_seq)

    def _known_session(self, name: Any) -> Ref[ClientSession] | None:
        try:
            return self.ctx.find(f"{self._sessions.path}/{name}", ClientSession)
        except ComponentNotFound:
            return None

    async def _new_session(self) -> Ref[ClientSession]:
        spec = child(secrets.token_hex(8), ClientSession, restart="temporary")
        ref: Ref[ClientSession] = await self._sessions.call(DynamicSupervisor.start_child, spec)
        return ref

    @property
    def _sessions(self) -> Ref[DynamicSupervisor]:
        return self.ctx.find("../../sessions", DynamicSupervisor)


def next_connection_name() -> str:
    """A name that no connection had before."""
    return f"c{next(_names)}"
