"""What the end of a call through the breaker means: a failure, a success, or neither."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ukemi import CircuitOpen
from ukemi.supervisors.breaker import CircuitBreaker

from .guarded import Boom, answer, boom, fail


async def test_a_cancelled_probe_is_neither_good_nor_bad_and_the_next_call_is_the_probe(
    autojump_clock: MockClock,
) -> None:
    breaker = CircuitBreaker("api", failures=1, duration=1.0)
    await fail(breaker)
    await trio.sleep(1.0)
    with trio.move_on_after(1.0) as scope:
        await breaker.call(trio.sleep_forever)
    assert scope.cancelled_caught
    assert breaker.state == "half-open"
    with trio.move_on_after(1.0):
        async with breaker:
            await trio.sleep_forever()
    assert (breaker.state, breaker.info().opened) == ("half-open", 1)
    assert await breaker.call(answer, 7) == 7
    assert breaker.state == "closed"


async def test_a_cancelled_call_neither_adds_to_the_row_nor_ends_it(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker("api", failures=2)
    await fail(breaker)
    with trio.move_on_after(1.0):
        await breaker.call(trio.sleep_forever)
    assert breaker.info().failures == 1


async def test_a_time_limit_inside_of_what_is_called_is_a_failure(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker("api", failures=1)

    async def hang() -> None:
        with trio.fail_after(1.0):
            await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        await breaker.call(hang)
    assert breaker.state == "open"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
async def test_what_is_no_exception_of_the_far_side_is_neither(error: BaseException) -> None:
    breaker = CircuitBreaker("api", failures=2)
    await fail(breaker)
    with pytest.raises(type(error)):
        await breaker.call(boom, error)
    assert (breaker.state, breaker.info().failures) == ("closed", 1)


async def test_a_call_that_is_dropped_midway_gives_its_probe_up(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker("api", failures=1, duration=1.0)
    await fail(breaker)
    await trio.sleep(1.0)
    dropped = breaker.call(trio.sleep_forever)
    dropped.send(None)
    with pytest.raises(CircuitOpen):
        await breaker.call(answer)
    dropped.close()
    assert await breaker.call(answer) == 1


@pytest.mark.parametrize("counts", [OSError, (OSError, KeyError), lambda error: isinstance(error, OSError)])
async def test_an_exception_that_does_not_count_is_a_success_of_the_circuit(counts: Any) -> None:
    breaker = CircuitBreaker("api", failures=2, counts=counts)
    for error in (OSError(), ValueError(), OSError()):
        with pytest.raises(type(error)):
            await breaker.call(boom, error)
    assert (breaker.state, breaker.info().failures) == ("closed", 1)
    with pytest.raises(ConnectionResetError):
        await breaker.call(boom, ConnectionResetError())
    assert breaker.state == "open"


@pytest.mark.parametrize(
    ("error", "is_failure"),
    [
        (ExceptionGroup("one", [OSError("gone")]), True),
        (ExceptionGroup("nested", [ExceptionGroup("", [OSError("gone")])]), True),
        (ExceptionGroup("mixed", [ValueError(), OSError("gone")]), True),
        (ExceptionGroup("harmless", [ValueError(), KeyError()]), False),
        (BaseExceptionGroup("with an end of the program", [KeyboardInterrupt(), OSError("gone")]), True),
        (BaseExceptionGroup("only that", [KeyboardInterrupt()]), None),
    ],
)
async def test_a_group_counts_if_an_exception_in_it_does(error: BaseException, is_failure: bool | None) -> None:
    breaker = CircuitBreaker("api", failures=5, counts=OSError)
    with pytest.raises(OSError, match="first"):
        await breaker.call(boom, OSError("first"))
    with pytest.raises(type(error)):
        await breaker.call(boom, error)
    assert breaker.info().failures == {True: 2, False: 0, None: 1}[is_failure]


async def test_an_error_beside_a_cancellation_is_a_failure(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker("api", failures=1)

    async def break_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Boom

    async def call() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(break_when_cancelled)

    with pytest.raises(ExceptionGroup), trio.move_on_after(1.0):
        await breaker.call(call)
    assert breaker.state == "open"


async def test_a_group_of_one_is_told_as_its_only_exception() -> None:
    breaker = CircuitBreaker("api")
    with pytest.raises(ExceptionGroup):
        await breaker.call(boom, ExceptionGroup("a", [ExceptionGroup("b", [Boom("deep")])]))
    assert breaker.info().last_failure == "Boom: deep"


async def test_whatever_an_exception_says_what_is_kept_of_it_is_short_text() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    breaker = CircuitBreaker("api", failures=2)
    with pytest.raises(Boom):
        await breaker.call(boom, Boom("x" * 100_000))
    assert len(breaker.info().last_failure) == 400
    with pytest.raises(Rude):
        await breaker.call(boom, Rude())
    assert (breaker.state, breaker.info().last_failure) == ("open", "Rude, whose text raises ValueError")


async def test_a_filter_that_raises_is_heard_and_the_call_has_failed(autojump_clock: MockClock) -> None:
    def broken(error: Exception) -> bool:
        raise LookupError("a mistake")

    breaker = CircuitBreaker("api", failures=1, duration=1.0, counts=broken)
    for _ in range(2):
        with pytest.raises(LookupError, match="a mistake") as caught:
            await breaker.call(boom)
        assert isinstance(caught.value.__context__, Boom)
        assert breaker.state == "open"
        await trio.sleep(2.0)
