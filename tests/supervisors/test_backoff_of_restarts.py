"""Declared backoff: how long a child waits, what that spends, and when the row of tries ends."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ukemi import Actor, ActorCrashed, Backoff, Runtime, SupervisorGaveUp, child, supervisor
from ukemi.supervisors import RestartDelayed

from .stage import Stage, crash, infos, states


def exact(initial: float = 1.0, maximum: float = 8.0, max_attempts: int | None = None) -> Backoff:
    return Backoff(initial=initial, maximum=maximum, jitter=0.0, max_attempts=max_attempts)


@pytest.mark.rule("S6")
async def test_without_backoff_a_child_that_crashes_is_restarted_at_once(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        await crash(runtime, "a")
        assert stage.take() == ["+a", "-a", "+a"]
        assert trio.current_time() == 0.0


@pytest.mark.rule("S6")
async def test_a_declared_backoff_holds_for_crashes_and_doubles_each_time(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", backoff=exact()))) as runtime:
        for delay in (1, 2, 4, 8, 8):
            await crash(runtime, "a")
            assert await states(runtime) == {"a": "restarting"}
            await trio.sleep(delay - 0.25)
            assert await states(runtime) == {"a": "restarting"}
            await trio.sleep(0.5)
            assert await states(runtime) == {"a": "running"}
        attempts = [(event.attempt, event.delay) for event in runtime.events.of(RestartDelayed)]
        assert attempts == [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0)]


@pytest.mark.rule("S6")
async def test_slow_backoff_never_spends_the_window(stage: Stage, clock: MockClock) -> None:
    backoff = exact(initial=3.0, maximum=60.0)
    async with Runtime(supervisor("top", stage.child("a", backoff=backoff), max_restarts=1, within=2.0)) as runtime:
        for _ in range(20):
            await crash(runtime, "a")
            await trio.sleep(61)
        assert (await infos(runtime))["a"].restarts == 20


@pytest.mark.rule("S6")
async def test_quick_backoff_does_spend_it(stage: Stage, clock: MockClock) -> None:
    backoff = exact(initial=0.5, maximum=0.5)
    with pytest.raises(SupervisorGaveUp, match="more than 2 restarts within 5 s"):
        async with Runtime(supervisor("top", stage.child("a", backoff=backoff), max_restarts=2)) as runtime:
            for _ in range(3):
                await crash(runtime, "a")
                await trio.sleep(0.75)


@pytest.mark.rule("S6")
async def test_max_attempts_bounds_the_tries_in_a_row(stage: Stage, clock: MockClock) -> None:
    backoff = exact(initial=3.0, maximum=60.0, max_attempts=3)
    tree = supervisor("top", stage.child("a", backoff=backoff), max_restarts=1, within=2.0)
    with pytest.raises(SupervisorGaveUp, match=r"/top/a: 3 tries in a row did not help \(max_attempts\)"):
        async with Runtime(tree) as runtime:
            stage.fail_starts("a", 99)
            await crash(runtime, "a")
            await trio.sleep(1000)
    assert stage.take() == ["+a", "-a", "!a", "!a"], "the first start was a try too"


@pytest.mark.rule("S6")
async def test_the_row_ends_once_the_child_has_run_for_the_maximum(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", backoff=exact()))) as runtime:
        for _ in range(2):
            await crash(runtime, "a")
            await trio.sleep(2.5)
        await trio.sleep(8)
        await crash(runtime, "a")
        attempts = [event.attempt for event in runtime.events.of(RestartDelayed)]
        assert attempts == [1, 2, 1]


@pytest.mark.rule("S6")
async def test_it_ends_too_for_a_child_that_goes_down_with_another(stage: Stage, clock: MockClock) -> None:
    backoff = exact(maximum=2.0, max_attempts=3)
    tree = supervisor("top", stage.child("a"), stage.child("b", backoff=backoff), strategy="rest_for_one")
    async with Runtime(tree) as runtime:
        for _ in range(2):
            await crash(runtime, "b")
            await trio.sleep(2.25 if _ else 1.25)
        await trio.sleep(1000)
        stage.fail_starts("b")
        await crash(runtime, "a")
        await trio.sleep(10)
        assert await states(runtime) == {"a": "running", "b": "running"}
        assert [event.attempt for event in runtime.events.of(RestartDelayed)] == [1, 2, 1]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
@pytest.mark.rule("S6", "S4")
async def test_while_a_child_waits_its_group_is_down(stage: Stage, strategy: str, clock: MockClock) -> None:
    tree = supervisor(
        "top",
        stage.child("a", backoff=exact()),
        stage.child("b", depends_on=["a"]),
        strategy=strategy,
    )
    async with Runtime(tree) as runtime:
        stage.take()
        await crash(runtime, "a")
        assert stage.take() == ["-a", "-b"]
        assert await states(runtime) == {"a": "restarting", "b": "restarting"}
        await trio.sleep(1.5)
        assert stage.take() == ["+a", "+b"]


@pytest.mark.rule("S6", "S4")
async def test_a_dependent_that_crashes_while_another_waits_does_not_wait_for_it(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor(
        "top",
        stage.child("a", backoff=exact()),
        stage.child("b", depends_on=["a"]),
        stage.child("c"),
        strategy="dependents",
    )
    async with Runtime(tree) as runtime:
        await crash(runtime, "a")
        stage.take()
        await crash(runtime, "c")
        assert stage.take() == ["-c", "+c"]
        await trio.sleep(1.5)
        assert stage.take() == ["+a", "+b"]


@pytest.mark.rule("S6", "S4")
async def test_one_for_one_with_a_dependency_that_waits_starts_the_dependent_after_it(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor("top", stage.child("a", backoff=exact()), stage.child("b", depends_on=["a"]))
    async with Runtime(tree) as runtime:
        await crash(runtime, "a")
        await crash(runtime, "b")
        assert await states(runtime) == {"a": "restarting", "b": "restarting"}
        stage.take()
        await trio.sleep(1.5)
        assert stage.take() == ["+a", "+b"]


@pytest.mark.rule("S4")
async def test_under_one_for_all_none_is_started_before_the_delay_is_over_and_each_once(
    autojump_clock: MockClock,
) -> None:
    log: list[tuple[float, str]] = []

    class Part(Actor):
        def on_start(self) -> None:
            log.append((trio.current_time(), self.ctx.name))

        def crash(self) -> None:
            raise ValueError

    parts = [child(name, Part, backoff=Backoff(1.0, 1.0, jitter=0.0)) for name in "abc"]
    async with Runtime(supervisor("top", *parts, strategy="one_for_all")) as runtime:
        log.clear()
        with pytest.raises(ActorCrashed):
            await runtime.ref("b", Part).call(Part.crash)
        await trio.sleep(5)
        assert log == [(1.0, "a"), (1.0, "b"), (1.0, "c")]
