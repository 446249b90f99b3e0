"""Rule S15: what takes a child's place behind the same Ref, and how the child gets it back."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    Backoff,
    Fallback,
    Policy,
    Restart,
    Row,
    Runtime,
    SpecError,
    StartFailed,
    child,
    supervisor,
)
from ukemi.supervisors import ChildRestarted, FellBack, Supervisor

from .patients import Patient, Second, Ward, make

EXACT = Backoff(initial=2.0, maximum=8.0, jitter=0.0)
AT_ONCE = Fallback()


@pytest.fixture
def ward() -> Ward:
    return Ward()


def second(ward: Ward, label: str = "second") -> object:
    return make(ward, label, Second)


async def info(runtime: Runtime, name: str = "a") -> tuple[str, str | None]:
    await wait_all_tasks_blocked()
    infos = {each.name: each for each in await runtime.ref("top").call(Supervisor.children)}
    return infos[name].state, infos[name].fallback


@pytest.mark.rule("S15")
async def test_a_fallback_takes_the_place_behind_the_same_ref_and_gets_the_mail(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward), policy=AT_ONCE, fallback=second(ward), backoff=Backoff(100, 100))
    async with Runtime(supervisor("top", a, max_restarts=0)) as runtime:
        ref = runtime.ref("a")
        ward.fail("once", ValueError())
        ref.cast("once")
        ref.cast("once")
        assert await ref.call("who") == "second 2"
        assert await info(runtime) == ("degraded", "fallback")
        assert ward.take() == ["+own", "once", "-own", "+second", "once"]


@pytest.mark.rule("S15")
async def test_the_way_back_is_made_before_the_fallback_is_broken_off(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward), policy=AT_ONCE, fallback=second(ward), backoff=EXACT)
    async with Runtime(supervisor("top", a, max_restarts=0)) as runtime:
        ref = runtime.ref("a")
        ward.fail("once", ValueError())
        ward.fail("start own", OSError("not yet"), OSError("not yet"))
        with pytest.raises(ActorCrashed):
            await ref.call("once")
        assert await ref.call("who") == "second 1"
        await trio.sleep(3)  # the first attempt, after 2 s, has failed: the fallback has gone on
        assert await ref.call("who") == "second 2"
        await trio.sleep(5)  # the second, after 4 s more
        assert await ref.call("who") == "second 3"
        await trio.sleep(8)
        assert await ref.call("who") == "own 1"
        assert await info(runtime) == ("running", None)
        starts = ["+own", "once", "-own", "+second", "+own", "+own", "+own", "-second"]
        assert ward.take() == starts, "the new one was up before the fallback had ended"
        told = [(event.fallback, event.reason) for event in runtime.events.of(FellBack)]
        assert told == [("fallback", "ValueError"), (None, "well again")]


@pytest.mark.rule("S15")
async def test_the_child_takes_over_between_two_messages_and_no_call_is_lost(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward), policy=AT_ONCE, fallback=second(ward), backoff=EXACT)
    async with Runtime(supervisor("top", a)) as runtime:
        ref = runtime.ref("a")
        ward.fail("once", ValueError())
        ref.cast("once")
        answers: list[str] = []
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.call, "last", 3.0)  # still in hand when the child is ready to take over
            await wait_all_tasks_blocked()

            async def ask() -> None:
                answers.append(await ref.call("who"))

            for _ in range(5):
                nursery.start_soon(ask)
                await wait_all_tasks_blocked()
        assert trio.current_time() == 4.0
        assert sorted(answers) == [f"own {n}" for n in range(1, 6)]


@pytest.mark.rule("S15")
async def test_several_fallbacks_are_tried_in_order_and_the_last_is_restarted(
    ward: Ward, autojump_clock: MockClock
) -> None:
    fallback = {"b": make(ward, "b"), "c": make(ward, "c")}
    a = child("a", make(ward), policy=AT_ONCE, fallback=fallback, backoff=Backoff(1000, 1000))
    async with Runtime(supervisor("top", a)) as runtime:
        ref = runtime.ref("a")
        for expected in ("b", "c", "c"):
            ward.fail("once", ValueError())
            with pytest.raises(ActorCrashed):
                await ref.call("once")
            await trio.lowlevel.checkpoint()
            with trio.move_on_after(2000):
                assert await ref.within(None).call("who") == f"{expected} 1"


async def test_a_policy_may_name_the_fallback(ward: Ward) -> None:
    fallback = {"b": make(ward, "b"), "c": make(ward, "c")}
    a = child("a", make(ward), policy=Fallback("c"), fallback=fallback)
    async with Runtime(supervisor("top", a)) as runtime:
        ward.fail("once", ValueError())
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call("once")
        assert await runtime.ref("a").call("who") == "c 1"
        assert await info(runtime) == ("degraded", "c")


async def test_a_message_that_may_be_repeated_is_given_to_the_fallback(ward: Ward) -> None:
    a = child("a", make(ward), policy=AT_ONCE, fallback=second(ward))
    async with Runtime(supervisor("top", a)) as runtime:
        ward.fail("again", ValueError())
        assert await runtime.ref("a").call("again", "x") == "second 1"


async def test_after_its_restarts_comes_its_fallback(ward: Ward) -> None:
    policy = Policy((Row(None, None, Restart(), Fallback(), retries=1),))
    a = child("a", make(ward), policy=policy, fallback=second(ward))
    async with Runtime(supervisor("top", a, max_restarts=10)) as runtime:
        answers = []
        for _ in range(3):
            ward.fail("once", ValueError())
            with pytest.raises(ActorCrashed):
                await runtime.ref("a").call("once")
            answers.append(await runtime.ref("a").call("who"))
        assert answers == ["own 1", "own 1", "second 1"]
        await wait_all_tasks_blocked()
        assert [event.restarts for event in runtime.events.of(ChildRestarted)] == [1, 2, 3]


@pytest.mark.rule("S3")
async def test_a_first_start_that_fails_starts_the_fallback(ward: Ward, autojump_clock: MockClock) -> None:
    ward.fail("start own", OSError("not yet"))
    a = child("a", make(ward), fallback=second(ward), backoff=EXACT)
    async with Runtime(supervisor("top", a)) as runtime:
        assert await runtime.ref("a").call("who") == "second 1"
        await trio.sleep(3)
        assert await runtime.ref("a").call("who") == "own 1"


@pytest.mark.rule("S3")
async def test_a_first_start_of_which_all_fallbacks_fail_too_is_the_trees(ward: Ward) -> None:
    ward.fail("start own", OSError("no"))
    ward.fail("start second", OSError("neither"))
    a = child("a", make(ward), fallback=second(ward))
    with pytest.raises(StartFailed, match="/top/a could not be started: OSError: neither"):
        async with Runtime(supervisor("top", a)):
            pass


async def test_what_subscribes_sets_timers_and_monitors_while_it_waits_keeps_them(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Busy(Patient):
        async def on_start(self) -> None:
            await super().on_start()
            self.heard: list[str] = []
            self.ctx.subscribe("news", self.news)
            self.ctx.every(1.0, self._tick)
            self.ctx.monitor(self.ctx.find("b"))

        def news(self, text: str) -> None:
            self.heard.append(text)

        def _tick(self) -> None:
            self.heard.append("tick")

        def on_down(self, down: object) -> None:
            self.heard.append("down")

        def all(self) -> list[str]:
            return self.heard

    class Stand(Second):
        def news(self, text: str) -> None: ...

        def all(self) -> list[str]:
            return ["second"]

    b = child("b", make(ward, "b"))
    a = child("a", lambda: Busy(ward, "own"), policy=AT_ONCE, fallback=lambda: Stand(ward, "s"), backoff=EXACT)
    async with Runtime(supervisor("top", b, a, max_restarts=10)) as runtime:
        ref = runtime.ref("a")
        ward.fail("once", ValueError())
        ref.cast("once")
        await trio.sleep(0.5)
        assert await ref.call("all") == ["second"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.call, "last", 4.0)  # it waits till then, but is up from 2.0 on
            await trio.sleep(3.25)
            runtime.ref("b").kill()
            runtime.system.topics.publish("news", "extra")
        await trio.sleep(0.1)
        assert set(await ref.call("all")) == {"tick", "down", "extra"}


async def test_stopping_the_tree_stops_what_waits_to_take_over(ward: Ward, autojump_clock: MockClock) -> None:
    a = child("a", make(ward), policy=AT_ONCE, fallback=second(ward), backoff=EXACT)
    async with Runtime(supervisor("top", a)) as runtime, trio.open_nursery() as nursery:
        ref = runtime.ref("a")
        ward.fail("once", ValueError())
        ref.cast("once")
        await wait_all_tasks_blocked()
        nursery.start_soon(_ask_in_vain, ref)
        await trio.sleep(2.5)
        assert ward.log[-1] == "+own"
        await runtime.stop()
    assert ward.take()[-4:].count("-own") == 1


async def _ask_in_vain(ref: object) -> None:
    with pytest.raises(Exception, match=r"stopped|crashed"):
        await ref.call("last", 100.0)  # type: ignore[attr-defined]


async def test_killing_the_supervisor_leaves_nothing_that_waits_to_take_over(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Hanging(Patient):
        async def on_start(self) -> None:
            await super().on_start()
            if self.ctx.incarnation > 2:
                try:
                    await trio.sleep_forever()
                finally:
                    ward.log.append("gone")

    a = child("a", lambda: Hanging(ward, "own"), policy=AT_ONCE, fallback=second(ward), backoff=EXACT)
    async with Runtime(supervisor("top", supervisor("inner", a))) as runtime:
        ward.fail("once", ValueError())
        runtime.ref("a").cast("once")
        await trio.sleep(2.5)
        runtime.ref("inner").kill()
        await wait_all_tasks_blocked()
        assert "gone" in ward.take()
        assert runtime.system.zombies == 0


# --- what can't be right


class Other(Actor):
    def who(self) -> str:
        return "other"


class Narrow(Patient):
    def again(self) -> str:  # type: ignore[override]
        return "narrow"


@pytest.mark.rule("S15")
@pytest.mark.parametrize(
    ("fallback", "said"),
    [
        (Other, "fallback 'Other' must answer again"),
        (Narrow, "fallback 'Narrow' must answer again"),
        ({"b": Other}, "fallback 'b' must answer"),
        ({}, "at least one by name"),
        ({"b": 3}, "'a': fallback 'b' must be an Actor class or a function"),
        ({3: Patient}, "named by text, not 3"),
        (int, "must be an Actor class, not <class 'int'>"),
        ("Other", "must be an Actor class or a function"),
    ],
)
def test_a_fallback_that_can_not_answer_the_same_is_refused(fallback: object, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        child("a", Patient, fallback=fallback)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "'a'" in str(caught.value)


def test_a_policy_that_names_a_missing_fallback_is_refused() -> None:
    with pytest.raises(SpecError, match=r"'a': policy=Fallback.*'nowhere'.* must be a method of Patient or one of"):
        child("a", Patient, policy=Fallback("nowhere"))


def test_a_method_that_falls_back_to_nothing_is_refused_with_its_class() -> None:
    from ukemi import falls_back_to

    with pytest.raises(SpecError, match="falls back to 'nothing', which is no other method"):

        class Wrong(Actor):
            @falls_back_to("nothing")
            def read(self) -> None: ...


# --- a fallback that stays until it ends


def stays(ward: Ward, **options: Any) -> Runtime:
    """A child whose fallbacks give way on restart; every failure of it means the next of them."""
    fallback = {"second": make(ward, "second"), "third": make(ward, "third")}
    a = child("a", make(ward), policy=Fallback(), fallback=fallback, gives_way="on restart", **options)
    b = child("b", make(ward, "b"), depends_on=["a"], policy=Fallback(), fallback={"b2": make(ward, "b2")})
    return Runtime(supervisor("top", a, b, strategy="dependents", max_restarts=1))


@pytest.mark.rule("S15")
async def test_a_fallback_that_gives_way_on_restart_stays_however_well_the_child_may_be(
    autojump_clock: MockClock, ward: Ward
) -> None:
    async with stays(ward) as runtime:
        runtime.ref("a").cast("background", "broken")
        await trio.sleep(1000)
        assert await runtime.ref("a").call("who") == "second 1"
        runtime.ref("a").kill()  # it has ended, so that the child itself is tried first
        await wait_all_tasks_blocked()
        assert await runtime.ref("a").call("who") == "own 1"
        assert (await states(runtime))[0] == ("running", None)


@pytest.mark.rule("S15")
async def test_when_the_child_can_not_be_started_then_the_fallbacks_are_tried_in_order_once_more(
    autojump_clock: MockClock, ward: Ward
) -> None:
    async with stays(ward) as runtime:
        runtime.ref("a").cast("background", "broken")
        await wait_all_tasks_blocked()
        ward.fail("start own", OSError("still"))
        ward.fail("start second", OSError("and this"))
        ward.take()
        runtime.ref("a").kill()
        await trio.sleep(1)
        assert [entry for entry in ward.take() if entry[1:] not in ("b", "b2")] == ["+own", "+second", "+third"]
        assert await runtime.ref("a").call("who") == "third 1"


@pytest.mark.rule("S15")
async def test_it_goes_on_to_the_next_fallback_where_one_fails_of_itself(ward: Ward) -> None:
    async with stays(ward) as runtime:
        for _ in range(2):
            runtime.ref("a").cast("background", "broken")
            await wait_all_tasks_blocked()
        assert await runtime.ref("a").call("who") == "third 1"
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "a")
        await runtime.ref("top", Supervisor).call(Supervisor.restart_child, "a")
        assert await runtime.ref("a").call("who") == "own 1"


@pytest.mark.rule("S15")
async def test_what_depends_on_a_fallback_that_stays_comes_back_without_it(
    autojump_clock: MockClock, ward: Ward
) -> None:
    async with stays(ward) as runtime:
        runtime.ref("a").cast("background", "broken")
        await wait_all_tasks_blocked()
        runtime.ref("b").cast("background", "broken too")
        await wait_all_tasks_blocked()
        assert await states(runtime) == [("degraded", "second"), ("degraded", "b2")]
        await trio.sleep(2)
        assert await states(runtime) == [("degraded", "second"), ("running", None)]


@pytest.mark.rule("S15")
async def test_a_child_that_does_not_go_without_is_held_until_what_it_depends_on_is_up(ward: Ward) -> None:
    a = child("a", make(ward, "a"))
    b = child("b", make(ward, "b"), depends_on=["a"], fallback=make(ward, "b2"), goes_without=False)
    async with Runtime(supervisor("top", a, b, strategy="dependents")) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.open_circuit, "a")
        assert await states(runtime) == [("open", None), ("stopped", None)]
        await top.call(Supervisor.close_circuit, "a")
        assert await runtime.ref("b").call("who") == "b 1"


@pytest.mark.rule("S15")
async def test_one_that_is_started_by_hand_and_can_not_be_started_falls_back_too(ward: Ward) -> None:
    async with stays(ward) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "a")
        ward.fail("start own", OSError("still"))
        await top.call(Supervisor.restart_child, "a")
        assert await runtime.ref("a").call("who") == "second 1"


def test_whether_a_child_goes_without_is_yes_or_no() -> None:
    with pytest.raises(SpecError, match="goes_without='no' must be True or False"):
        child("a", Patient, goes_without="no")  # type: ignore[arg-type]


def test_when_a_fallback_gives_way_is_one_of_two() -> None:
    with pytest.raises(SpecError, match="gives_way='never' must be one of 'at once', 'on restart'"):
        child("a", Patient, gives_way="never")  # type: ignore[arg-type]


async def states(runtime: Runtime) -> list[tuple[str, str | None]]:
    infos = await runtime.ref("top", Supervisor).call(Supervisor.children)
    return [(info.state, info.fallback) for info in infos]
