"""Timers of an actor's own (rules R5, M8), and the one mechanism for all deadlines."""

from __future__ import annotations

import random
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Actor, UnknownMethod
from ukemi.actors.events import DeadLetter
from ukemi.actors.messages import Call
from ukemi.actors.system import System
from ukemi.actors.timers import Timers

from .subject import Boom, alone


class Clock(Actor):
    """Writes down the seconds at which it ticks."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.timers: list[Any] = []

    def on_start(self) -> None:
        self.began = trio.current_time()

    def after(self, seconds: float, text: str) -> None:
        self.timers.append(self.ctx.after(seconds, self._tick, text))

    def every(self, seconds: float, text: str) -> None:
        self.timers.append(self.ctx.every(seconds, self._tick, text))

    def cancel(self) -> None:
        self.timers.pop().cancel()

    def _tick(self, text: str) -> None:
        self.log.append((text, round(trio.current_time() - self.began, 3)))

    async def hold(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def now(self) -> None:
        self.ctx.after(0, self._tick, "now")
        self.log.append("first")

    async def async_tick(self) -> None:
        self.ctx.after(1, self._later)

    async def _later(self) -> None:
        await trio.sleep(1)
        self._tick("later")

    def fail_later(self) -> None:
        self.ctx.after(1, self._fail)

    def _fail(self) -> None:
        raise Boom


@pytest.mark.rule("M8")
async def test_after_comes_once_and_every_comes_again_both_on_time(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    async with alone(lambda: Clock(log)) as runtime:
        it = runtime.ref("it", Clock)
        await it.call(Clock.after, 2.5, "after")
        await it.call(Clock.every, 1, "every")
        await trio.sleep(4.5)
    assert log == [("every", 1), ("every", 2), ("after", 2.5), ("every", 3), ("every", 4)]


@pytest.mark.rule("M8")
async def test_a_timer_of_no_time_comes_after_the_message_in_hand() -> None:
    log: list[Any] = []
    async with alone(lambda: Clock(log)) as runtime:
        await runtime.ref("it", Clock).call(Clock.now)
        await wait_all_tasks_blocked(0.01)
    assert [entry if isinstance(entry, str) else entry[0] for entry in log] == ["first", "now"]


@pytest.mark.rule("R5")
async def test_every_holds_at_most_one_pending_tick_and_keeps_its_rhythm(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    async with alone(lambda: Clock(log)) as runtime:
        it = runtime.ref("it", Clock)
        await it.call(Clock.every, 1, "t")
        it.cast(Clock.hold, 5.5)
        await trio.sleep(8.2)
    assert log == [("t", 5.5), ("t", 6), ("t", 7), ("t", 8)]


@pytest.mark.rule("M8")
async def test_a_tick_is_no_part_of_the_bound_and_precedes_queued_messages(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    async with alone(lambda: Clock(log), mailbox=1) as runtime:
        it = runtime.ref("it", Clock)
        await it.call(Clock.after, 1, "tick")
        it.cast(Clock.hold, 2)
        await wait_all_tasks_blocked()
        it.cast(Clock.now)
        await trio.sleep(5)
    assert [entry if isinstance(entry, str) else entry[0] for entry in log] == ["tick", "first", "now"]


@pytest.mark.rule("R5")
async def test_a_cancelled_timer_never_ticks_not_even_if_its_tick_waits(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    async with alone(lambda: Clock(log)) as runtime:
        it = runtime.ref("it", Clock)
        await it.call(Clock.every, 1, "cancelled")
        await it.call(Clock.cancel)
        await trio.sleep(2)
        for how in (Clock.after, Clock.every):
            await it.call(how, 1, "cancelled while it waits")
            actor: Any = it.cell.incarnation.actor  # type: ignore[union-attr]
            it.cast(Clock.hold, 2)
            await trio.sleep(1.5)
            actor.cancel()
            await trio.sleep(2)
    assert log == []


@pytest.mark.rule("R5")
@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_timers_and_their_queued_ticks_die_with_the_incarnation(autojump_clock: MockClock, end: str) -> None:
    log: list[Any] = []
    async with alone(lambda: Clock(log), shutdown=0.1) as runtime:
        it = runtime.ref("it", Clock)
        await it.call(Clock.every, 1, "old")
        await it.call(Clock.after, 5, "old")
        it.cast(Clock.hold, 3)
        await trio.sleep(2)
        if end == "kill":
            it.kill()
        else:
            await it.stop()
        await trio.sleep(10)
        assert len(runtime.system.timers) == 0
    assert log == []


@pytest.mark.rule("M6")
async def test_a_timers_message_may_be_private_and_async_and_its_error_is_a_crash(
    autojump_clock: MockClock,
) -> None:
    log: list[Any] = []
    async with alone(lambda: Clock(log)) as runtime:
        it = runtime.ref("it", Clock)
        await it.call(Clock.async_tick)
        await trio.sleep(3)
        assert log == [("later", 2)]
        await it.call(Clock.fail_later)
        await trio.sleep(2)
        assert it.stats().crashes == 1
        assert [letter.method for letter in runtime.events.of(DeadLetter)] == ["_fail"]


@pytest.mark.rule("M6")
async def test_a_wrong_timer_is_an_error_where_it_is_set() -> None:
    errors: list[Exception] = []

    class Wrong(Actor):
        def on_start(self) -> None:
            cases: list[tuple[type[Exception], Any]] = [
                (ValueError, lambda: self.ctx.after(-1, self.note)),
                (ValueError, lambda: self.ctx.after(inf, self.note)),
                (ValueError, lambda: self.ctx.after(float("nan"), self.note)),
                (ValueError, lambda: self.ctx.every(0, self.note)),
                (TypeError, lambda: self.ctx.after(1, self.note, 1)),  # type: ignore[call-arg]
                (UnknownMethod, lambda: self.ctx.after(1, print)),
            ]
            for kind, case in cases:
                with pytest.raises(kind) as caught:
                    case()
                errors.append(caught.value)

        def note(self) -> None:
            pass

    async with alone(Wrong):
        assert len(errors) == 6


@pytest.mark.rule("R5", "M10")
async def test_what_a_stale_context_would_send_is_a_dead_letter(autojump_clock: MockClock) -> None:
    contexts: list[Any] = []
    log: list[Any] = []

    class Leaky(Clock):
        def on_start(self) -> None:
            super().on_start()
            contexts.append((self.ctx, self))

    async with alone(lambda: Leaky(log)) as runtime:
        it = runtime.ref("it", Leaky)
        it.kill()
        await wait_all_tasks_blocked()
        ctx, old = contexts[0]
        ctx.after(1, old._tick, "late").cancel()
        assert ctx.publish("news", 1) == 0
        ctx.subscribe("news", old._tick)
        assert contexts[1][0].publish("news", 1) == 0
        await trio.sleep(2)
        assert [letter.method for letter in runtime.events.of(DeadLetter)] == ["_tick", "news"]
    assert log == []


# --- the mechanism


def call_of(timers: Timers, seconds: float) -> Call:
    cell: Any = SimpleNamespace(path="/x", mailbox=SimpleNamespace(withdraw=lambda call: None), system=System())
    call = Call(cell, "m")
    call.seconds, call.deadline = seconds, trio.current_time() + seconds
    return call


@pytest.mark.rule("M3")
async def test_every_call_expires_at_its_own_deadline_whatever_the_order(mock_clock: MockClock) -> None:
    """Lanes, the heap, and more different timeouts than there are lanes."""
    mock_clock.autojump_threshold = 0
    timers = Timers()
    expired: dict[Call, float] = {}
    calls = []
    source = random.Random(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        for n in range(300):
            call = call_of(timers, source.choice([1.0, 2.0, 1 + n / 100]))
            call.is_inherited = n % 7 == 0
            timers.watch(call)
            calls.append(call)
            if n % 10 == 0:
                await trio.sleep(0.05)
        released = calls[::3]
        for call in released:
            timers.release(call)
        assert len(timers) == sum(not call.settled for call in calls if call not in released)
        while len(timers):
            await trio.sleep(0.01)
            for call in calls:
                if call.settled:
                    expired.setdefault(call, trio.current_time())
        nursery.cancel_scope.cancel()
    for call, at in expired.items():
        assert call.deadline <= at <= call.deadline + 1.6
    assert set(calls) - set(expired) <= set(released)


@pytest.mark.rule("D1")
async def test_timers_come_due_in_the_order_of_their_times_and_then_of_their_making(
    autojump_clock: MockClock,
) -> None:
    timers, log = Timers(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        now = trio.current_time()
        for n, delay in enumerate([3, 1, 2, 1, 3, 0]):
            timers.at(now + delay, lambda n=n: log.append(n))  # type: ignore[misc]
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert log == [5, 1, 3, 2, 0, 4]


@pytest.mark.rule("M3")
async def test_cancelled_timers_cost_no_memory() -> None:
    timers = Timers()
    for _ in range(10_000):
        timer = timers.at(inf, lambda: None)
        timer.cancel()
        timer.cancel()
    assert len(timers) == 0
    assert len(timers._heap) < 200
