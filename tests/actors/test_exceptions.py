"""Exceptions of every class, forged cancellations, and Ctrl-C (rules X1 to X3); complaints about other libraries."""

from __future__ import annotations

import gc
import signal
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Actor, ActorCrashed, MailboxFull, Runtime, StartFailed, child, supervisor
from ukemi.actors import incarnation
from ukemi.actors.events import ActorExited, Event, Zombie
from ukemi.actors.protocol import Method

from .subject import WAYS, Boom, Subject, Way, alone, ask


def forged() -> BaseException:
    """A Cancelled of no scope."""
    return trio.Cancelled._create(source="unknown")


ODD: list[Callable[[], BaseException]] = [
    *(forged, KeyboardInterrupt, SystemExit, GeneratorExit, BaseException, StopIteration, StopAsyncIteration),
    *(MemoryError, RecursionError, AssertionError, trio.TooSlowError, trio.ClosedResourceError),
    lambda: BaseExceptionGroup("odd", [KeyboardInterrupt(), ValueError()]),
    lambda: BaseExceptionGroup("odd", [forged(), ValueError()]),
    lambda: BaseExceptionGroup("odd", [BaseExceptionGroup("odder", [SystemExit()])]),
]


@pytest.mark.rule("X1", "X3")
@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("way", WAYS)
async def test_an_exception_of_whatever_class_is_a_crash_of_its_actor_and_harms_no_stranger(
    way: Way, make: Callable[[], BaseException]
) -> None:
    def fail(self: Subject, n: int) -> int:
        if n == 0:
            raise make()
        return n

    tree = supervisor("app", child("it", lambda: Subject(fail)), child("other", Subject), max_restarts=9)
    async with Runtime(tree) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        it = runtime.ref("it", Subject)
        with pytest.raises(ActorCrashed) as caught:
            await ask(it, way)
        expected = make()
        while isinstance(expected, BaseExceptionGroup) and len(expected.exceptions) == 1:
            expected = expected.exceptions[0]
        cause = caught.value.__cause__
        if not (isinstance(cause, RuntimeError) and isinstance(expected, StopIteration | StopAsyncIteration)):
            assert type(cause) is type(expected)
        assert await ask(it, way, 1) == 1
        assert runtime.ref("other").stats().incarnation == 1
        assert nursery.child_tasks
        nursery.cancel_scope.cancel()


@pytest.mark.rule("X1")
@pytest.mark.parametrize("make", [forged, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["factory", "on_start", "async on_start", "on_down", "task", "timer", "on_stop"])
async def test_so_it_is_outside_of_messages(where: str, make: Callable[[], BaseException]) -> None:
    class Odd(Actor):
        def __init__(self) -> None:
            if where == "factory" and broken:
                raise make()

        def on_start(self) -> Any:
            if where == "on_start" and broken:
                raise make()
            return self.later() if where == "async on_start" and broken else None

        async def later(self) -> None:
            await trio.lowlevel.checkpoint()
            raise make()

        def on_stop(self, reason: object) -> None:
            if where == "on_stop" and broken:
                raise make()

        def on_down(self, down: object) -> None:
            raise make()

        def provoke(self) -> None:
            if where == "task":
                self.ctx.start_task(self.later)
            elif where == "timer":
                self.ctx.after(0, self.later)
            elif where == "on_down":
                self.ctx.monitor(self.ctx.find("app")).deliver(None)  # type: ignore[arg-type]
            else:
                self.ctx.stop()

    broken = where in ("factory", "on_start", "async on_start")
    tree = supervisor("app", child("it", Odd), child("other", Subject), max_restarts=9)
    if broken:
        with pytest.raises(StartFailed) as caught:
            async with Runtime(tree):
                pass
        assert type(caught.value.__cause__) is type(make())
        return
    async with Runtime(tree) as runtime:
        broken = True
        await runtime.ref("it", Odd).call(Odd.provoke)
        await wait_all_tasks_blocked(0.01)
        broken = False
        (exited,) = runtime.events.of(ActorExited)
        assert exited.reason.startswith(type(make()).__name__)
        assert (exited.path, exited.abnormal) == ("/app/it", True)
        assert runtime.ref("it").stats().incarnation == 2
        assert runtime.ref("other").stats().incarnation == 1


@pytest.mark.rule("X1")
async def test_a_real_cancellation_of_a_scope_in_a_handler_is_no_crash(autojump_clock: MockClock) -> None:
    class Careful(Actor):
        async def work(self) -> str:
            with trio.move_on_after(1):
                await trio.sleep(9)
            return "moved on"

    async with alone(Careful) as runtime:
        assert await runtime.ref("it", Careful).call(Careful.work) == "moved on"


@pytest.mark.rule("X1")
async def test_a_stale_cancelled_that_a_handler_kept_is_a_crash() -> None:
    kept: list[BaseException] = []

    class Keeping(Actor):
        async def keep(self) -> None:
            with trio.CancelScope() as scope:
                scope.cancel()
                try:
                    await trio.lowlevel.checkpoint()
                except trio.Cancelled as error:
                    kept.append(error)
                    raise

        async def throw(self) -> None:
            raise kept[0]

    async with alone(Keeping) as runtime:
        it = runtime.ref("it", Keeping)
        await it.call(Keeping.keep)
        with pytest.raises(ActorCrashed) as caught:
            await it.call(Keeping.throw)
        assert isinstance(caught.value.__cause__, trio.Cancelled)


@pytest.mark.rule("X3")
async def test_a_group_of_one_is_unwrapped_and_a_group_of_several_stays_one() -> None:
    class Grouped(Actor):
        async def fail(self, times: int) -> None:
            async with trio.open_nursery() as outer, trio.open_nursery() as inner:
                for _ in range(times):
                    inner.start_soon(self.later)
                outer.start_soon(trio.sleep_forever)

        async def later(self) -> None:
            raise Boom

    async with alone(Grouped) as runtime:
        it = runtime.ref("it", Grouped)
        with pytest.raises(ActorCrashed) as caught:
            await it.call(Grouped.fail, 1)
        assert type(caught.value.__cause__) is Boom
        with pytest.raises(ActorCrashed) as caught:
            await it.call(Grouped.fail, 2)
        assert isinstance(caught.value.__cause__, ExceptionGroup)


@pytest.mark.rule("X3")
async def test_events_hold_text_and_never_an_exception() -> None:
    async with alone(lambda: Subject(lambda self, n: [][n])) as runtime:
        it = runtime.ref("it", Subject)
        it.cast(Subject.sync)
        await wait_all_tasks_blocked()
        events: list[Event] = list(runtime.events)
        for event in events:
            for name in event.__attrs_attrs__:
                assert isinstance(getattr(event, name.name), str | int | float | bool)
        assert "IndexError: list index out of range" in [getattr(event, "reason", "") for event in events]


@pytest.mark.rule("X3")
async def test_a_dead_incarnation_is_not_kept_alive_by_its_crash() -> None:
    dead: list[weakref.ref[Actor]] = []

    class Mortal(Actor):
        def on_start(self) -> None:
            dead.append(weakref.ref(self))

        def boom(self) -> None:
            raise Boom

    async with alone(Mortal) as runtime:
        runtime.ref("it", Mortal).cast(Mortal.boom)
        await wait_all_tasks_blocked()
        gc.collect()
        assert dead[0]() is None


# --- Ctrl-C


@pytest.mark.rule("X2")
@pytest.mark.parametrize("where", ["sync", "coroutine", "cast", "on_stop", "timer", "task"])
def test_ctrl_c_belongs_to_main_and_never_becomes_an_actors_crash(where: str) -> None:
    exits: list[ActorExited] = []
    finished: list[str] = []

    class Interrupted(Actor):
        def interrupt(self) -> None:
            signal.raise_signal(signal.SIGINT)
            finished.append("message")

        async def coroutine(self) -> None:
            self.interrupt()

        def on_stop(self, reason: object) -> None:
            if where == "on_stop":
                self.interrupt()

        def provoke(self) -> None:
            if where == "timer":
                self.ctx.after(0, self.interrupt)
            elif where == "task":
                self.ctx.start_task(self.coroutine)

    async def main() -> None:
        async with alone(Interrupted) as runtime:
            runtime.events.listen(lambda e: exits.append(e) if isinstance(e, ActorExited) else None)
            it = runtime.ref("it", Interrupted)
            if where == "cast":
                it.cast(Interrupted.interrupt)
            elif where == "on_stop":
                await it.stop()
            elif where in ("timer", "task"):
                await it.call(Interrupted.provoke)
            else:
                await it.call(where.replace("sync", "interrupt"))
            await trio.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert "message" in finished
    assert not any(event.abnormal for event in exits)


@pytest.mark.rule("X2")
@pytest.mark.parametrize("way", ["cast", "send", "call"])
def test_ctrl_c_never_hits_between_the_steps_of_sending(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []
    check = Method.check

    def interrupted(self: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGINT)
        check(self, args, kwargs)

    class Receiver(Actor):
        async def receive(self, n: int) -> None:
            received.append(n)

    async def main() -> None:
        async with alone(Receiver) as runtime:
            it = runtime.ref("it", Receiver)
            monkeypatch.setattr(Method, "check", interrupted)
            if way == "cast":
                it.cast(Receiver.receive, n=1)
            else:
                await getattr(it, way)(Receiver.receive, n=1)
            monkeypatch.undo()
            received.append(2)
            await wait_all_tasks_blocked()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    if way == "cast":  # the others are checkpoints, where Ctrl-C is due
        assert 2 in received, "the interrupt came at the next checkpoint, not in the middle"


# --- what users of other libraries complain about


async def test_a_cast_to_a_busy_actor_never_blocks() -> None:
    gate = trio.Event()

    class Busy(Subject):
        async def coroutine(self, n: int = 0) -> None:
            await gate.wait()

    async with alone(Busy, mailbox=100) as runtime:
        it = runtime.ref("it", Busy)
        it.cast(Busy.coroutine)
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_runnable
        for _ in range(100):
            it.cast(Busy.sync)
        with pytest.raises(MailboxFull):
            it.cast(Busy.sync)
        assert trio.lowlevel.current_statistics().tasks_runnable == before
        gate.set()


@pytest.mark.rule("X1", "S13")
async def test_a_handler_that_never_lets_itself_be_cancelled_is_detached_while_others_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(incarnation, "GRACE", 0.05)
    released = False

    class Deaf(Actor):
        async def listen(self) -> None:
            while not released:
                try:
                    await trio.sleep_forever()
                except BaseException:
                    pass

    tree = supervisor("app", child("it", Deaf), child("other", Subject))
    async with Runtime(tree) as runtime:
        it = runtime.ref("it", Deaf)
        it.cast(Deaf.listen)
        await wait_all_tasks_blocked()
        it.kill()
        try:
            with trio.fail_after(5):
                while it.stats().incarnation == 1:
                    assert await ask(runtime.ref("other", Subject), "coroutine", 1) == 1
        finally:
            released = True
        assert [zombie.path for zombie in runtime.events.of(Zombie)] == ["/app/it"]


async def test_retries_are_not_burned_while_a_restart_is_under_way(autojump_clock: MockClock) -> None:
    """Calls that come while the actor is down wait for it, and do not count as failures."""

    class SlowToStart(Subject):
        async def on_start(self) -> None:
            await trio.sleep(1)

    async with alone(lambda: SlowToStart(lambda self, n: n)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Subject)
        it.kill()
        for n in range(50):
            nursery.start_soon(ask, it, "inline", n)
        await trio.sleep(2)
        assert (it.stats().crashes, it.stats().incarnation) == (1, 2)
