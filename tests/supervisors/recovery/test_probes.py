"""Rule S14: probes that are answered later, and circuits that open and close while other things happen."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    CircuitBreak,
    CircuitOpen,
    Resume,
    Runtime,
    Supervisor,
    Throttle,
    child,
    supervisor,
)
from ukemi.actors import Reply
from ukemi.supervisors import ChildInfo, CircuitOpened, CircuitShut

from .patients import Patient, Second, Ward, make

encodings = pytest.mark.parametrize("encode", [True, False])


class Slow(Actor):
    """Answers later, or not at all."""

    def __init__(self, replies: list[Reply], seen: list[int]) -> None:
        self.replies = replies
        self.seen = seen

    def work(self, number: int) -> Any:
        self.seen.append(number)
        self.replies.append(self.ctx.defer())

    def forget(self, number: int) -> Any:
        self.seen.append(number)
        self.ctx.defer()


class Clinic:
    """A child that answers later, whose circuit is half-open 5 s from the start."""

    def __init__(self, **settings: Any) -> None:
        self.replies: list[Reply] = []
        self.seen: list[int] = []
        self.outcomes: dict[int, str] = {}
        self.settings = settings

    def runtime(self, *, encode: bool = True) -> Runtime:
        policy = CircuitBreak(5.0, **self.settings)
        slow = child("slow", lambda: Slow(self.replies, self.seen), policy=policy)
        return Runtime(supervisor("top", slow, max_restarts=100), encode_messages=encode)

    async def half_open(self, runtime: Runtime) -> None:
        await runtime.ref("top").call(Supervisor.open_circuit, "slow", 5.0)
        await trio.sleep(5.25)

    async def ask(self, runtime: Runtime, number: int, method: str = "work", within: float = 30.0) -> None:
        try:
            self.outcomes[number] = str(await runtime.ref("slow").within(within).call(method, number))
        except Exception as error:
            self.outcomes[number] = type(error).__name__


async def info(runtime: Runtime, name: str = "slow") -> ChildInfo:
    await wait_all_tasks_blocked()
    return {each.name: each for each in await runtime.ref("top").call(Supervisor.children)}[name]


async def circuit(runtime: Runtime, name: str = "slow") -> str:
    shown = (await info(runtime, name)).circuit
    assert shown is not None
    return shown.state


# --- a probe that is answered later


@pytest.mark.rule("S14", "M9")
@encodings
@pytest.mark.parametrize("how", ["send", "fail"])
async def test_while_a_probe_is_still_to_be_answered_nothing_else_is_let_in_and_its_answer_closes_the_circuit(
    autojump_clock: MockClock, encode: bool, how: str
) -> None:
    clinic = Clinic()
    async with clinic.runtime(encode=encode) as runtime, trio.open_nursery() as nursery:
        await clinic.half_open(runtime)
        for number in range(5):
            nursery.start_soon(clinic.ask, runtime, number)
            await wait_all_tasks_blocked()
        runtime.ref("slow").cast("work", 9)
        await trio.sleep(12)  # a quiet time means nothing while a probe is to be answered
        assert clinic.seen == [0]
        assert await circuit(runtime) == "half-open"
        reply = clinic.replies.pop()
        if how == "send":
            reply.send("well")
        else:
            reply.fail(LookupError("no such thing, which is an answer too"))
        assert await circuit(runtime) == "closed"
        assert clinic.outcomes.pop(0) == ("well" if how == "send" else "LookupError")
        assert set(clinic.outcomes.values()) == {"CircuitOpen"}
        assert len(runtime.events.of(CircuitShut)) == 1


@pytest.mark.rule("S14")
async def test_a_cast_whose_answer_comes_later_is_a_probe_like_any_other(autojump_clock: MockClock) -> None:
    clinic = Clinic()
    async with clinic.runtime() as runtime:
        await clinic.half_open(runtime)
        for number in range(3):
            runtime.ref("slow").cast("work", number)
            await wait_all_tasks_blocked()
        assert clinic.seen == [0]
        assert await circuit(runtime) == "half-open"
        clinic.replies.pop().send(None)
        assert await circuit(runtime) == "closed"


@pytest.mark.rule("S14")
async def test_a_probe_that_is_thrown_back_opens_the_circuit_again(autojump_clock: MockClock) -> None:
    clinic = Clinic()
    async with clinic.runtime() as runtime, trio.open_nursery() as nursery:
        await clinic.half_open(runtime)
        nursery.start_soon(clinic.ask, runtime, 0)
        await wait_all_tasks_blocked()
        clinic.replies.pop().throw(ValueError("no"))
        assert await circuit(runtime) == "open"
        assert clinic.outcomes == {0: "ActorCrashed"}
        assert len(runtime.events.of(CircuitOpened)) == 2


@pytest.mark.rule("S14")
@pytest.mark.parametrize("way", ["its caller's time is over", "its handle is dropped"])
async def test_after_a_probe_for_which_nobody_waits_any_more_the_next_message_is_the_probe(
    autojump_clock: MockClock, way: str
) -> None:
    clinic = Clinic()
    async with clinic.runtime() as runtime, trio.open_nursery() as nursery:
        await clinic.half_open(runtime)
        await clinic.ask(runtime, 0, "work" if way.startswith("its caller") else "forget", within=1.0)
        assert clinic.outcomes.pop(0) == ("CallTimeout" if way.startswith("its caller") else "DroppedReply")
        assert await circuit(runtime) == "half-open"
        nursery.start_soon(clinic.ask, runtime, 1)
        await wait_all_tasks_blocked()
        assert clinic.seen == [0, 1]
        clinic.replies.pop().send("well")
        assert await circuit(runtime) == "closed"


@pytest.mark.rule("S14")
async def test_of_several_probes_that_are_wanted_each_may_be_answered_later(autojump_clock: MockClock) -> None:
    clinic = Clinic(successes=2)
    async with clinic.runtime() as runtime, trio.open_nursery() as nursery:
        await clinic.half_open(runtime)
        for number in range(2):
            nursery.start_soon(clinic.ask, runtime, number)
            await wait_all_tasks_blocked()
            assert await circuit(runtime) == "half-open"
            clinic.replies.pop().send("well")
        assert await circuit(runtime) == "closed"
        assert clinic.outcomes == {0: "well", 1: "well"}


@pytest.mark.rule("S14")
async def test_in_a_circuit_that_is_closed_an_answer_that_comes_later_ends_a_row_of_failures(
    autojump_clock: MockClock,
) -> None:
    clinic = Clinic(failures=2)
    async with clinic.runtime() as runtime, trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(clinic.ask, runtime, number)
            await wait_all_tasks_blocked()
            if number % 2:
                clinic.replies.pop().send("well")
            else:
                clinic.replies.pop().throw(ValueError("no"))
            assert await circuit(runtime) == "closed"


# --- while other things happen


@pytest.fixture
def ward() -> Ward:
    return Ward()


class Heavy(Patient):
    async def on_start(self) -> None:
        await super().on_start()
        await trio.sleep(1.0)


@pytest.mark.rule("S14", "S10")
@pytest.mark.parametrize("other_fails", [False, True])
async def test_a_child_that_fails_just_after_its_circuit_was_closed_is_restarted_however_busy_its_supervisor(
    autojump_clock: MockClock, ward: Ward, other_fails: bool
) -> None:
    children = [child("o", make(ward, "o")), child("a", make(ward), policy=CircuitBreak(5.0))]
    tree = supervisor("top", *children, child("heavy", make(ward, "heavy", Heavy)), max_restarts=100)
    async with Runtime(tree) as runtime, trio.open_nursery() as nursery:
        top, a = runtime.ref("top"), runtime.ref("a")
        await top.call(Supervisor.stop_child, "heavy")
        await top.call(Supervisor.open_circuit, "a", 2.0)
        await trio.sleep(2.5)
        nursery.start_soon(top.call, Supervisor.restart_child, "heavy")
        await trio.sleep(0.5)
        if other_fails:
            ward.fail("once", ValueError("of the other"))
            with pytest.raises(ActorCrashed):
                await runtime.ref("o").call("once")
        assert await a.call("who") == "own 1"
        ward.fail("once", ValueError("no"))
        with pytest.raises(ActorCrashed):
            await a.call("once")
        assert (await a.call("who")).startswith("own")
        await trio.sleep(3600)
        assert {each.name: each.state for each in await top.call(Supervisor.children)} == dict.fromkeys(
            ("o", "a", "heavy"), "running"
        )


@pytest.mark.rule("S14", "S15")
@pytest.mark.parametrize("seconds", [5.5, 20.0])
async def test_what_was_known_of_a_childs_health_before_its_circuit_was_opened_by_hand_is_forgotten_with_it(
    autojump_clock: MockClock, ward: Ward, seconds: float
) -> None:
    class SlowSecond(Second):
        async def on_start(self) -> None:
            await super().on_start()
            await trio.sleep(1.0)

    ward.healths["own"] = 0.1
    fallback = {"second": make(ward, "second", SlowSecond)}
    a = child("a", make(ward), fallback=fallback, feature="f")
    async with Runtime(supervisor("top", a)) as runtime:
        await trio.sleep(seconds)  # its health has been asked for, and its fallback is on its way
        await runtime.ref("top").call(Supervisor.open_circuit, "a", 1.0)
        ward.healths.clear()
        await trio.sleep(1000)
        shown = await info(runtime, "a")
        assert (shown.state, shown.fallback) == ("running", None)
        state = runtime.features.state_of("f")
        assert (state.degraded, state.score, state.reasons) == (False, 1.0, ())
        assert (await runtime.ref("a").call("who")).startswith("own")


@pytest.mark.rule("S14", "S10")
@pytest.mark.parametrize("policy", [Resume(), None], ids=["resumes", "OTP"])
async def test_a_child_keeps_its_policy_and_what_is_told_of_it_when_its_circuit_is_opened_by_hand(
    autojump_clock: MockClock, ward: Ward, policy: Any
) -> None:
    tree = supervisor("top", child("a", make(ward), policy=policy, feature="f"), max_restarts=100)
    async with Runtime(tree, encode_messages=False) as runtime:
        await runtime.ref("top").call(Supervisor.open_circuit, "a", 1.0)
        with pytest.raises(CircuitOpen):
            await runtime.ref("a").call("who")
        await trio.sleep(10)
        assert await circuit(runtime, "a") == "closed"
        for _ in range(30):
            ward.fail("once", ValueError("no"))
            with pytest.raises(ValueError if policy is not None else ActorCrashed):
                await runtime.ref("a").call("once")
            await wait_all_tasks_blocked()
        assert runtime.features.state_of("f").degraded


@pytest.mark.rule("R3")
async def test_a_child_that_is_started_again_by_hand_is_throttled_no_more(
    autojump_clock: MockClock, ward: Ward
) -> None:
    action = Throttle(rate=0.2, quiet=1000.0)
    async with Runtime(supervisor("top", child("a", make(ward), policy=action))) as runtime:
        top, a = runtime.ref("top"), runtime.ref("a")
        ward.fail("once", ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await a.call("once")
        begun = trio.current_time()
        await a.call("who")
        assert trio.current_time() - begun == 5.0
        await top.call(Supervisor.stop_child, "a")
        await top.call(Supervisor.restart_child, "a")
        begun = trio.current_time()
        for _ in range(3):
            await a.call("who")
        assert trio.current_time() == begun
        assert runtime.ref("a").cell.gate.pace is None
