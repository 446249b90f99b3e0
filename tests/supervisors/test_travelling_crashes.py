"""Crashes that travel from callee to caller, and several that fall into one moment."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Actor, Backoff, Runtime, SupervisorGaveUp, child, supervisor

from .stage import Stage, Worker, infos, states


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
@pytest.mark.rule("S5")
async def test_a_crash_that_travels_to_a_dependent_counts_once(stage: Stage, strategy: str, clock: MockClock) -> None:
    tree = supervisor(
        "top", stage.child("db"), stage.child("api", depends_on=["db"]), strategy=strategy, max_restarts=1
    )
    async with Runtime(tree) as runtime:
        runtime.ref("api", Worker).cast(Worker.relay, runtime.ref("db", Worker))
        await wait_all_tasks_blocked()
        assert {name: info.restarts for name, info in (await infos(runtime)).items()} == {"db": 1, "api": 1}


@pytest.mark.rule("S5")
async def test_down_a_chain_of_callers_it_still_counts_once(stage: Stage, clock: MockClock) -> None:
    names = ["n0", "n1", "n2", "n3", "n4"]
    tree = supervisor(
        "top",
        *(stage.child(name, depends_on=names[max(0, i - 1) : i]) for i, name in enumerate(names)),
        strategy="dependents",
        max_restarts=1,
    )
    async with Runtime(tree) as runtime:
        refs = [runtime.ref(name, Worker) for name in names]
        refs[4].cast(Worker.pass_on, refs[:4])
        await wait_all_tasks_blocked()
        assert {info.restarts for info in (await infos(runtime)).values()} == {1}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
@pytest.mark.rule("S4", "M4")
async def test_a_dependent_that_waits_for_what_failed_does_not_hold_up_its_restart(
    stage: Stage, clock: MockClock, strategy: str
) -> None:
    """The restart waits for the dependent's end, and the dependent's message in hand for the restart."""
    tree = supervisor("top", stage.child("db"), stage.child("api", depends_on=["db"]), strategy=strategy)
    async with Runtime(tree) as runtime:
        db, api = runtime.ref("db", Worker), runtime.ref("api", Worker)
        db.cast(Worker.hold)
        await wait_all_tasks_blocked()
        api.cast(Worker.relay, db)
        await wait_all_tasks_blocked()
        db.kill()
        await wait_all_tasks_blocked()
        assert await states(runtime) == {"db": "running", "api": "running"}
        assert "-api" in stage.take(), "it was stopped in order, not killed"


@pytest.mark.rule("S4", "M4")
async def test_nor_does_one_that_calls_it_in_its_on_stop(stage: Stage, clock: MockClock) -> None:
    async def say_goodbye(worker: Worker) -> None:
        await worker.ctx.find("db", Worker).call(Worker.incarnation)

    stage.stops["api"] = say_goodbye
    tree = supervisor("top", stage.child("db"), stage.child("api", depends_on=["db"]), strategy="dependents")
    async with Runtime(tree) as runtime:
        runtime.ref("db", Worker).kill()
        await wait_all_tasks_blocked()
        assert await states(runtime) == {"db": "running", "api": "running"}
        stage.stops.clear()


@pytest.mark.rule("S5")
async def test_between_strangers_each_crash_counts(stage: Stage, clock: MockClock) -> None:
    with pytest.raises(SupervisorGaveUp):
        async with Runtime(supervisor("top", *stage.children(["db", "api"]), max_restarts=1)) as runtime:
            runtime.ref("api", Worker).cast(Worker.relay, runtime.ref("db", Worker))
            await wait_all_tasks_blocked()


@pytest.mark.rule("S5", "S4")
async def test_two_dependencies_that_crash_together_are_both_up_before_what_needs_both(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor("top", *stage.children("ab"), stage.child("c", depends_on=["a", "b"]), strategy="dependents")
    async with Runtime(tree) as runtime:
        stage.take()
        runtime.ref("a").kill()
        runtime.ref("b").kill()
        await wait_all_tasks_blocked()
        log = stage.take()
        assert log[0] == "-c"
        assert set(log[1:3]) == {"+a", "+b"}
        assert log[3:] == ["+c"]
        assert {info.restarts for info in (await infos(runtime)).values()} == {1}


@pytest.mark.rule("S5", "S6")
async def test_of_two_that_crash_together_the_one_with_backoff_keeps_what_needs_it_waiting(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor(
        "top",
        stage.child("a", backoff=Backoff(1.0, 8.0, jitter=0.0)),
        stage.child("b"),
        stage.child("c", depends_on=["a", "b"]),
        strategy="dependents",
    )
    async with Runtime(tree) as runtime:
        stage.take()
        runtime.ref("a").kill()
        runtime.ref("b").kill()
        await wait_all_tasks_blocked()
        assert stage.take() == ["-c", "+b"]
        assert await states(runtime) == {"a": "restarting", "b": "running", "c": "restarting"}
        await trio.sleep(1.5)
        assert stage.take() == ["+a", "+c"]


@pytest.mark.rule("S4", "S5")
async def test_a_child_that_crashes_while_a_sibling_starts_is_restarted_after_that(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", *stage.children("ab"))) as runtime:

        async def take_a_down(worker: Worker) -> None:
            runtime.ref("a", Worker).cast(Worker.boom)
            await trio.sleep(1)

        stage.starts["b"] = take_a_down
        stage.take()
        runtime.ref("b").kill()
        await trio.sleep(2)
        assert stage.take() == ["-a", "+b", "+a"]
        assert await states(runtime) == {"a": "running", "b": "running"}


class Slow(Actor):
    """Crashes while it is being stopped."""

    async def on_stop(self, reason: object) -> None:
        raise RuntimeError("on the way out")


@pytest.mark.rule("S5", "S11")
async def test_an_error_of_a_sibling_that_is_being_stopped_does_not_count(stage: Stage, clock: MockClock) -> None:
    tree = supervisor("top", stage.child("a"), child("s", Slow), strategy="rest_for_one", max_restarts=1)
    async with Runtime(tree) as runtime:
        runtime.ref("a").kill()
        await wait_all_tasks_blocked()
        assert {name: info.restarts for name, info in (await infos(runtime)).items()} == {"a": 1, "s": 1}
