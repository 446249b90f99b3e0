"""`Connection`: one client's connection, as an actor that ends with it.

It takes frames apart, and hands requests to its session; what goes out are frames that the session has made. A frame
that can't be understood gets its error; one that makes the stream unreadable ends this connection, and harms nobody
else. So does a client that does not say who it is, that never ends what it has begun to say, or that does not read. It
also ends with its session: the client begins anew.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import count
from math import inf
from typing import Any

import trio

from ...actors.actor import Actor
from ...actors.errors import ActorCrashed, ActorStopped, CallTimeout, ComponentNotFound
from ...actors.ipc.framing import LARGEST, FramingError
from ...actors.ipc.jsonrpc import BadMessage, Code, Notification, Request, Response, RpcError, decode
from ...actors.ipc.wire import PATIENCE, SlowPeer, Wire
from ...actors.messages import Down
from ...actors.reasons import Reason
from ...actors.ref import Ref
from ...actors.shorten import short
from ...supervisors.alerts import raise_alert
from ...supervisors.dynamic import DynamicSupervisor
from ...supervisors.recovery import Severity
from ...supervisors.tree import child
from ..metrics import Metrics
from .allowance import Incoming, Share
from .delivery import pass_on
from .failures import as_rpc_error, failure_data
from .outlet import WINDOW
from .session import SESSION_MAILBOX, ClientSession

CLOSE_IDLE = "ukemi.bridge.close_idle"
"""The topic on which connections hear, with the reason, that those that nobody uses are to end."""
IDLE = 60.0
"""Seconds without a word, after which nobody uses a connection."""
BUSY = 1.0
"""Seconds that a session has to say whether a connection is used."""
INITIALIZE_WITHIN = 10.0
"""Seconds that a client has to say who it is."""
FRAME_WITHIN = 60.0
"""Seconds that it has to end a frame that it has begun."""
LARGEST_AT_FIRST = 64 * 1024
"""Bytes of the largest frame that is taken before the client has said who it is, and of one that may begin freely."""
STALLED = 5.0
"""Seconds within which more of it has to come, if it is large."""
FAREWELL = 1.0
"""Seconds that a client has to take the error that ends its connection."""
MOST_AT_ONCE = 128
"""Requests that are handed over together."""

_names = count(1)


class SlowClient(SlowPeer):
    """A client takes too long over what it says."""


class Connection(Actor):
    """Serves one stream. `sessions` is the path of the sessions' supervisor, from here.

    A client that `is_only` is waited for as long as it takes: nobody else is served, so nobody has to be kept from it.
    """

    def __init__(self, stream: trio.abc.Stream, sessions: str = "../../sessions", *, is_only: bool = False) -> None:
        self._wire = Wire(stream, largest=LARGEST_AT_FIRST, patience=inf if is_only else PATIENCE)
        self._is_only = is_only
        self._sessions_path = sessions
        self._session: Ref[ClientSession] | None = None
        self._told = 0
        """Bytes that were told, and are not yet acknowledged to the session."""
        self._to_acknowledge = trio.Event()
        self._is_shut_down = False
        """It was asked for `shutdown`: nothing but `exit` is to come."""
        self._is_over = False
        """The client has said `exit`."""
        self._incoming: Share | None = None
        """What the frame that is not complete takes of all that may come in, if it is large."""
        self._unfinished_since: float | None = None
        """When the frame that is not complete has begun."""
        self._started = self._last_used = 0.0
        self._me: Ref[Connection]

    def on_start(self) -> None:
        """Begin to serve."""
        self._me = self.ctx.ref.within(None)
        self._started = self._last_used = trio.current_time()
        self.ctx.subscribe(CLOSE_IDLE, self.close_idle)
        self.ctx.start_task(self._serve)
        self.ctx.start_task(self._send)
        self.ctx.start_task(self._acknowledge)

    def on_down(self, down: Down) -> None:
        """The session has ended."""
        self.ctx.stop()

    def on_stop(self, reason: Reason) -> None:
        """The user is told of a client that was given up since it does not read."""
        if isinstance(reason, SlowPeer) and not isinstance(reason, SlowClient):
            system = self.ctx._incarnation.cell.system
            said = f"disconnected a client: {reason}"
            raise_alert(system, path=self.ctx.path, severity=Severity.WARNING, message=said, kind="slow client")

    # --- messages

    def tell(self, data: bytes) -> None:
        """Send frames to the client. Fails with SlowPeer if it does not read."""
        self._wire.send_frames(data)
        self._last_used = trio.current_time()
        self._told += len(data)
        if self._told >= WINDOW // 4:
            self._to_acknowledge.set()

    def leave(self) -> None:
        """Another connection has taken the session over."""
        self.ctx.stop()

    def give_up(self, why: str) -> None:
        """The session can't serve this client any longer."""
        raise SlowPeer(why)

    def shut_down(self) -> None:
        """Take no requests any more, as `shutdown` asks."""
        self._is_shut_down = True

    async def close_idle(self, why: str) -> None:
        """End if nothing was said or told for a while, and nobody waits for an answer.

        The session lives on, and the client may come back.
        """
        if self._wire.unsent or trio.current_time() - self._last_used < IDLE or await self._is_waited_for():
            return
        self.ctx.log.info("closed, since it was idle: {}", why)
        self.ctx.stop()

    async def _is_waited_for(self) -> bool:
        """Whether an answer is to come; where the session can't say soon, it is busy with one."""
        if self._session is None:
            return False
        try:
            return await self._session.within(BUSY).call(ClientSession.owes, self._me)
        except CallTimeout:
            return True
        except (ActorStopped, ActorCrashed):
            return False

    # --- what goes out

    async def _send(self) -> None:
        try:
            await self._wire.run_sender()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ctx.stop()  # the client has gone: that is how connections end

    async def _acknowledge(self) -> None:
        """Tell the session of what has gone out; a good many bytes at a time."""
        while True:
            await self._to_acknowledge.wait()
            self._to_acknowledge = trio.Event()
            await self._wire.room()
            told, self._told = self._told, 0
            if self._session is not None:
                await pass_on(self._session, ClientSession.acknowledge, self._me, told)

    # --- what comes in

    async def _serve(self) -> None:
        async with self._wire as wire:
            try:
                while not self._is_over and (bodies := await self._receive()) is not None:
                    await self._deal_with(bodies)
                with trio.move_on_after(FAREWELL):
                    await wire.flush()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except (FramingError, SlowClient) as error:
                code = Code.PARSE_ERROR if isinstance(error, FramingError) else Code.FAILED
                wire.send(Response(None, error=RpcError(code, str(error), failure_data(error, self.ctx.path))))
                with trio.move_on_after(FAREWELL):
                    await wire.flush()
                raise
            finally:
                self._came_in()
        self.ctx.stop()

    async def _deal_with(self, bodies: Sequence[bytes]) -> None:
        """Take what has come in. While nothing is read meanwhile, the client is not late with what has begun."""
        since = trio.current_time()
        await self._take(bodies)
        await self._wire.room()
        if self._unfinished_since is not None:
            self._unfinished_since += trio.current_time() - since

    async def _receive(self) -> list[bytes] | None:
        """What comes in next, once there is room for it. Raises SlowClient where it takes too long."""
        wire = self._wire
        is_begun = self._unfinished_since is not None
        if is_begun and self._incoming is None and wire.unfinished > LARGEST_AT_FIRST:
            self._incoming = await Incoming.of(self.ctx._incarnation.cell.system).take(wire.unfinished)
            self._unfinished_since = trio.current_time()
        if self._is_only or (self._session is not None and not is_begun):
            bodies = await wire.receive_some()
        else:
            bodies = await self._receive_in_time()
        self._last_used = now = trio.current_time()
        if wire.is_whole:
            self._unfinished_since = None
        elif bodies or self._unfinished_since is None:
            self._unfinished_since = now
        if bodies:
            self._came_in()
        return bodies

    def _came_in(self) -> None:
        """The large frame is complete, or there is none any more."""
        if self._incoming is not None:
            self._incoming.give_back()
            self._incoming = None

    async def _receive_in_time(self) -> list[bytes] | None:
        since, said = self._unfinished_since, f"a frame was not ended within {FRAME_WITHIN:g} s"
        by = since + FRAME_WITHIN if since is not None else inf
        if self._session is None and self._started + INITIALIZE_WITHIN < by:
            by, said = self._started + INITIALIZE_WITHIN, f"no initialize came within {INITIALIZE_WITHIN:g} s"
        if self._incoming is not None and trio.current_time() + STALLED < by:  # others may wait for its share
            by, said = trio.current_time() + STALLED, f"nothing came for {STALLED:g} s of a frame that had begun"
        with trio.move_on_at(by):
            return await self._wire.receive_some()
        raise SlowClient(said)

    async def _take(self, bodies: Sequence[bytes]) -> None:
        """Deal with what has come in, in order; requests that come one after the other are handed over together."""
        asked: list[Request] = []
        for body in bodies:
            if self._is_over:
                return
            try:
                message = decode(body)
            except BadMessage as error:
                await self._ask(asked)
                asked = []
                self._refuse(error)
                continue
            if isinstance(message, Request) and message.method not in _OWN:
                asked.append(message)
                continue
            await self._ask(asked)
            asked = []
            if isinstance(message, Request):
                await self._asked(message)
            elif isinstance(message, Notification):
                await self._notified(message)
        await self._ask(asked)

    async def _ask(self, requests: list[Request]) -> None:
        """Hand requests over; what is answered at once goes out behind what the session has told before."""
        if self._session is None or self._is_shut_down:
            code = Code.NOT_INITIALIZED if self._session is None else Code.INVALID_REQUEST
            when = "before initialize" if self._session is None else "after shutdown"
            for request in requests:
                self._refuse(BadMessage(code, f"{request.method} {when}", request.id))
            return
        while requests:
            try:
                taken, answers = await self._session.call(ClientSession.requests, self._me, requests[:MOST_AT_ONCE])
            except (ActorStopped, ActorCrashed):
                return  # its end is this one's, too
            if answers:
                await self._me.call(Connection.tell, answers)
            requests = requests[taken:]

    async def _asked(self, request: Request) -> None:
        """A request to the connection itself."""
        try:
            if request.method == "initialize":
                system = self.ctx._incarnation.cell.system
                begun = system.clock()
                await self._initialize(request)
                Metrics.of(system).record(request.method, system.clock() - begun)
            elif self._session is None:
                raise BadMessage(Code.NOT_INITIALIZED, f"{request.method} before initialize", request.id)
            else:
                self.shut_down()
                self._wire.send(Response(request.id))
        except BadMessage as error:
            self._refuse(error)

    async def _notified(self, note: Notification) -> None:
        session, params = self._session, note.params
        if note.method == "exit":
            if session is not None:
                await pass_on(session, ClientSession.end)
            self._is_over = True
        elif session is None:
            return
        elif note.method == "$/cancelRequest":
            await pass_on(session, ClientSession.cancel, self._me, params.get("id"))
        elif note.method == "$/forget":
            await pass_on(session, ClientSession.forget, params.get("requestKeys"))

    def _refuse(self, error: BadMessage) -> None:
        self._wire.send(Response(error.id, error=as_rpc_error(error, self.ctx.path)))

    # --- the beginning

    async def _initialize(self, request: Request) -> None:
        if self._session is not None:
            raise BadMessage(Code.INVALID_REQUEST, "this connection has been initialized already", request.id)
        params = request.params
        name, last_seq, joins = params.get("session"), params.get("lastSeq", 0), params.get("join", False)
        if not isinstance(last_seq, int) or isinstance(last_seq, bool) or last_seq < 0:
            said = f"lastSeq={short(last_seq)} must be a whole number from 0 up"
            raise BadMessage(Code.INVALID_PARAMS, said, request.id)
        if not isinstance(joins, bool):
            raise BadMessage(Code.INVALID_PARAMS, f"join={short(joins)} must be true or false", request.id)
        session = self._known_session(name)
        if joins and session is None:
            raise BadMessage(Code.INVALID_PARAMS, f"there is no session {short(name)} to join", request.id)
        if session is None:
            session, last_seq = await self._new_session(), 0
        session = session.within(None)
        self._wire.take_up_to(LARGEST)
        self.ctx.monitor(session)
        self._session = session
        if joins:
            await pass_on(session, ClientSession.join, self._me, request)
        else:
            await pass_on(session, ClientSession.attach, self._me, request, last_seq, self._is_only)

    def _known_session(self, name: Any) -> Ref[ClientSession] | None:
        try:
            return self.ctx.find(f"{self._sessions.path}/{name}", ClientSession) if isinstance(name, str) else None
        except ComponentNotFound:
            return None

    async def _new_session(self) -> Ref[ClientSession]:
        spec = child(secrets.token_hex(8), ClientSession, restart="temporary", mailbox=SESSION_MAILBOX)
        ref: Ref[ClientSession] = await self._sessions.call(DynamicSupervisor.start_child, spec)
        return ref

    @property
    def _sessions(self) -> Ref[DynamicSupervisor]:
        return self.ctx.find(self._sessions_path, DynamicSupervisor)


_OWN = ("initialize", "shutdown")
"""Requests that the connection answers itself."""


def next_connection_name() -> str:
    """A name that no connection had before."""
    return f"c{next(_names)}"
