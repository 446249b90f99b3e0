"""The debug socket's server, as supervised services: a listener, and an actor for each connection.

A connection reads JSON lines (see `lines`) and runs one command after the other (see `commands`). What a client sends
may be wrong in any way: it gets an error, and harms nobody else. Nor does a client that does not read: its answers hold
up its own commands only, and events that pile up end its connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import trio

from ...actors.actor import Actor
from ...actors.errors import ResourceExhausted
from ...actors.ipc.listener import Listener
from ...actors.reasons import Shutdown
from ...actors.registry import SERVICES
from ...supervisors.backoff import Backoff
from ...supervisors.dynamic import DynamicSupervisor
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, dynamic_supervisor
from ..runtime import Runtime
from .commands import COMMANDS
from .declaring import BadCommand
from .lines import LONGEST_LINE, LineSplitter, TooLong, answer_line, error_line, event_line
from .session import Session

LISTENER = "debug-listener"
CONNECTIONS = "debug-connections"
MOST_CLIENTS = 32
CHUNK = 65536
"""Bytes read at once."""
PIPELINED = 16
"""Requests of a client that may wait; then it is not read from."""
UNSENT = 4 * 1024 * 1024
"""Bytes of events that may wait for a client to read."""


def debug_services(runtime: Runtime, path: Path, *, allow_eval: bool = False) -> list[ChildSpec]:
    """The services that serve the debug socket at `path`, for `Runtime(services=…)`."""
    numbers = count(1)

    async def hand_over(stream: trio.SocketStream) -> None:
        spec = child(
            f"debug-client-{next(numbers)}", lambda: Connection(runtime, stream, allow_eval), restart="temporary"
        )
        connections = runtime.ref(f"/{SERVICES}/{CONNECTIONS}", DynamicSupervisor)
        try:
            await connections.call(DynamicSupervisor.start_child, spec)
        except ResourceExhausted:
            await refuse(stream)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    return [
        dynamic_supervisor(CONNECTIONS, max_children=MOST_CLIENTS),
        child(
            LISTENER,
            lambda: Listener(path, hand_over),
            depends_on=[CONNECTIONS],
            backoff=Backoff(initial=0.01, maximum=5.0),  # such as while there are no file descriptors left
        ),
    ]


async def refuse(stream: trio.SocketStream) -> None:
    """Tell a client that there are too many."""
    line = error_line(None, BadCommand(f"{MOST_CLIENTS} clients are connected already; close one first"))
    try:
        await stream.send_all(line)  # a fresh socket has room for it
    except trio.BrokenResourceError:  # it did not stay to hear it
        pass
    await trio.aclose_forcefully(stream)


class Outbox:
    """What waits to be sent to one client."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._changed = trio.Event()
        self._moved = trio.Event()
        self._put = 0
        self._sent = 0

    @property
    def unsent(self) -> int:
        """Bytes that wait."""
        return self._put - self._sent

    def put(self, line: bytes) -> None:
        """Add a line. Does not wait."""
        self._lines.append(line)
        self._put += len(line)
        self._changed.set()

    async def drain(self) -> None:
        """Wait until all that was put so far is sent."""
        end = self._put
        while self._sent < end:
            await self._moved.wait()

    async def run(self) -> None:
        """Send what is put, until cancelled. Raises BrokenResourceError when the client has gone."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            data = b"".join(self._lines)
            self._lines.clear()
            await self._stream.send_all(data)
            self._sent += len(data)
            moved, self._moved = self._moved, trio.Event()
            moved.set()


class Connection(Actor):
    """Serves one client until it goes. Owns the stream."""

    def __init__(self, runtime: Runtime, stream: trio.SocketStream, allow_eval: bool) -> None:
        self._runtime = runtime
        self._stream = stream
        self._allow_eval = allow_eval
        self._outbox = Outbox(stream)
        self._in_hand: tuple[Any, trio.CancelScope] | None = None
        self._given_up: Any = None
        """The request that was last given up."""
        self._answer_size = 0

    def on_start(self) -> None:
        """Begin to serve."""
        self.ctx.start_task(self._serve)

    async def _serve(self) -> None:
        session = Session(self._runtime, self.ctx.path, self._tell, self._allow_eval)
        async with self._stream:
            with session:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_gone, self._outbox.run)
                    requests, waiting = trio.open_memory_channel[bytes | TooLong](PIPELINED)
                    nursery.start_soon(self._until_gone, self._receive, requests)
                    async with waiting:
                        async for request in waiting:
                            await self._answer(session, request)
                    nursery.cancel_scope.cancel()
        self.ctx.stop()

    async def _until_gone(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await function(*args)
        except trio.BrokenResourceError:
            self.ctx.stop(Shutdown("the client has gone"))

    def _tell(self, event: dict[str, Any]) -> None:
        if self._outbox.unsent - self._answer_size > UNSENT:
            self.ctx.stop(Shutdown("the client does not read"))
        else:
            self._outbox.put(event_line(event))

    async def _receive(self, requests: trio.MemorySendChannel[bytes | TooLong]) -> None:
        splitter = LineSplitter()
        async with requests:
            while True:
                data = await self._stream.receive_some(CHUNK)
                for line in splitter.feed(data) if data else splitter.flush():
                    if not self._cancels(line):
                        await requests.send(line)
                if not data:
                    return

    def _cancels(self, line: bytes | TooLong) -> bool:
        """Whether the line only gives up a request; done at once, whatever is in hand."""
        if isinstance(line, TooLong) or b'"cancel"' not in line:
            return False
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError:
            return False
        if not isinstance(request, dict) or request.keys() != {"cancel"}:
            return False
        self._given_up = request["cancel"]
        if self._in_hand is not None and self._in_hand[0] == self._given_up:
            self._in_hand[1].cancel()
        return True

    async def _answer(self, session: Session, request: bytes | TooLong) -> None:
        id = None
        try:
            data = _parse(request)
            id = data.get("id")
            name = data.get("command")
            command = COMMANDS.find(name)
            positional, keywords = command.bind(data.get("args", {}))
            with trio.CancelScope() as scope:
                if id is not None and id == self._given_up:
                    scope.cancel()
                self._in_hand = (id, scope)
                value = await command.function(session, *positional, **keywords)
            if scope.cancelled_caught:
                raise Cancelled(f"{name} was cancelled")
            line = answer_line(id, value)
        except Exception as error:  # whatever it is, it is the client's
            line = error_line(id, error)
        self._in_hand = None
        self._answer_size = len(line)
        self._outbox.put(line)
        await self._outbox.drain()
        self._answer_size = 0


class Cancelled(BadCommand):
    """The client gave the request up."""


def _parse(request: bytes | TooLong) -> dict[str, Any]:
    if isinstance(request, TooLong):
        raise BadCommand(f"a request is one line of at most {LONGEST_LINE} bytes; this one was longer")
    right = '{"id": 1, "command": "tree", "args": {}}'
    try:
        data = orjson.loads(request)
    except orjson.JSONDecodeError as error:
        raise BadCommand(f"a request is one line of JSON such as {right}; this one is not: {error}") from None
    if not isinstance(data, dict):
        raise BadCommand(f"a request is an object such as {right}, not {request[:100].decode(errors='replace')}")
    return data
