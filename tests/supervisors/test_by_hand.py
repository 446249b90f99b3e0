"""Children that are stopped and started by hand while others fail, or that can't be started."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import ActorStopped, Backoff, Fallback, Restart, Runtime, StartFailed, Stop, Supervisor, supervisor
from ukemi.supervisors import ChildRestarted, CircuitOpened

from .stage import Stage, Worker, crash, finish, infos, pause, states

STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one", "dependents"]
strategies = pytest.mark.parametrize("strategy", STRATEGIES)
POLICIES = {"OTP": None, "at once": Restart(), "later": Restart(backoff=Backoff(3.0, 3.0)), "fallback": Fallback()}
policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


def shop(stage: Stage, strategy: Any = "one_for_one", **options: Any) -> Runtime:
    """db <- api <- web, and web takes a second to stop."""
    stage.stops["web"] = pause(1.0)
    db, web = stage.child("db"), stage.child("web", depends_on=["api"])
    api = stage.child("api", depends_on=["db"], **options)
    return Runtime(supervisor("top", db, api, web, strategy=strategy, max_restarts=2))


# --- a failure while something is stopped


@pytest.mark.rule("S7", "R3")
@strategies
@policies
@pytest.mark.parametrize("stopped", ["db", "api"])
@pytest.mark.parametrize("end", [crash, finish])
async def test_what_ends_while_it_is_being_stopped_by_hand_is_not_started_again(
    stage: Stage, clock: MockClock, strategy: str, policy: Any, stopped: str, end: Any
) -> None:
    async with shop(stage, strategy, policy=policy) as runtime, trio.open_nursery() as nursery:
        top = runtime.ref("top", Supervisor)
        nursery.start_soon(top.call, Supervisor.stop_child, stopped)
        await trio.sleep(0.5)
        await end(runtime, "api")
        await trio.sleep(1000)
        expected = {"db": "stopped" if stopped == "db" else "running", "api": "stopped", "web": "stopped"}
        assert await states(runtime) == expected
        with pytest.raises(ActorStopped):
            await runtime.ref("api", Worker).call(Worker.incarnation)
        await top.call(Supervisor.restart_child, stopped)
        assert await states(runtime) == {"db": "running", "api": "running", "web": "running"}
        assert not runtime.events.of(ChildRestarted)


@pytest.mark.rule("S7")
@policies
async def test_what_is_killed_while_it_is_being_stopped_by_hand_is_not_started_again(
    stage: Stage, clock: MockClock, policy: Any
) -> None:
    async with shop(stage, policy=policy) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(runtime.ref("top").call, Supervisor.stop_child, "db")
        await trio.sleep(0.5)
        runtime.ref("api").kill()
        await trio.sleep(1000)
        assert set((await states(runtime)).values()) == {"stopped"}


@pytest.mark.rule("S4", "S5")
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
@policies
async def test_what_fails_while_its_group_is_taken_down_is_started_with_it_and_counts_no_second_time(
    stage: Stage, clock: MockClock, strategy: str, policy: Any
) -> None:
    async with shop(stage, strategy, policy=policy) as runtime:
        for _ in range(2):
            await crash(runtime, "db")
            await trio.sleep(0.5)
            await crash(runtime, "api")
            await trio.sleep(10)
            assert await states(runtime) == {"db": "running", "api": "running", "web": "running"}


@pytest.mark.rule("S14")
@pytest.mark.parametrize("seconds", [10.0, None])
async def test_what_fails_while_its_circuit_is_being_opened_by_hand_is_down_for_the_time_that_was_asked_for(
    stage: Stage, clock: MockClock, seconds: float | None
) -> None:
    async with shop(stage) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(runtime.ref("top").call, Supervisor.open_circuit, "api", seconds)
        await trio.sleep(0.5)
        await crash(runtime, "api")
        await trio.sleep(9.5)
        info = (await infos(runtime))["api"]
        assert info.state == "open"
        assert info.circuit is not None
        assert info.circuit.forced
        assert [event.seconds for event in runtime.events.of(CircuitOpened)] == [seconds]
        await trio.sleep(20)
        if seconds is None:
            assert (await states(runtime))["api"] == "open"
            await runtime.ref("top").call(Supervisor.close_circuit, "api")
        assert await states(runtime) == {"db": "running", "api": "running", "web": "running"}


# --- a start by hand that fails


def falling_back(stage: Stage, **options: Any) -> Runtime:
    """db <- api, which has a fallback, <- web, which has none."""
    plain = {"plain": lambda: Worker(stage, "plain")}
    api = stage.child("api", depends_on=["db"], fallback=plain)
    web = stage.child("web", depends_on=["api"])
    return Runtime(supervisor("top", stage.child("db", **options), api, web, max_restarts=5))


async def shown(runtime: Runtime) -> dict[str, tuple[str, str | None]]:
    await wait_all_tasks_blocked()
    return {name: (info.state, info.fallback) for name, info in (await infos(runtime)).items()}


@pytest.mark.rule("S15", "S7")
@pytest.mark.parametrize("then", ["it is left so", "its fallback fails"])
async def test_when_a_start_by_hand_fails_what_depends_on_it_runs_its_fallback(
    stage: Stage, clock: MockClock, then: str
) -> None:
    async with falling_back(stage) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "db")
        for _ in range(2):
            stage.fail_starts("db")
            with pytest.raises(StartFailed, match="/top/db could not be started: Boom"):
                await top.call(Supervisor.restart_child, "db")
            assert await shown(runtime) == {
                "db": ("stopped", None),
                "api": ("degraded", "plain"),
                "web": ("running", None),
            }
            assert await runtime.ref("api", Worker).call(Worker.incarnation)
            if then == "its fallback fails":
                await crash(runtime, "api")
                await trio.sleep(100)
                assert (await shown(runtime))["api"] == ("degraded", "plain")
                assert await runtime.ref("api", Worker).call(Worker.incarnation)
        await top.call(Supervisor.restart_child, "db")
        await trio.sleep(100)
        assert set((await shown(runtime)).values()) == {("running", None)}


@pytest.mark.rule("S15")
async def test_a_fallback_that_runs_for_the_want_of_what_is_down_is_restarted_after_its_start_has_failed(
    stage: Stage, clock: MockClock
) -> None:
    async with falling_back(stage, policy=Stop()) as runtime:
        await crash(runtime, "db")
        assert (await shown(runtime))["api"] == ("degraded", "plain")
        stage.fail_starts("db")
        with pytest.raises(StartFailed):
            await runtime.ref("top").call(Supervisor.restart_child, "db")
        await crash(runtime, "api")
        await trio.sleep(3600)
        assert (await shown(runtime))["api"] == ("degraded", "plain")


@pytest.mark.rule("S7", "S4")
@pytest.mark.parametrize("strategy", ["one_for_one", "dependents"])
async def test_what_can_run_without_something_that_had_ended_for_good_still_can_when_a_start_of_that_fails(
    stage: Stage, clock: MockClock, strategy: Any
) -> None:
    db, api = stage.child("db", restart="transient"), stage.child("api", depends_on=["db"])
    async with Runtime(supervisor("top", db, api, strategy=strategy)) as runtime:
        await finish(runtime, "db")
        assert await states(runtime) == {"db": "stopped", "api": "running"}
        stage.fail_starts("db")
        with pytest.raises(StartFailed):
            await runtime.ref("top").call(Supervisor.restart_child, "db")
        await crash(runtime, "api")
        assert await states(runtime) == {"db": "stopped", "api": "running"}
        assert await runtime.ref("api", Worker).call(Worker.incarnation) == 2


@pytest.mark.rule("S7")
async def test_a_start_by_hand_that_fails_leaves_held_what_has_no_fallback(stage: Stage, clock: MockClock) -> None:
    api = stage.child("api", depends_on=["db"])
    async with Runtime(supervisor("top", stage.child("db"), api)) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "db")
        stage.fail_starts("db")
        with pytest.raises(StartFailed):
            await top.call(Supervisor.restart_child, "db")
        with pytest.raises(ActorStopped):
            await runtime.ref("api", Worker).call(Worker.incarnation)
        assert await states(runtime) == {"db": "stopped", "api": "stopped"}
        await top.call(Supervisor.restart_child, "db")
        assert await states(runtime) == {"db": "running", "api": "running"}
