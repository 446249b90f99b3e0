"""Rule S9: what a child is declared to do once its restarts are spent."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ActorStopped,
    Alert,
    Backoff,
    CircuitBreak,
    CircuitOpen,
    Degrade,
    Escalate,
    Feature,
    Restart,
    Resume,
    Runtime,
    SpecError,
    StartFailed,
    Stop,
    SupervisorGaveUp,
    child,
    supervisor,
)
from ukemi.supervisors import AlertRaised, Degradation, Exhausted, GaveUp, Supervisor

from .patients import Patient, Second, Ward, make


@pytest.fixture
def ward() -> Ward:
    return Ward()


async def states(runtime: Runtime, name: str = "top") -> dict[str, str]:
    await wait_all_tasks_blocked()
    return {each.name: each.state for each in await runtime.ref(name).call(Supervisor.children)}


async def crash(runtime: Runtime, name: str, ward: Ward, times: int = 1) -> None:
    for _ in range(times):
        ward.fail("once", ValueError(f"crash of {name}"))
        runtime.ref(name).cast("once")
        await wait_all_tasks_blocked()


@pytest.mark.rule("S9")
async def test_escalate_is_the_default_and_the_parent_sees_it(ward: Ward, autojump_clock: MockClock) -> None:
    inner = supervisor("inner", child("a", make(ward)), max_restarts=1)
    async with Runtime(supervisor("top", inner)) as runtime:
        await crash(runtime, "a", ward, times=2)
        assert len(runtime.events.of(GaveUp)) == 1
        assert (await states(runtime)) == {"inner": "running"}
        assert runtime.tree().find("inner").restarts == 1


@pytest.mark.rule("S9")
async def test_a_circuit_opens_and_the_parent_sees_nothing(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward, "a"), on_exhausted=CircuitBreak(10.0))
    inner = supervisor("inner", a, child("b", make(ward, "b")), max_restarts=1)
    async with Runtime(supervisor("top", inner, max_restarts=0)) as runtime:
        await crash(runtime, "a", ward, times=2)
        with pytest.raises(CircuitOpen):
            await runtime.ref("a").call("who")
        assert await runtime.ref("b").call("who") == "b 1"
        (event,) = runtime.events.of(Exhausted)
        assert (event.path, event.why) == ("/top/inner/a", "more than 1 restarts within 5 s")
        await trio.sleep(10.5)
        assert await runtime.ref("a").call("who") == "a 1"


@pytest.mark.rule("S9")
async def test_only_the_stamps_of_the_child_that_overflowed_are_dropped(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward, "a"), on_exhausted=CircuitBreak(1.0))
    b = child("b", make(ward, "b"))
    with pytest.raises(SupervisorGaveUp, match="gave up on /top/b"):
        async with Runtime(supervisor("top", a, b, max_restarts=3, within=100.0)) as runtime:
            await crash(runtime, "b", ward, times=2)
            await crash(runtime, "a", ward, times=2)  # the fourth stamp
            assert (await states(runtime)) == {"a": "open", "b": "running"}
            await crash(runtime, "b", ward, times=1)
            assert (await states(runtime))["b"] == "running", "two of b's are left, and this one"
            await crash(runtime, "b", ward, times=1)


@pytest.mark.rule("S9")
async def test_degrade_puts_the_fallback_in_its_place(ward: Ward, autojump_clock: MockClock) -> None:
    fallback = make(ward, "second", Second)
    a = child("a", make(ward), on_exhausted=Degrade(), fallback=fallback, feature="speech", backoff=None)
    async with Runtime(supervisor("top", a, max_restarts=1)) as runtime:
        await crash(runtime, "a", ward, times=2)
        assert await runtime.ref("a").call("who") == "second 1"
        degradation = Degradation.of(runtime.system)
        assert degradation.state_of("speech").degraded
        await trio.sleep(2)
        assert await runtime.ref("a").call("who") == "own 1"
        assert not degradation.state_of("speech").degraded


@pytest.mark.rule("S9")
async def test_without_a_fallback_a_degraded_child_is_down_its_mail_is_kept_and_it_is_tried_again(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward), on_exhausted=Degrade(), feature="speech")
    async with Runtime(supervisor("top", a, max_restarts=1)) as runtime:
        await crash(runtime, "a", ward, times=2)
        ward.fail("start own", *[OSError("down")] * 3)
        assert (await states(runtime)) == {"a": "degraded"}
        assert await runtime.ref("a").within(None).call("who") == "own 1"
        assert trio.current_time() > 3, "tried after about 1 s, and then after longer and longer"
        await wait_all_tasks_blocked()
        assert (await states(runtime)) == {"a": "running"}
        assert not Degradation.of(runtime.system).state_of("speech").degraded


@pytest.mark.rule("S9")
async def test_stop_keeps_it_down_and_its_dependents_with_it(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward, "a"), on_exhausted=Stop())
    b = child("b", make(ward, "b"), depends_on=["a"])
    async with Runtime(supervisor("top", a, b, max_restarts=1, strategy="dependents")) as runtime:
        await crash(runtime, "a", ward, times=2)
        assert (await states(runtime)) == {"a": "stopped", "b": "stopped"}
        with pytest.raises(ActorStopped):
            await runtime.ref("a").call("who")
        await runtime.ref("top").call(Supervisor.restart_child, "a")
        assert (await states(runtime)) == {"a": "running", "b": "running"}


@pytest.mark.rule("S9")
async def test_stop_may_end_the_whole_runtime_in_order(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward), on_exhausted=Stop(runtime=True))
    async with Runtime(supervisor("top", a, max_restarts=0)) as runtime:
        await crash(runtime, "a", ward)
        await runtime.wait()


@pytest.mark.rule("S9")
async def test_tries_that_did_not_help_are_spent_too(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward), backoff=Backoff(1.0, 1.0, max_attempts=3), on_exhausted=CircuitBreak(10.0))
    async with Runtime(supervisor("top", a)) as runtime:
        ward.fail("start own", *[OSError("down")] * 9)
        await crash(runtime, "a", ward)
        await trio.sleep(3)
        assert (await states(runtime)) == {"a": "open"}
        assert runtime.events.of(Exhausted)[0].why == "3 tries in a row did not help (max_attempts)"


@pytest.mark.rule("S3")
@pytest.mark.rule("S9")
async def test_a_first_start_that_fails_is_met_with_it(ward: Ward, autojump_clock: MockClock) -> None:
    ward.fail("start a", OSError("down"))
    a = child("a", make(ward, "a"), on_exhausted=CircuitBreak(10.0))
    b = child("b", make(ward, "b"), depends_on=["a"])
    async with Runtime(supervisor("top", a, b, strategy="dependents")) as runtime:
        assert (await states(runtime)) == {"a": "open", "b": "stopped"}
        await trio.sleep(16)
        assert (await states(runtime)) == {"a": "running", "b": "running"}


async def test_a_supervisor_may_be_stopped_when_its_restarts_are_spent(ward: Ward, autojump_clock: MockClock) -> None:
    inner = supervisor("inner", child("a", make(ward, "a")), max_restarts=0, on_exhausted=CircuitBreak(10.0))
    async with Runtime(supervisor("top", inner, child("b", make(ward, "b")), max_restarts=0)) as runtime:
        await crash(runtime, "a", ward)
        assert (await states(runtime)) == {"inner": "open", "b": "running"}
        with pytest.raises(CircuitOpen, match="/top/inner"):
            await runtime.ref("a").call("who")
        await trio.sleep(16)
        assert (await states(runtime)) == {"inner": "running", "b": "running"}
        assert await runtime.ref("a").call("who") == "a 1"


@pytest.mark.rule("S9")
async def test_a_child_that_degrades_others_when_it_is_spent_is_not_restarted_again_and_again(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Doomed(Patient):
        async def on_start(self) -> None:
            async def fail() -> None:
                raise OSError("at once")

            self.ctx.start_task(fail)

    a = child("a", lambda: Doomed(ward), on_exhausted=Degrade("colours"))
    async with Runtime(supervisor("top", a, features=[Feature("colours")])) as runtime:
        await trio.sleep(10)
        assert runtime.ref("a").stats().crashes < 40
        assert Degradation.of(runtime.system).state_of("colours").degraded


async def test_the_user_is_told_when_restarts_are_spent(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward, "a"), on_exhausted=Stop())
    inner = supervisor("inner", child("b", make(ward, "b")), max_restarts=0)
    async with Runtime(supervisor("top", a, inner, max_restarts=1)) as runtime:
        await crash(runtime, "a", ward, times=2)
        await crash(runtime, "b", ward)
        assert [alert.message for alert in runtime.events.of(AlertRaised)] == [
            "the restarts of a are spent: more than 1 restarts within 5 s; now Stop()",
            "inner gave up on b: more than 0 restarts within 5 s",
        ]


async def test_what_waits_for_a_child_that_is_started_by_hand_takes_mail_at_once(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Greeting(Patient):
        async def on_start(self) -> None:
            await super().on_start()
            if self.ctx.incarnation > 1:
                self.ctx.find("b").cast("once", "hello")

    a = child("a", lambda: Greeting(ward, "a"))
    b = child("b", make(ward, "b"), depends_on=["a"])
    async with Runtime(supervisor("top", a, b, strategy="dependents")) as runtime:
        top = runtime.ref("top")
        await top.call(Supervisor.stop_child, "a")
        ward.fail("start a", OSError("no"))
        with pytest.raises(StartFailed):
            await top.call(Supervisor.restart_child, "a")
        assert (await states(runtime)) == {"a": "stopped", "b": "stopped"}
        with pytest.raises(ActorStopped):
            await runtime.ref("b").call("who")
        await top.call(Supervisor.restart_child, "a")
        assert await runtime.ref("b").call("who") == "b 2"
        assert "once hello" in ward.take()


# --- actions that end a child without having been spent


async def test_a_policy_may_escalate_at_once(ward: Ward) -> None:
    with pytest.raises(SupervisorGaveUp, match="gave up on /top/a: its policy escalates"):
        async with Runtime(supervisor("top", child("a", make(ward), policy=Escalate()))) as runtime:
            await crash(runtime, "a", ward)
            await trio.sleep_forever()


async def test_a_policy_may_stop_the_child(ward: Ward) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=Stop()))) as runtime:
        await crash(runtime, "a", ward)
        assert (await states(runtime)) == {"a": "stopped"}


async def test_an_alert_about_a_child_that_can_not_go_on_leaves_it_down(ward: Ward) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=Alert()))) as runtime:
        runtime.ref("a").cast("background", "fails")
        assert (await states(runtime)) == {"a": "stopped"}
        assert len(runtime.events.of(AlertRaised)) == 1


async def test_a_temporary_child_is_gone_whatever_the_action(ward: Ward) -> None:
    a = child("a", make(ward), policy=Restart(), restart="temporary", fallback=make(ward, "second", Second))
    async with Runtime(supervisor("top", a)) as runtime:
        await crash(runtime, "a", ward)
        assert (await states(runtime)) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_exhausted": Resume()}, "on_exhausted=Resume() must be one of Escalate(), CircuitBreak"),
        ({"on_exhausted": "escalate"}, "on_exhausted='escalate' must be one of"),
        ({"on_exhausted": Degrade()}, "must be of a child with a feature or a fallback"),
        ({"policy": "restart"}, "'a': policy: 'restart' must be a Policy, an action"),
        ({"policy": Restart}, "'a': policy: "),
        ({"policy": Restart(target="b")}, "Restart('b')"),
        ({"feature": 3}, "feature=3 must be a feature's name"),
        ({"health_threshold": 2}, "threshold=2 must be a number from 0 to 1"),
    ],
)
def test_what_can_not_be_right_is_refused_when_it_is_made(options: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        supervisor("top", child("a", Patient, **options))  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_a_policy_that_names_what_the_tree_lacks_is_refused_with_the_path() -> None:
    with pytest.raises(SpecError, match="/top/a: its policy degrades 'colours', which is no feature of this tree"):
        Runtime(supervisor("top", child("a", Patient, policy=Degrade("colours"))))
    with pytest.raises(SpecError, match="/top/a: its policy restarts '/top/b', which is not in this tree"):
        Runtime(supervisor("top", child("a", Patient, policy=Restart("/top/b"))))


def test_a_feature_cycle_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="feature cycle: x -> y -> x"):
        supervisor("top", features=[Feature("x", depends_on=["y"]), Feature("y", depends_on=["x"])])
    one = child("one", Patient, feature=Feature("x", depends_on=["y"]))
    two = child("two", Patient, feature="y", depends_on=["one"])
    with pytest.raises(SpecError, match="feature cycle: "):
        supervisor("top", one, two)


def test_a_feature_that_depends_on_nothing_known_is_refused_with_the_whole_tree() -> None:
    tree = supervisor("top", features=[Feature("x", depends_on=["y"])])
    with pytest.raises(SpecError, match=r"feature 'x': depends_on='y' must be a feature that is declared"):
        Runtime(tree)
