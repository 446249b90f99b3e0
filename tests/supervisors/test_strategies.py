"""What is stopped and started again when a child fails, in which order, under each strategy."""

from __future__ import annotations

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Runtime, Supervisor, child, supervisor
from ukemi.actors import Exit
from ukemi.supervisors import ChildRestarted, ChildSpec

from .stage import Boom, Stage, Worker, crash, finish, infos, states


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
        ("dependents", ["-b", "+b"]),
    ],
)
@pytest.mark.rule("S4")
async def test_the_others_stop_in_reverse_and_all_start_again_in_order(
    stage: Stage, strategy: str, expected: list[str], clock: MockClock
) -> None:
    async with Runtime(supervisor("top", *stage.children("abc"), strategy=strategy)) as runtime:
        stage.take()
        await crash(runtime, "b")
        assert stage.take() == expected
        assert set((await states(runtime)).values()) == {"running"}


def layered(stage: Stage, **options: object) -> ChildSpec:
    """c needs b needs a; d needs a; e needs nothing."""
    return supervisor(
        "top",
        stage.child("e"),
        stage.child("a"),
        stage.child("b", depends_on=["a"]),
        stage.child("c", depends_on=["b"]),
        stage.child("d", depends_on=["a"]),
        strategy="dependents",
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.rule("S4")
async def test_dependents_stop_in_reverse_before_what_failed_starts_and_start_after_it(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(layered(stage)) as runtime:
        stage.take()
        await crash(runtime, "a")
        log = stage.take()
        assert log[0] == "-a"
        assert set(log[1:4]) == {"-b", "-c", "-d"}
        assert log.index("-c") < log.index("-b")
        assert log[4] == "+a"
        assert set(log[5:]) == {"+b", "+c", "+d"}
        assert log.index("+b") < log.index("+c")


@pytest.mark.rule("S4")
async def test_a_failure_in_the_middle_leaves_what_it_depends_on_and_strangers_alone(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(layered(stage)) as runtime:
        stage.take()
        await crash(runtime, "b")
        assert stage.take() == ["-b", "-c", "+b", "+c"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
@pytest.mark.rule("S4")
async def test_a_group_restart_counts_once(stage: Stage, strategy: str, clock: MockClock) -> None:
    tree = supervisor(
        "top",
        stage.child("a"),
        *(stage.child(name, depends_on=["a"]) for name in "bcd"),
        strategy=strategy,
        max_restarts=2,
    )
    async with Runtime(tree) as runtime:
        await crash(runtime, "a")
        await crash(runtime, "a")
        assert {info.restarts for info in (await infos(runtime)).values()} == {2}


@pytest.mark.rule("S4")
async def test_a_restart_asked_for_by_hand_does_not_count(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"), max_restarts=0)) as runtime:
        top = runtime.ref("top", Supervisor)
        for _ in range(5):
            await top.call(Supervisor.stop_child, "a")
            await top.call(Supervisor.restart_child, "a")
        assert await states(runtime) == {"a": "running"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
@pytest.mark.rule("S4")
async def test_temporary_siblings_are_stopped_and_dropped_in_a_group_restart(
    stage: Stage, strategy: str, clock: MockClock
) -> None:
    tree = supervisor(
        "top",
        stage.child("a"),
        stage.child("t", restart="temporary", depends_on=["a"]),
        stage.child("b", depends_on=["a"]),
        strategy=strategy,
    )
    async with Runtime(tree) as runtime:
        stage.take()
        await crash(runtime, "a")
        log = stage.take()
        assert "-t" in log
        assert "+t" not in log
        assert await states(runtime) == {"a": "running", "b": "running"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
@pytest.mark.rule("S4")
async def test_transient_siblings_that_had_finished_are_started_again(
    stage: Stage, strategy: str, clock: MockClock
) -> None:
    tree = supervisor(
        "top", stage.child("a"), stage.child("b", restart="transient", depends_on=["a"]), strategy=strategy
    )
    async with Runtime(tree) as runtime:
        await finish(runtime, "b")
        assert await states(runtime) == {"a": "running", "b": "stopped"}
        stage.take()
        await crash(runtime, "a")
        assert stage.take() == ["-a", "+a", "+b"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
@pytest.mark.rule("S4")
async def test_siblings_that_were_stopped_by_hand_are_started_again(
    stage: Stage, strategy: str, clock: MockClock
) -> None:
    tree = supervisor("top", stage.child("a"), stage.child("b", depends_on=["a"]), strategy=strategy)
    async with Runtime(tree) as runtime:
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "b")
        stage.take()
        await crash(runtime, "a")
        assert stage.take() == ["-a", "+a", "+b"]


@pytest.mark.rule("S4")
async def test_one_for_one_leaves_what_was_stopped_by_hand_stopped(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", *stage.children("ab"))) as runtime:
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "b")
        stage.take()
        await crash(runtime, "a")
        assert stage.take() == ["-a", "+a"]
        assert await states(runtime) == {"a": "running", "b": "stopped"}


@pytest.mark.rule("S2")
async def test_restarts_inside_a_subtree_do_not_touch_its_dependents(stage: Stage, clock: MockClock) -> None:
    tree = supervisor(
        "top",
        supervisor("sub", *stage.children("xy")),
        stage.child("b", depends_on=["sub"]),
        strategy="dependents",
    )
    async with Runtime(tree) as runtime:
        stage.take()
        await crash(runtime, "x")
        assert stage.take() == ["-x", "+x"]


@pytest.mark.rule("S2", "S8")
async def test_a_subtree_that_gives_up_is_restarted_with_its_dependents(stage: Stage, clock: MockClock) -> None:
    tree = supervisor(
        "top",
        supervisor("sub", *stage.children("xy"), max_restarts=0),
        stage.child("b", depends_on=["sub"]),
        strategy="dependents",
    )
    async with Runtime(tree) as runtime:
        stage.take()
        await crash(runtime, "x")
        assert stage.take() == ["-x", "-y", "-b", "+x", "+y", "+b"]


@pytest.mark.rule("S4")
async def test_a_restart_is_told_with_its_reason_and_incarnation(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", *stage.children("ab"), strategy="one_for_all")) as runtime:
        await crash(runtime, "a")
        told = [(e.path, e.incarnation, e.restarts, e.reason) for e in runtime.events.of(ChildRestarted)]
        assert told == [("/top/a", 2, 1, "Boom: a"), ("/top/b", 2, 1, "Boom: a")]


# --- restart types


@pytest.mark.rule("S4")
async def test_a_permanent_child_is_restarted_after_a_normal_exit_too(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        await finish(runtime, "a")
        assert stage.take() == ["+a", "-a", "+a"]
        assert stage.reasons["a"] is Exit.NORMAL


@pytest.mark.rule("S4")
async def test_a_transient_child_is_restarted_after_a_crash_and_a_kill_but_not_after_a_normal_exit(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", stage.child("a", restart="transient"))) as runtime:
        await crash(runtime, "a")
        runtime.ref("a").kill()
        await wait_all_tasks_blocked()
        assert stage.take() == ["+a", "-a", "+a", "+a"]
        await finish(runtime, "a")
        assert stage.take() == ["-a"]
        info = (await infos(runtime))["a"]
        assert (info.state, info.restarts) == ("stopped", 2)


@pytest.mark.parametrize("end", [crash, finish])
@pytest.mark.rule("S4")
async def test_a_temporary_child_is_never_restarted_and_its_spec_is_deleted(
    stage: Stage, end: object, clock: MockClock
) -> None:
    tree = supervisor("top", stage.child("a", restart="temporary"), stage.child("b"), strategy="one_for_all")
    async with Runtime(tree) as runtime:
        await end(runtime, "a")  # type: ignore[operator]
        assert stage.take() == ["+a", "+b", "-a"]
        assert await states(runtime) == {"b": "running"}


@pytest.mark.rule("S4")
async def test_a_temporary_child_that_is_stopped_by_hand_is_deleted_too(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", restart="temporary"))) as runtime:
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "a")
        assert await states(runtime) == {}


@pytest.mark.rule("S11")
async def test_on_stop_runs_after_a_crash_with_the_reason(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        await crash(runtime, "a")
        assert stage.take() == ["+a", "-a", "+a"]
        assert isinstance(stage.reasons["a"], Boom)
        await runtime.stop()
        assert stage.reasons["a"] is Exit.SHUTDOWN


@pytest.mark.rule("S11")
async def test_an_error_in_on_stop_replaces_the_reason(stage: Stage, clock: MockClock) -> None:
    async def spoil(worker: Worker) -> None:
        raise Boom("on the way out")

    stage.stops["a"] = spoil
    async with Runtime(supervisor("top", stage.child("a", restart="transient"))) as runtime:
        await finish(runtime, "a")
        assert stage.take() == ["+a", "-a", "+a"], "the normal exit has become a crash"
        assert [e.reason for e in runtime.events.of(ChildRestarted)] == ["Boom: on the way out"]
        stage.stops.clear()


@pytest.mark.rule("S4")
async def test_a_child_whose_factory_gives_no_actor_is_a_failed_start(clock: MockClock) -> None:
    tree = supervisor("top", child("a", lambda: 7))  # type: ignore[type-var, arg-type, return-value]
    with pytest.raises(Exception, match="/top/a returned 7; it must return an Actor"):
        async with Runtime(tree):
            pytest.fail("the body must not run")
