"""The window is spent: who gives up, what becomes of the subtree and its mail, who sees it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import ActorStopped, Exit, Runtime, Supervisor, SupervisorGaveUp, UkemiError, supervisor
from ukemi.supervisors import GaveUp

from .stage import Boom, Stage, Worker, crash, finish, infos, states


@pytest.mark.parametrize("allowed", [0, 1, 3])
@pytest.mark.rule("S4", "S6")
async def test_the_restart_after_the_last_allowed_one_is_too_many(stage: Stage, allowed: int, clock: MockClock) -> None:
    with pytest.raises(SupervisorGaveUp):
        async with Runtime(supervisor("top", stage.child("a"), max_restarts=allowed)) as runtime:
            for _ in range(allowed):
                await crash(runtime, "a")
            assert (await infos(runtime))["a"].restarts == allowed
            await crash(runtime, "a")
            pytest.fail("the body is cancelled")
    assert stage.take() == ["+a", "-a"] * (allowed + 1)


@pytest.mark.rule("S6")
async def test_crashes_that_are_far_apart_never_spend_the_window(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"), max_restarts=1, within=5.0)) as runtime:
        for _ in range(20):
            await crash(runtime, "a")
            await trio.sleep(5.5)
        assert (await infos(runtime))["a"].restarts == 20


@pytest.mark.rule("S6")
async def test_there_is_one_window_for_all_children(stage: Stage, clock: MockClock) -> None:
    with pytest.raises(SupervisorGaveUp, match="/top/d"):
        async with Runtime(supervisor("top", *stage.children("abcd"))) as runtime:
            for name in "abcd":
                await crash(runtime, name)


@pytest.mark.rule("X4", "S8")
async def test_giving_up_ends_the_block_with_one_plain_exception_that_names_the_child_and_carries_its_error(
    stage: Stage, clock: MockClock
) -> None:
    with pytest.raises(SupervisorGaveUp) as caught:
        async with Runtime(supervisor("top", *stage.children("ab"), max_restarts=0)) as runtime:
            await crash(runtime, "b")
    error = caught.value
    assert (error.path, error.child) == ("/top", "/top/b")
    assert "/top/b" in str(error)
    assert "Boom: b" in str(error)
    assert isinstance(error.__cause__, Boom)


@pytest.mark.rule("X4")
async def test_giving_up_cancels_the_body(stage: Stage, clock: MockClock) -> None:
    was_cancelled = False
    with pytest.raises(SupervisorGaveUp):
        async with Runtime(supervisor("top", stage.child("a"), max_restarts=0)) as runtime:
            runtime.ref("a", Worker).cast(Worker.boom)
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                was_cancelled = True
                raise
    assert was_cancelled


@pytest.mark.rule("X4")
async def test_stopping_the_runtime_in_the_body_does_not_cancel_the_body(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        await runtime.stop()
        await trio.sleep(1)
        stage.take()
        reached = True
    assert reached


@pytest.mark.rule("S1", "R7")
async def test_whoever_gives_up_stops_its_children_in_reverse(stage: Stage, clock: MockClock) -> None:
    with pytest.raises(SupervisorGaveUp):
        async with Runtime(supervisor("top", *stage.children("abc"), max_restarts=0)) as runtime:
            await crash(runtime, "b")
    assert stage.take() == ["+a", "+b", "+c", "-b", "-c", "-a"]
    assert stage.reasons["a"] is Exit.SHUTDOWN


@pytest.mark.rule("S8")
async def test_giving_up_is_told(stage: Stage, clock: MockClock) -> None:
    runtime = Runtime(supervisor("top", stage.child("a"), max_restarts=0))
    with pytest.raises(SupervisorGaveUp):
        async with runtime:
            await crash(runtime, "a")
    assert [(e.path, e.child, e.reason) for e in runtime.events.of(GaveUp)] == [("/top", "/top/a", "Boom: a")]


@pytest.mark.parametrize("restart", ["permanent", "transient"])
@pytest.mark.rule("S8")
async def test_a_supervisor_that_burns_out_is_restarted_by_its_parent(
    stage: Stage, restart: str, clock: MockClock
) -> None:
    sub = supervisor("sub", *stage.children("xy"), max_restarts=1, restart=restart)  # type: ignore[arg-type]
    async with Runtime(supervisor("top", stage.child("a"), sub)) as runtime:
        stage.take()
        await crash(runtime, "x")
        assert stage.take() == ["-x", "+x"]
        await crash(runtime, "x")
        assert stage.take() == ["-x", "-y", "+x", "+y"]
        assert {name: info.restarts for name, info in (await infos(runtime)).items()} == {"a": 0, "sub": 1}


@pytest.mark.rule("S8")
async def test_the_window_is_new_after_that(stage: Stage, clock: MockClock) -> None:
    sub = supervisor("sub", stage.child("x"), max_restarts=1)
    async with Runtime(supervisor("top", sub)) as runtime:
        for _ in range(4):
            await crash(runtime, "x")
        assert (await infos(runtime))["sub"].restarts == 2
        assert (await infos(runtime, "sub"))["x"].restarts == 0


@pytest.mark.rule("S8", "X4")
async def test_failure_escalates_level_by_level_to_the_top(stage: Stage, clock: MockClock) -> None:
    low = supervisor("low", stage.child("x"), max_restarts=1)
    tree = supervisor("top", supervisor("mid", low, max_restarts=1), max_restarts=1)
    with pytest.raises(SupervisorGaveUp) as caught:
        async with Runtime(tree) as runtime:
            for number in range(1, 9):
                assert stage.take()[-1] == "+x", number
                await crash(runtime, "x")
    chain: list[BaseException] = [caught.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    told = [(e.path, e.child) for e in chain if isinstance(e, SupervisorGaveUp)]
    assert told == [("/top", "/top/mid"), ("/top/mid", "/top/mid/low"), ("/top/mid/low", "/top/mid/low/x")]
    assert isinstance(chain[-1], Boom)
    assert "x" in str(caught.value)


@pytest.mark.rule("S8")
async def test_a_temporary_supervisor_that_burns_out_is_gone_with_its_subtree(stage: Stage, clock: MockClock) -> None:
    sub = supervisor("sub", *stage.children("xy"), max_restarts=0, restart="temporary")
    async with Runtime(supervisor("top", stage.child("a"), sub)) as runtime:
        x = runtime.ref("x", Worker)
        await crash(runtime, "x")
        assert await states(runtime) == {"a": "running"}
        with pytest.raises(ActorStopped):
            await x.call(Worker.incarnation)
        with pytest.raises(UkemiError, match="y"):
            runtime.ref("y")


@pytest.mark.rule("R7")
async def test_the_mail_of_the_subtree_fails_when_its_supervisor_gives_up(stage: Stage, clock: MockClock) -> None:
    sub = supervisor("sub", *stage.children("xy"), max_restarts=0)
    async with Runtime(supervisor("top", sub)) as runtime:
        x, y = runtime.ref("x", Worker), runtime.ref("y", Worker)
        outcomes: list[str] = []

        async def ask(name: str) -> None:
            try:
                await runtime.ref(name, Worker).call(Worker.note, "asked")
            except ActorStopped:
                outcomes.append(name)

        async with trio.open_nursery() as nursery:
            for ref in (x, y):
                ref.cast(Worker.hold)
            await wait_all_tasks_blocked()
            for ref in (x, y):
                nursery.start_soon(ask, ref.name)
                await wait_all_tasks_blocked()
                ref.cast(Worker.note, "cast")
            x.kill()
        assert sorted(outcomes) == ["x", "y"]
        await wait_all_tasks_blocked()
        assert not any(":" in entry for entry in stage.take()), "nothing of it reached the next incarnations"
        await x.call(Worker.note, "after")
        assert stage.take() == ["x:after"], "the refs of declared children stay good"


@pytest.mark.rule("R7")
async def test_of_nested_supervisors_the_whole_subtree_gets_the_clean_slate(stage: Stage, clock: MockClock) -> None:
    low = supervisor("low", stage.child("z"))
    sub = supervisor("sub", stage.child("x"), low, max_restarts=0)
    async with Runtime(supervisor("top", sub)) as runtime:
        z = runtime.ref("z", Worker)
        z.cast(Worker.hold)
        await wait_all_tasks_blocked()
        z.cast(Worker.note, "cast")
        stage.gate.set()
        runtime.ref("x").kill()
        z.cast(Worker.note, "too late")
        await wait_all_tasks_blocked()
        assert await z.call(Worker.incarnation) == 2


# --- significant children


@pytest.mark.rule("S8")
async def test_auto_shutdown_is_a_normal_exit_so_that_a_transient_supervisor_stays_down(
    stage: Stage, clock: MockClock
) -> None:
    job = stage.child("job", restart="transient", significant=True)
    sub = supervisor("sub", stage.child("x"), job, auto_shutdown="any_significant", restart="transient")
    async with Runtime(supervisor("top", stage.child("a"), sub)) as runtime:
        stage.take()
        await finish(runtime, "job")
        assert stage.take() == ["-job", "-x"]
        assert await states(runtime) == {"a": "running", "sub": "stopped"}


@pytest.mark.rule("S8")
async def test_a_permanent_supervisor_that_shut_itself_down_is_restarted(stage: Stage, clock: MockClock) -> None:
    job = stage.child("job", restart="transient", significant=True)
    sub = supervisor("sub", job, auto_shutdown="any_significant")
    async with Runtime(supervisor("top", sub)) as runtime:
        await finish(runtime, "job")
        assert stage.take() == ["+job", "-job", "+job"]


@pytest.mark.rule("S8", "X4")
async def test_the_root_shutting_itself_down_ends_the_runtime_without_an_error(stage: Stage, clock: MockClock) -> None:
    job = stage.child("job", restart="transient", significant=True)
    async with Runtime(supervisor("top", stage.child("a"), job, auto_shutdown="any_significant")) as runtime:
        await finish(runtime, "job")
        await runtime.wait()
        assert stage.take() == ["+a", "+job", "-job", "-a"]


@pytest.mark.rule("S8")
async def test_all_significant_waits_for_the_last_one(stage: Stage, clock: MockClock) -> None:
    jobs = stage.children("pq", restart="temporary", significant=True)
    sub = supervisor("sub", *jobs, stage.child("x"), auto_shutdown="all_significant", restart="transient")
    async with Runtime(supervisor("top", sub)) as runtime:
        stage.take()
        await crash(runtime, "p")
        assert stage.take() == ["-p"]
        await finish(runtime, "q")
        assert stage.take() == ["-q", "-x"]
        assert await states(runtime) == {"sub": "stopped"}


@pytest.mark.rule("S8")
async def test_a_transient_significant_child_that_crashes_is_restarted_and_triggers_nothing(
    stage: Stage, clock: MockClock
) -> None:
    job = stage.child("job", restart="transient", significant=True)
    async with Runtime(supervisor("top", job, auto_shutdown="any_significant")) as runtime:
        await crash(runtime, "job")
        assert await states(runtime) == {"job": "running"}
        assert not runtime.is_stopping


@pytest.mark.rule("S8")
async def test_stops_through_the_api_never_trigger(stage: Stage, clock: MockClock) -> None:
    job = stage.child("job", restart="transient", significant=True)
    async with Runtime(supervisor("top", job, auto_shutdown="any_significant")) as runtime:
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "job")
        await wait_all_tasks_blocked()
        assert await states(runtime) == {"job": "stopped"}
        assert not runtime.is_stopping


@pytest.mark.rule("S8")
async def test_a_death_caused_by_a_sibling_never_triggers(stage: Stage, clock: MockClock) -> None:
    job = stage.child("job", restart="temporary", significant=True)
    tree = supervisor("top", stage.child("a"), job, strategy="one_for_all", auto_shutdown="any_significant")
    async with Runtime(tree) as runtime:
        await crash(runtime, "a")
        assert await states(runtime) == {"a": "running"}
        assert not runtime.is_stopping


@pytest.mark.rule("S8")
async def test_once_it_shuts_itself_down_nothing_is_restarted_and_nobody_gives_up(
    stage: Stage, clock: MockClock
) -> None:
    job = stage.child("job", restart="transient", significant=True)
    tree = supervisor("top", job, stage.child("a"), auto_shutdown="any_significant", max_restarts=0)
    async with Runtime(tree) as runtime:
        runtime.ref("job", Worker).cast(Worker.finish)
        runtime.ref("a", Worker).cast(Worker.boom)
        await runtime.wait()
    log = stage.take()
    assert sorted(log) == ["+a", "+job", "-a", "-job"]
