"""Tracing and suspending a cell; and that what is not run in its caller's turn is still handled."""

from typing import Any

import pytest
import trio
import trio.testing

from ukemi import Actor, ActorStopped, Runtime, child, supervisor
from ukemi.actors.events import Traced


class Counter(Actor):
    def __init__(self) -> None:
        self.total = 0

    def add(self, n: int) -> int:
        self.total += n
        return self.total


def shop(**options: Any) -> Runtime:
    return Runtime(supervisor("shop", child("counter", Counter, **options)))


@pytest.mark.rule("I1")
async def test_an_idle_traced_actor_handles_a_sync_call_and_tells_of_it() -> None:
    async with shop() as runtime:
        counter = runtime.ref("counter", Counter)
        assert await counter.call(Counter.add, 1) == 1
        counter.cell.trace(True)
        assert await counter.call(Counter.add, 2) == 3
        assert await counter.call(Counter.add, 3) == 6
        counter.cell.trace(False)
        assert await counter.call(Counter.add, 4) == 10
        traced = runtime.events.of(Traced)
        assert [(event.method, event.arguments, event.outcome) for event in traced] == [
            ("add", "2", "3"),
            ("add", "3", "6"),
        ]


async def test_a_trace_ends_when_as_many_have_said_off_as_on() -> None:
    async with shop() as runtime:
        counter = runtime.ref("counter", Counter)
        counter.cell.trace(True)
        counter.cell.trace(True)
        counter.cell.trace(False)
        await counter.call(Counter.add, 1)
        counter.cell.trace(False)
        await counter.call(Counter.add, 1)
        assert len(runtime.events.of(Traced)) == 1


@pytest.mark.rule("I1")
async def test_an_idle_actor_with_a_handler_timeout_handles_sync_calls_and_casts() -> None:
    async with shop(handler_timeout=5.0) as runtime:
        counter = runtime.ref("counter", Counter)
        assert await counter.call(Counter.add, 1) == 1
        counter.cast(Counter.add, 1)
        assert await counter.call(Counter.add, 1) == 3


async def test_a_suspended_cell_takes_no_message_until_it_is_resumed() -> None:
    async with shop() as runtime:
        counter = runtime.ref("counter", Counter)
        counter.cell.suspend(True)
        counter.cast(Counter.add, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert (counter.stats().state, counter.stats().waiting) == ("suspended", 1)
        counter.cell.suspend(False)
        assert await counter.call(Counter.add, 1) == 2


async def test_a_stopped_cell_can_not_be_suspended() -> None:
    async with shop() as runtime:
        await runtime.ref("shop").call("stop_child", "counter")
        with pytest.raises(ActorStopped, match="counter is not running"):
            runtime.ref("counter").cell.suspend(True)


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


class Producer(Actor):
    def make(self, size: int) -> Any:
        return [0] * size

    def make_unprintable(self) -> Any:
        return Unprintable()


async def test_a_trace_tells_of_any_value_in_bounded_text() -> None:
    async with Runtime(supervisor("shop", child("producer", Producer)), encode_messages=False) as runtime:
        producer = runtime.ref("producer", Producer)
        producer.cell.trace(True)
        await producer.call(Producer.make, 1_000_000)
        await producer.call(Producer.make_unprintable)
        first, second = (event.outcome for event in runtime.events.of(Traced))
        assert len(first) < 500
        assert "Unprintable" in second
