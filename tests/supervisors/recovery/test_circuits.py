"""Rule S14: a child's circuit, carried out by its supervisor."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ActorCrashed,
    ActorStopped,
    Backoff,
    CallTimeout,
    CircuitBreak,
    CircuitOpen,
    Fallback,
    Policy,
    Reject,
    Row,
    Runtime,
    StartFailed,
    child,
    supervisor,
)
from ukemi.actors.events import DeadLetter
from ukemi.supervisors import ChildInfo, ChildStateError, CircuitOpened, CircuitShut, FellBack, Supervisor

from .patients import Patient, Second, Ward, make

TWO = CircuitBreak(duration=10.0, failures=2, growth=2.0, longest=35.0)
MANY = 1000


@pytest.fixture
def ward() -> Ward:
    return Ward()


async def info(runtime: Runtime, name: str = "a") -> ChildInfo:
    await wait_all_tasks_blocked()
    return {each.name: each for each in await runtime.ref("top").call(Supervisor.children)}[name]


async def fail(runtime: Runtime, ward: Ward, times: int = 1) -> None:
    for _ in range(times):
        ward.fail("once", ValueError("no"))
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call("once")
    await wait_all_tasks_blocked()


@pytest.mark.rule("S14")
async def test_it_trips_at_so_many_failures_in_a_row_and_then_fails_calls_at_once(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=TWO), max_restarts=MANY)) as runtime:
        await fail(runtime, ward)
        assert await runtime.ref("a").call("who") == "own 1", "the first failure is a restart"
        await fail(runtime, ward)
        assert await runtime.ref("a").call("who") == "own 1", "a success ends the row"
        await fail(runtime, ward, times=2)
        with pytest.raises(CircuitOpen, match="Circuit open: /top/a"):
            await runtime.ref("a").call("who")
        assert trio.current_time() == 0
        shown = await info(runtime)
        assert (shown.state, shown.circuit and shown.circuit.state) == ("open", "open")
        assert runtime.events.of(CircuitOpened)[0].seconds == 10.0
        assert runtime.tree().find("a").state == "open"


@pytest.mark.rule("S14")
async def test_what_is_queued_fails_if_it_is_a_call_and_is_kept_if_it_is_a_cast(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=CircuitBreak(10.0, failures=1)))) as runtime:
        ref = runtime.ref("a")
        errors: list[BaseException] = []

        async def ask() -> None:
            try:
                await ref.call("once", "call")
            except Exception as error:
                errors.append(error)

        ward.fail("once", ValueError("no"))
        ref.cast("once", "culprit")
        ref.cast("once", "kept")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        assert [type(error) for error in errors] == [CircuitOpen, CircuitOpen]
        ref.cast("once", "lost")
        assert [letter.why for letter in runtime.events.of(DeadLetter)][-1] == "its circuit is open"
        await trio.sleep(11)
        assert ward.take() == ["+own", "once culprit", "-own", "+own", "once kept"]


@pytest.mark.rule("S14")
async def test_one_call_is_the_probe_and_all_others_fail_at_once(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=TWO), max_restarts=MANY)) as runtime:
        ref = runtime.ref("a")
        await fail(runtime, ward, times=2)
        await trio.sleep(10.5)
        answers: list[object] = []

        async def ask() -> None:
            try:
                answers.append(await ref.call("last", 1.0))
            except CircuitOpen as error:
                answers.append(type(error))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
        assert sorted(map(str, answers)) == [str(CircuitOpen)] * 9 + ["done"]
        assert await ref.call("who") == "own 1"
        assert (await info(runtime)).state == "running"
        assert len(runtime.events.of(CircuitShut)) == 1


@pytest.mark.rule("S14")
async def test_a_probe_that_fails_opens_it_for_longer_up_to_a_cap(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=TWO), max_restarts=MANY)) as runtime:
        await fail(runtime, ward, times=2)
        ward.fail("start own", OSError("still down"))
        await trio.sleep(10.5)  # the start is part of the probe
        for seconds in (20, 35, 35):
            with pytest.raises(CircuitOpen):
                await runtime.ref("a").call("who")
            await trio.sleep(seconds + 0.5)
            await fail(runtime, ward)
        assert [event.seconds for event in runtime.events.of(CircuitOpened)] == [10, 20, 35, 35, 35]


@pytest.mark.rule("S14")
async def test_a_quiet_time_in_which_nobody_calls_closes_it_too(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=TWO), max_restarts=MANY)) as runtime:
        await fail(runtime, ward, times=2)
        await trio.sleep(11)
        assert (await info(runtime)).state == "open"
        await trio.sleep(5)
        assert (await info(runtime)).state == "running"


@pytest.mark.rule("S14")
async def test_dependents_with_a_fallback_run_it_and_others_stop_until_it_is_closed(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward, "a"), policy=CircuitBreak(10.0, failures=1))
    b = child("b", make(ward, "b"), depends_on=["a"], fallback=make(ward, "b2", Second), backoff=Backoff(1, 1))
    c = child("c", make(ward, "c"), depends_on=["a"])
    d = child("d", make(ward, "d"), depends_on=["c"])
    e = child("e", make(ward, "e"), depends_on=["b"])
    async with Runtime(supervisor("top", a, b, c, d, e, strategy="dependents", max_restarts=0)) as runtime:
        ward.fail("once", ValueError("no"))
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call("once")
        await wait_all_tasks_blocked()
        states = {each.name: each.state for each in await runtime.ref("top").call(Supervisor.children)}
        assert states == {"a": "open", "b": "degraded", "c": "stopped", "d": "stopped", "e": "running"}
        assert await runtime.ref("b").call("who") == "b2 1"
        assert [event.reason for event in runtime.events.of(FellBack)] == ["a is open"]
        with pytest.raises(ActorStopped):
            await runtime.ref("c").call("who")
        ward.take()
        await trio.sleep(10.5)
        assert await runtime.ref("a").call("who") == "a 1"
        await wait_all_tasks_blocked()
        await trio.sleep(0.1)
        states = {each.name: each.state for each in await runtime.ref("top").call(Supervisor.children)}
        assert set(states.values()) == {"running"}
        log = ward.take()
        assert log.index("+c") < log.index("+d")
        assert log.index("+b") < log.index("-b2")
        assert await runtime.ref("b").call("who") == "b 1"


async def test_it_is_opened_and_closed_by_hand(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward)))) as runtime:
        top, ref = runtime.ref("top", Supervisor), runtime.ref("a")
        await top.call(Supervisor.open_circuit, "a")
        with pytest.raises(CircuitOpen):
            await ref.call("who")
        await trio.sleep(10_000)
        shown = await info(runtime)
        assert shown.state == "open"
        assert shown.circuit is not None
        assert shown.circuit.forced
        await top.call(Supervisor.close_circuit, "a")
        assert await ref.call("who") == "own 1"
        await top.call(Supervisor.open_circuit, "a", 3.0)
        await trio.sleep(3.5)
        assert await ref.call("who") == "own 1"
        assert (await info(runtime)).state == "running"


async def test_closing_it_by_hand_fails_if_the_child_can_not_start(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward)))) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.open_circuit, "a")
        ward.fail("start own", OSError("no"))
        with pytest.raises(StartFailed):
            await top.call(Supervisor.close_circuit, "a")
        assert (await info(runtime)).state == "open"


async def test_wrong_requests_for_a_circuit_are_refused(ward: Ward) -> None:
    async with Runtime(supervisor("top", child("a", make(ward)))) as runtime:
        top = runtime.ref("top", Supervisor)
        with pytest.raises(ChildStateError, match="its circuit is not open"):
            await top.call(Supervisor.close_circuit, "a")
        with pytest.raises(ValueError, match=r"seconds=-1\.0"):
            await top.call(Supervisor.open_circuit, "a", -1.0)
        await top.call(Supervisor.stop_child, "a")
        with pytest.raises(ChildStateError, match="is stopped"):
            await top.call(Supervisor.open_circuit, "a")


async def test_a_rejection_is_no_failure_of_a_probe(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=TWO), max_restarts=MANY)) as runtime:
        await fail(runtime, ward, times=2)
        await trio.sleep(10.5)
        ward.fail("once", Reject(KeyError("unknown")))
        with pytest.raises(KeyError):
            await runtime.ref("a").call("once")
        assert (await info(runtime)).state == "running"


async def test_a_row_may_open_it_after_other_actions(ward: Ward, autojump_clock: MockClock) -> None:
    policy = Policy((Row(None, None, Fallback(), CircuitBreak(10.0, failures=1)),))
    a = child("a", make(ward), policy=policy)
    async with Runtime(supervisor("top", a)) as runtime:
        await fail(runtime, ward)
        with pytest.raises(CircuitOpen):
            await runtime.ref("a").call("who")


async def test_stopping_and_restarting_a_child_by_hand_ends_its_circuit(ward: Ward, autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=TWO), max_restarts=MANY)) as runtime:
        await fail(runtime, ward, times=2)
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "a")
        assert (await info(runtime)).state == "stopped"
        with pytest.raises(ActorStopped):
            await runtime.ref("a").call("who")
        await top.call(Supervisor.restart_child, "a")
        assert await runtime.ref("a").call("who") == "own 1"
        await trio.sleep(100)
        assert (await info(runtime)).state == "running"


async def test_a_sender_that_waits_for_room_is_let_go_when_it_opens(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward), policy=CircuitBreak(10.0, failures=1), mailbox=1)
    async with Runtime(supervisor("top", a)) as runtime, trio.open_nursery() as nursery:
        ref = runtime.ref("a", Patient)
        nursery.start_soon(_ask, ref)
        await wait_all_tasks_blocked()
        ref.cast(Patient.once, "kept")
        nursery.start_soon(ref.send, Patient.once, "waits")
        await wait_all_tasks_blocked()
        ward.fail("once", ValueError("no"))
        await trio.sleep(2)
        whys = [letter.why for letter in runtime.events.of(DeadLetter)]
        assert whys == ["lost in a crash: ValueError: no"], "what had waited for room was let in before it opened"


async def _ask(ref: object) -> None:
    await ref.call("last", 1.0)  # type: ignore[attr-defined]


@pytest.mark.rule("M8")
async def test_a_down_reaches_a_half_open_child(ward: Ward, autojump_clock: MockClock) -> None:
    class Watching(Patient):
        async def on_start(self) -> None:
            await super().on_start()
            self.ctx.monitor(self.ctx.find("b"))

        def on_down(self, down: object) -> None:
            self.ward.log.append("down")

    a = child("a", lambda: Watching(ward, "a"), policy=CircuitBreak(10.0, failures=1))
    async with Runtime(supervisor("top", child("b", make(ward, "b")), a)) as runtime:
        await fail(runtime, ward)
        await trio.sleep(10.5)
        assert (await info(runtime)).state == "open"
        ward.take()
        runtime.ref("b").kill()
        await wait_all_tasks_blocked()
        assert "down" in ward.take()
        assert await runtime.ref("a").call("who") == "a 1"
        assert runtime.ref("a").cell.mailbox.room == runtime.ref("a").cell.mailbox.bound


@pytest.mark.rule("S14")
async def test_only_a_message_whose_outcome_is_known_is_a_good_probe(ward: Ward, autojump_clock: MockClock) -> None:
    class Beating(Patient):
        async def on_start(self) -> None:
            await super().on_start()
            self.ctx.every(0.1, self._beat)

        def _beat(self) -> None: ...

        def aside(self) -> None:
            self.ctx.stash()

    a = child("a", lambda: Beating(ward), policy=TWO)
    async with Runtime(supervisor("top", a, max_restarts=MANY)) as runtime:
        ref = runtime.ref("a")
        for _ in range(2):
            await fail(runtime, ward)
            await trio.sleep(1)
        assert (await info(runtime)).state == "open", "what its timers do ends no row of failures"
        await trio.sleep(9.5)
        assert (await info(runtime)).state == "open", "nor is it the probe"
        with pytest.raises(CallTimeout):
            await ref.within(0.5).call("last", 100.0)
        assert (await info(runtime)).state == "open", "nor is a call that was given up"
        ref.cast("aside")
        assert (await info(runtime)).state == "open", "nor what is put aside"
        await ref.call("who")
        assert (await info(runtime)).state == "running"
