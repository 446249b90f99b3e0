"""What an incarnation leaves behind and what dies with it (rules R4, R5), and ends that are hard to come by."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Runtime,
    child,
    supervisor,
)
from ukemi.actors import incarnation
from ukemi.actors.events import ActorExited, BackgroundFailed, DeadLetter, Zombie

from .subject import WAYS, Boom, Outcome, Subject, Way, alone, ask, boom


class Stubborn(Actor):
    """Holds shields, swallows cancellations, and writes down what it does."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def shielded(self, seconds: float) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
        self.log.append(f"shielded {self.ctx.incarnation}")
        return "shielded"

    async def swallow(self, times: int) -> str:
        for _ in range(times):
            try:
                await trio.sleep_forever()
            except BaseException:
                self.log.append("swallowed")
        return "swallowed"

    async def meddle(self, seconds: float) -> None:
        """Outlive the incarnation, and then ask for everything."""
        await self.shielded(seconds)
        ctx = self.ctx
        ctx.unstash()
        ctx.stash()
        ctx.defer().send(1)
        ctx.monitor(ctx.find("app"))
        ctx.link(ctx.find("app"))
        ctx.subscribe("news", self.note)
        ctx.after(1, self.note, "a late timer")
        ctx.publish("news", "late")
        ctx.stop(Boom())
        with pytest.raises(ActorStopped, match="can't start a task"):
            ctx.start_task(trio.sleep_forever)
        self.log.append("meddled")

    def keep(self, text: str) -> None:
        if self.ctx.incarnation == 1:
            self.ctx.stash()
        else:
            self.note(text)

    def note(self, text: str) -> None:
        self.log.append(f"{text} {self.ctx.incarnation}")


@pytest.mark.rule("R4")
@pytest.mark.parametrize("way", WAYS)
async def test_the_message_in_hand_fails_and_is_not_given_again_and_the_rest_waits(way: Way) -> None:
    log: list[tuple[int, int]] = []

    def behave(self: Subject, n: int) -> int:
        log.append((self.ctx.incarnation, n))
        if n == 1:
            raise Boom
        return n

    outcomes = [Outcome() for _ in range(4)]
    async with alone(lambda: Subject(behave)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        for n, outcome in enumerate(outcomes):
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(outcome.of, it, way, n)
    assert [type(outcome.value) for outcome in outcomes] == [int, ActorCrashed, int, int]
    assert log == [(1, 0), (1, 1), (2, 2), (2, 3)]


@pytest.mark.rule("R4")
async def test_queued_mail_survives_many_crashes() -> None:
    done: list[int] = []

    def behave(self: Subject, n: int) -> None:
        if n % 2:
            raise Boom
        done.append(n)

    async with alone(lambda: Subject(behave)) as runtime:
        it = runtime.ref("it", Subject)
        for n in range(100):
            it.cast(Subject.sync, n)
        await wait_all_tasks_blocked()
        assert len(runtime.events.of(DeadLetter)) == 50
        assert it.stats().incarnation == 51
    assert done == list(range(0, 100, 2))


@pytest.mark.rule("M8")
@pytest.mark.parametrize("end", ["kill", "fail"])
async def test_no_further_message_is_taken_even_if_a_shield_hid_the_end(autojump_clock: MockClock, end: str) -> None:
    log: list[str] = []
    async with alone(lambda: Stubborn(log)) as runtime:
        it = runtime.ref("it", Stubborn)
        it.cast(Stubborn.shielded, 0.5)
        it.cast(Stubborn.note, "next")
        await wait_all_tasks_blocked()
        assert it.cell.incarnation is not None
        if end == "kill":
            it.kill()
        else:
            it.cell.incarnation.fail(Boom())
        await trio.sleep(3)
        assert runtime.events.of(Zombie) == []
    assert log == ["shielded 1", "next 2"]


@pytest.mark.rule("M8", "X1")
async def test_no_further_message_is_taken_by_a_handler_that_swallowed_its_cancellation() -> None:
    log: list[str] = []
    async with alone(lambda: Stubborn(log)) as runtime:
        it = runtime.ref("it", Stubborn)
        it.cast(Stubborn.swallow, 3)
        it.cast(Stubborn.note, "next")
        await wait_all_tasks_blocked()
        it.kill()
        await wait_all_tasks_blocked()
    assert log == ["swallowed", "swallowed", "swallowed", "next 2"]


@pytest.mark.rule("S13", "R5")
async def test_a_zombie_that_comes_back_takes_nothing_and_can_ask_for_nothing(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with alone(lambda: Stubborn(log), mailbox=5) as runtime:
        it = runtime.ref("it", Stubborn)
        it.cast(Stubborn.keep, "kept")
        it.cast(Stubborn.meddle, 5)
        await wait_all_tasks_blocked()
        it.kill()
        await trio.sleep(2)
        assert [zombie.path for zombie in runtime.events.of(Zombie)] == ["/app/it"]
        assert runtime.system.zombies == 1
        it.cast(Stubborn.shielded, 10)
        it.cast(Stubborn.note, "next")
        await trio.sleep(20)
        assert [letter.method for letter in runtime.events.of(DeadLetter)] == ["meddle", "note", "news"]
        assert (it.stats().waiting, it.cell.mailbox.room, it.stats().incarnation) == (0, 5, 2)
    assert log == ["kept 2", "shielded 1", "meddled", "shielded 2", "next 2"]


@pytest.mark.rule("S13")
async def test_a_zombies_caller_is_told_at_once_and_its_supervisor_starts_another(
    autojump_clock: MockClock,
) -> None:
    async with alone(lambda: Stubborn([])) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Stubborn)
        start = trio.current_time()

        async def call() -> None:
            with pytest.raises(ActorCrashed, match="it was killed"):
                await it.call(Stubborn.shielded, 20.0)
            assert trio.current_time() - start == pytest.approx(incarnation.GRACE)

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        it.kill()
        await trio.sleep(incarnation.GRACE + 0.1)
        assert await it.call(Stubborn.swallow, 0) == "swallowed"


@pytest.mark.rule("S13")
async def test_only_what_hangs_is_a_zombie_and_not_the_supervisors_above_it(autojump_clock: MockClock) -> None:
    tree = supervisor("app", supervisor("outer", supervisor("inner", child("it", lambda: Stubborn([])))))
    async with Runtime(tree) as runtime:
        runtime.ref("it", Stubborn).cast(Stubborn.shielded, 5)
        await wait_all_tasks_blocked()
        runtime.ref("outer").kill()
        await trio.sleep(9)
        assert [zombie.path for zombie in runtime.events.of(Zombie)] == ["/app/outer/inner/it"]
        assert runtime.ref("it").stats().incarnation == 2


@pytest.mark.rule("S13")
async def test_killing_a_supervisor_ends_everything_below_it_and_it_comes_back_with_its_mail() -> None:
    log: list[str] = []
    tree = supervisor("app", supervisor("sub", child("a", lambda: Stubborn(log)), child("b", lambda: Stubborn(log))))
    async with Runtime(tree) as runtime:
        a, b = runtime.ref("a", Stubborn), runtime.ref("b", Stubborn)
        a.cast(Stubborn.shielded, 0)
        b.cell.suspend(True)
        b.cast(Stubborn.note, "waits")
        await wait_all_tasks_blocked()
        runtime.ref("sub").kill()
        await wait_all_tasks_blocked()
        assert [ref.stats().incarnation for ref in (a, b)] == [2, 2]
        exits = {event.path: event.reason for event in runtime.events.of(ActorExited)}
        assert set(exits) == {"/app/sub", "/app/sub/a", "/app/sub/b"}
        assert set(exits.values()) == {"it was killed"}
    assert log == ["shielded 1", "waits 2"]


@pytest.mark.rule("R7")
async def test_the_mail_of_a_subtree_fails_when_its_supervisor_gives_up() -> None:
    outcomes = [Outcome() for _ in range(3)]
    gate = trio.Event()

    class Busy(Subject):
        async def coroutine(self, n: int = 0) -> Any:
            await gate.wait()

    tree = supervisor("app", supervisor("sub", child("bad", lambda: Subject(boom)), child("it", Busy), max_restarts=0))
    async with Runtime(tree) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        for outcome in outcomes:
            nursery.start_soon(outcome.of, it, "coroutine")
        await wait_all_tasks_blocked()
        it.cast(Subject.sync)
        gate_cast = runtime.ref("bad", Subject)
        gate_cast.cast(Subject.sync)
        await wait_all_tasks_blocked()
        gate.set()
        await wait_all_tasks_blocked()
        assert [outcome.kind for outcome in outcomes].count(ActorStopped) == 2
        assert "/app/sub/it" in [letter.path for letter in runtime.events.of(DeadLetter)]
        assert it.stats().incarnation == 2
        assert await ask(it, "inline", 3) == 3


# --- background tasks


class Working(Actor):
    """Has a background task that takes its time to end."""

    def __init__(self, log: list[str], error: Exception | None = None) -> None:
        self.log = log
        self.error = error

    def on_start(self) -> None:
        self.log.append(f"start {self.ctx.incarnation}")
        self.scope = self.ctx.start_task(self.work)

    async def work(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            self.log.append(f"task ended {self.ctx.incarnation}")
            if self.error is not None:
                raise self.error

    def on_stop(self, reason: object) -> None:
        self.log.append(f"on_stop {self.ctx.incarnation}")

    def boom(self) -> None:
        raise Boom

    def end_task(self) -> None:
        self.scope.cancel()

    async def fail_in_background(self) -> None:
        self.ctx.start_task(self.fail)
        await trio.sleep_forever()

    async def fail(self) -> None:
        raise Boom("in the background")


@pytest.mark.rule("R5")
@pytest.mark.parametrize("end", ["crash", "stop"])
async def test_background_tasks_are_cancelled_and_joined_before_on_stop_and_the_next_start(
    autojump_clock: MockClock, end: str
) -> None:
    log: list[str] = []
    async with alone(lambda: Working(log)) as runtime:
        it = runtime.ref("it", Working)
        if end == "crash":
            it.cast(Working.boom)
        else:
            await it.stop()
        await trio.sleep(2)
        assert log == ["start 1", "task ended 1", "on_stop 1", "start 2"]


@pytest.mark.rule("R5")
async def test_after_a_kill_they_are_joined_too(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with alone(lambda: Working(log)) as runtime:
        runtime.ref("it", Working).kill()
        await trio.sleep(2)
        assert log == ["start 1", "task ended 1", "start 2"]


@pytest.mark.rule("R5", "X1")
async def test_cancelling_a_tasks_scope_ends_that_task_alone(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with alone(lambda: Working(log)) as runtime:
        it = runtime.ref("it", Working)
        await it.call(Working.end_task)
        await trio.sleep(1)
        assert it.stats().tasks == 0
        assert it.stats().incarnation == 1
        assert log == ["start 1", "task ended 1"]


@pytest.mark.rule("R5")
async def test_an_actor_crashes_of_its_background_tasks_error_and_so_does_its_caller(
    autojump_clock: MockClock,
) -> None:
    async with alone(lambda: Working([])) as runtime:
        it = runtime.ref("it", Working)
        with pytest.raises(ActorCrashed, match="in the background"):
            await it.call(Working.fail_in_background)
        await trio.sleep(2)
        assert (it.stats().incarnation, it.stats().crashes) == (2, 1)


@pytest.mark.rule("R5")
async def test_a_background_task_that_fails_while_its_actor_ends_is_told_and_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    async with alone(lambda: Working([], KeyError("late"))) as runtime:
        it = runtime.ref("it", Working)
        await it.stop()
        await trio.sleep(2)
        assert [event.reason for event in runtime.events.of(BackgroundFailed)] == ["KeyError: 'late'"]
        assert [event.reason for event in runtime.events.of(ActorExited)] == ["normal"]
