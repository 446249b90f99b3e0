"""`Runtime` inside a trio program."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Runtime,
    SpecError,
    StartFailed,
    SupervisorGaveUp,
    UkemiError,
    child,
    supervisor,
)
from ukemi.runtime.reports import ErrorReporter
from ukemi.supervisors import GaveUp


class Counter(Actor):
    """Counts."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    def fail(self) -> None:
        raise ValueError("on purpose")


class Other(Actor):
    """Another class."""

    def look(self) -> str:
        return self.ctx.find("counter", Other).path


TREE = supervisor("shop", child("counter", Counter), child("other", Other))


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with Runtime(TREE):
            raise ValueError("mine")
    with pytest.RaisesGroup(ValueError):
        async with Runtime(TREE):
            raise ExceptionGroup("mine", [ValueError("one")])


@pytest.mark.rule("X4")
async def test_stop_does_not_cancel_the_body() -> None:
    async with Runtime(TREE) as runtime:
        counter = runtime.ref("counter", Counter)
        await runtime.stop()
        await runtime.stop()
        await runtime.wait()
        await trio.lowlevel.checkpoint()
        with pytest.raises(ActorStopped):
            await counter.call(Counter.add, 1)


@pytest.mark.rule("X4")
async def test_giving_up_ends_the_body_with_the_exception_that_names_the_child() -> None:
    with pytest.raises(SupervisorGaveUp, match="/shop gave up on /shop/counter") as raised:
        async with Runtime(supervisor("shop", child("counter", Counter), max_restarts=0)) as runtime:
            runtime.ref("counter", Counter).cast(Counter.fail)
            await trio.sleep_forever()
    assert isinstance(raised.value.__cause__, ValueError)


async def test_a_cancelled_body_stops_the_tree_in_order() -> None:
    stopped: list[str] = []

    class Careful(Actor):
        async def on_stop(self, reason: object) -> None:
            await trio.lowlevel.checkpoint()
            stopped.append(self.ctx.name)

    with trio.CancelScope() as scope:
        async with Runtime(supervisor("top", child("a", Careful), child("b", Careful))):
            scope.cancel()
            await trio.sleep_forever()
    assert stopped == ["b", "a"]


async def test_a_tree_that_ends_normally_is_told_by_wait() -> None:
    class Brief(Actor):
        def end(self) -> None:
            self.ctx.stop()

    brief = child("brief", Brief, restart="transient", significant=True)
    async with Runtime(supervisor("top", brief, auto_shutdown="any_significant")) as runtime:
        runtime.ref("brief", Brief).cast(Brief.end)
        await runtime.wait()
        assert runtime.is_stopping


async def test_a_stop_of_its_own_in_on_start_lets_the_start_succeed_first() -> None:
    class Once(Actor):
        async def on_start(self) -> None:
            self.ctx.stop()
            await trio.lowlevel.checkpoint()

    async with Runtime(supervisor("top", child("once", Once, restart="transient"))) as runtime:
        await wait_all_tasks_blocked()
        assert runtime.tree().find("once").state == "stopped"


async def test_a_wrong_class_is_told() -> None:
    async with Runtime(TREE) as runtime:
        with pytest.raises(TypeError, match="/shop/counter is a Counter, not a Other"):
            runtime.ref("counter", Other)


@pytest.mark.parametrize("tree", [child("counter", Counter), Counter, "shop", None])
def test_only_a_supervisor_can_be_run(tree: object) -> None:
    with pytest.raises(SpecError, match=r"a Runtime runs a supervisor\(…\), not "):
        Runtime(tree)  # type: ignore[arg-type]


def test_the_name_of_the_services_is_taken() -> None:
    with pytest.raises(SpecError, match="'ukemi'"):
        Runtime(supervisor("ukemi"))


async def test_it_runs_once() -> None:
    runtime = Runtime(TREE)
    with pytest.raises(UkemiError, match="not running"):
        runtime.tree()
    async with runtime:
        pass
    with pytest.raises(UkemiError, match="has run already"):
        await runtime.__aenter__()


async def test_a_failed_start_stops_what_is_up_in_order_the_services_too() -> None:
    stopped: list[str] = []

    class Careful(Actor):
        async def on_stop(self, reason: object) -> None:
            await trio.lowlevel.checkpoint()
            stopped.append(self.ctx.path)

    class Bad(Actor):
        def on_start(self) -> None:
            raise ValueError("on purpose")

    tree = supervisor("top", child("a", Careful), supervisor("below", child("bad", Bad)))
    with pytest.raises(StartFailed, match=r"^/top/below could not be started: /top/below/bad could not be started: Va"):
        async with Runtime(tree, services=lambda _: [child("service", Careful)]):
            pytest.fail("the body runs without its tree")
    assert stopped == ["/top/a", "/ukemi/service"]


async def test_the_services_end_is_not_the_applications() -> None:
    class Bad(Actor):
        def fail(self) -> None:
            raise ValueError("on purpose")

    async with Runtime(TREE, services=lambda _: [child("service", Bad)]) as runtime:
        service = runtime.ref("/ukemi/service", Bad)
        for _ in range(10):
            with pytest.raises((ActorCrashed, ActorStopped)):
                await service.call(Bad.fail)
            await wait_all_tasks_blocked()
        assert runtime.events.of(GaveUp)
        assert await runtime.ref("counter", Counter).call(Counter.add, 1) == 1


async def test_the_crash_reporter_listens_once_however_often_it_is_killed() -> None:
    async with Runtime(TREE, services=lambda _: [child("reporter", ErrorReporter)]) as runtime:
        for _ in range(3):
            runtime.ref("/ukemi/reporter").kill()
            await wait_all_tasks_blocked()
        runtime.ref("counter", Counter).cast(Counter.fail)
        await wait_all_tasks_blocked()
        assert [report.error for report in runtime.errors.reports()] == ["ValueError: on purpose"]
