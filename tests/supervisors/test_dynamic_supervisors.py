"""Dynamic supervisors: children of any number that come and go, each for itself."""

from __future__ import annotations

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ComponentNotFound,
    DynamicSupervisor,
    Ignore,
    ResourceExhausted,
    Runtime,
    SpecError,
    Supervisor,
    SupervisorGaveUp,
    dynamic_supervisor,
    supervisor,
)

from .stage import Stage, Worker, crash, finish, states


async def pool_of(runtime: Runtime, stage: Stage, names: str, **options: object) -> None:
    pool = runtime.ref("pool", DynamicSupervisor)
    for name in names:
        await pool.call(Supervisor.start_child, stage.child(name, **options))


@pytest.mark.rule("S7")
async def test_children_are_started_at_run_time_and_restarted_alone(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", dynamic_supervisor("pool"))) as runtime:
        await pool_of(runtime, stage, "abc")
        stage.take()
        await crash(runtime, "b")
        assert stage.take() == ["-b", "+b"]
        assert await states(runtime, "pool") == dict.fromkeys("abc", "running")


@pytest.mark.rule("S7")
async def test_it_can_be_the_root(stage: Stage, clock: MockClock) -> None:
    async with Runtime(dynamic_supervisor("pool")) as runtime:
        await pool_of(runtime, stage, "ab")
    assert stage.take()[:2] == ["+a", "+b"]


@pytest.mark.rule("S7")
async def test_the_number_of_children_is_bounded(stage: Stage, clock: MockClock) -> None:
    async with Runtime(dynamic_supervisor("pool", max_children=2)) as runtime:
        pool = runtime.ref("pool", DynamicSupervisor)
        await pool_of(runtime, stage, "ab")
        with pytest.raises(ResourceExhausted, match="children of /pool") as caught:
            await pool.call(Supervisor.start_child, stage.child("c"))
        assert (caught.value.limit, caught.value.current) == (2, 2)
        await pool.call(Supervisor.stop_child, "a")
        await pool_of(runtime, stage, "c")
        assert await states(runtime, "pool") == {"a": "stopped", "b": "running", "c": "running"}


@pytest.mark.rule("S7")
async def test_reviving_a_stopped_child_counts_against_the_bound_too(stage: Stage, clock: MockClock) -> None:
    async with Runtime(dynamic_supervisor("pool", max_children=1)) as runtime:
        pool = runtime.ref("pool", DynamicSupervisor)
        await pool_of(runtime, stage, "a")
        await pool.call(Supervisor.stop_child, "a")
        await pool_of(runtime, stage, "b")
        with pytest.raises(ResourceExhausted):
            await pool.call(Supervisor.restart_child, "a")
        assert await states(runtime, "pool") == {"a": "stopped", "b": "running"}


@pytest.mark.rule("S7")
async def test_a_bound_of_none_at_all_is_none_at_all(stage: Stage, clock: MockClock) -> None:
    async with Runtime(dynamic_supervisor("pool", max_children=0)) as runtime:
        with pytest.raises(ResourceExhausted):
            await pool_of(runtime, stage, "a")


@pytest.mark.rule("S7")
async def test_a_restarting_child_keeps_its_place(stage: Stage, clock: MockClock) -> None:
    async with Runtime(dynamic_supervisor("pool", max_children=1)) as runtime:
        await pool_of(runtime, stage, "a")
        stage.fail_starts("a")
        await crash(runtime, "a")
        assert await states(runtime, "pool") == {"a": "restarting"}
        with pytest.raises(ResourceExhausted):
            await pool_of(runtime, stage, "b")


@pytest.mark.parametrize(
    "options", [{"restart": "transient"}, {"restart": "temporary"}], ids=["transient", "temporary"]
)
@pytest.mark.rule("S4")
async def test_a_child_that_has_ended_for_good_is_forgotten(
    stage: Stage, options: dict[str, str], clock: MockClock
) -> None:
    async with Runtime(dynamic_supervisor("pool", max_children=1)) as runtime:
        for _ in range(3):
            await pool_of(runtime, stage, "a", **options)
            await finish(runtime, "a")
            assert await states(runtime, "pool") == {}
            with pytest.raises(ComponentNotFound):
                runtime.ref("a")


@pytest.mark.rule("S4")
async def test_a_child_that_is_ignored_is_forgotten_too(stage: Stage, clock: MockClock) -> None:
    async def ignore(worker: Worker) -> None:
        raise Ignore

    async with Runtime(dynamic_supervisor("pool", max_children=1)) as runtime:
        stage.starts["a"] = ignore
        await pool_of(runtime, stage, "a")
        assert await states(runtime, "pool") == {}


@pytest.mark.rule("S7")
@pytest.mark.parametrize(
    ("options", "message"),
    [({"depends_on": ["a"]}, "depends_on"), ({"restart": "transient", "significant": True}, "significant")],
)
async def test_its_children_take_no_depends_on_and_are_not_significant(
    stage: Stage, options: dict[str, object], message: str, clock: MockClock
) -> None:
    async with Runtime(dynamic_supervisor("pool")) as runtime:
        await pool_of(runtime, stage, "a")
        with pytest.raises(SpecError, match=f"'b': {message}"):
            await pool_of(runtime, stage, "b", **options)


@pytest.mark.rule("S4", "X4")
async def test_it_gives_up_like_any_supervisor(stage: Stage, clock: MockClock) -> None:
    with pytest.raises(SupervisorGaveUp, match="/pool gave up on /pool/b"):
        async with Runtime(dynamic_supervisor("pool", max_restarts=1)) as runtime:
            await pool_of(runtime, stage, "ab")
            await crash(runtime, "a")
            await crash(runtime, "b")


@pytest.mark.rule("R1")
async def test_after_its_own_restart_it_has_no_children(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", dynamic_supervisor("pool", max_restarts=0))) as runtime:
        await pool_of(runtime, stage, "ab")
        await crash(runtime, "a")
        assert await states(runtime, "pool") == {}
        await pool_of(runtime, stage, "a")
        assert await states(runtime, "pool") == {"a": "running"}


@pytest.mark.rule("S4")
async def test_many_that_crash_in_one_tick_are_all_restarted(stage: Stage, clock: MockClock) -> None:
    async with Runtime(dynamic_supervisor("pool", max_restarts=100)) as runtime:
        names = [chr(code) for code in range(ord("A"), ord("A") + 40) if chr(code).isalpha()]
        await pool_of(runtime, stage, "".join(names))
        stage.fail_starts(names[3])
        for name in names:
            runtime.ref(name, Worker).cast(Worker.boom)
        await wait_all_tasks_blocked()
        expected = dict.fromkeys(names, "running") | {names[3]: "restarting"}
        assert await states(runtime, "pool") == expected
