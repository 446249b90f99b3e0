"""Everything at once, by chance: calls, casts, sends, cancellations, deadlines, crashes, kills, stops, stash, defer.

Whatever happens, every call ends, nothing is handled twice, and at rest nothing is left behind. A failure prints its
seed; `pytest -k "[<seed>]"` runs it again.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
import trio
import trio._core._run as trio_run
from trio.testing import MockClock

from ukemi import (
    ActorCrashed,
    ActorStopped,
    CalledItself,
    CallTimeout,
    MailboxFull,
    Ref,
    Reject,
    Runtime,
    child,
    supervisor,
)
from ukemi.actors.deferred import DroppedReply

from .subject import WAYS, Boom, Subject, ask, method_for

EXPECTED = (ActorCrashed, ActorStopped, CalledItself, CallTimeout, MailboxFull, DroppedReply, ValueError)
NAMES = ("a", "b", "c")


class Wild(Subject):
    """Does with each message whatever comes to its mind."""

    def __init__(self, random: Random, handled: Counter[int]) -> None:
        super().__init__(lambda self, n: self.do(n))
        self.random = random
        self.handled = handled
        self.kept: list[Any] = []

    def do(self, n: int) -> int:
        chance = self.random.random()
        if chance < 0.05:
            self.ctx.stash()
            self.ctx.after(self.random.random(), self._unstash)
            return n
        self.handled[n] += 1
        if chance < 0.15:
            raise Boom
        if chance < 0.20:
            raise Reject(ValueError())
        if chance < 0.30:
            self.kept.append(self.ctx.defer())
            self.ctx.after(self.random.random(), self._answer)
        elif chance < 0.33:
            self.ctx.defer()
        elif chance < 0.36:
            self.ctx.stop(drain=self.random.random() < 0.5)
        elif chance < 0.38:
            self.ctx.ref.kill()
        return n

    async def coroutine(self, n: int = 0) -> int:
        await trio.sleep(self.random.random() * 0.2)
        if self.random.random() < 0.2:
            other: Ref[Wild] = self.ctx.find(self.random.choice(NAMES), Wild)
            await other.call(Wild.coroutine, -abs(n))
        if self.random.random() < 0.05:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
        return self.do(n)

    def _unstash(self) -> None:
        self.ctx.unstash()

    def _answer(self) -> None:
        if self.kept:
            self.kept.pop(0).send(0)


async def client(runtime: Runtime, random: Random, numbers: range) -> None:
    for n in numbers:
        ref = runtime.ref(random.choice(NAMES), Wild)
        way = random.choice(WAYS)
        chance = random.random()
        with trio.move_on_after(random.choice([0.0, 0.1, 5.0])):
            try:
                if chance < 0.5:
                    await ask(ref.within(random.choice([0.05, 1.0, None])), way, n)
                elif chance < 0.7:
                    ref.cast(method_for(way), n)
                elif chance < 0.9:
                    await ref.send(method_for(way), n)
                elif chance < 0.95:
                    ref.kill()
                else:
                    await ref.stop(drain=random.random() < 0.5)
            except EXPECTED:
                pass
        await trio.sleep(random.random() * 0.1)


@pytest.mark.rule("M4", "M5", "M7", "R4", "R5")
@pytest.mark.parametrize("seed", range(12))
def test_every_call_ends_nothing_runs_twice_and_nothing_is_left_behind(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    state = trio_run._r.getstate()
    trio_run._r.seed(seed)
    random, handled = Random(seed), Counter[int]()

    async def main() -> None:
        kinds = [child(name, lambda: Wild(random, handled), mailbox=4) for name in NAMES]
        tree = supervisor("app", *kinds, max_restarts=10**6)
        async with Runtime(tree, seed=seed) as runtime:
            with trio.fail_after(600):
                async with trio.open_nursery() as nursery:
                    for number in range(8):
                        numbers = range(1 + number * 1000, 60 + number * 1000)
                        nursery.start_soon(client, runtime, random, numbers)
            await trio.sleep(60)
            for name in NAMES:
                cell = runtime.ref(name).cell
                assert (len(cell.mailbox), cell.mailbox.room) == (0, 4)
                assert (cell.mailbox.ghosts, cell.mailbox.gone, cell.mailbox.stashed) == (0, 0, 0)
                assert not cell.mailbox.waiting
                assert cell.incarnation is not None
                assert cell.incarnation.waits == []
                assert cell.state == "running"
            assert len(runtime.system.timers) == 0

    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        trio_run._r.setstate(state)
    assert sum(handled.values()) > 100
    assert max(count for n, count in handled.items() if n > 0) == 1
