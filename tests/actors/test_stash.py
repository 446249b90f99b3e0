"""Stashed messages (rules M7, R5), in each way in which a message is handled (I4)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import ActorStopped, CallTimeout, MailboxFull, Reject, Supervisor, UkemiError
from ukemi.actors.events import DeadLetter

from .subject import WAYS, Boom, Outcome, Subject, Way, alone, ask


class Door:
    """Stashes what comes while it is closed; message -1 opens it, -2 closes it."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.is_open = is_open
        self.log: list[tuple[int, int]] = []

    def __call__(self, subject: Subject, n: int) -> Any:
        if n < 0:
            self.is_open = n == -1
            if self.is_open:
                subject.ctx.unstash()
            return "opened" if self.is_open else "closed"
        if not self.is_open:
            subject.ctx.stash()
            return "ignored"
        self.log.append((subject.ctx.incarnation, n))
        return n


@pytest.mark.rule("I4")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opener", WAYS)
async def test_stashed_messages_are_handled_in_order_after_unstash_and_before_later_ones(way: Way, opener: Way) -> None:
    door, outcomes = Door(), [Outcome() for _ in range(3)]
    async with alone(lambda: Subject(door)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        for n, outcome in enumerate(outcomes):
            nursery.start_soon(outcome.of, it, way, n)
            await wait_all_tasks_blocked()
        assert it.stats().waiting == 3
        it.cast(Subject.pause)
        nursery.start_soon(Outcome().of, it, opener, -1)
        await wait_all_tasks_blocked()
        assert await ask(it, way, 9) == 9
        await wait_all_tasks_blocked()
    assert door.log == [(1, 0), (1, 1), (1, 2), (1, 9)]
    assert [outcome.value for outcome in outcomes] == [0, 1, 2]


@pytest.mark.rule("M7")
async def test_stashed_messages_keep_their_place_in_the_bound() -> None:
    door = Door()
    async with alone(lambda: Subject(door), mailbox=2) as runtime:
        it = runtime.ref("it", Subject)
        for n in range(2):
            it.cast(Subject.sync, n)
            await wait_all_tasks_blocked()
        assert it.stats().waiting == 2
        with pytest.raises(MailboxFull):
            it.cast(Subject.sync, 2)
        it.cell.incarnation.actor.ctx.unstash()  # type: ignore[union-attr]
        await wait_all_tasks_blocked()
        assert it.stats().waiting == 2


@pytest.mark.rule("M5", "I4")
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_that_times_out_in_the_stash_never_runs(autojump_clock: MockClock, way: Way) -> None:
    door = Door()
    async with alone(lambda: Subject(door), mailbox=3) as runtime:
        it = runtime.ref("it", Subject)
        with pytest.raises(CallTimeout) as caught:
            await ask(it.within(1), way, 7)
        assert not caught.value.began
        assert it.stats().waiting == 0
        assert await ask(it, way, -1) == "opened"
        await wait_all_tasks_blocked()
        assert (it.stats().waiting, it.cell.mailbox.room) == (0, 3)
    assert door.log == []


@pytest.mark.rule("R5")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fate", ["crash", "kill", "stop"])
async def test_stashed_messages_go_back_to_the_front_when_the_incarnation_ends(way: Way, fate: str) -> None:
    door, outcomes = Door(), [Outcome() for _ in range(3)]
    async with alone(lambda: Subject(door)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        for n, outcome in enumerate(outcomes):
            nursery.start_soon(outcome.of, it, way, n)
            await wait_all_tasks_blocked()
        door.is_open = True
        assert it.cell.incarnation is not None
        if fate == "crash":
            it.cell.incarnation.fail(Boom())
        elif fate == "kill":
            it.kill()
        else:
            await it.stop()
        nursery.start_soon(Outcome().of, it, way, 9)
        await wait_all_tasks_blocked()
    assert door.log == [(2, 0), (2, 1), (2, 2), (2, 9)]
    assert [outcome.value for outcome in outcomes] == [0, 1, 2]


@pytest.mark.rule("I4", "R4")
@pytest.mark.parametrize("way", [*WAYS, "cast"])
async def test_a_handler_that_stashes_and_then_crashes_has_not_lost_the_message(way: Any) -> None:
    """A stashed message is not in hand any more: it is not lost, and not handled twice."""
    log: list[tuple[int, int]] = []

    def behave(self: Subject, n: int) -> int:
        log.append((self.ctx.incarnation, n))
        if self.ctx.incarnation == 1:
            self.ctx.stash()
            raise Boom
        return n

    async with alone(lambda: Subject(behave)) as runtime:
        it = runtime.ref("it", Subject)
        if way == "cast":
            it.cast(Subject.sync, 1)
            await wait_all_tasks_blocked()
        else:
            assert await ask(it, way, 1) == 1
        assert runtime.events.of(DeadLetter) == []
    assert log == [(1, 1), (2, 1)]


@pytest.mark.rule("I4", "M6")
@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_that_stashes_and_then_rejects_answers_and_does_not_handle_it_again(way: Way) -> None:
    log: list[int] = []

    def behave(self: Subject, n: int) -> None:
        log.append(n)
        if n:
            self.ctx.stash()
            raise Reject(ValueError("no"))
        self.ctx.unstash()

    async with alone(lambda: Subject(behave)) as runtime:
        it = runtime.ref("it", Subject)
        with pytest.raises(ValueError, match="no"):
            await ask(it, way, 1)
        await ask(it, way, 0)
        await wait_all_tasks_blocked()
        assert it.stats().waiting == 0
    assert log == [1, 0]


@pytest.mark.rule("I4")
@pytest.mark.parametrize("way", WAYS)
async def test_a_message_is_stashed_once(way: Way) -> None:
    def behave(self: Subject, n: int) -> None:
        self.ctx.stash()
        for again in (self.ctx.stash, self.ctx.defer):
            with pytest.raises(UkemiError, match="or twice"):
                again()

    async with alone(lambda: Subject(behave)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        nursery.start_soon(Outcome().of, it, way)
        await wait_all_tasks_blocked()
        assert (it.stats().waiting, it.stats().crashes) == (1, 0)
        nursery.cancel_scope.cancel()


@pytest.mark.rule("R3", "R5")
async def test_stashed_calls_fail_when_the_child_is_stopped() -> None:
    outcome = Outcome()
    async with alone(lambda: Subject(Door())) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(outcome.of, runtime.ref("it", Subject), "coroutine", 1)
        await wait_all_tasks_blocked()
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        await wait_all_tasks_blocked()
        assert outcome.kind is ActorStopped
