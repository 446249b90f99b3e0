"""A small shop with its debug socket, and a raw client of that socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import orjson
import trio

from ukemi import Actor, Reject, Runtime, child, dynamic_supervisor, supervisor
from ukemi.actors.ipc.sockets import connect_unix
from ukemi.runtime.debug.server import debug_services
from ukemi.supervisors.spec import ChildSpec


@attrs.frozen
class Item:
    name: str
    price: float


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.total = start

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    def refuse(self) -> None:
        raise Reject(ValueError("not today"))

    def crash(self) -> None:
        raise RuntimeError("the till is broken")

    def opaque(self) -> Any:
        return {1: object(), "two": b"\xff"}

    async def wait(self) -> None:
        await trio.sleep_forever()


class Shelf(Actor):
    def __init__(self) -> None:
        self.items: list[Item] = []

    def put(self, *items: Item) -> int:
        self.items += items
        return len(self.items)


TREE = supervisor(
    "shop",
    child("counter", Counter, shutdown=0.1),
    child("shelf", Shelf, depends_on=["counter"]),
    dynamic_supervisor("guests"),
    strategy="dependents",
    max_restarts=100,
)


class Client:
    """Sends what it is told, and takes the lines apart that come."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.number = 0
        self.events: list[dict[str, Any]] = []
        self._begun = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def line(self) -> dict[str, Any]:
        """The next line. EOFError at the end."""
        while b"\n" not in self._begun:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._begun += data
        line, _, self._begun = self._begun.partition(b"\n")
        return orjson.loads(line)

    async def answer(self) -> dict[str, Any]:
        """The next line that is no event."""
        while "event" in (line := await self.line()):
            self.events.append(line["event"])
        return line

    async def ask(self, command: str, /, **args: Any) -> dict[str, Any]:
        self.number += 1
        await self.send(orjson.dumps({"id": self.number, "command": command, "args": args}) + b"\n")
        answer = await self.answer()
        assert answer["id"] == self.number
        return answer

    async def ok(self, command: str, /, **args: Any) -> Any:
        answer = await self.ask(command, **args)
        assert "ok" in answer, answer
        return answer["ok"]

    async def error(self, command: str, /, **args: Any) -> str:
        answer = await self.ask(command, **args)
        return answer["error"]["message"]


@attrs.frozen
class Shop:
    runtime: Runtime
    path: Path

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with await connect_unix(self.path) as stream:
            yield Client(stream)


@asynccontextmanager
async def open_shop(
    folder: Path, *, allow_eval: bool = False, encode_messages: bool = True, tree: ChildSpec = TREE
) -> AsyncIterator[Shop]:
    path = folder / "debug.sock"
    runtime = Runtime(
        tree,
        encode_messages=encode_messages,
        services=lambda runtime: debug_services(runtime, path, allow_eval=allow_eval),
    )
    with trio.fail_after(60):
        async with runtime:
            yield Shop(runtime, path)
