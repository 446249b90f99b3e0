"""`IpcLink`: the other end of a bridge, as an actor.

It connects when it starts and fails when a connection does; that it is connected again, how soon and how often, is its
supervisor's business. Its mailbox outlives the connection, so what is asked of it meanwhile waits there, in order, and
goes out once it is up again.

Under a policy other than OTP's, requests that were under way when a connection failed are given again to the next
incarnation, which asks them again under the same `requestKey`: the peer runs each once, and each is answered once. They
fail only where the peer has lost the session: whether they were run nobody knows. Under OTP's policy they fail with
`ActorCrashed`, whose cause is what ended the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from ..errors import IpcError, Reject
from ..protocol import at_once, retryable
from .framing import LARGEST
from .jsonrpc import (
    MOST_VALUES,
    BadMessage,
    Code,
    Notification,
    Request,
    Response,
    RpcError,
    RpcMessage,
    decode,
    encode,
    has_more_values,
)
from .line import Asked, Line
from .link_session import Link, LinkSession, LinkState
from .sockets import connect_unix
from .wire import Wire

Connect = Callable[[], Awaitable[trio.abc.Stream]]

MOST_UNANSWERED = 500
"""Requests that are under way at a time; the others wait. A peer keeps its answers for more than so many."""
FORGET_AFTER = 50
"""Answers that came, after which the peer is told that it need not keep them."""
ANSWER_WITHIN = 10.0
"""Seconds that the peer has to answer `initialize`."""


class SessionLost(IpcError):
    """The peer has lost the session in which a request had gone out: whether it was run nobody knows."""


class IpcLink(Link):
    """A client of the bridge that listens on `path` (or that `connect` reaches).

    `session` is what takes it up where the last connection ended. It has to outlive the incarnation, so it is made
    outside the factory: `session = LinkSession(); child("link", lambda: IpcLink(path, session=session), backoff=…)`.
    Without it each connection begins a new session. `link_spec` (ukemi.runtime.bridge.link) declares all of that, with
    what runs in its place while the peer can't be reached.

    Up to `connections` are open at a time, as far as there is use for them. Requests of one `lane` go over one
    connection while any of them is unanswered, and so are run in order; other lanes spread over the others. Each
    connection's failure is the link's.

    Notifications are published on the topic `<path of this actor>/<method>`, such as `/app/link/terminal/output`, and
    on `<path of this actor>/*` as `{"method": …, "params": …}`; each once, in order, across connections.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        connect: Connect | None = None,
        session: LinkSession | None = None,
        connections: int = 1,
    ) -> None:
        if (path is None) == (connect is None):
            raise ValueError("IpcLink takes the path of a socket, or a function that connects")
        if isinstance(connections, bool) or not isinstance(connections, int) or connections < 1:
            raise ValueError(f"connections={connections!r} must be a whole number from 1 up")
        self._path = path
        self._connect = connect
        self._most = connections
        self.session = session if session is not None else LinkSession()
        self.server: dict[str, Any] = {}
        self._main = Line(is_main=True)
        self._lines = [self._main]
        self._answer = trio.Event()
        """The peer has answered `initialize`."""
        self._lanes: dict[str, list[Asked]] = {}
        """What is unanswered of each lane."""
        self._unanswered = 0
        self._had: list[str] = []
        """Keys of answers that have come, and that the peer still keeps."""
        self._is_full = False
        self._waits_for_room = False
        self._is_caught_up = False
        """Whether all that was under way before was asked again."""
        self._next_id = 0

    # --- messages

    @retryable
    def request(self, method: str, params: dict[str, Any] | None = None, lane: str = "") -> Any:
        """Ask the peer; its result. RpcError if it answers with an error.

        If a connection fails, see the module. Rejects with ValueError what can't be sent as JSON, and with SessionLost
        what had gone out in a session that the peer no longer has. A caller that goes away does not stop what the peer
        runs, and its answer is dropped: `cancel` stops it.
        """
        if self._has_to_wait():
            return
        message = self.ctx.message_key
        if not self._is_caught_up and not self.session.knows(message):
            self._catch_up()
        self._next_id += 1
        params = {"requestKey": self.session.key_of(message), **(params or {})}
        body = _encoded(Request(self._next_id, method, params))
        if not self.session.sends(message):
            raise Reject(SessionLost(f"{method} may have been run, or not: the peer has lost the session"))
        asked = Asked(self._next_id, message, lane, params["requestKey"], body, self.ctx.defer())
        line = self._line_for(lane)
        self._lanes.setdefault(lane, []).append(asked)
        self._unanswered += 1
        line.ask(asked)

    def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Tell the peer, behind what was asked before. Rejects with ValueError what can't be sent as JSON.

        It is lost if the connection fails before it has gone out.
        """
        body = _encoded(Notification(method, params or {}))
        if not self._has_to_wait():
            self._main.send(body)

    def cancel(self, request_key: Any) -> None:
        """Have the peer give up what was asked with this `requestKey` among its parameters, if it is under way."""
        for line in self._lines:
            for asked in line.asked.values():
                if asked.key == request_key and line.is_open:
                    line.send(encode(Notification("$/cancelRequest", {"id": asked.id})))

    @at_once
    def state(self) -> LinkState:
        """How it is."""
        session = self.session
        waiting = self.ctx.ref.stats().waiting
        counts = self._unanswered, sum(line.is_open for line in self._lines)
        return LinkState(self._main.is_open, waiting, *counts, session.id, session.resumed, session.missed)

    def close_idle(self) -> int:
        """Close the connections, but for the main one, over which nothing is under way; how many those were.

        They are opened again when there is use for them.
        """
        idle = [line for line in self._lines if line.is_open and not line.is_main and not line.asked]
        for line in idle:
            self._drop(line)
        return len(idle)

    @property
    def stream(self) -> trio.abc.Stream | None:
        """The present main connection."""
        return self._main.stream

    # --- its life

    async def on_start(self) -> None:
        """Connect, and take the session up again if there is one. Raises IpcError, and SpecError for a bad path."""
        self._main.scope = self.ctx.start_task(self._live, self._main)
        with trio.move_on_after(ANSWER_WITHIN):
            await self._answer.wait()
            return
        raise IpcError(f"{self._peer} has not answered initialize within {ANSWER_WITHIN:g} s")

    @property
    def _peer(self) -> str:
        return str(self._path) if self._path is not None else "the peer"

    async def _live(self, line: Line) -> None:
        """Connect and receive. This task has the connection from its first moment on, and is joined after a kill."""
        try:
            line.stream = await (self._connect() if self._connect is not None else connect_unix(Path(str(self._path))))
        except OSError as error:
            raise IpcError(f"{self._peer} can't be reached: {error.strerror or error}") from error
        wire = line.wire = Wire(line.stream)
        async with wire:
            sender = self.ctx.start_task(self._send, wire)
            try:
                wire.send(Request(0, "initialize", self._initialize(line)))
                while (body := await self._receive(wire)) is not None:
                    self._take(line, body)
            finally:
                sender.cancel()
        if line.is_main or line.asked:
            raise IpcError(f"{self._peer} closed the connection")
        self._lines.remove(line)  # it was idle: the peer has use for it elsewhere

    def _initialize(self, line: Line) -> dict[str, Any]:
        params: dict[str, Any] = {"clientInfo": {"name": "ukemi.IpcLink"}}
        if not line.is_main:
            params |= {"session": self.session.id, "join": True}
        elif self.session.id is not None:
            params |= {"session": self.session.id, "lastSeq": self.session.last_seq}
        return params

    async def _send(self, wire: Wire) -> None:
        try:
            await wire.run_sender()
        except trio.BrokenResourceError as error:
            raise IpcError(f"the connection to {self._peer} is broken: {error}") from error

    async def _receive(self, wire: Wire) -> bytes | None:
        try:
            return await wire.receive()
        except trio.BrokenResourceError as error:
            raise IpcError(f"the connection to {self._peer} is broken: {error}") from error

    # --- what comes in

    def _take(self, line: Line, body: bytes) -> None:
        try:
            message: RpcMessage = decode(body, LARGEST)
        except BadMessage as error:
            raise IpcError(f"{self._peer} has sent what is no message: {error}") from None
        if isinstance(message, Response):
            self._answered(line, message)
        elif isinstance(message, Notification):
            self._notified(message)
        else:
            refusal = RpcError(Code.METHOD_NOT_FOUND, "a link takes no requests")
            line.send(encode(Response(message.id, error=refusal)))

    def _answered(self, line: Line, response: Response) -> None:
        if not line.is_open:
            self._initialized(line, response)
            return
        asked = line.asked.pop(response.id, None) if isinstance(response.id, int) else None
        if asked is None:
            self.ctx.log.warning("an answer to nothing that was asked: {}", response.id)
            return
        self._is_over(asked)
        if response.error is not None:
            asked.reply.fail(response.error)
        else:
            asked.reply.send(response.result)

    def _is_over(self, asked: Asked) -> None:
        self._unanswered -= 1
        of_lane = self._lanes[asked.lane]
        of_lane.remove(asked)
        if not of_lane:
            del self._lanes[asked.lane]
        self.session.answered(asked.message)
        self._need_not_keep([asked.message])
        if self._is_full and self._unanswered <= MOST_UNANSWERED // 2 and not self._waits_for_room:
            self._go_on()

    def _initialized(self, line: Line, response: Response) -> None:
        error = response.error
        if error is not None and line.is_main:
            raise IpcError(f"{self._peer} refused to initialize: {error.message}")
        if error is not None:  # it wants no more of them: those that there are have to do
            self.ctx.log.info("{} takes no further connection: {}", self._peer, error.message)
            self._most = len(self._lines) - 1
            for asked in self._drop(line):
                self._main.ask(asked)
            return
        if line.is_main:
            self.server = response.result
            gap = self.server.get("gap")
            self.session.began(self.server["session"], gap)
            if gap is not None:
                self.ctx.log.warning("the peer no longer has notifications {from} to {to}", **gap)
        line.opened()
        self._answer.set()

    def _notified(self, notification: Notification) -> None:
        seq = notification.params.get("seq")
        if isinstance(seq, int) and not self.session.is_new(seq):
            return
        path = self.ctx.path
        self.ctx.publish(f"{path}/{notification.method}", notification.params)
        self.ctx.publish(f"{path}/*", {"method": notification.method, "params": notification.params})

    # --- lanes

    def _line_for(self, lane: str) -> Line:
        """Where a lane's requests go: where one of them is under way, else to an idle connection, else to a new one."""
        of_lane = self._lanes.get(lane)
        if of_lane:
            return next(line for line in self._lines if of_lane[-1].id in line.asked)
        least = min(self._lines, key=lambda line: len(line.asked))  # the first of several
        if not least.asked or len(self._lines) >= self._most:
            return least
        line = Line(is_main=False)
        self._lines.append(line)
        line.scope = self.ctx.start_task(self._live, line)
        return line

    def _drop(self, line: Line) -> list[Asked]:
        """Close a connection; what was asked over it."""
        assert line.scope is not None
        self._lines.remove(line)
        line.scope.cancel()
        return list(line.asked.values())

    # --- how much is under way

    def _has_to_wait(self) -> bool:
        """Put the message in hand aside if too much is under way; those behind it then have to wait, too."""
        if not self._is_full and self._unanswered >= MOST_UNANSWERED:
            self._is_full = True
        elif not self._is_full and (full := next((line for line in self._lines if line.is_full), None)) is not None:
            self._is_full = self._waits_for_room = True
            self.ctx.start_task(self._wait_for_room, full)
        if self._is_full:
            self.ctx.stash()
        return self._is_full

    async def _wait_for_room(self, line: Line) -> None:
        assert line.wire is not None
        await line.wire.room()
        self._waits_for_room = False
        self._go_on()

    def _go_on(self) -> None:
        self._is_full = False
        self.ctx.unstash()

    def _catch_up(self) -> None:
        """All that was under way before, and that is still wanted, was asked again, since it comes first."""
        self._is_caught_up = True
        self._need_not_keep(self.session.take_abandoned())

    def _need_not_keep(self, messages: list[str]) -> None:
        """The peer need not keep the answers to these; it is told of a good many at a time."""
        self._had += map(self.session.key_of, messages)
        if len(self._had) >= FORGET_AFTER:
            self._main.send(encode(Notification("$/forget", {"requestKeys": self._had})))
            self._had = []


def _encoded(message: RpcMessage) -> bytes:
    try:
        body = encode(message)
    except TypeError as error:
        raise Reject(ValueError(f"the parameters can't be told in JSON: {error}")) from None
    if len(body) > LARGEST:
        raise Reject(ValueError(f"a message of {len(body)} bytes is too large; at most {LARGEST} are taken"))
    if has_more_values(body):
        raise Reject(ValueError(f"a message with more than {MOST_VALUES} values is too large"))
    return body
