"""`IpcLink`: the other end of a bridge, as an actor.

It connects when it starts and fails when the connection does; that it is connected again, how soon and how often, is
its supervisor's business (`backoff=`). Its mailbox outlives the connection, so what is asked of it meanwhile waits
there, in order, and goes out once it is up again. Requests that were under way fail with `ActorCrashed`, whose cause is
what ended the connection: whether they were run nobody knows, unless they carry a `requestKey`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import trio

from ..actor import Actor
from ..deferred import Reply
from ..errors import IpcError
from .jsonrpc import Code, Notification, Request, Response, RpcError, decode
from .sockets import connect_unix
from .wire import Wire

Connect = Callable[[], Awaitable[trio.abc.Stream]]


@attrs.define(eq=False)
class LinkSession:
    """What a link remembers across its connections: its session, and the last notification that it has seen."""

    id: str | None = None
    last_seq: int = 0
    resumed: int = 0
    """How many times a connection took the session up again."""
    missed: int = 0
    """Notifications that the peer no longer had when the session was taken up again."""


class IpcLink(Actor):
    """A client of the bridge that listens on `path` (or that `connect` reaches).

    `session` is what takes it up where the last connection ended. It has to outlive the incarnation, so it is made
    outside the factory: `session = LinkSession(); child("link", lambda: IpcLink(path, session=session), backoff=…)`.
    Without it each connection begins a new session.

    Notifications are published on the topic `<path of this actor>/<method>`, such as `/app/link/terminal/output`, and
    on `<path of this actor>/*` as `{"method": …, "params": …}`; each once, in order, across connections.
    """

    def __init__(
        self, path: Path | str | None = None, *, connect: Connect | None = None, session: LinkSession | None = None
    ) -> None:
        if (path is None) == (connect is None):
            raise ValueError("IpcLink takes the path of a socket, or a function that connects")
        self._path = path
        self._connect = connect
        self.session = session if session is not None else LinkSession()
        self.server: dict[str, Any] = {}
        self.stream: trio.abc.Stream | None = None
        """The present connection."""
        self._wire: Wire | None = None
        self._answer = trio.Event()
        """The peer has answered `initialize`."""
        self._waiting: dict[int, Reply] = {}
        self._next_id = 0

    # --- messages

    def request(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """Ask the peer; its result. RpcError if it answers with an error, ActorCrashed if the connection fails."""
        reply = self.ctx.defer()
        self._next_id += 1
        self._waiting[self._next_id] = reply
        self._send(Request(self._next_id, method, params or {}))

    def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Tell the peer."""
        self._send(Notification(method, params or {}))

    # --- its life

    async def on_start(self) -> None:
        """Connect, and take the session up again if there is one. Raises what connecting raises, and IpcError."""
        self.ctx.start_task(self._live)
        await self._answer.wait()

    def _send(self, message: Request | Notification) -> None:
        assert self._wire is not None
        self._wire.send(message)

    async def _live(self) -> None:
        """Connect and receive. This task has the connection from its first moment on, and is joined after a kill."""
        self.stream = await (self._connect() if self._connect is not None else connect_unix(Path(str(self._path))))
        wire = self._wire = Wire(self.stream)
        async with wire:
            self.ctx.start_task(wire.run_sender)
            params: dict[str, Any] = {"clientInfo": {"name": "ukemi.IpcLink"}}
            if self.session.id is not None:
                params |= {"session": self.session.id, "lastSeq": self.session.last_seq}
            wire.send(Request(0, "initialize", params))
            while (body := await wire.receive()) is not None:
                message = decode(body)
                if isinstance(message, Response):
                    self._answered(message)
                elif isinstance(message, Notification):
                    self._notified(message)
                else:
                    wire.send(Response(message.id, error=RpcError(Code.METHOD_NOT_FOUND, "a link takes no requests")))
        raise IpcError("the peer closed the connection")

    def _answered(self, response: Response) -> None:
        if response.id == 0:
            self._initialized(response)
            return
        reply = self._waiting.pop(response.id, None) if isinstance(response.id, int) else None
        if reply is None:
            self.ctx.log.warning("an answer to nothing that was asked: {}", response.id)
        elif response.error is not None:
            reply.fail(response.error)
        else:
            reply.send(response.result)

    def _initialized(self, response: Response) -> None:
        if response.error is not None:
            raise IpcError(f"the peer refused to initialize: {response.error.message}")
        self.server = response.result
        gap = self.server.get("gap")
        if self.server["session"] == self.session.id:
            self.session.resumed += 1
        else:
            self.session.id, self.session.last_seq = self.server["session"], 0
        if gap is not None:
            self.session.missed += gap["to"] - gap["from"] + 1
            self.ctx.log.warning("the peer no longer has notifications {from} to {to}", **gap)
        self._answer.set()

    def _notified(self, notification: Notification) -> None:
        seq = notification.params.get("seq")
        if isinstance(seq, int):
            if seq <= self.session.last_seq:
                return
            self.session.last_seq = seq
        path = self.ctx.path
        self.ctx.publish(f"{path}/{notification.method}", notification.params)
        self.ctx.publish(f"{path}/*", {"method": notification.method, "params": notification.params})
