"""Detours that something else comes across: kills, stops, other circuits, other features, in the middle of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Backoff,
    CircuitBreak,
    CircuitOpen,
    Defer,
    Degrade,
    DynamicSupervisor,
    Fallback,
    Policy,
    Restart,
    Row,
    Runtime,
    child,
    dynamic_supervisor,
    retryable,
    supervisor,
)
from ukemi.actors.events import DeadLetter
from ukemi.supervisors import ChildInfo, Supervisor

from .patients import Patient, Second, Ward, make

EXACT = Backoff(initial=2.0, maximum=8.0, jitter=0.0)
LATE = Backoff(initial=100.0, maximum=100.0, jitter=0.0)
ONCE = CircuitBreak(duration=10.0, failures=1)
MANY = 1000


@pytest.fixture
def ward() -> Ward:
    return Ward()


async def infos(runtime: Runtime, name: str = "top") -> dict[str, ChildInfo]:
    await wait_all_tasks_blocked()
    return {each.name: each for each in await runtime.ref(name).call(Supervisor.children)}


async def states(runtime: Runtime, name: str = "top") -> dict[str, str]:
    return {name: each.state for name, each in (await infos(runtime, name)).items()}


async def fail(runtime: Runtime, ward: Ward, name: str = "a") -> None:
    """Let a child fail of a message, and wait for what that leads to at once."""
    ward.fail("once", ValueError("no"))
    runtime.ref(name).cast("once")
    await wait_all_tasks_blocked()


async def ask(runtime: Runtime, method: Callable[..., object], *args: object) -> object:
    return await runtime.ref("top", Supervisor).call(method, *args)  # type: ignore[arg-type]


# --- circuits


@pytest.mark.rule("S14")
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_child_that_ends_while_it_is_probed_is_probed_again(
    ward: Ward, autojump_clock: MockClock, how: str
) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=ONCE), max_restarts=MANY)) as runtime:
        ref = runtime.ref("a")
        await fail(runtime, ward)
        await trio.sleep(10.5)
        if how == "kill":
            ref.kill()
        else:
            await ref.stop()
        assert await states(runtime) == {"a": "open"}
        with pytest.raises(CircuitOpen):
            await ref.call("who")
        await trio.sleep(40)
        assert await ref.call("who") == "own 1"
        assert await states(runtime) == {"a": "running"}


@pytest.mark.rule("S14")
def test_a_probe_that_comes_too_soon_by_what_is_lost_in_rounding_is_made_all_the_same(ward: Ward) -> None:
    """On a clock that has run for long, a second more or less is not as exact."""
    clock = MockClock(autojump_threshold=0)

    async def main() -> None:
        clock.jump(1e13)
        a = child("a", make(ward), policy=CircuitBreak(0.3, failures=1))
        async with Runtime(supervisor("top", a, max_restarts=MANY)) as runtime:
            for _ in range(20):
                await fail(runtime, ward)
                await trio.sleep(20)
                assert await states(runtime) == {"a": "running"}

    trio.run(main, clock=clock)


@pytest.mark.rule("S14")
async def test_a_probe_waits_for_what_its_child_depends_on(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward, "a"), backoff=LATE)
    b = child("b", make(ward, "b"), policy=ONCE, depends_on=["a"])
    async with Runtime(supervisor("top", a, b, strategy="dependents", max_restarts=MANY)) as runtime:
        await fail(runtime, ward, "b")
        await fail(runtime, ward, "a")
        ward.take()
        await trio.sleep(50)
        assert ward.take() == []
        assert await states(runtime) == {"a": "restarting", "b": "open"}
        await trio.sleep(65)
        assert ward.take() == ["+a", "+b"]
        assert await states(runtime) == {"a": "running", "b": "running"}


@pytest.mark.rule("S14")
async def test_closing_by_hand_starts_a_child_with_what_it_depends_on(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward, "a"), backoff=LATE)
    b = child("b", make(ward, "b"), policy=ONCE, depends_on=["a"])
    async with Runtime(supervisor("top", a, b, strategy="dependents", max_restarts=MANY)) as runtime:
        await fail(runtime, ward, "b")
        await fail(runtime, ward, "a")
        ward.take()
        await ask(runtime, Supervisor.close_circuit, "b")
        assert await states(runtime) == {"a": "restarting", "b": "restarting"}
        await trio.sleep(101)
        assert ward.take() == ["+a", "+b"]


@pytest.mark.rule("S14")
async def test_a_dependent_whose_own_circuit_is_open_stays_so_when_what_it_needs_opens(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward, "a"), policy=CircuitBreak(30.0, failures=1))
    b = child("b", make(ward, "b"), policy=ONCE, depends_on=["a"], fallback=make(ward, "b2", Second), backoff=EXACT)
    async with Runtime(supervisor("top", a, b, max_restarts=MANY)) as runtime:
        await fail(runtime, ward, "b")
        await fail(runtime, ward, "a")
        assert await states(runtime) == {"a": "open", "b": "open"}
        await trio.sleep(100)
        assert await states(runtime) == {"a": "running", "b": "running"}
        assert await runtime.ref("b").call("who") == "b 1"


@pytest.mark.rule("S14")
async def test_a_dependent_that_runs_its_fallback_already_goes_on_in_it(ward: Ward, autojump_clock: MockClock) -> None:
    a, c = (child(name, make(ward, name)) for name in "ac")
    b = child("b", make(ward, "b"), depends_on=["a", "c"], fallback=make(ward, "b2", Second), backoff=EXACT)
    async with Runtime(supervisor("top", a, c, b)) as runtime:
        await ask(runtime, Supervisor.open_circuit, "a")
        assert await runtime.ref("b").call("who") == "b2 1"
        await ask(runtime, Supervisor.open_circuit, "c")
        assert await runtime.ref("b").call("who") == "b2 2"
        await ask(runtime, Supervisor.close_circuit, "a")
        await trio.sleep(1)
        assert await runtime.ref("b").call("who") == "b2 3"
        await ask(runtime, Supervisor.close_circuit, "c")
        await trio.sleep(1)
        assert await runtime.ref("b").call("who") == "b 1"
        assert await states(runtime) == {"a": "running", "c": "running", "b": "running"}


async def test_what_was_stopped_by_hand_stays_so_when_what_it_depends_on_opens_and_closes(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward, "a"))
    b = child("b", make(ward, "b"), depends_on=["a"])
    c = child("c", make(ward, "c"), depends_on=["a"], fallback=make(ward, "c2", Second))
    async with Runtime(supervisor("top", a, b, c)) as runtime:
        await ask(runtime, Supervisor.stop_child, "b")
        await ask(runtime, Supervisor.stop_child, "c")
        await ask(runtime, Supervisor.open_circuit, "a")
        assert await states(runtime) == {"a": "open", "b": "stopped", "c": "stopped"}
        await ask(runtime, Supervisor.close_circuit, "a")
        assert await states(runtime) == {"a": "running", "b": "stopped", "c": "stopped"}


async def test_a_group_restart_lets_a_child_that_lacks_something_run_its_fallback_again(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward, "a"))
    b = child("b", make(ward, "b"), depends_on=["a"], fallback=make(ward, "b2", Second))
    c = child("c", make(ward, "c"))
    async with Runtime(supervisor("top", a, b, c, strategy="one_for_all")) as runtime:
        await ask(runtime, Supervisor.open_circuit, "a")
        assert await states(runtime) == {"a": "open", "b": "degraded", "c": "running"}
        await fail(runtime, ward, "c")
        assert await states(runtime) == {"a": "open", "b": "degraded", "c": "running"}
        assert await runtime.ref("b").call("who") == "b2 1"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_half_open_member_of_a_group_is_probed_again_when_the_group_restarts(
    ward: Ward, autojump_clock: MockClock, strategy: str
) -> None:
    a, b = child("a", make(ward, "a")), child("b", make(ward, "b"), policy=ONCE)
    async with Runtime(supervisor("top", a, b, strategy=strategy, max_restarts=MANY)) as runtime:  # type: ignore[arg-type]
        await fail(runtime, ward, "b")
        await trio.sleep(10.5)
        ward.take()
        await fail(runtime, ward, "a")
        await trio.sleep(0.5)
        assert ward.take() == ["once", "-a", "-b", "+a", "+b"]
        assert await states(runtime) == {"a": "running", "b": "open"}
        answers: list[object] = []

        async def call() -> None:
            try:
                answers.append(await runtime.ref("b").call("last", 1.0))
            except CircuitOpen:
                answers.append("open")

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert sorted(map(str, answers)) == ["done", "open", "open"]
        assert await states(runtime) == {"a": "running", "b": "running"}


async def test_news_of_a_circuit_that_comes_late_calls_no_restart_off(ward: Ward, autojump_clock: MockClock) -> None:
    """The exits that wait are taken together (rule S5), so that a later one may be met before earlier news."""
    a = child("a", make(ward, "a"), policy=Policy((Row(None, None, CircuitBreak(10.0, failures=9)),)), backoff=EXACT)
    b = child("b", make(ward, "b"))
    async with Runtime(supervisor("top", a, b, max_restarts=MANY)) as runtime:
        await ask(runtime, Supervisor.open_circuit, "a", 1.0)
        await trio.sleep(1.5)
        runtime.ref("b").kill()
        runtime.ref("a").cast("who")
        ward.fail("once", ValueError("no"))
        await wait_all_tasks_blocked()
        await fail(runtime, ward, "a")
        await trio.sleep(60)
        assert await states(runtime) == {"a": "running", "b": "running"}


async def test_a_supervisor_that_comes_back_starts_without_the_circuits_it_had(
    ward: Ward, autojump_clock: MockClock
) -> None:
    b = supervisor("b", child("x", make(ward, "x"), policy=CircuitBreak(1000.0, failures=1)), depends_on=["a"])
    tree = supervisor("top", child("a", make(ward, "a")), b, strategy="dependents")
    async with Runtime(tree) as runtime:
        await fail(runtime, ward, "x")
        assert await states(runtime, "b") == {"x": "open"}
        await fail(runtime, ward, "a")
        assert await states(runtime, "b") == {"x": "running"}
        assert await runtime.ref("x").call("who") == "x 1"


async def test_below_a_supervisor_whose_circuit_is_open_callers_are_told_at_once(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", supervisor("inner", child("x", make(ward, "x"))))) as runtime:
        await ask(runtime, Supervisor.open_circuit, "inner", 10.0)
        with pytest.raises(CircuitOpen, match="/top/inner"):
            await runtime.ref("x").call("who")
        runtime.ref("x").cast("who")
        (letter,) = runtime.events.of(DeadLetter)
        assert letter.why == "its circuit is open"
        assert trio.current_time() == 0
        await trio.sleep(20)
        assert await runtime.ref("x").call("who") == "x 1"


async def test_the_messages_of_a_supervisor_that_had_a_circuit_are_not_given_up_halfway(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Slow(Patient):
        async def on_start(self) -> None:
            await trio.sleep(10)

    async with Runtime(supervisor("top", dynamic_supervisor("pool"))) as runtime:
        await ask(runtime, Supervisor.open_circuit, "pool", 1.0)
        await trio.sleep(10)
        pool = runtime.ref("pool", DynamicSupervisor)
        with pytest.raises(Exception, match=r"start_child"):
            await pool.within(2.0).call(DynamicSupervisor.start_child, child("x", lambda: Slow(ward, "x")))
        await trio.sleep(20)
        assert await states(runtime, "pool") == {"x": "running"}


async def test_a_closed_circuit_counts_from_nothing_after_its_child_was_stopped_by_hand(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward), policy=CircuitBreak(10.0, failures=3))
    async with Runtime(supervisor("top", a, max_restarts=MANY)) as runtime:
        for _ in range(3):
            await fail(runtime, ward)
        await ask(runtime, Supervisor.stop_child, "a")
        await ask(runtime, Supervisor.restart_child, "a")
        circuit = (await infos(runtime))["a"].circuit
        assert circuit is not None
        assert circuit.state == "closed"
        await fail(runtime, ward)
        assert await states(runtime) == {"a": "running"}


async def test_a_sender_defers_while_what_it_calls_is_being_probed(ward: Ward, autojump_clock: MockClock) -> None:
    class Front(Patient):
        @retryable
        async def again_async(self, text: str = "") -> str:
            answer: str = await self.ctx.find("back").call("who")
            return answer

    back = child("back", make(ward, "back"), policy=ONCE)
    front = child("front", lambda: Front(ward, "front"), policy=Defer())
    async with Runtime(supervisor("top", back, front, max_restarts=MANY)) as runtime:
        await fail(runtime, ward, "back")
        await trio.sleep(10.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.ref("back").call, "last", 3.0)
            await wait_all_tasks_blocked()
            assert await runtime.ref("front").call("again_async") == "back 1"
        assert 13.5 <= trio.current_time() < 15


# --- fallbacks, and the way back


class SlowToStart(Patient):
    """Its third incarnation and later ones, which are to take the place of a fallback, are a second in coming."""

    async def on_start(self) -> None:
        if self.ctx.incarnation > 2:
            await trio.sleep(1)
        await super().on_start()
        if self.ctx.incarnation > 2 and self.ward.errors.get("standby"):
            self.ctx.start_task(self._break)

    async def _break(self) -> None:
        await trio.sleep(1)
        self.ward.pass_or_raise("standby")


class SlowToStop(Patient):
    """While it stops its supervisor is busy."""

    async def on_stop(self, reason: object) -> None:
        await trio.sleep(3)


def slow(ward: Ward, **options: object) -> object:
    """What is slow to come back from its fallback: tried after 2 s, up after 3 s."""
    given: dict[str, object] = {"policy": Fallback(), "fallback": make(ward, "2", Second), "backoff": EXACT, **options}
    return child("a", lambda: SlowToStart(ward, "own"), **given)  # type: ignore[arg-type]


async def test_a_standby_that_fails_while_it_waits_takes_nothing_over(ward: Ward, autojump_clock: MockClock) -> None:
    """It is up, but its supervisor is busy; meanwhile it fails of a task of its own."""
    b = child("b", lambda: SlowToStop(ward, "b"))
    async with Runtime(supervisor("top", slow(ward), b)) as runtime:  # type: ignore[arg-type]
        await fail(runtime, ward, "a")
        ward.fail("standby", OSError("while it waits"))
        await trio.sleep(2.5)
        await ask(runtime, Supervisor.stop_child, "b")
        info = (await infos(runtime))["a"]
        assert (info.state, info.fallback) == ("degraded", "fallback")
        assert await runtime.ref("a").call("who") == "2 1"
        await trio.sleep(20)
        assert await runtime.ref("a").call("who") == "own 1"
        info = (await infos(runtime))["a"]
        assert (info.state, info.fallback) == ("running", None)


async def test_a_fallback_that_fails_while_a_standby_waits_leaves_none_behind(
    ward: Ward, autojump_clock: MockClock
) -> None:
    b = child("b", lambda: SlowToStop(ward, "b"))
    async with Runtime(supervisor("top", slow(ward), b, max_restarts=MANY)) as runtime:  # type: ignore[arg-type]
        await fail(runtime, ward, "a")
        await trio.sleep(2.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, runtime, Supervisor.stop_child, "b")
            await wait_all_tasks_blocked()
            await fail(runtime, ward, "a")
            await trio.sleep(1)
            assert ward.log[-1] == "+own", "the standby is up, and its supervisor does not know"
        await trio.sleep(60)
        assert await runtime.ref("a").call("who") == "own 1"
        log = ward.take()
        assert log.count("+own") - log.count("-own") == 1
        assert log.count("+2") - log.count("-2") == 0
        assert await states(runtime) == {"a": "running", "b": "stopped"}


async def test_a_standby_under_a_dynamic_supervisor_ends_with_the_child(ward: Ward, autojump_clock: MockClock) -> None:
    class Hanging(Patient):
        async def on_start(self) -> None:
            await super().on_start()
            if self.ctx.incarnation > 2:
                await trio.sleep_forever()

    spec = child("a", lambda: Hanging(ward, "own"), policy=Fallback(), fallback=make(ward, "2"), backoff=EXACT)
    async with Runtime(supervisor("top", dynamic_supervisor("pool"))) as runtime:
        pool = runtime.ref("pool", DynamicSupervisor)
        await pool.call(DynamicSupervisor.start_child, spec)
        await fail(runtime, ward)
        await trio.sleep(3)
        with trio.fail_after(10):
            await pool.call(DynamicSupervisor.stop_child, "a")
        assert await states(runtime, "pool") == {"a": "stopped"}


async def test_a_standby_that_waits_for_its_dynamic_supervisor_ends_with_the_child(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", dynamic_supervisor("pool"))) as runtime:
        pool = runtime.ref("pool", DynamicSupervisor)
        await pool.call(DynamicSupervisor.start_child, slow(ward))  # type: ignore[arg-type]
        await pool.call(DynamicSupervisor.start_child, child("b", lambda: SlowToStop(ward, "b")))
        await fail(runtime, ward)
        await trio.sleep(2.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, DynamicSupervisor.stop_child, "b")
            await trio.sleep(1)
            assert ward.log[-1] == "-2", "the standby is up, and its place is free"
            nursery.start_soon(pool.call, DynamicSupervisor.stop_child, "a")
        assert await states(runtime, "pool") == {"b": "stopped", "a": "stopped"}
        log = ward.take()
        assert log.count("+own") == log.count("-own") == 2


async def test_a_fallback_that_can_not_start_is_tried_again_slowly_whatever_is_degraded_beside_it(
    ward: Ward, autojump_clock: MockClock
) -> None:
    policy = Policy((Row(None, None, Fallback(), Degrade(levels=1)),))
    a = child("a", make(ward), policy=policy, fallback=make(ward, "2", Second))
    async with Runtime(supervisor("top", a)) as runtime:
        ward.fail("start 2", *[OSError("down")] * 3)
        await fail(runtime, ward)
        with trio.fail_after(20):
            assert await runtime.ref("a").call("who") == "2 1"
        assert trio.current_time() > 0.2


async def test_a_supervisor_that_is_to_stop_starts_no_fallback_for_a_start_that_it_gives_up(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Hanging(Patient):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    async with Runtime(supervisor("top", supervisor("inner"))) as runtime, trio.open_nursery() as nursery:
        a = child("a", lambda: Hanging(ward, "a"), fallback=lambda: Hanging(ward, "2"))

        async def start() -> None:
            with pytest.raises(Exception, match=r"stop"):
                await runtime.ref("inner", Supervisor).call(Supervisor.start_child, a)

        nursery.start_soon(start)
        await wait_all_tasks_blocked()
        with trio.fail_after(10):
            await ask(runtime, Supervisor.stop_child, "inner")


# --- restarts that name another


def named(ward: Ward, target: str, **options: object) -> object:
    return child("a", make(ward, "a"), policy=Restart(target=target), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["a", "/top/a"])
async def test_a_restart_that_names_what_has_failed_is_one_restart(
    ward: Ward, autojump_clock: MockClock, target: str
) -> None:
    async with Runtime(supervisor("top", named(ward, target))) as runtime:  # type: ignore[arg-type]
        await fail(runtime, ward)
        assert ward.take() == ["+a", "once", "-a", "+a"]


@pytest.mark.parametrize("target", ["b", "/top/b"])
async def test_a_restart_that_names_a_sibling_stops_its_dependents_first_and_counts_once(
    ward: Ward, autojump_clock: MockClock, target: str
) -> None:
    b, c = child("b", make(ward, "b")), child("c", make(ward, "c"), depends_on=["b"])
    tree = supervisor("top", named(ward, target), b, c, strategy="dependents", max_restarts=1)  # type: ignore[arg-type]
    async with Runtime(tree) as runtime:
        ward.take()
        await fail(runtime, ward)
        log = ward.take()
        assert sorted(log) == ["+a", "+b", "+c", "-a", "-b", "-c", "once"]
        assert log.index("-c") < log.index("-b") < log.index("+b") < log.index("+c")
        assert set((await states(runtime)).values()) == {"running"}


async def test_a_restart_that_names_an_ancestor_restarts_that_once(ward: Ward, autojump_clock: MockClock) -> None:
    a = named(ward, "/top/inner")
    tree = supervisor("top", supervisor("inner", a, child("b", make(ward, "b"))), max_restarts=1)  # type: ignore[arg-type]
    async with Runtime(tree) as runtime:
        await fail(runtime, ward)
        await trio.sleep(1)
        log = ward.take()
        assert log.count("+b") == 2
        assert await states(runtime, "inner") == {"a": "running", "b": "running"}
        assert runtime.ref("inner").stats().incarnation == 2


@pytest.mark.parametrize("target", ["b", "/top/b"])
@pytest.mark.parametrize("how", [Supervisor.stop_child, Supervisor.open_circuit])
async def test_a_restart_does_not_start_what_is_down(
    ward: Ward, autojump_clock: MockClock, target: str, how: Callable[..., object]
) -> None:
    async with Runtime(supervisor("top", named(ward, target), child("b", make(ward, "b")))) as runtime:  # type: ignore[arg-type]
        await ask(runtime, how, "b")
        before = (await states(runtime))["b"]
        await fail(runtime, ward)
        assert await states(runtime) == {"a": "running", "b": before}
