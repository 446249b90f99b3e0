"""A handler may not hold the loop: batches yield after a number of messages, or a time slice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ukemi import Actor, ActorCrashed, Down, Reject, Runtime, child, supervisor
from ukemi.actors.handling import BATCH

MANY = 4 * BATCH


class Busy(Actor):
    """Handles messages without ever waiting, and notes when the loop had turned last."""

    def __init__(self, turns: Callable[[], int], seen: list[int]) -> None:
        self._turns = turns
        self._seen = seen

    def note(self) -> None:
        self._seen.append(self._turns())

    def on_down(self, down: Down) -> None:
        self.note()

    def tick_soon(self, n: int) -> None:
        for _ in range(n):
            self.ctx.after(0.0, self.note)

    def watch(self, name: str, n: int) -> None:
        for _ in range(n):
            self.ctx.monitor(self.ctx.find(name))

    async def reject(self) -> None:
        async with trio.open_nursery():
            raise Reject(ValueError("no such thing"))

    async def crash(self) -> None:
        async with trio.open_nursery():
            raise ValueError("on purpose")


class Turns:
    """Counts how often the loop turns."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("kind", ["casts", "calls in their caller's turn"])
@pytest.mark.rule("I2")
async def test_the_loop_turns_within_a_batch(kind: str) -> None:
    turns, seen = Turns(), list[int]()
    async with Runtime(supervisor("app", child("busy", lambda: Busy(lambda: turns.count, seen)))) as runtime:
        busy = runtime.ref("busy", Busy)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.run)
            if kind == "casts":
                for _ in range(MANY):
                    busy.cast(Busy.note)
                while len(seen) < MANY:
                    await trio.lowlevel.checkpoint()
            else:
                for _ in range(MANY):
                    await busy.call(Busy.note)
            nursery.cancel_scope.cancel()
    longest = max(seen.count(turn) for turn in set(seen))
    # the order within a turn is random: the actor's next batch may come before the next count
    assert longest <= 2 * BATCH + 1, f"{longest} messages were handled in two turns of the loop"


@pytest.mark.parametrize("kind", ["timers", "downs"])
async def test_slow_signals_yield_after_a_time_slice(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, seen = Turns(), list[int]()
    tree = supervisor("app", child("busy", lambda: Busy(lambda: turns.count, seen)), child("it", Actor))
    async with Runtime(tree) as runtime:
        now = 0.0

        def clock() -> float:  # each look takes a millisecond
            nonlocal now
            now += 0.001
            return now

        monkeypatch.setattr(runtime.system, "clock", clock)
        busy = runtime.ref("busy", Busy)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.run)
            if kind == "timers":
                await busy.call(Busy.tick_soon, 50)
            else:
                await busy.call(Busy.watch, "it", 50)
                runtime.ref("it").kill()
            while len(seen) < 50:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert max(seen.count(turn) for turn in set(seen)) <= 5


@pytest.mark.rule("M6", "X3")
async def test_what_a_nursery_of_a_handler_raises_is_unwrapped_a_rejection_too() -> None:
    async with Runtime(supervisor("app", child("busy", lambda: Busy(int, [])))) as runtime:
        busy = runtime.ref("busy", Busy)
        with pytest.raises(ValueError, match="no such thing"):
            await busy.call(Busy.reject)
        assert busy.stats().crashes == 0
        with pytest.raises(ActorCrashed) as crashed:
            await busy.call(Busy.crash)
        assert type(crashed.value.__cause__) is ValueError


async def test_an_on_down_that_hangs_is_bounded_by_the_handler_timeout(autojump_clock: trio.testing.MockClock) -> None:
    class Hangs(Actor):
        def watch(self, name: str) -> None:
            self.ctx.monitor(self.ctx.find(name))

        async def on_down(self, down: Down) -> None:
            await trio.sleep_forever()

    tree = supervisor("app", child("hangs", Hangs, handler_timeout=2.0), child("it", Actor))
    async with Runtime(tree) as runtime:
        await runtime.ref("hangs", Hangs).call(Hangs.watch, "it")
        runtime.ref("it").kill()
        await trio.sleep(3.0)
        await wait_all_tasks_blocked()
        assert runtime.ref("hangs").stats().incarnation == 2
        assert "hung in on_down" in (runtime.ref("hangs").cell.last_crash or "")
