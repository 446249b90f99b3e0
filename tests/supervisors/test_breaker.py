"""The breaker as a guard around calls: who gets through and when, bodies, hands, news, and wrong settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from ukemi import CircuitOpen, SpecError
from ukemi.supervisors.breaker import CircuitBreaker
from ukemi.supervisors.circuit import CircuitInfo

from .guarded import Boom, answer, boom, fail


async def hold(breaker: CircuitBreaker, gate: trio.Event) -> None:
    """A call that waits at a gate."""
    await breaker.call(gate.wait)


async def test_it_passes_arguments_results_and_errors_on() -> None:
    breaker = CircuitBreaker("api")

    async def shown(*args: int, function: str, self: int) -> tuple[Any, ...]:
        return args, function, self

    error = Boom()
    assert await breaker.call(shown, 1, 2, function="f", self=3) == ((1, 2), "f", 3)
    with pytest.raises(Boom) as caught:
        await breaker.call(boom, error)
    assert caught.value is error


async def test_it_opens_at_the_fifth_failure_in_a_row_and_then_calls_nothing() -> None:
    breaker, called = CircuitBreaker("api"), 0

    async def count() -> None:
        nonlocal called
        called += 1
        raise Boom

    for _ in range(5):
        with pytest.raises(Boom):
            await breaker.call(count)
    for _ in range(3):
        with pytest.raises(CircuitOpen, match=r"^Circuit open: api$"):
            await breaker.call(count)
        with pytest.raises(CircuitOpen, match=r"^Circuit open: api$"):
            async with breaker:
                await count()
    assert called == 5
    assert (breaker.state, breaker.info().failures, breaker.info().last_failure) == ("open", 5, "Boom")


async def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = CircuitBreaker("api", failures=2)
    for _ in range(5):
        await fail(breaker)
        await breaker.call(answer)
    assert breaker.state == "closed"


async def test_the_bodies_of_async_with_count_like_calls(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker("api", failures=2, duration=1.0)
    for expected in ("closed", "open"):
        with pytest.raises(Boom):
            async with breaker:
                await boom()
        assert breaker.state == expected
    await trio.sleep(1.0)
    async with breaker:
        assert breaker.state == "half-open"
    assert breaker.state == "closed"


@pytest.mark.parametrize("with_body", [False, True])
async def test_of_ten_callers_at_once_a_half_open_circuit_lets_exactly_one_through(
    autojump_clock: MockClock, with_body: bool
) -> None:
    breaker = CircuitBreaker("api", failures=1, duration=30.0)
    await fail(breaker)
    await trio.sleep(30.0)
    gate, outcomes = trio.Event(), []

    async def caller() -> None:
        try:
            if with_body:
                async with breaker:
                    await gate.wait()
            else:
                await breaker.call(gate.wait)
        except CircuitOpen:
            outcomes.append("refused")
        else:
            outcomes.append("through")

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        assert outcomes == ["refused"] * 9
        assert breaker.state == "half-open"
        gate.set()
    assert outcomes == ["refused"] * 9 + ["through"]
    assert breaker.state == "closed"


async def test_while_it_is_closed_calls_run_side_by_side() -> None:
    breaker, gate, inside = CircuitBreaker("api"), trio.Event(), 0

    async def meet() -> None:
        nonlocal inside
        inside += 1
        if inside == 10:
            gate.set()
        await gate.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(breaker.call, meet)
    assert inside == 10


async def test_a_probe_that_fails_opens_it_again_for_longer(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker("api", failures=1, duration=10.0, growth=3.0, longest=50.0)
    waits = []
    for _ in range(4):
        await fail(breaker)
        left = breaker.info().seconds_left
        assert left is not None
        waits.append(left)
        await trio.sleep(left)
        assert breaker.state == "half-open"
    assert waits == [10.0, 30.0, 50.0, 50.0]


async def test_calls_of_before_it_opened_that_answer_late_change_nothing(autojump_clock: MockClock) -> None:
    breaker, gate = CircuitBreaker("api", failures=1, duration=10.0), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, breaker, gate)
        await wait_all_tasks_blocked()
        await fail(breaker)
        gate.set()
        await wait_all_tasks_blocked()
        assert breaker.state == "open"


async def test_it_is_opened_and_closed_by_hand(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker("api")
    breaker.force_open()
    await trio.sleep(80_000)
    with pytest.raises(CircuitOpen):
        await breaker.call(answer)
    assert (breaker.info().forced, breaker.info().seconds_left) == (True, None)
    breaker.force_closed()
    assert await breaker.call(answer) == 1
    breaker.force_open(seconds=5.0)
    assert breaker.info().seconds_left == 5.0
    await trio.sleep(5.0)
    assert await breaker.call(answer) == 1
    assert breaker.state == "closed"


async def test_each_change_is_told_when_it_happens(autojump_clock: MockClock) -> None:
    told: list[CircuitInfo] = []
    breaker = CircuitBreaker("api", failures=2, duration=1.0, successes=2, on_change=told.append)

    def news() -> list[str]:
        states = [info.state for info in told]
        told.clear()
        return states

    await breaker.call(answer)
    await fail(breaker)
    assert news() == []
    await fail(breaker)
    assert (told[0].name, told[0].failures, told[0].seconds_left) == ("api", 2, 1.0)
    assert news() == ["open"]
    await trio.sleep(1.0)
    await fail(breaker)
    assert news() == ["half-open", "open"]
    await trio.sleep(2.0)
    await breaker.call(answer)
    assert news() == ["half-open"]
    await breaker.call(answer)
    assert news() == ["closed"]
    breaker.force_open(1.0)
    breaker.force_open()
    breaker.force_closed()
    breaker.force_closed()
    assert news() == ["open", "open", "closed"]


async def test_who_is_told_may_act_on_the_breaker_at_once() -> None:
    told = []

    def close_again(info: CircuitInfo) -> None:
        told.append(info.state)
        if info.state == "open":
            breaker.force_closed()

    breaker = CircuitBreaker("api", failures=1, on_change=close_again)
    await fail(breaker, times=2)
    assert told == ["open", "closed", "open", "closed"]
    assert breaker.state == "closed"


async def test_if_who_is_told_raises_the_state_has_changed_and_no_probe_is_lost(autojump_clock: MockClock) -> None:
    def refuse(info: CircuitInfo) -> None:
        raise LookupError(info.state)

    breaker = CircuitBreaker("api", failures=1, duration=1.0, on_change=refuse)
    with pytest.raises(LookupError, match="open"):
        await breaker.call(boom)
    assert breaker.state == "open"
    await trio.sleep(1.0)
    with pytest.raises(LookupError, match="half-open"):
        await breaker.call(answer)
    with pytest.raises(LookupError, match="closed"):
        await breaker.call(answer)
    assert await breaker.call(answer) == 1


async def test_a_refusal_is_a_checkpoint_so_that_asking_again_and_again_starves_nobody() -> None:
    breaker = CircuitBreaker("api")
    breaker.force_open()
    with assert_checkpoints(), pytest.raises(CircuitOpen):
        await breaker.call(answer)
    with assert_checkpoints(), pytest.raises(CircuitOpen):
        async with breaker:
            pass


async def test_bodies_of_several_breakers_nest_and_may_be_left_in_any_order() -> None:
    one, two = CircuitBreaker("one", failures=1), CircuitBreaker("two", failures=1)
    two.force_closed()  # so that its generation is not that of the other
    stack = AsyncExitStack()
    await stack.enter_async_context(one)
    with pytest.raises(Boom):
        async with two:
            await stack.aclose()
            await boom()
    assert (one.state, two.state) == ("closed", "open")


async def test_a_task_that_is_started_in_a_body_has_bodies_of_its_own(autojump_clock: MockClock) -> None:
    breaker, gate = CircuitBreaker("api", failures=1, duration=1.0), trio.Event()

    async def probe() -> None:
        await trio.sleep(1.0)
        async with breaker:
            await gate.wait()

    async with trio.open_nursery() as nursery:
        with pytest.raises(Boom):
            async with breaker:
                nursery.start_soon(probe)
                await boom()
        await trio.sleep(2.0)
        assert breaker.state == "half-open"
        gate.set()
    assert breaker.state == "closed"


async def test_a_body_that_is_left_in_another_task_is_named() -> None:
    breaker = CircuitBreaker("api")

    async def inside() -> AsyncIterator[None]:
        async with breaker:
            yield

    generator = inside()

    async def begin() -> None:
        await anext(generator)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(begin)
    with pytest.raises(RuntimeError, match="CircuitBreaker 'api'> must be left in the task that entered it"):
        await generator.aclose()  # type: ignore[attr-defined]


async def test_a_body_can_be_left_only_once() -> None:
    breaker = CircuitBreaker("api")
    async with breaker:
        pass
    with pytest.raises(RuntimeError, match="must be left in the task that entered it"):
        await breaker.__aexit__(None, None, None)


async def test_what_is_called_must_be_a_function() -> None:
    breaker = CircuitBreaker("api", failures=1)
    with pytest.raises(TypeError, match=r"as in call\(fetch, url\), not 3"):
        await breaker.call(3)  # type: ignore[arg-type]
    assert breaker.state == "closed", "a mistake of the caller's says nothing of the far side"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"failures": 0}, "failures=0 must be a whole number from 1 up"),
        ({"failures": 2.5}, "failures=2.5 must be a whole number"),
        ({"duration": -1.0}, r"duration=-1.0 must be a finite number above 0"),
        ({"duration": float("nan")}, "duration=nan must be a finite number"),
        ({"successes": True}, "successes=True must be a whole number"),
        ({"growth": 0.5}, "growth=0.5 must be a finite number from 1"),
        ({"longest": float("inf")}, "longest=inf must be a finite number"),
        ({"name": ""}, "name='' must be a text that is not empty"),
        ({"name": 3}, "name=3 must be"),
        ({"counts": int}, "'api': counts=<class 'int'> must be a class of exceptions"),
        ({"counts": KeyboardInterrupt}, "counts=<class 'KeyboardInterrupt'> must be"),
        ({"counts": ()}, r"counts=\(\) must be"),
        ({"counts": (OSError, "x")}, "'x'.* must be a class of exceptions"),
        ({"counts": "OSError"}, "counts='OSError' must be"),
        ({"counts": boom}, "counts=.* must be .* a plain function"),
        ({"on_change": "log"}, "'api': on_change='log' must be a plain function, or None"),
        ({"on_change": answer}, "on_change=.* must be a plain function"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        CircuitBreaker(**{"name": "api", **options})


def test_its_settings_are_the_defaults_of_the_action_and_can_be_read() -> None:
    breaker = CircuitBreaker("api")
    settings = breaker.settings
    assert (settings.failures, settings.duration, settings.successes) == (5, 30.0, 1)
    assert (settings.growth, settings.longest) == (2.0, 300.0)
    assert breaker.name == "api"
    assert repr(breaker) == "<CircuitBreaker 'api'>"


@pytest.mark.parametrize("ask", [lambda breaker: breaker.state, CircuitBreaker.info])
def test_asking_it_outside_of_trio_is_an_error_that_says_so(ask: Callable[[CircuitBreaker], object]) -> None:
    with pytest.raises(RuntimeError, match="async context"):
        ask(CircuitBreaker("api"))
