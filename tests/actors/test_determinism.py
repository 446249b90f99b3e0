"""Given a seed, a tree repeats exactly (rule D1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio._core._run as trio_run
from trio.testing import MockClock

from ukemi import Actor, ActorCrashed, ActorStopped, Backoff, CallTimeout, Ref, Runtime, child, supervisor
from ukemi.supervisors import ChildSpec

from .subject import Boom


@pytest.fixture
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    state = trio_run._r.getstate()
    yield
    trio_run._r.setstate(state)


class Worker(Actor):
    """Works with its neighbour, on timers and on topics, and crashes by chance."""

    def __init__(self, neighbour: str) -> None:
        self.neighbour = neighbour

    def on_start(self) -> None:
        if self.ctx.incarnation > 1:
            self.ctx.monitor(self.ctx.find(self.neighbour))
            if self.ctx.random.random() < 0.3:
                raise Boom("start")
        self.ctx.every(0.3 + self.ctx.random.random(), self._work)
        self.ctx.subscribe("gossip", self.hear)
        self.ctx.start_task(self.wander)

    async def wander(self) -> None:
        while True:
            await trio.sleep(0.1 + self.ctx.random.random())
            self.ctx.publish("gossip", self.ctx.name)

    async def _work(self) -> None:
        other: Ref[Worker] = self.ctx.find(self.neighbour, Worker)
        await other.within(0.2).call(Worker.help, self.ctx.name)

    async def help(self, name: str) -> str:
        await trio.sleep(self.ctx.random.random() * 0.22)
        if self.ctx.random.random() < 0.2:
            raise Boom(name)
        return name

    def hear(self, name: str) -> None:
        if self.ctx.random.random() < 0.02:
            raise Boom("gossip")


def busy_tree() -> ChildSpec:
    names = [f"w{n}" for n in range(6)]
    pause = Backoff(0.05, 0.5)
    first = [
        child(name, lambda n=n: Worker(names[(n + 1) % 6]), backoff=pause)  # type: ignore[misc]
        for n, name in enumerate(names[:3])
    ]
    second = [
        child(name, lambda n=n: Worker(names[(n + 4) % 6]), depends_on=names[3 : n + 3])  # type: ignore[misc]
        for n, name in enumerate(names[3:])
    ]
    return supervisor(
        "app",
        supervisor("a", *first, max_restarts=10**6),
        supervisor("b", *second, strategy="dependents", max_restarts=10**6),
    )


def run_once(seed: int) -> list[str]:
    """The events of twenty seconds."""

    async def main() -> list[str]:
        log: list[str] = []
        runtime = Runtime(busy_tree(), seed=seed)
        runtime.events.listen(lambda event: log.append(repr(event)))
        async with runtime:
            errors = 0
            for _ in range(200):
                try:
                    await runtime.ref("w0", Worker).within(0.1).call(Worker.help, "main")
                except (ActorCrashed, ActorStopped, CallTimeout):
                    errors += 1
                await trio.sleep(0.05)
            log.append(f"{errors} errors")
        return log

    trio_run._r.seed(seed)
    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.rule("D1")
@pytest.mark.usefixtures("_deterministic")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_busy_tree_with_crashes_and_backoff_repeats_exactly_with_its_seed(seed: int) -> None:
    log = run_once(seed)
    assert sum("ActorExited" in line and "Boom" in line for line in log) > 10
    assert sum("RestartDelayed" in line for line in log) > 3
    assert run_once(seed) == log


@pytest.mark.rule("D1")
@pytest.mark.usefixtures("_deterministic")
def test_another_seed_tells_another_story() -> None:
    assert run_once(1) != run_once(2)


@pytest.mark.rule("D1")
async def test_the_runtime_owns_one_seeded_source_of_randomness() -> None:
    drawn: list[list[Any]] = []

    class Drawing(Actor):
        def on_start(self) -> None:
            drawn.append([self.ctx.random.random() for _ in range(3)])

    for _ in range(2):
        async with Runtime(supervisor("app", child("a", Drawing), child("b", Drawing)), seed=7):
            pass
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]
