"""A bridge in this process, and a client of it that is written from the protocol, not from ukemi's own parts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from ukemi import Runtime
from ukemi.actors.resources import Found
from ukemi.runtime.bridge.tree import bridge_tree

from .expecting import PATIENCE


def unlimited() -> Found:
    """Nothing is measured."""
    return Found((), {})


class Failed(Exception):
    """An error answer."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]
        self.data = error["data"]


@attrs.define(eq=False)
class Client:
    """One connection. What is read while it waits for one thing is kept for who waits for another."""

    stream: trio.SocketStream
    notes: list[dict[str, Any]] = attrs.field(factory=list)
    order: list[Any] = attrs.field(factory=list)
    """Ids of answers and numbers of notifications, as they came."""
    answers: dict[Any, dict[str, Any]] = attrs.field(factory=dict)
    session: str = ""
    """Its name, if it was said."""
    _buffer: bytes = b""
    _ids: int = 0
    _reading: trio.Lock = attrs.field(factory=trio.Lock)

    async def send(self, message: dict[str, Any]) -> None:
        await self.raw(json.dumps({"jsonrpc": "2.0", **message}).encode())

    async def raw(self, body: bytes) -> None:
        await self.stream.send_all(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async def ask(self, method: str, **params: Any) -> int:
        """Send a request; its id."""
        self._ids += 1
        await self.send({"id": self._ids, "method": method, "params": params})
        return self._ids

    async def notify(self, method: str, **params: Any) -> None:
        await self.send({"method": method, "params": params})

    async def request(self, method: str, **params: Any) -> Any:
        return await self.answer(await self.ask(method, **params))

    async def answer(self, id: Any) -> Any:
        await self.until(lambda: id in self.answers)
        answer = self.answers.pop(id)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["result"]

    async def output(self, terminal: str, wanted: str) -> str:
        """All that this terminal has printed, once `wanted` is in it."""
        await self.until(lambda: wanted in self.printed(terminal))
        return self.printed(terminal)

    def printed(self, terminal: str) -> str:
        return "".join(note["params"]["data"] for note in self.notes if note["params"].get("terminal") == terminal)

    async def until(self, is_so: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not is_so():
                async with self._reading:
                    if not is_so():
                        assert await self.read(), "the bridge has closed the connection"

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        with trio.fail_after(PATIENCE):
            try:
                while await self.read():
                    pass
            except trio.BrokenResourceError:
                pass

    async def read(self) -> bool:
        """Take in what comes next; False at the end."""
        data = await self.stream.receive_some()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            size = int(self._buffer[:end].split(b":")[1])
            body = self._buffer[end + 4 : end + 4 + size]
            if len(body) < size:
                break
            self._buffer = self._buffer[end + 4 + size :]
            message = json.loads(body)
            if "method" in message:
                self.notes.append(message)
                self.order.append(("seq", message["params"]["seq"]))
            else:
                self.answers[message["id"]] = message
                self.order.append(message["id"])
        return bool(data)

    async def terminal(self, home: Path, **params: Any) -> str:
        """A new terminal, without the user's own files."""
        env = {"HOME": str(home), "LANG": "C.UTF-8", **params.pop("env", {})}
        answer = await self.request("terminal/create", env=env, **{"cwd": str(home), **params})
        name: str = answer["terminal"]
        return name


@attrs.frozen
class Bridge:
    """A running bridge."""

    runtime: Runtime
    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "bridge.sock"

    async def connect(self) -> Client:
        return Client(await trio.open_unix_socket(str(self.socket)))

    @asynccontextmanager
    async def client(self, **initialize: Any) -> AsyncIterator[Client]:
        """A connection that is initialized."""
        client = await self.connect()
        async with client.stream:
            client.session = (await client.request("initialize", **initialize))["session"]
            yield client


@asynccontextmanager
async def running_bridge(
    folder: Path, *, encode: bool | None = None, find: Callable[[], Found] = unlimited, **options: Any
) -> AsyncIterator[Bridge]:
    """Without any resource pressure, whatever the machine that runs the tests has to do, unless `find` says so."""
    async with Runtime(bridge_tree(folder, find=find, **options), encode_messages=encode) as runtime:
        yield Bridge(runtime, folder)
