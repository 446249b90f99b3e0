"""A sync method of an idle actor runs in its caller's turn, and nobody can tell (rules I1 to I4)."""

from __future__ import annotations

import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from trio.lowlevel import current_task
from trio.testing import wait_all_tasks_blocked

from ukemi import Actor, ActorCrashed, Ref, Supervisor
from ukemi.actors.events import ActorExited

from .subject import WAYS, Boom, Subject, Way, alone, ask, boom

note: ContextVar[str] = ContextVar("note", default="unset")


class Probe:
    """Whether the last message ran in its caller's turn."""

    def __init__(self) -> None:
        self.task: object = None

    def __call__(self, actor: Subject, n: int) -> Any:
        self.task = current_task()
        return n

    @property
    def was_inline(self) -> bool:
        return self.task is current_task()


@pytest.mark.rule("I1")
@pytest.mark.parametrize("way", WAYS)
async def test_only_a_sync_method_of_an_idle_actor_runs_in_its_callers_turn(way: Way) -> None:
    probe = Probe()
    async with alone(lambda: Subject(probe)) as runtime:
        it = runtime.ref("it", Subject)
        for _ in range(3):
            await ask(it, way)
            assert probe.was_inline == (way == "inline")
            await wait_all_tasks_blocked()


@pytest.mark.rule("I1")
async def test_it_runs_inline_again_once_the_actor_is_idle_again() -> None:
    probe = Probe()
    async with alone(lambda: Subject(probe)) as runtime:
        it = runtime.ref("it", Subject)
        await ask(it, "coroutine")
        await wait_all_tasks_blocked()
        await ask(it, "inline")
        assert probe.was_inline


@pytest.mark.rule("I1", "M2")
async def test_not_while_a_batch_is_half_drained() -> None:
    log: list[int] = []
    async with alone(lambda: Subject(lambda self, n: log.append(n))) as runtime:
        it = runtime.ref("it", Subject)
        for n in range(1000):
            it.cast(Subject.sync, n)
        await it.call(Subject.sync, 1000)
    assert log == list(range(1001))


@pytest.mark.rule("I1")
async def test_not_while_a_stop_is_pending() -> None:
    probe = Probe()

    class Stopping(Subject):
        async def on_stop(self, reason: object) -> None:
            await gate.wait()

    gate = trio.Event()
    async with alone(lambda: Stopping(probe)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Stopping)
        nursery.start_soon(it.stop)
        await wait_all_tasks_blocked()
        nursery.start_soon(it.call, Stopping.sync)
        await wait_all_tasks_blocked()
        assert probe.task is None
        gate.set()
    assert probe.task is not None


@pytest.mark.rule("I1")
async def test_not_while_it_is_suspended() -> None:
    probe = Probe()
    async with alone(lambda: Subject(probe)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        it.cell.suspend(True)
        nursery.start_soon(ask, it, "inline")
        await wait_all_tasks_blocked()
        assert probe.task is None
        it.cell.suspend(False)
    assert probe.task is not None


@pytest.mark.rule("I1")
async def test_not_while_the_caller_handles_an_exception_lest_its_context_be_the_callers() -> None:
    probe = Probe()

    def fail(self: Subject, n: int) -> Any:
        probe(self, n)
        boom()

    async with alone(lambda: Subject(fail)) as runtime:
        it = runtime.ref("it", Subject)
        try:
            raise KeyError("the caller's own")
        except KeyError:
            with pytest.raises(ActorCrashed) as caught:
                await it.call(Subject.sync)
        assert not probe.was_inline
        cause = caught.value.__cause__
        assert cause is not None
        assert cause.__context__ is None


@pytest.mark.rule("I1")
async def test_not_when_the_stack_is_deep() -> None:
    depths: list[int] = []

    def measure(self: Subject, n: int) -> None:
        depth, frame = 0, sys._getframe()
        while frame.f_back is not None:
            depth, frame = depth + 1, frame.f_back
        depths.append(depth)

    async def descend(it: Ref[Subject], depth: int) -> None:
        await (descend(it, depth - 1) if depth else it.call(Subject.sync))

    async with alone(lambda: Subject(measure)) as runtime:
        await descend(runtime.ref("it", Subject), 300)
    assert depths[0] < 200


@pytest.mark.rule("I2")
@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_sees_its_own_context_and_not_its_callers(way: Way) -> None:
    def remember(self: Subject, n: int) -> str:
        before = note.get()
        note.set(f"the actor's {n}")
        return before

    async with alone(lambda: Subject(remember)) as runtime:
        it = runtime.ref("it", Subject)
        note.set("the caller's")
        assert await ask(it, way, 1) == "unset"
        assert note.get() == "the caller's"
        await wait_all_tasks_blocked()
        assert await ask(it, way, 2) == "the actor's 1"


@pytest.mark.rule("I2")
async def test_inline_and_queued_messages_share_one_context() -> None:
    def remember(self: Subject, n: int) -> str:
        before = note.get()
        note.set(str(n))
        return before

    async with alone(lambda: Subject(remember)) as runtime:
        it = runtime.ref("it", Subject)
        seen = []
        for n, way in enumerate(("inline", "coroutine", "inline", "busy", "inline", "awaitable", "inline")):
            seen.append(await ask(it, way, n))  # type: ignore[arg-type]
            await wait_all_tasks_blocked()
    assert seen == ["unset", "0", "1", "2", "3", "4", "5"]


@pytest.mark.rule("I2")
async def test_a_caller_that_calls_without_end_lets_others_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with alone(Subject, runtime={"encode_messages": False}) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        nursery.start_soon(other)
        for _ in range(2000):
            await it.call(Subject.sync)
        nursery.cancel_scope.cancel()
    assert turns > 5


@pytest.mark.rule("I2")
async def test_a_cancelled_caller_that_calls_without_end_is_cancelled() -> None:
    async with alone(Subject) as runtime:
        it = runtime.ref("it", Subject)
        with trio.CancelScope() as scope:
            for n in range(10):
                await it.call(Subject.sync)
                assert n <= 3
                if n == 3:
                    scope.cancel()
        assert scope.cancelled_caught


@pytest.mark.rule("I2")
@pytest.mark.parametrize("way", WAYS)
async def test_what_ran_is_always_answered_even_if_the_caller_is_cancelled_meanwhile(way: Way) -> None:
    ran: list[int] = []
    scope = trio.CancelScope()

    def cancel_caller(self: Subject, n: int) -> int:
        ran.append(n)
        scope.cancel()
        return n

    answered: list[int] = []
    async with alone(lambda: Subject(cancel_caller)) as runtime:
        with scope:
            answered.append(await ask(runtime.ref("it", Subject), way, 1))
    assert ran == [1]
    assert answered in ([1], [])
    if way == "inline":
        assert answered == [1]


@pytest.mark.rule("I3")
@pytest.mark.parametrize("way", WAYS)
async def test_the_supervisor_knows_of_a_crash_before_the_caller(way: Way) -> None:
    """The call asks the supervisor next: the crash is in its lane already."""
    async with alone(lambda: Subject(boom)) as runtime:
        it = runtime.ref("it", Subject)
        with pytest.raises(ActorCrashed):
            await ask(it, way)
        assert it.stats().crashes == 1
        assert len(runtime.events.of(ActorExited)) == 1
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        await runtime.ref("app", Supervisor).call(Supervisor.restart_child, "it")
        assert it.stats().incarnation >= 2


@pytest.mark.rule("I3")
async def test_a_crash_in_a_callers_turn_leaves_no_frame_of_the_caller_in_its_traceback() -> None:
    async with alone(lambda: Subject(boom)) as runtime:
        with pytest.raises(ActorCrashed) as caught:
            await runtime.ref("it", Subject).call(Subject.sync)
    names = []
    trace = caught.value.__cause__.__traceback__ if caught.value.__cause__ is not None else None
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names == ["sync", "boom"]


@pytest.mark.rule("I4")
@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_may_cast_to_its_own_actor(way: Way) -> None:
    log: list[int] = []

    def count_down(self: Subject, n: int) -> None:
        log.append(n)
        if n:
            self.ctx.ref.cast(Subject.sync, n - 1)

    async with alone(lambda: Subject(count_down)) as runtime:
        await ask(runtime.ref("it", Subject), way, 3)
        await wait_all_tasks_blocked()
    assert log == [3, 2, 1, 0]


@pytest.mark.rule("I4")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("drain", [False, True])
async def test_stop_in_a_handler_ends_the_actor_after_the_message_in_hand(way: Way, drain: bool) -> None:
    log: list[str] = []

    class Stopping(Subject):
        def on_stop(self, reason: object) -> None:
            log.append(f"stopped: {reason}")

    def stop(self: Subject, n: int) -> int:
        log.append(f"message {n}")
        if n == 1:
            self.ctx.ref.cast(Subject.sync, 2)
            self.ctx.stop(drain=drain)
        return n

    async with alone(lambda: Stopping(stop), restart="transient") as runtime:
        it = runtime.ref("it", Stopping)
        assert await ask(it, way, 1) == 1
        await wait_all_tasks_blocked()
        assert it.stats().state == "stopped"
    assert log == ["message 1", *(["message 2"] if drain else []), "stopped: normal"]


@pytest.mark.rule("I4")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stops_in_its_task", [False, True])
async def test_an_exception_given_to_stop_is_a_crash_after_the_message(way: Way, stops_in_its_task: bool) -> None:
    class Idle(Subject):
        pass

    class Stopping(Subject):
        async def on_stop(self, reason: object) -> None:
            await trio.lowlevel.checkpoint()

    def stop(self: Subject, n: int) -> str:
        self.ctx.stop(Boom("asked"))
        return "answered"

    kind = Stopping if stops_in_its_task else Idle
    async with alone(lambda: kind(stop)) as runtime:
        it = runtime.ref("it", Subject)
        assert await ask(it, way) == "answered"
        await wait_all_tasks_blocked()
        assert (it.stats().crashes, it.stats().incarnation) == (1, 2)


@pytest.mark.rule("I4")
@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_that_kills_its_own_actor_takes_no_further_message(way: Way) -> None:
    log: list[tuple[int, int]] = []

    def kill(self: Subject, n: int) -> int:
        log.append((self.ctx.incarnation, n))
        if n == 1:
            self.ctx.ref.cast(Subject.sync, 2)
            self.ctx.ref.kill()
        return n

    async with alone(lambda: Subject(kill)) as runtime:
        it = runtime.ref("it", Subject)
        with suppress(ActorCrashed):  # an async handler is cancelled at its next pause, if it has one
            assert await ask(it, way, 1) == 1
        await wait_all_tasks_blocked()
        assert it.stats().crashes == 1
    assert log == [(1, 1), (2, 2)]


@pytest.mark.rule("I1", "I4")
@pytest.mark.parametrize("fate", ["kill", "crash", "stop"])
async def test_what_a_sync_handler_left_to_be_awaited_never_runs_in_a_later_incarnation(fate: str) -> None:
    ran: list[int] = []

    class Leaving(Actor):
        def begin(self) -> Any:
            async def later() -> str:
                ran.append(self.ctx.incarnation)
                return "done"

            if fate == "kill":
                self.ctx.ref.kill()
            elif fate == "crash":
                self.ctx._incarnation.fail(Boom())
            else:
                self.ctx.stop()
            return later()

    async with alone(Leaving) as runtime:
        it = runtime.ref("it", Leaving)
        with trio.fail_after(5):
            if fate == "stop":  # after the message in hand
                assert await it.call(Leaving.begin) == "done"
            else:
                with pytest.raises(ActorCrashed):
                    await it.call(Leaving.begin)
        await wait_all_tasks_blocked()
        assert it.stats().incarnation == 2
    assert ran == ([1] if fate == "stop" else [])
