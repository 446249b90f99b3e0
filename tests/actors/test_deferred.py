"""Deferred replies (rule M9), in each way in which a message is handled (I4)."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import ActorCrashed, ActorStopped, CallTimeout, Reject, UkemiError
from ukemi.actors.deferred import Deferred, DroppedReply, Reply
from ukemi.actors.messages import Call
from ukemi.actors.system import System

from .subject import WAYS, Boom, Outcome, Subject, Way, alone, ask


class Keeper:
    """Defers the reply to message 0, answers others with their number."""

    def __init__(self) -> None:
        self.kept: list[Reply] = []

    def __call__(self, subject: Subject, n: int) -> Any:
        if n == 0:
            self.kept.append(subject.ctx.defer())
            return "ignored"
        return n


@pytest.mark.rule("I4", "M9")
@pytest.mark.parametrize("way", WAYS)
async def test_a_deferred_reply_answers_later_and_the_actor_goes_on_meanwhile(way: Way) -> None:
    keeper, outcome = Keeper(), Outcome()
    async with alone(lambda: Subject(keeper)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        nursery.start_soon(outcome.of, it, way)
        await wait_all_tasks_blocked()
        assert outcome.value == "pending"
        assert await ask(it, way, 5) == 5
        keeper.kept[0].send("at last")
        await wait_all_tasks_blocked()
        assert outcome.value == "at last"
        keeper.kept[0].send("again")
        keeper.kept[0].fail(ValueError("again"))


@pytest.mark.rule("I4", "M9")
@pytest.mark.parametrize("way", WAYS)
async def test_a_deferred_reply_may_be_an_error_or_come_at_once(way: Way) -> None:
    def behave(self: Subject, n: int) -> str:
        reply = self.ctx.defer()
        if n:
            reply.fail(ValueError("no"))
        else:
            reply.send("yes")
        return "ignored"

    async with alone(lambda: Subject(behave)) as runtime:
        it = runtime.ref("it", Subject)
        assert await ask(it, way, 0) == "yes"
        with pytest.raises(ValueError, match="no"):
            await ask(it, way, 1)


@pytest.mark.rule("I4", "M9")
@pytest.mark.parametrize("way", WAYS)
async def test_a_deferred_reply_that_is_dropped_fails_its_caller_at_once(way: Way) -> None:
    keeper, outcome = Keeper(), Outcome()
    async with alone(lambda: Subject(keeper)) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(outcome.of, runtime.ref("it", Subject), way)
        await wait_all_tasks_blocked()
        keeper.kept.clear()
        await wait_all_tasks_blocked()
        assert outcome.kind is DroppedReply
        assert "/app/it dropped the deferred reply" in str(outcome.value)


@pytest.mark.rule("M9")
@pytest.mark.parametrize("way", WAYS)
async def test_dropped_in_the_handler_itself_it_fails_its_caller_too(way: Way) -> None:
    async with alone(lambda: Subject(lambda self, n: self.ctx.defer() and None)) as runtime:
        with pytest.raises(DroppedReply):
            await ask(runtime.ref("it", Subject), way)


@pytest.mark.rule("M9")
async def test_dropped_in_another_thread_it_fails_its_caller_too() -> None:
    keeper, outcome = Keeper(), Outcome()
    async with alone(lambda: Subject(keeper)) as runtime:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outcome.of, runtime.ref("it", Subject), "coroutine")
                await wait_all_tasks_blocked()
                await trio.to_thread.run_sync(keeper.kept.clear)
        assert outcome.kind is DroppedReply


@pytest.mark.rule("M9")
async def test_collected_in_a_cycle_it_fails_its_caller_too() -> None:
    class Cycle:
        def __init__(self, reply: Reply) -> None:
            self.reply, self.me = reply, self

    def behave(self: Subject, n: int) -> None:
        Cycle(self.ctx.defer())

    outcome = Outcome()
    async with alone(lambda: Subject(behave)) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(outcome.of, runtime.ref("it", Subject), "inline")
        await wait_all_tasks_blocked()
        gc.collect()
        await wait_all_tasks_blocked()
        assert outcome.kind is DroppedReply


@pytest.mark.rule("M9")
def test_kept_beyond_the_end_of_trios_run_it_harms_nobody() -> None:
    replies: list[Reply] = []

    async def main() -> None:
        system = System()
        async with system.open():
            cell: Any = SimpleNamespace(system=system, path="/x")
            life: Any = SimpleNamespace(cell=cell, deferred={}, answered=0)
            for _ in range(2):
                call = Call(cell, "m")
                call.task = trio.lowlevel.current_task()
                deferred = Deferred(life, ("m", (), {}, call), call)
                life.deferred[deferred] = None
                replies.append(Reply(deferred))

    trio.run(main)
    replies.pop()
    thread = threading.Thread(target=replies.clear)
    thread.start()
    thread.join()


@pytest.mark.rule("M9")
async def test_an_answer_from_a_thread_says_how_to_give_it_and_harms_nobody() -> None:
    keeper, outcome = Keeper(), Outcome()
    async with alone(lambda: Subject(keeper)) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(outcome.of, runtime.ref("it", Subject), "inline")
        await wait_all_tasks_blocked()
        (reply,) = keeper.kept
        for answer in (reply.send, reply.fail):
            with pytest.raises(UkemiError, match=r"from_thread\.run_sync\(reply\."):
                await trio.to_thread.run_sync(answer, ValueError("x"))
        await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(reply.send, "right"))
        await wait_all_tasks_blocked()
        assert outcome.value == "right"


@pytest.mark.rule("M9")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fate", ["crash", "kill", "stop"])
async def test_a_deferred_reply_whose_actor_ends_fails_its_caller_at_once(way: Way, fate: str) -> None:
    keeper, outcome = Keeper(), Outcome()
    async with alone(lambda: Subject(keeper)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        nursery.start_soon(outcome.of, it, way)
        await wait_all_tasks_blocked()
        if fate == "crash":
            it.cell.incarnation.fail(Boom())  # type: ignore[union-attr]
        elif fate == "kill":
            it.kill()
        else:
            await it.stop()
        await wait_all_tasks_blocked()
        assert outcome.kind is (ActorStopped if fate == "stop" else ActorCrashed)
        keeper.kept[0].send("too late")
        assert await ask(it, way, 5) == 5


@pytest.mark.rule("I4", "M9")
@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_that_defers_and_then_crashes_fails_its_caller_with_the_cause(way: Way) -> None:
    keeper = Keeper()

    def behave(self: Subject, n: int) -> None:
        keeper(self, 0)
        raise Boom

    async with alone(lambda: Subject(behave)) as runtime:
        with pytest.raises(ActorCrashed) as caught:
            await ask(runtime.ref("it", Subject), way)
        assert type(caught.value.__cause__) is Boom


@pytest.mark.rule("I4", "M9")
@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_that_defers_and_then_rejects_answers_with_the_rejection(way: Way) -> None:
    keeper = Keeper()

    def behave(self: Subject, n: int) -> None:
        keeper(self, 0)
        raise Reject(ValueError("no"))

    async with alone(lambda: Subject(behave)) as runtime:
        with pytest.raises(ValueError, match="no"):
            await ask(runtime.ref("it", Subject), way)
        keeper.kept[0].send("too late")


@pytest.mark.rule("M9")
@pytest.mark.parametrize("way", ["inline", "coroutine", "awaitable"])
async def test_the_deferred_answer_to_a_cast_goes_nowhere(way: Way) -> None:
    keeper = Keeper()
    async with alone(lambda: Subject(keeper)) as runtime:
        it = runtime.ref("it", Subject)
        it.cast(Subject.coroutine if way == "coroutine" else Subject.sync)
        await wait_all_tasks_blocked()
        keeper.kept.pop().send("nobody")
        assert await ask(it, way, 5) == 5


@pytest.mark.rule("M3", "M9")
@pytest.mark.parametrize("way", WAYS)
async def test_a_deferred_call_keeps_its_deadline(autojump_clock: MockClock, way: Way) -> None:
    keeper = Keeper()
    async with alone(lambda: Subject(keeper)) as runtime:
        it = runtime.ref("it", Subject)
        start = trio.current_time()
        with pytest.raises(CallTimeout) as caught:
            await ask(it.within(3), way)
        assert caught.value.began
        assert trio.current_time() - start == pytest.approx(3)
        keeper.kept[0].send("too late")


@pytest.mark.rule("M9")
async def test_only_the_handler_of_a_message_may_defer_or_stash_it() -> None:
    errors: list[str] = []

    class Meddling(Subject):
        def on_start(self) -> None:
            self.ctx.start_task(self.meddle)

        async def meddle(self) -> None:
            await gate.wait()
            for asked in (self.ctx.defer, self.ctx.stash):
                with pytest.raises(UkemiError, match="outside a handler") as caught:
                    asked()
                errors.append(str(caught.value))

        async def hold(self) -> str:
            gate.set()
            await wait_all_tasks_blocked()
            return "mine"

    gate = trio.Event()
    async with alone(Meddling) as runtime:
        it = runtime.ref("it", Meddling)
        assert await it.call(Meddling.hold) == "mine"
    assert len(errors) == 2
