"""How an incarnation starts and ends, also where it does so at a bad moment (rules S3, S11 to S13, X4)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Exit,
    Ref,
    Runtime,
    StartFailed,
    Supervisor,
    SupervisorGaveUp,
    child,
    supervisor,
)
from ukemi.actors.events import ActorExited

from .subject import Boom, Subject, alone, boom


@pytest.mark.rule("X4")
async def test_a_tree_that_gives_up_ends_the_body_with_one_plain_exception() -> None:
    tree = supervisor("app", child("bad", lambda: Subject(boom)), max_restarts=0)
    with pytest.raises(SupervisorGaveUp, match="/app gave up on /app/bad") as caught:
        async with Runtime(tree) as runtime:
            runtime.ref("bad", Subject).cast(Subject.sync)
            await trio.sleep_forever()
    assert type(caught.value.__cause__) is Boom


@pytest.mark.rule("X4")
async def test_stop_in_the_body_does_not_cancel_the_body() -> None:
    async with alone(Subject) as runtime:
        it = runtime.ref("it", Subject)
        await runtime.stop()
        await trio.lowlevel.checkpoint()
        with pytest.raises(ActorStopped):
            await it.call(Subject.sync)
        ended_by_itself = True
    assert ended_by_itself


# --- starting


@pytest.mark.rule("S3")
async def test_a_kill_in_a_sync_on_start_is_a_failed_start() -> None:
    class Suicidal(Actor):
        def on_start(self) -> None:
            self.ctx.ref.kill()

    with pytest.raises(StartFailed, match="was stopped while it started"):
        async with alone(Suicidal):
            pass


@pytest.mark.rule("S3", "R5")
@pytest.mark.parametrize("how", ["sync", "async", "awaitable"])
@pytest.mark.parametrize("fate", ["raise", "kill", "link"])
async def test_whatever_ends_a_start_takes_its_tasks_along_and_on_stop_does_not_run(how: str, fate: str) -> None:
    log: list[str] = []

    class Failing(Actor):
        def on_start(self) -> Any:
            self.ctx.start_task(self.work)
            if how == "sync":
                return self.fail()
            return self.later() if how == "async" else self.begin()

        async def later(self) -> None:
            await trio.lowlevel.checkpoint()
            self.fail()
            await trio.lowlevel.checkpoint()

        def begin(self) -> Any:
            self.fail()
            return self.later()

        def fail(self) -> None:
            if fate == "raise":
                raise Boom
            if fate == "kill":
                self.ctx.ref.kill()
            else:
                self.ctx.link(self.ctx.find("later"))

        async def work(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                log.append("task ended")

        def on_stop(self, reason: object) -> None:
            log.append("on_stop")

    exits: list[str] = []
    runtime = Runtime(supervisor("app", child("it", Failing), child("later", Subject)))
    runtime.events.listen(lambda event: exits.append(event.path) if isinstance(event, ActorExited) else None)
    with pytest.raises(StartFailed) as caught:
        async with runtime:
            pass
    kinds = {"raise": Boom, "kill": ActorStopped, "link": ActorStopped}
    assert type(caught.value.__cause__) is kinds[fate]
    assert log == ["task ended"]
    assert exits == ["/app/it", "/app"]
    assert runtime.system.zombies == 0


@pytest.mark.rule("S3")
async def test_a_child_that_is_stopped_while_it_starts_is_not_started(autojump_clock: MockClock) -> None:
    class Slow(Actor):
        async def on_start(self) -> None:
            await trio.sleep(10)

    async with Runtime(supervisor("app", child("it", Subject))) as runtime, trio.open_nursery() as nursery:
        app = runtime.ref("app", Supervisor)

        async def start() -> None:
            with pytest.raises((ActorStopped, StartFailed, ActorCrashed)):
                await app.call(Supervisor.start_child, child("slow", Slow))

        nursery.start_soon(start)
        await trio.sleep(1)
        slow = runtime.ref("slow")
        assert slow.stats().state == "starting"
        await slow.stop()
        await trio.sleep(1)
        assert "slow" not in [info.name for info in await app.call(Supervisor.children)]


@pytest.mark.rule("S3")
async def test_a_start_that_outlasts_its_time_fails(autojump_clock: MockClock) -> None:
    class Slow(Actor):
        async def on_start(self) -> None:
            await trio.sleep(10)

    with pytest.raises(StartFailed, match="longer than its start_timeout of 2 s"):
        async with alone(Slow, start_timeout=2):
            pass


# --- ending


class Ending(Actor):
    """Tells how it was ended."""

    def __init__(self, log: list[Any], pause: float = 0.0, error: Exception | None = None) -> None:
        self.log = log
        self.pause = pause
        self.error = error

    async def on_stop(self, reason: object) -> None:
        self.log.append(reason)
        await trio.sleep(self.pause)
        self.log.append("ended")
        if self.error is not None:
            raise self.error

    def boom(self) -> None:
        raise Boom


@pytest.mark.rule("S11")
async def test_on_stop_runs_after_a_crash_with_the_reason_and_not_after_a_kill(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    async with alone(lambda: Ending(log), restart="temporary") as runtime:
        runtime.ref("it", Ending).cast(Ending.boom)
        await wait_all_tasks_blocked()
    assert [type(entry) for entry in log] == [Boom, str]
    log.clear()
    async with alone(lambda: Ending(log), restart="temporary") as runtime:
        runtime.ref("it", Ending).kill()
        await wait_all_tasks_blocked()
    assert log == []


@pytest.mark.rule("S11", "S13")
async def test_a_kill_overtakes_an_orderly_end_that_has_not_begun_or_hangs(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    async with alone(lambda: Ending(log, 60.0), shutdown=None) as runtime:
        it = runtime.ref("it", Ending)
        for begun in (False, True):
            assert it.cell.incarnation is not None
            it.cell.incarnation.request_stop(Exit.NORMAL)
            if begun:
                await wait_all_tasks_blocked()
            it.kill()
            await trio.sleep(0.5)
        assert [event.reason for event in runtime.events.of(ActorExited)] == ["it was killed"] * 2
        assert log == [Exit.NORMAL]
        it.kill()


@pytest.mark.rule("S12")
async def test_an_on_stop_that_hangs_is_killed_after_the_shutdown_time(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    async with alone(lambda: Ending(log, 60.0), shutdown=2.0) as runtime:
        start = trio.current_time()
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        assert trio.current_time() - start == pytest.approx(2)
    assert log == [Exit.SHUTDOWN]


@pytest.mark.rule("S11")
@pytest.mark.parametrize("pause", [0.0, 1.0])
async def test_an_error_in_on_stop_replaces_the_reason(autojump_clock: MockClock, pause: float) -> None:
    log: list[Any] = []
    async with alone(lambda: Ending(log, pause, KeyError("in on_stop"))) as runtime:
        it: Ref[Ending] = runtime.ref("it", Ending)
        await it.stop()
        assert [event.reason for event in runtime.events.of(ActorExited)] == ["KeyError: 'in on_stop'"]
