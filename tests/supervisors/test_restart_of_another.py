"""`Restart(target)`: somebody else is restarted with what has failed, and with its own group (rule S4)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ukemi import Backoff, Restart, Runtime, SupervisorGaveUp, supervisor
from ukemi.supervisors import ChildRestarted, GaveUp

from .stage import Stage, Worker, crash, states

strategies = pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one", "dependents"])
orders = pytest.mark.parametrize("order", ["the target first", "the target last", "the target is needed"])
targets = pytest.mark.parametrize("target", ["db", "/top/db"])
SLOW = Backoff(0.5, 0.5, jitter=0.0)
backoffs = pytest.mark.parametrize("backoff", [None, SLOW], ids=["at once", "later"])


def shop(stage: Stage, strategy: Any, order: str, action: Restart, **options: Any) -> Runtime:
    """What fails is api; other is a bystander, as far as its strategy lets it be one."""
    needs = ["db"] if order == "the target is needed" else []
    api, db = stage.child("api", policy=action, depends_on=needs), stage.child("db")
    children = [api, db] if order == "the target last" else [db, api]
    return Runtime(supervisor("top", *children, stage.child("other"), strategy=strategy, **options))


def restarted(strategy: str) -> set[str]:
    """Who is: what has failed and its group, the target and its group."""
    return {"api", "db", "other"} if strategy in ("one_for_all", "rest_for_one") else {"api", "db"}


@pytest.mark.rule("S4")
@strategies
@orders
@targets
@backoffs
async def test_the_target_and_its_group_are_restarted_with_what_has_failed(
    stage: Stage, clock: MockClock, strategy: str, order: str, target: str, backoff: Backoff | None
) -> None:
    async with shop(stage, strategy, order, Restart(target, backoff=backoff)) as runtime:
        stage.take()
        await crash(runtime, "api")
        await trio.sleep(0.25)
        if backoff is not None:
            assert "+api" not in stage.log, "it waits as long as its policy says"
        await trio.sleep(100)
        assert set((await states(runtime)).values()) == {"running"}
        log, expected = stage.take(), restarted(strategy)
        assert {each[1:] for each in log} == expected
        if not (strategy == "one_for_all" and backoff is not None):  # then what waits takes the others down again
            assert len(log) == 2 * len(expected)
        stage.log.clear()


@pytest.mark.rule("S4", "S6")
@strategies
@orders
@targets
async def test_one_failure_with_a_target_spends_the_window_once(
    stage: Stage, clock: MockClock, strategy: str, order: str, target: str
) -> None:
    gave_up: list[GaveUp] = []
    with pytest.raises(SupervisorGaveUp):
        async with shop(stage, strategy, order, Restart(target), max_restarts=3, within=60.0) as runtime:
            for _ in range(3):
                await crash(runtime, "api")
                await trio.sleep(1)
                assert not runtime.events.of(GaveUp)
                assert set((await states(runtime)).values()) == {"running"}
            try:
                await crash(runtime, "api")
            finally:
                gave_up = runtime.events.of(GaveUp)
    assert len(gave_up) == 1, "the fourth is one too many"


@pytest.mark.rule("S4", "S6")
@strategies
@orders
async def test_one_that_waits_is_tried_as_often_as_its_backoff_says(
    stage: Stage, clock: MockClock, strategy: str, order: str
) -> None:
    action = Restart("db", backoff=Backoff(0.5, 100.0, jitter=0.0, max_attempts=4))
    with pytest.raises(SupervisorGaveUp):
        async with shop(stage, strategy, order, action) as runtime:
            for _ in range(3):
                await crash(runtime, "api")
                await trio.sleep(10)
                assert set((await states(runtime)).values()) == {"running"}
            await crash(runtime, "api")
            pytest.fail("the fourth try is one too many")


@pytest.mark.rule("S4", "S5")
@strategies
@orders
async def test_when_the_target_fails_too_each_is_restarted_once(
    stage: Stage, clock: MockClock, strategy: str, order: str
) -> None:
    async with shop(stage, strategy, order, Restart("db")) as runtime:
        runtime.ref("db", Worker).cast(Worker.boom)
        await crash(runtime, "api")
        await trio.sleep(10)
        assert set((await states(runtime)).values()) == {"running"}
        assert {event.path for event in runtime.events.of(ChildRestarted)} >= {"/top/api", "/top/db"}
        assert [event.incarnation for event in runtime.events.of(ChildRestarted)].count(3) <= 1


@pytest.mark.rule("S4")
@strategies
@pytest.mark.parametrize("path", ["/top/far/x", "/top/far/y"])
async def test_a_target_elsewhere_is_restarted_with_its_group_there(
    stage: Stage, clock: MockClock, strategy: Any, path: str
) -> None:
    far = supervisor("far", *stage.children("xyz"), strategy=strategy)
    near = supervisor("near", stage.child("api", policy=Restart(path)))
    async with Runtime(supervisor("top", far, near)) as runtime:
        stage.take()
        await crash(runtime, "api")
        await trio.sleep(10)
        groups = {"one_for_all": "xyz", "rest_for_one": "xyz" if path.endswith("x") else "yz"}
        group = groups.get(strategy, path[-1])
        assert sorted(each for each in stage.take() if each[0] == "+") == sorted(["+api", *(f"+{n}" for n in group)])
        assert set((await states(runtime, "far")).values()) == {"running"}
