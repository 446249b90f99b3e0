"""The watchdog: what it sees of a loop that does not turn."""

import threading
import time
from collections.abc import Callable

import pytest
import trio

from ukemi import Actor, Runtime, child, supervisor
from ukemi.runtime.watchdog import Stall, Watchdog


class Seen:
    """What the watchdog told, from its own thread."""

    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self.recoveries: list[float] = []
        self.stalled = threading.Event()
        self.recovered = threading.Event()

    def on_stall(self, stall: Stall) -> None:
        self.stalls.append(stall)
        self.stalled.set()

    def on_recovery(self, seconds: float) -> None:
        self.recoveries.append(seconds)
        self.recovered.set()

    def watch(self) -> Watchdog:
        return Watchdog(self.on_stall, self.on_recovery, interval=0.01, patience=0.05)

    def stall_here(self) -> None:
        while not self.stalled.is_set():
            time.sleep(0.001)


class Stalls(Actor):
    """Stalls in each way in which an actor's code may run."""

    def __init__(self, stall: Callable[[], None]) -> None:
        self._stall = stall

    def inline(self) -> None:
        self._stall()

    async def in_its_task(self) -> None:
        await trio.lowlevel.checkpoint()
        self._stall()

    async def in_the_background(self) -> None:
        done = trio.Event()

        async def stall() -> None:
            self._stall()
            done.set()

        self.ctx.start_task(stall)
        await done.wait()


@pytest.mark.parametrize("way", ["inline", "in_its_task", "in_the_background"])
async def test_a_stall_is_told_with_the_actor_and_the_place(way: str) -> None:
    seen = Seen()
    async with Runtime(supervisor("app", child("it", lambda: Stalls(seen.stall_here)))) as runtime:
        with seen.watch() as watchdog:
            await runtime.ref("it").call(way)
            with trio.fail_after(30):
                await trio.to_thread.run_sync(seen.recovered.wait)
        assert watchdog.stalls == 1
    (stall,) = seen.stalls
    assert stall.actor == "/app/it"
    assert "test_watchdog.py" in stall.location
    assert stall.location.endswith("in stall_here")
    assert any("self._stall()" in line for line in stall.stack)
    assert seen.recoveries[0] >= stall.seconds >= 0.05


async def test_a_stall_outside_the_actors_is_nobodys() -> None:
    seen = Seen()
    with seen.watch():
        seen.stall_here()
        with trio.fail_after(30):
            await trio.to_thread.run_sync(seen.recovered.wait)
    assert [stall.actor for stall in seen.stalls] == [None]


async def test_each_stall_is_told_once() -> None:
    seen = Seen()
    with seen.watch():
        for _ in range(2):
            seen.stalled.clear()
            seen.recovered.clear()
            seen.stall_here()
            with trio.fail_after(30):
                await trio.to_thread.run_sync(seen.recovered.wait)
    assert len(seen.stalls) == len(seen.recoveries) == 2


async def test_a_loop_that_turns_is_left_alone() -> None:
    seen = Seen()
    with Watchdog(seen.on_stall, seen.on_recovery, interval=0.001, patience=30.0) as watchdog:
        for _ in range(20):
            await trio.sleep(0.002)
    assert watchdog.stalls == 0


def test_it_ends_with_a_loop_that_has_ended() -> None:
    seen, found = Seen(), list[Watchdog]()

    async def main() -> None:
        found.append(seen.watch())
        found[0].__enter__()

    trio.run(main)
    found[0]._thread.join(30)
    assert not found[0]._thread.is_alive()
    found[0].__exit__()
