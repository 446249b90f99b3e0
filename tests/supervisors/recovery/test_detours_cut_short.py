"""Detours whose supervisor ends in the middle of them, features that come and go, and what watches all that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorStopped,
    Backoff,
    CircuitBreak,
    CircuitOpen,
    Degrade,
    Down,
    DynamicSupervisor,
    Fallback,
    Feature,
    Ref,
    Retry,
    Runtime,
    Throttle,
    UkemiError,
    child,
    dynamic_supervisor,
    supervisor,
)
from ukemi.actors.events import BackgroundFailed
from ukemi.supervisors import ChildSpec, FellBack, Supervisor

from .patients import Patient, Second, Ward, make

EXACT = Backoff(initial=2.0, maximum=8.0, jitter=0.0)
ONCE = CircuitBreak(duration=10.0, failures=1)
MANY = 1000


@pytest.fixture
def ward() -> Ward:
    return Ward()


async def states(runtime: Runtime, name: str = "top") -> dict[str, str]:
    await wait_all_tasks_blocked()
    return {each.name: each.state for each in await runtime.ref(name).call(Supervisor.children)}


async def fail(runtime: Runtime, ward: Ward, name: str = "a") -> None:
    ward.fail("once", ValueError("no"))
    runtime.ref(name).cast("once")
    await wait_all_tasks_blocked()


class Sluggish(Patient):
    """Takes a second to start, and one to stop; counts who is there."""

    async def on_start(self) -> None:
        await trio.sleep(1)
        await super().on_start()

    async def on_stop(self, reason: object) -> None:
        await trio.sleep(1)
        super().on_stop(reason)


# --- the supervisor ends in the middle


def provider(ward: Ward, name: str, **options: object) -> ChildSpec:
    given: dict[str, object] = {"backoff": EXACT, "policy": Fallback(), "feature": f"{name}s", **options}
    fallback = make(ward, f"{name}2", Sluggish)
    return child(name, make(ward, name, Sluggish), fallback=fallback, **given)  # type: ignore[arg-type]


async def by_fallback(runtime: Runtime, ward: Ward) -> None:
    await fail(runtime, ward, "a")


async def by_circuit(runtime: Runtime, ward: Ward) -> None:
    await runtime.ref("inner").call("open_circuit", "a", 2.0)


async def by_feature(runtime: Runtime, ward: Ward) -> None:
    runtime.features.degrade("as", "manual")
    await trio.sleep(4)
    if "as" in {state.feature for state in runtime.features.states()}:
        runtime.features.lift("as", "manual")


async def by_hand(runtime: Runtime, ward: Ward) -> None:
    await runtime.ref("inner").call("stop_child", "a")
    await runtime.ref("inner").call("restart_child", "a")


Detour = Callable[[Runtime, Ward], object]


@pytest.mark.parametrize("end", ["kill", "stop", "crash", "stop_child"])
@pytest.mark.parametrize("detour", [by_fallback, by_circuit, by_feature, by_hand])
@pytest.mark.parametrize("at", [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.5, 6.5, 9.5])
async def test_a_supervisor_that_ends_in_the_middle_of_a_detour_leaves_nothing_behind(
    ward: Ward, autojump_clock: MockClock, detour: Detour, at: float, end: str
) -> None:
    a, b = provider(ward, "a"), provider(ward, "b", depends_on=["a"])
    inner = supervisor("inner", a, b, strategy="dependents", max_restarts=MANY)
    async with Runtime(supervisor("top", inner, max_restarts=MANY)) as runtime:
        async with trio.open_nursery() as nursery:

            async def begin() -> None:
                with suppress(UkemiError):  # it ends in the middle
                    await detour(runtime, ward)  # type: ignore[misc]

            nursery.start_soon(begin)
            await trio.sleep(at)
            ref = runtime.ref("inner")
            match end:
                case "kill":
                    ref.kill()
                case "stop":
                    await ref.stop()
                case "crash":
                    assert ref.cell.incarnation is not None
                    ref.cell.incarnation.fail(ValueError("crashed"))
                case _:
                    await runtime.ref("top", Supervisor).within(None).call(Supervisor.stop_child, "inner")
                    assert runtime.features.states() == []
                    await runtime.ref("top", Supervisor).call(Supervisor.restart_child, "inner")
        await trio.sleep(100)
        assert await states(runtime) == {"inner": "running"}
        assert await states(runtime, "inner") == {"a": "running", "b": "running"}
        assert [(state.feature, state.degraded) for state in runtime.features.states()] == [
            ("as", False),
            ("bs", False),
        ]
        assert await runtime.ref("b", Patient).call(Patient.who) == "b 1"
        assert runtime.ref("inner").stats().tasks == 1, "what follows its features"
        await runtime.ref("top", Supervisor).within(None).call(Supervisor.stop_child, "inner")
        assert runtime.features.states() == [], "declared as often as withdrawn"
        assert runtime.system.zombies == 0


# --- features


async def test_two_children_may_provide_one_feature_and_what_one_has_done_to_it_goes_with_it(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", dynamic_supervisor("pool"))) as runtime:
        pool = runtime.ref("pool", DynamicSupervisor)
        for name in "ab":
            spec = child(name, make(ward, name), feature=Feature("speech", threshold=0.5), policy=Fallback())
            await pool.call(DynamicSupervisor.start_child, spec)
        ward.healths["a"] = 0.1
        await trio.sleep(6)
        assert runtime.features.state_of("speech").degraded
        await pool.call(DynamicSupervisor.stop_child, "a")
        await pool.call(DynamicSupervisor.delete_child, "a")
        await trio.sleep(60)
        assert not runtime.features.state_of("speech").degraded
        assert await states(runtime, "pool") == {"b": "running"}


@pytest.mark.parametrize("nonsense", [ValueError("ill"), SystemExit(3), KeyboardInterrupt(), "ill", None, float("nan")])
async def test_a_health_that_raises_or_makes_no_sense_counts_as_ill_and_harms_nobody(
    ward: Ward, autojump_clock: MockClock, nonsense: object
) -> None:
    class Strange(Patient):
        def health(self) -> float:
            if isinstance(nonsense, BaseException):
                raise nonsense
            return nonsense  # type: ignore[return-value]

    a = child("a", lambda: Strange(ward), feature="speech", health_threshold=0.5)
    async with Runtime(supervisor("top", a, child("b", make(ward, "b")))) as runtime:
        await trio.sleep(6)
        assert runtime.features.state_of("speech").degraded
        assert runtime.ref("top").stats().incarnation == 1
        assert runtime.ref("b").stats().incarnation == 1
        assert len(runtime.events.of(BackgroundFailed)) <= 1


async def test_a_child_without_a_fallback_that_is_ill_is_well_again_when_its_health_is(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", child("a", make(ward, "a"), feature="as", health_threshold=0.5))) as runtime:
        ward.healths["a"] = 0.1
        await trio.sleep(6)
        assert await states(runtime) == {"a": "degraded"}
        ward.healths["a"] = 1.0
        await trio.sleep(60)
        assert await states(runtime) == {"a": "running"}
        assert not runtime.features.state_of("as").degraded


async def test_a_child_that_is_ill_and_fails_comes_back_from_its_fallback(
    ward: Ward, autojump_clock: MockClock
) -> None:
    fallback = make(ward, "2", Second)
    a = child("a", make(ward, "a"), feature="as", health_threshold=0.5, fallback=fallback, policy=Fallback())
    async with Runtime(supervisor("top", a)) as runtime:
        ward.healths["a"] = 0.1
        runtime.features.degrade("as", "manual")
        await fail(runtime, ward, "a")
        await trio.sleep(30)
        ward.healths["a"] = 1.0
        runtime.features.lift("as", "manual")
        await trio.sleep(200)
        assert await states(runtime) == {"a": "running"}
        assert await runtime.ref("a").call("who") == "a 1"


async def test_a_feature_that_flaps_ends_with_the_right_one_in_the_childs_place(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward, "a", Sluggish), feature="as", fallback=make(ward, "a2", Sluggish))
    async with Runtime(supervisor("top", a)) as runtime:
        for off in (True, False, True, False, True):
            (runtime.features.degrade if off else runtime.features.lift)("as", "manual")
            await trio.sleep(0.3)
        await trio.sleep(10)
        assert await runtime.ref("a").call("who") == "a2 1"
        for off in (False, True, False):
            (runtime.features.degrade if off else runtime.features.lift)("as", "manual")
            await trio.sleep(0.3)
        await trio.sleep(10)
        assert await runtime.ref("a").call("who") == "a 1"
        assert await states(runtime) == {"a": "running"}


async def test_a_fallback_that_can_not_start_for_a_degraded_feature_is_tried_again(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward, "a"), feature="as", fallback=make(ward, "a2", Second), backoff=EXACT)
    async with Runtime(supervisor("top", a)) as runtime:
        ward.fail("start a2", OSError("no"), OSError("no"))
        runtime.features.degrade("as", "manual")
        await trio.sleep(1)
        assert await runtime.ref("a").call("who") == "a 1"
        await trio.sleep(10)
        assert await runtime.ref("a").call("who") == "a2 1"


async def test_a_child_started_by_hand_while_its_feature_is_off_runs_its_fallback(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward, "a"), feature="as", fallback=make(ward, "a2", Second))
    async with Runtime(supervisor("top", a)) as runtime:
        top = runtime.ref("top", Supervisor)
        runtime.features.degrade("as", "manual")
        await trio.sleep(1)
        await top.call(Supervisor.stop_child, "a")
        await top.call(Supervisor.restart_child, "a")
        await trio.sleep(1)
        assert await runtime.ref("a").call("who") == "a2 1"
        runtime.features.lift("as", "manual")
        await trio.sleep(1)
        assert await runtime.ref("a").call("who") == "a 1"


async def test_a_policy_that_degrades_what_is_no_feature_any_more_harms_nobody(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", dynamic_supervisor("pool"))) as runtime:
        pool = runtime.ref("pool", DynamicSupervisor)
        await pool.call(DynamicSupervisor.start_child, child("b", make(ward, "b"), feature="colours"))
        await pool.call(DynamicSupervisor.start_child, child("a", make(ward, "a"), policy=Degrade("colours")))
        await pool.call(DynamicSupervisor.stop_child, "b")
        await pool.call(DynamicSupervisor.delete_child, "b")
        await fail(runtime, ward)
        await fail(runtime, ward)
        assert runtime.ref("pool").stats().incarnation == 1
        assert await states(runtime, "pool") == {"a": "running"}


async def test_a_change_of_a_feature_that_is_taken_away_meanwhile_harms_nobody(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward, "a"), feature="as")
    async with Runtime(supervisor("top", a)) as runtime, trio.open_nursery() as nursery:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "a")
        nursery.start_soon(top.call, Supervisor.delete_child, "a")
        runtime.features.degrade("as", "manual")
        await trio.sleep(1)
        assert await states(runtime) == {}
        assert runtime.ref("top").stats().incarnation == 1


# --- who watches, what waits


class Watcher(Actor):
    def __init__(self) -> None:
        self.downs: list[tuple[int, bool]] = []
        self.partner: Ref[Patient] | None = None

    def watch(self, name: str) -> None:
        self.ctx.monitor(self.ctx.find(name))

    def on_down(self, down: Down) -> None:
        self.downs.append((down.incarnation, down.final))

    def seen(self) -> list[tuple[int, bool]]:
        return self.downs


@pytest.mark.rule("R6")
async def test_a_monitor_yields_one_down_for_each_takeover_and_each_opening(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward), policy=Fallback(), fallback=make(ward, "2", Second), backoff=EXACT)
    async with Runtime(supervisor("top", a, child("w", Watcher))) as runtime:
        watcher, top = runtime.ref("w", Watcher), runtime.ref("top", Supervisor)
        await watcher.call(Watcher.watch, "a")
        await fail(runtime, ward)
        await watcher.call(Watcher.watch, "a")
        await trio.sleep(3)  # it is back
        await watcher.call(Watcher.watch, "a")
        await top.call(Supervisor.open_circuit, "a", 5.0)
        await trio.sleep(20)
        await watcher.call(Watcher.watch, "a")
        await top.call(Supervisor.stop_child, "a")
        await wait_all_tasks_blocked()
        assert await watcher.call(Watcher.seen) == [(1, False), (2, False), (3, False), (4, True)]


async def test_the_bound_of_a_mailbox_holds_after_circuits_holds_and_takeovers(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Stashing(Patient):
        is_open = False

        async def once_async(self, text: str = "") -> str:
            if text == "now":
                self.is_open = True
                self.ctx.unstash()
            elif not self.is_open:
                self.ctx.stash()
            return text

    a = child("a", lambda: Stashing(ward), mailbox=4, policy=Retry(EXACT), fallback=lambda: Stashing(ward, "2"))
    async with Runtime(supervisor("top", a)) as runtime:
        ref, top = runtime.ref("a"), runtime.ref("top", Supervisor)
        mailbox = ref.cell.mailbox
        for _ in range(3):
            ref.cast("once_async", "later")
            await wait_all_tasks_blocked()
            await top.call(Supervisor.open_circuit, "a", 1.0)
            await trio.sleep(8)
            ref.cast("once_async", "now")
            ward.fail("again", ConnectionResetError())
            with trio.move_on_after(1):
                await ref.call("again")
            with trio.move_on_after(0.5):
                await ref.call("last", 0.2)
            await trio.sleep(20)
            assert (len(mailbox), mailbox.room, mailbox.ghosts, mailbox.stashed) == (0, 4, 0, 0)


@pytest.mark.parametrize("how", ["stop", "open", "delete"])
async def test_what_is_held_back_ends_when_its_child_does(ward: Ward, autojump_clock: MockClock, how: str) -> None:
    a = child("a", make(ward), policy=Retry(Backoff(100.0, 100.0)))
    async with Runtime(supervisor("top", a)) as runtime, trio.open_nursery() as nursery:
        ref, top = runtime.ref("a"), runtime.ref("top", Supervisor)
        errors: list[str] = []

        async def ask() -> None:
            try:
                await ref.within(None).call("again")
            except Exception as error:
                errors.append(type(error).__name__)

        ward.fail("again", ConnectionResetError())
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        if how == "open":
            await top.call(Supervisor.open_circuit, "a")
        else:
            await top.call(Supervisor.stop_child, "a")
        await wait_all_tasks_blocked()
        assert errors == ["CircuitOpen" if how == "open" else "ActorStopped"]
        assert ref.cell.gate.hold is None
        if how == "delete":
            await top.call(Supervisor.delete_child, "a")
        assert trio.current_time() == 0


async def test_a_suspended_actor_gives_nothing_again_until_it_is_resumed(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=Retry(EXACT)))) as runtime:
        ref = runtime.ref("a")
        ward.fail("again", ConnectionResetError())
        ref.cast("again", "x")
        await wait_all_tasks_blocked()
        ref.cell.suspend(True)
        await trio.sleep(10)
        assert ward.take() == ["+own", "again x"]
        ref.cell.suspend(False)
        await wait_all_tasks_blocked()
        assert ward.take() == ["again x"]


async def test_what_drains_gives_what_is_held_back_first(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=Retry(EXACT)))) as runtime:
        ref = runtime.ref("a")
        ward.fail("again", ConnectionResetError())
        ref.cast("again", "first")
        await wait_all_tasks_blocked()
        ref.cast("once", "second")
        await ref.stop(drain=True)
        assert ward.take()[:5] == ["+own", "again first", "again first", "once second", "-own"]


async def test_a_throttled_child_stops_at_once_and_comes_back(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=Throttle(rate=0.1, quiet=50.0)))) as runtime:
        ref, top = runtime.ref("a"), runtime.ref("top", Supervisor)
        ward.fail("once", ValueError())
        ref.cast("once", "culprit")
        await wait_all_tasks_blocked()
        ref.cast("once", "waits")
        await top.call(Supervisor.stop_child, "a")
        assert trio.current_time() == 0
        await top.call(Supervisor.restart_child, "a")
        await trio.sleep(100)
        before = trio.current_time()
        for _ in range(3):
            await ref.call("who")
        assert trio.current_time() == before, "nothing has failed for a while"


async def test_a_takeover_waits_for_no_supervisor_that_is_busy_and_no_supervisor_for_it(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward), policy=Fallback(), fallback=make(ward, "2", Second), backoff=EXACT, shutdown=None)
    async with Runtime(supervisor("top", a, child("b", make(ward, "b")))) as runtime, trio.open_nursery() as nursery:
        await fail(runtime, ward)
        nursery.start_soon(runtime.ref("a").within(None).call, "last", 1000.0)
        await trio.sleep(5)
        await fail(runtime, ward, "b")
        assert await runtime.ref("b").call("who") == "b 1"
        assert trio.current_time() < 6
        await trio.sleep(1000)
        assert await runtime.ref("a").call("who") == "own 1"


async def test_one_fallback_after_another_hangs_at_its_end_and_the_child_is_back_all_the_same(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Clinging(Second):
        async def on_stop(self, reason: object) -> None:  # type: ignore[override]
            await trio.sleep_forever()

    a = child("a", make(ward), policy=Fallback(), fallback=make(ward, "2", Clinging), backoff=EXACT)
    async with Runtime(supervisor("top", a)) as runtime:
        await fail(runtime, ward)
        await trio.sleep(3)
        assert await runtime.ref("a").call("who") == "own 1"
        assert trio.current_time() == 2 + 5.0, "its shutdown time"
        assert [event.fallback for event in runtime.events.of(FellBack)] == ["fallback", None]
        assert runtime.system.zombies == 0


@pytest.mark.rule("R6")
async def test_no_takeover_and_no_circuit_opened_by_hand_ends_what_is_linked(
    ward: Ward, autojump_clock: MockClock
) -> None:
    """They end an incarnation, but normally; its failure crosses the link as ever."""

    class Linked(Actor):
        def tie(self) -> None:
            self.ctx.link(self.ctx.find("a"))

    a = child("a", make(ward), policy=Fallback(), fallback=make(ward, "2", Second), backoff=EXACT)
    async with Runtime(supervisor("top", a, child("l", Linked))) as runtime:
        linked = runtime.ref("l", Linked)
        await fail(runtime, ward)
        await linked.call(Linked.tie)
        await trio.sleep(3)
        assert await runtime.ref("a").call("who") == "own 1"
        await linked.call(Linked.tie)
        await runtime.ref("top", Supervisor).call(Supervisor.open_circuit, "a", 1.0)
        await trio.sleep(10)
        assert linked.stats().incarnation == 1
        await linked.call(Linked.tie)
        await fail(runtime, ward)
        assert linked.stats().incarnation == 2


async def test_calls_that_wait_to_be_given_again_end_with_their_supervisor(
    ward: Ward, autojump_clock: MockClock
) -> None:
    inner = supervisor("inner", child("a", make(ward), policy=Retry(Backoff(100.0, 100.0))))
    async with Runtime(supervisor("top", inner)) as runtime, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ActorStopped):
                await runtime.ref("a").within(None).call("again")

        ward.fail("again", ConnectionResetError())
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "inner")
        assert trio.current_time() == 0


@pytest.mark.rule("S14")
async def test_what_a_child_waits_to_start_with_may_open_meanwhile(ward: Ward, autojump_clock: MockClock) -> None:
    """Its restart is called off, and made up for when the circuit is closed."""
    a = child("a", make(ward, "a"), policy=ONCE)
    b = child("b", make(ward, "b"), depends_on=["a"], backoff=Backoff(3.0, 3.0, jitter=0.0))
    async with Runtime(supervisor("top", a, b, strategy="dependents", max_restarts=MANY)) as runtime:
        await fail(runtime, ward, "b")
        await trio.sleep(1)
        await fail(runtime, ward, "a")
        ward.take()
        assert await states(runtime) == {"a": "open", "b": "stopped"}
        await trio.sleep(8)
        assert ward.take() == []
        with pytest.raises(CircuitOpen):
            await runtime.ref("a").call("who")
        await trio.sleep(10)
        assert ward.take() == ["+a", "+b"]
        assert await states(runtime) == {"a": "running", "b": "running"}
