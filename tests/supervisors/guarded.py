"""What the tests of the breaker call through it."""

from __future__ import annotations

import pytest
import trio

from ukemi.supervisors.breaker import CircuitBreaker


class Boom(Exception):
    pass


async def answer(value: int = 1) -> int:
    await trio.lowlevel.checkpoint()
    return value


async def boom(error: BaseException | None = None) -> None:
    await trio.lowlevel.checkpoint()
    raise error or Boom("on purpose")


async def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Boom):
            await breaker.call(boom)
