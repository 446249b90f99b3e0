"""Actors whose fate a test decides, and a log of what befell them.

A `Stage` describes children and writes down, in order, `+name` when one is up and `-name` when its `on_stop` runs.
What a start does (fail, wait, ask to be ignored) is told to the stage, so that it holds for incarnations to come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from ukemi import Actor, Ref, Runtime, Supervisor, child
from ukemi.supervisors import ChildInfo, ChildSpec


class Boom(Exception):
    """What a worker crashes of."""


class Worker(Actor):
    """Does as it is told."""

    def __init__(self, stage: Stage, label: str) -> None:
        self.stage = stage
        self.label = label

    async def on_start(self) -> None:
        await self.stage.run_start(self)
        self.stage.log.append(f"+{self.label}")

    async def on_stop(self, reason: object) -> None:
        self.stage.reasons[self.label] = reason
        try:
            await self.stage.run_stop(self)
        finally:
            self.stage.log.append(f"-{self.label}")

    def boom(self) -> None:
        raise Boom(self.label)

    def finish(self) -> None:
        self.ctx.stop()

    def incarnation(self) -> int:
        return self.ctx.incarnation

    def note(self, text: str) -> None:
        self.stage.log.append(f"{self.label}:{text}")

    async def hold(self) -> str:
        """Work until the test lets go."""
        await self.stage.gate.wait()
        return self.label

    async def relay(self, other: Ref[Worker]) -> None:
        """Call somebody who crashes of it, and crash of that."""
        await other.call(Worker.boom)

    async def pass_on(self, others: list[Ref[Worker]]) -> None:
        """The same through a chain: the last of them asks the one before, and so on."""
        *before, last = others
        if before:
            await last.call(Worker.pass_on, before)
        else:
            await last.call(Worker.boom)


Hook = Callable[[Worker], Awaitable[None]]


def pause(seconds: float) -> Hook:
    """A start or stop that takes some time."""

    async def hook(worker: Worker) -> None:
        await trio.sleep(seconds)

    return hook


async def hang(worker: Worker) -> None:
    """A start or stop that never ends."""
    await trio.sleep_forever()


class Stage:
    """The children of one test, and what they did."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.reasons: dict[str, object] = {}
        self.gate = trio.Event()
        self.starts: dict[str, Hook] = {}
        self.stops: dict[str, Hook] = {}
        self.failures: dict[str, int] = {}

    def child(self, name: str, **options: Any) -> ChildSpec:
        """A worker of this name."""
        return child(name, lambda: Worker(self, name), **options)

    def children(self, names: Iterable[str], **options: Any) -> list[ChildSpec]:
        """A worker for each name or letter."""
        return [self.child(name, **options) for name in names]

    def fail_starts(self, name: str, times: int = 1) -> None:
        """The next starts of this child fail."""
        self.failures[name] = times

    async def run_start(self, worker: Worker) -> None:
        name = worker.label
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            self.log.append(f"!{name}")
            raise Boom(f"start of {name}")
        if name in self.starts:
            await self.starts[name](worker)

    async def run_stop(self, worker: Worker) -> None:
        if worker.label in self.stops:
            await self.stops[worker.label](worker)

    def take(self) -> list[str]:
        """What has happened since the last time."""
        taken, self.log = self.log, []
        return taken


async def crash(runtime: Runtime, name: str) -> None:
    """Crash a worker and wait until everything has settled (as far as it does without the clock)."""
    runtime.ref(name, Worker).cast(Worker.boom)
    await wait_all_tasks_blocked()


async def finish(runtime: Runtime, name: str) -> None:
    """End a worker normally, and wait likewise."""
    runtime.ref(name, Worker).cast(Worker.finish)
    await wait_all_tasks_blocked()


async def infos(runtime: Runtime, name: str = "top") -> dict[str, ChildInfo]:
    """What a supervisor tells of its children."""
    return {info.name: info for info in await runtime.ref(name, Supervisor).call(Supervisor.children)}


async def states(runtime: Runtime, name: str = "top") -> dict[str, str]:
    """The states of a supervisor's children."""
    return {info.name: info.state for info in (await infos(runtime, name)).values()}
