"""A counter as a triotp generic server, and an application that measures it."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

import trio
import trio.testing

REPEATS = 7
measured: list[tuple[float, float]] = []


async def init(start: int) -> int:
    """The state."""
    return start


async def handle_call(message: int, _caller: Any, state: int) -> Any:
    """Add and answer."""
    from triotp import gen_server

    return gen_server.Reply(payload=state + message), state + message


async def handle_cast(message: int, state: int) -> Any:
    """Add."""
    from triotp import gen_server

    return gen_server.NoReply(), state + message


async def start(_arg: Any) -> None:
    """The application: start the server, measure it, end the node."""
    from triotp import gen_server

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gen_server.start, sys.modules[__name__], 0, "counter")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(REPEATS):
            begun = perf_counter()
            for _ in range(1_000):
                await gen_server.call("counter", 1)
            call = (perf_counter() - begun) / 1_000
            begun = perf_counter()
            for _ in range(2_000):
                await gen_server.cast("counter", 1)
            await gen_server.call("counter", 1)
            measured.append((call, (perf_counter() - begun) / 2_000))
        nursery.cancel_scope.cancel()
