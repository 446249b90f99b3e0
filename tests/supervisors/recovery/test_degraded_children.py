"""Features of children: what degrades them, what then runs in their place, and how they come back."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ActorCrashed,
    Backoff,
    Degrade,
    DynamicSupervisor,
    Fallback,
    Feature,
    Policy,
    Resume,
    Row,
    Runtime,
    child,
    dynamic_supervisor,
    supervisor,
)
from ukemi.supervisors import FeatureDegraded, FeatureRestored, FellBack, Supervisor

from .patients import Patient, Second, Ward, make

WAY_BACK = Backoff(initial=2.0, maximum=8.0, jitter=0.0)


@pytest.fixture
def ward() -> Ward:
    return Ward()


def provider(ward: Ward, name: str, **options: object) -> object:
    """A child that provides the feature `<name>s`, with a fallback."""
    given: dict[str, object] = {"backoff": WAY_BACK, "feature": f"{name}s", "health_threshold": 0.5, **options}
    return child(name, make(ward, name), fallback=make(ward, f"{name}2", Second), **given)  # type: ignore[arg-type]


async def states(runtime: Runtime) -> dict[str, str]:
    await wait_all_tasks_blocked()
    return {each.name: each.state for each in await runtime.ref("top").call(Supervisor.children)}


def degraded(runtime: Runtime) -> list[str]:
    return [event.feature for event in runtime.events.of(FeatureDegraded)]


def restored(runtime: Runtime) -> list[str]:
    return [event.feature for event in runtime.events.of(FeatureRestored)]


async def test_a_child_whose_health_is_bad_runs_its_fallback_and_comes_back_when_it_is_well(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", provider(ward, "a"))) as runtime:
        ward.healths["a"] = 0.3
        await trio.sleep(6)
        assert await states(runtime) == {"a": "degraded"}
        assert await runtime.ref("a").call("who") == "a2 1"
        await trio.sleep(60)
        assert await runtime.ref("a").call("who") == "a2 2", "it is still unwell when it is tried"
        ward.healths["a"] = 0.55
        await trio.sleep(60)
        assert await runtime.ref("a").call("who") == "a2 3", "that is not 1.2 times its threshold"
        ward.healths["a"] = 0.7
        await trio.sleep(60)
        assert await runtime.ref("a").call("who") == "a 1"
        assert await states(runtime) == {"a": "running"}
        assert (degraded(runtime), restored(runtime)) == (["as"], ["as"])


async def test_a_failure_rate_counts_from_twenty_operations_on(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", provider(ward, "a", policy=Resume()))) as runtime:
        ref = runtime.ref("a")
        for _ in range(19):
            ward.fail("once", KeyError("no"))
            with pytest.raises(KeyError):
                await ref.call("once")
        assert await states(runtime) == {"a": "running"}
        ward.fail("once", KeyError("no"))
        with pytest.raises(KeyError):
            await ref.call("once")
        await trio.sleep(0.1)
        assert await states(runtime) == {"a": "degraded"}
        await trio.sleep(60)
        assert await states(runtime) == {"a": "running"}, "what ran in its place says nothing of it: it is tried again"


async def test_handlers_that_hang_count_too(ward: Ward, autojump_clock: MockClock) -> None:
    a = provider(ward, "a", handler_timeout=1.0, backoff=None)
    async with Runtime(supervisor("top", a, max_restarts=100)) as runtime:
        for _ in range(2):
            with pytest.raises(ActorCrashed):
                await runtime.ref("a").call("last", 100.0)
        await trio.sleep(0.1)
        assert await states(runtime) == {"a": "degraded"}


async def test_an_applications_own_score_goes_through_the_same_seam(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", provider(ward, "a"))) as runtime:
        runtime.features.report("as", 0.1, "the editor")
        await trio.sleep(0.1)
        assert await states(runtime) == {"a": "degraded"}
        runtime.features.report("as", 0.9, "the editor")
        await trio.sleep(5)
        assert await states(runtime) == {"a": "degraded"}, "not before it has been well for a while"
        await trio.sleep(6)
        assert await states(runtime) == {"a": "running"}


async def test_what_depends_on_a_degraded_feature_is_degraded_with_it_and_restored_after_it(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a, b = provider(ward, "a"), provider(ward, "b", depends_on=["a"])
    c = provider(ward, "c", depends_on=["b"])
    tree = supervisor("top", a, b, c, child("d", make(ward, "d")), strategy="dependents")
    async with Runtime(tree) as runtime:
        runtime.features.degrade("as", "manual")
        await trio.sleep(0.1)
        assert await states(runtime) == {"a": "degraded", "b": "degraded", "c": "degraded", "d": "running"}
        assert degraded(runtime) == ["as", "bs", "cs"]
        runtime.features.lift("as", "manual")
        await trio.sleep(0.1)
        assert set((await states(runtime)).values()) == {"running"}
        assert restored(runtime) == ["as", "bs", "cs"]
        assert runtime.ref("d").stats().incarnation == 1


async def test_a_quality_level_turns_features_off_and_on_again(ward: Ward, autojump_clock: MockClock) -> None:
    a = provider(ward, "a", feature="shell_integration")
    b = provider(ward, "b", feature="file_watching")
    tree = supervisor("top", a, b, features=[Feature("decorations")])
    async with Runtime(tree) as runtime:
        found = []
        for level in (2, 1, 0, None):
            runtime.features.set_quality(level)
            await trio.sleep(0.1)
            found.append(tuple((await states(runtime)).values()))
        assert found == [
            ("running", "running"),
            ("degraded", "running"),
            ("degraded", "degraded"),
            ("running", "running"),
        ]


async def test_a_policy_may_lower_the_quality_while_the_child_goes_on(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward), policy=Degrade(levels=1))
    async with Runtime(supervisor("top", a)) as runtime:
        ward.fail("once", MemoryError())
        with pytest.raises(MemoryError):
            await runtime.ref("a").call("once")
        await wait_all_tasks_blocked()
        assert runtime.features.quality.level == 2
        assert runtime.ref("a").stats().incarnation == 1


async def test_a_policy_may_degrade_the_feature_of_another(ward: Ward, autojump_clock: MockClock) -> None:
    b = child("b", make(ward, "b"), policy=Degrade("as"))
    async with Runtime(supervisor("top", provider(ward, "a"), b)) as runtime:
        ward.fail("once", KeyError("no"))
        with pytest.raises(KeyError):
            await runtime.ref("b").call("once")
        await trio.sleep(0.1)
        assert await states(runtime) == {"a": "degraded", "b": "running"}
        await trio.sleep(31)
        assert await states(runtime) == {"a": "running", "b": "running"}, "nothing has failed for a while"


async def test_a_fallback_taken_for_a_failure_degrades_the_feature_till_the_child_is_back(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", provider(ward, "a", policy=Fallback()))) as runtime:
        ward.fail("once", KeyError("no"))
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call("once")
        await wait_all_tasks_blocked()
        assert degraded(runtime) == ["as"]
        await trio.sleep(3)
        assert restored(runtime) == ["as"]


async def test_a_feature_without_a_fallback_is_only_marked(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward), feature="as")
    async with Runtime(supervisor("top", a)) as runtime:
        runtime.features.degrade("as", "manual")
        await wait_all_tasks_blocked()
        assert await states(runtime) == {"a": "degraded"}
        assert await runtime.ref("a").call("who") == "own 1"
        runtime.features.lift("as", "manual")
        await wait_all_tasks_blocked()
        assert await states(runtime) == {"a": "running"}
        assert not runtime.events.of(FellBack)


async def test_a_score_that_comes_and_goes_does_not_flap(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", provider(ward, "a"))) as runtime:
        for _ in range(10):
            runtime.features.report("as", 0.1, "the editor")
            await trio.sleep(3)
            runtime.features.report("as", 0.9, "the editor")
            await trio.sleep(3)
        assert len(degraded(runtime)) == 1
        assert len(runtime.events.of(FellBack)) == 1


async def test_a_network_that_is_lost_for_good_degrades_and_keeps_the_mail(
    ward: Ward, autojump_clock: MockClock
) -> None:
    policy = Policy((Row("Network", "Critical", Fallback(), Degrade(), retries=0),))
    link = child("link", make(ward, "link"), policy=policy, feature="remote")
    async with Runtime(supervisor("top", link, child("local", make(ward, "local")))) as runtime:
        ward.fail("once", BrokenPipeError("gone"))
        ward.fail("start link", BrokenPipeError("gone"), BrokenPipeError("gone"))
        runtime.ref("link").cast("once", "lost")
        await wait_all_tasks_blocked()
        assert await states(runtime) == {"link": "degraded", "local": "running"}
        assert await runtime.ref("local").call("who") == "local 1"
        runtime.ref("link").cast("once", "kept")
        await trio.sleep(60)
        assert await states(runtime) == {"link": "running", "local": "running"}
        assert "once kept" in ward.take()


async def test_a_child_that_comes_at_run_time_brings_its_feature_and_takes_it_along(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", dynamic_supervisor("pool"))) as runtime:
        pool = runtime.ref("pool", DynamicSupervisor)
        await pool.call(DynamicSupervisor.start_child, provider(ward, "a"))  # type: ignore[arg-type]
        assert [state.feature for state in runtime.features.states()] == ["as"]
        runtime.features.degrade("as", "manual")
        await trio.sleep(0.1)
        assert await runtime.ref("a", Patient).call(Patient.who) == "a2 1"
        await pool.call(DynamicSupervisor.stop_child, "a")
        await pool.call(DynamicSupervisor.delete_child, "a")
        assert runtime.features.states() == []


async def test_children_may_provide_the_same_feature_and_one_that_fails_degrades_it_for_all(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = provider(ward, "a", feature="speech", policy=Fallback())
    b = provider(ward, "b", feature="speech", depends_on=["a"])
    async with Runtime(supervisor("top", a, b)) as runtime:
        ward.fail("once", KeyError("no"))
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call("once")
        assert await states(runtime) == {"a": "degraded", "b": "running"}, "that of a is no reason to replace b"
        assert degraded(runtime) == ["speech"]
        runtime.features.set_quality(3)
        runtime.features.degrade("speech", "manual")
        await trio.sleep(6)
        assert await states(runtime) == {"a": "degraded", "b": "degraded"}
        runtime.features.lift("speech", "manual")
        await trio.sleep(60)
        assert await states(runtime) == {"a": "running", "b": "running"}
        assert restored(runtime) == ["speech"]
