"""How far what is done about a message goes: whose arguments fit, for how long it waits, and at what pace it comes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    Backoff,
    CallTimeout,
    Cancel,
    Defer,
    Extend,
    Fallback,
    Policy,
    ProviderError,
    Restart,
    Retry,
    Row,
    Runtime,
    Supervisor,
    Throttle,
    child,
    retryable,
    supervisor,
)
from ukemi.actors.events import DeadLetter

from .clerks import RETRY, Papers, Senders, lodge, reset

hows = pytest.mark.parametrize("how", ["call", "cast"])
encodings = pytest.mark.parametrize("encode", [True, False])
syncs = pytest.mark.parametrize("suffix", ["", "_async"])


# --- a method that answers in place of another


class Library(Actor):
    def __init__(self, label: str = "own") -> None:
        self.label = label

    def read(self, title: str) -> str:
        raise KeyError(title)

    def write(self, title: str, text: str) -> str:
        raise KeyError(title)

    def named(self, *, title: str) -> str:
        raise KeyError(title)

    async def read_async(self, title: str) -> str:
        raise KeyError(title)

    async def write_async(self, title: str, text: str) -> str:
        raise KeyError(title)

    async def named_async(self, *, title: str) -> str:
        raise KeyError(title)

    def stale(self, title: str) -> str:
        return f"stale {title}"

    def who(self) -> str:
        return self.label


@syncs
@encodings
@pytest.mark.rule("S10", "M6")
async def test_a_method_answers_in_place_of_another_only_if_it_takes_the_same_arguments(
    suffix: str, encode: bool
) -> None:
    async with Runtime(
        supervisor("top", child("a", Library, policy=Fallback("stale"))), encode_messages=encode
    ) as runtime:
        a = runtime.ref("a")
        assert await a.call(f"read{suffix}", "x") == "stale x"
        assert await a.call(f"named{suffix}", title="x") == "stale x"
        assert a.stats().incarnation == 1
        with pytest.raises(ActorCrashed) as caught:
            await a.call(f"write{suffix}", "x", "y")
        assert isinstance(caught.value.__cause__, KeyError)
        assert await a.call("who") == "own"
        assert a.stats().incarnation == 2
        a.cast(f"write{suffix}", "x", "y")
        await wait_all_tasks_blocked()
        assert [letter.why for letter in runtime.events.of(DeadLetter)] == ["lost in a crash: KeyError: 'x'"]


@syncs
@pytest.mark.rule("S10", "S15")
async def test_where_it_does_not_the_fallback_of_the_child_takes_its_place(suffix: str) -> None:
    plain = {"plain": lambda: Library("plain")}
    policy = Policy((Row(None, None, Fallback()),))
    a = child("a", Library, policy=policy, fallback=plain)
    async with Runtime(supervisor("top", a)) as runtime:
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call(f"write{suffix}", "x", "y")
        assert await runtime.ref("a").call("who") == "plain"


# --- a deadline that is lengthened


class Busy(Actor):
    def __init__(self) -> None:
        self.replies: list[Any] = []

    async def last(self, seconds: float) -> str:
        await trio.sleep(seconds)
        return "done"

    def last_as_an_awaitable(self, seconds: float) -> Any:
        return self.last(seconds)

    def put_off(self, seconds: float) -> Any:
        self.ctx.after(seconds, self._answer, self.ctx.defer())

    def _answer(self, reply: Any) -> None:
        reply.send("done")

    def quick(self) -> str:
        return "quick"


EXTENDING = Policy((Row("Timeout", "Recoverable", Extend(2), Cancel()),))


@encodings
@pytest.mark.rule("M3", "S10")
async def test_only_the_time_of_what_is_in_hand_is_lengthened_and_not_of_what_waits(
    autojump_clock: MockClock, encode: bool
) -> None:
    tree = supervisor("top", child("a", Busy, policy=EXTENDING))
    async with Runtime(tree, encode_messages=encode) as runtime:
        a = runtime.ref("a")
        a.cast("last", 500.0)
        await wait_all_tasks_blocked()
        for _ in range(2):
            begun = trio.current_time()
            with pytest.raises(CallTimeout) as caught:
                await a.call("quick")
            assert not caught.value.began
            assert trio.current_time() - begun == 30.0


@encodings
@pytest.mark.rule("M3", "S10")
@pytest.mark.parametrize("method", ["last", "last_as_an_awaitable", "put_off"])
async def test_what_is_in_hand_or_put_off_has_its_time_lengthened(
    autojump_clock: MockClock, encode: bool, method: str
) -> None:
    tree = supervisor("top", child("a", Busy, policy=EXTENDING))
    async with Runtime(tree, encode_messages=encode) as runtime:
        a = runtime.ref("a")
        assert await a.call(method, 80.0) == "done"
        begun = trio.current_time()
        with pytest.raises(CallTimeout) as caught:
            await a.call(method, 100.0)
        assert caught.value.began
        assert trio.current_time() - begun == 90.0


# --- a pause without a deadline


@hows
@encodings
@pytest.mark.rule("S10")
@pytest.mark.parametrize("seconds", [600.0, 601.0, 1e8])
async def test_what_nobodys_deadline_bounds_waits_for_another_try_for_ten_minutes_at_most(
    autojump_clock: MockClock, how: str, encode: bool, seconds: float
) -> None:
    papers = Papers({1: [ProviderError("p", "busy", retry_after=seconds)]})
    async with lodge(papers, RETRY, encode=encode) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        senders.ref = senders.ref.within(None)
        await senders.send(how, 1)
        assert await senders.ref.call("ping") == "pong"
        is_waited_for = seconds <= 600
        assert trio.current_time() == (seconds if is_waited_for else 0)
        await wait_all_tasks_blocked()
        assert [number for _, number in papers.take()] == [1] * (1 + is_waited_for)
        if how == "cast":
            assert len(runtime.events.of(DeadLetter)) == (not is_waited_for)
        elif is_waited_for:
            assert senders.answers[1] == 1
        else:
            assert isinstance(senders.answers[1], ActorCrashed)


# --- what waits for another component


class Store(Actor):
    """Fails as long as it is told to."""

    def __init__(self, failing: list[BaseException]) -> None:
        self.failing = failing

    def get(self) -> str:
        if self.failing:
            raise self.failing.pop()
        return "got"


class Front(Actor):
    def __init__(self, times: list[float]) -> None:
        self.times = times

    @retryable
    async def work(self) -> Any:
        self.times.append(trio.current_time())
        return await self.ctx.find("store").call("get")


def front(failing: list[BaseException], times: list[float], again: float) -> Runtime:
    backoff = Backoff(again, again, jitter=0.0)
    store = child("store", lambda: Store(failing), policy=Restart(backoff=backoff))
    front = child("front", lambda: Front(times), policy=Defer())
    return Runtime(supervisor("top", store, front, max_restarts=1000))


@hows
@pytest.mark.rule("S10")
@pytest.mark.parametrize("again", [28.0, 20.0, 3.0])
async def test_a_message_is_deferred_for_thirty_seconds_in_all_however_often_the_other_fails(
    autojump_clock: MockClock, how: str, again: float
) -> None:
    times = list[float]()
    async with front([reset() for _ in range(1000)], times, again) as runtime:
        ref = runtime.ref("front")
        if how == "cast":
            ref.cast("work")
            await trio.sleep(300)
            (letter,) = runtime.events.of(DeadLetter)
            assert letter.why.startswith("failed: ActorCrashed: /top/store crashed in get")
        else:
            with pytest.raises(ActorCrashed, match="/top/store crashed in get"):
                await ref.within(None).call("work")
        assert times[:2] == [0.0, again]
        assert max(times) <= 30.0


@hows
@pytest.mark.rule("S10")
async def test_it_is_given_again_as_soon_as_the_other_is_up_again(autojump_clock: MockClock, how: str) -> None:
    times = list[float]()
    async with front([reset()], times, 28.0) as runtime:
        ref = runtime.ref("front")
        if how == "cast":
            ref.cast("work")
            await trio.sleep(300)
            assert not runtime.events.of(DeadLetter)
        else:
            assert await ref.within(None).call("work") == "got"
        assert times == [0.0, 28.0]


# --- the pace of what is given again

PACED = Policy((Row("Network", None, RETRY), Row("Unknown", None, Throttle(rate=0.5, quiet=100.0))))


@hows
@encodings
@pytest.mark.rule("S10", "M9")
async def test_what_is_given_again_keeps_its_order_and_the_pace_of_a_throttle(
    autojump_clock: MockClock, how: str, encode: bool
) -> None:
    papers = Papers({1: ["defer"], 2: ["defer"], 3: [KeyError("slow down")], 5: [reset()]})
    async with lodge(papers, PACED, encode=encode) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        await senders.send(how, 1, 2, 3)
        await wait_all_tasks_blocked()
        papers.take()
        for number in (2, 1):
            papers.replies[number].throw(reset())
        await senders.send(how, 4, 5, 6)
        await trio.sleep(60)
        times = [at for at, _, _ in papers.given]
        assert [number for _, number in papers.take()] == [1, 2, 4, 5, 5, 6]
        assert all(later - earlier >= 2.0 for earlier, later in pairwise(times))


@hows
@pytest.mark.rule("S10", "M9", "R4")
async def test_what_outlives_its_incarnation_keeps_the_pace_of_a_throttle_too(
    autojump_clock: MockClock, how: str
) -> None:
    papers = Papers({1: ["defer"], 2: ["defer"], 3: [KeyError("slow down")]})
    async with lodge(papers, PACED) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send(how, 1, 2, 3, 4)
        await wait_all_tasks_blocked()
        papers.take()
        runtime.ref("porter").kill()
        await trio.sleep(60)
        times = [at for at, _, _ in papers.given]
        assert papers.take() == [(2, 1), (2, 2), (2, 4)]
        assert all(later - earlier >= 2.0 for earlier, later in pairwise(times))


@hows
@pytest.mark.rule("S10")
async def test_when_a_throttle_ends_what_is_held_back_comes_when_it_is_due(autojump_clock: MockClock, how: str) -> None:
    policy = Policy((
        Row("Network", None, Retry(Backoff(20.0, 20.0, jitter=0.0))),
        Row("Unknown", None, Throttle(rate=0.5, quiet=10.0)),
    ))  # fmt: skip
    papers = Papers({1: [KeyError("slow down")], 2: [reset()]})
    async with lodge(papers, policy) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send(how, 1, 2, 3, 4)
        await trio.sleep(60)
        assert [(at, number) for at, _, number in papers.given] == [(0, 1), (2, 2), (22, 2), (22, 3), (22, 4)]


@hows
@pytest.mark.rule("S10", "R3")
async def test_a_throttled_child_that_is_stopped_by_hand_lets_go_of_all_that_it_held_back(
    autojump_clock: MockClock, how: str
) -> None:
    papers = Papers({1: [KeyError("slow down")], 2: [reset()]})
    async with lodge(papers, PACED) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        await senders.send(how, 1, 2, 3)
        await trio.sleep(2.5)
        begun = trio.current_time()
        await runtime.ref("lodge").call(Supervisor.stop_child, "porter")
        await wait_all_tasks_blocked()
        assert trio.current_time() == begun
        if how == "call":
            assert sorted(senders.answers) == [1, 2, 3]
        else:
            assert len(runtime.events.of(DeadLetter)) == 3
        await runtime.ref("lodge").call(Supervisor.restart_child, "porter")
        assert await senders.ref.call("ping") == "pong"
        assert trio.current_time() == begun
