"""Messages that are given again: in their order, each when it is due, under its name, and not without end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ActorCrashed,
    Defer,
    Degrade,
    ProviderError,
    Row,
    Runtime,
    child,
    supervisor,
)
from ukemi.actors.events import DeadLetter
from ukemi.supervisors.recovery import RECOVERY

from .clerks import RETRY, Book, Papers, Porter, Senders, ask, lodge, office, reset

hows = pytest.mark.parametrize("how", ["call", "cast"])
methods = pytest.mark.parametrize("method", ["work", "work_async"])
encodings = pytest.mark.parametrize("encode", [True, False])


# --- order


@hows
@methods
@encodings
@pytest.mark.rule("M2", "M9")
async def test_what_was_deferred_comes_before_a_later_message_that_its_actor_has_failed_of(
    autojump_clock: MockClock, how: str, method: str, encode: bool
) -> None:
    papers = Papers({1: ["defer"], 2: ["defer"], 3: [reset()]})
    async with lodge(papers, Defer(), encode=encode) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery, method).send(how, 1, 2, 3, 4)
        await trio.sleep(5)
        assert papers.take() == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (2, 4)]
        assert not runtime.events.of(DeadLetter)


@hows
@encodings
@pytest.mark.parametrize("thrown", [1, 2, 3])
@pytest.mark.rule("M2", "M9")
async def test_the_thrown_one_of_several_that_were_deferred_keeps_its_place_among_them(
    autojump_clock: MockClock, how: str, encode: bool, thrown: int
) -> None:
    papers = Papers({n: ["defer"] for n in (1, 2, 3)})
    async with lodge(papers, Defer(), encode=encode) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send(how, 1, 2, 3)
        await wait_all_tasks_blocked()
        papers.take()
        papers.replies[thrown].throw(reset())
        await trio.sleep(5)
        assert papers.take() == [(2, 1), (2, 2), (2, 3)]


@hows
@pytest.mark.rule("M2", "M9")
async def test_those_that_are_thrown_are_given_again_in_the_order_in_which_they_had_come(
    autojump_clock: MockClock, how: str
) -> None:
    papers = Papers({1: ["defer"], 2: ["defer"], 3: ["defer"], 4: [reset()]})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send(how, 1, 2, 3, 4, 5)
        await wait_all_tasks_blocked()
        assert papers.take() == [(1, n) for n in (1, 2, 3, 4)]
        for number in (3, 1, 2):
            papers.replies[number].throw(reset())
        await trio.sleep(5)
        assert papers.take() == [(1, n) for n in (1, 2, 3, 4, 5)]


@hows
@encodings
@pytest.mark.rule("M9", "S10")
async def test_one_that_is_given_again_and_fails_again_is_kept_before_the_others(
    autojump_clock: MockClock, how: str, encode: bool
) -> None:
    papers = Papers({1: ["defer", reset(), reset()], 2: ["defer"]})
    async with lodge(papers, RETRY, encode=encode) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send(how, 1, 2)
        runtime.ref("porter").cast("break_down")
        await trio.sleep(10)
        assert papers.take() == [(1, 1), (1, 2), (2, 1), (2, 1), (2, 1), (2, 2)]
        assert not runtime.events.of(DeadLetter)


@hows
@encodings
async def test_one_that_is_given_again_and_takes_its_actor_with_it_is_kept_before_the_others(
    autojump_clock: MockClock, how: str, encode: bool
) -> None:
    papers = Papers({1: ["defer", reset(), reset()], 2: ["defer"], 3: [reset()]})
    async with lodge(papers, Defer(), encode=encode) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send(how, 1, 2, 3, 4)
        await trio.sleep(10)
        numbers = [number for _, number in papers.take()]
        assert numbers == [1, 2, 3, 1, 1, 1, 2, 3, 4]
        assert not runtime.events.of(DeadLetter)


async def test_what_comes_while_several_wait_to_be_given_again_is_behind_them(autojump_clock: MockClock) -> None:
    papers = Papers({1: [reset()]})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        await senders.send("call", 1, 2)
        await senders.send("cast", 3)
        await senders.send("call", 4)
        await trio.sleep(2)
        assert [number for _, number in papers.take()] == [1, 1, 2, 3, 4]


async def test_several_that_are_thrown_at_once_are_given_again_in_their_order(autojump_clock: MockClock) -> None:
    book, answers = Book(), list[Any]()
    async with office(book, RETRY) as runtime, trio.open_nursery() as nursery:
        for what in ("1", "2", "3"):
            nursery.start_soon(ask, runtime, answers, "again", what)
            await wait_all_tasks_blocked()
        book.take()
        for reply in book.replies:
            reply.throw(reset())
        book.replies.clear()
        nursery.start_soon(ask, runtime, answers, "again", "4")
        await trio.sleep(1.5)
        assert [what for _, _, what in book.take()] == ["1", "2", "3", "4"]
        runtime.ref("clerk").cast("answer")


@hows
@encodings
@pytest.mark.parametrize("aside", [1, 2, 3])
@pytest.mark.rule("M2", "M9", "R5")
async def test_what_was_put_aside_keeps_its_place_among_what_was_put_off(
    autojump_clock: MockClock, how: str, encode: bool, aside: int
) -> None:
    papers = Papers({n: ["stash" if n == aside else "defer"] for n in (1, 2, 3)})
    async with lodge(papers, RETRY, encode=encode) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send(how, 1, 2, 3)
        await wait_all_tasks_blocked()
        runtime.ref("porter").kill()
        await Senders(runtime, nursery).send(how, 4)
        await trio.sleep(5)
        assert papers.take() == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (2, 4)]


# --- each when it is due


@hows
@encodings
@pytest.mark.rule("S10", "M9")
async def test_each_of_several_that_are_thrown_waits_as_long_as_its_own_error_says(
    autojump_clock: MockClock, how: str, encode: bool
) -> None:
    papers = Papers({1: ["defer"], 2: ["defer"]})
    async with lodge(papers, RECOVERY, encode=encode) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send(how, 1, 2)
        await wait_all_tasks_blocked()
        begun = trio.current_time()
        papers.given.clear()
        papers.replies[1].throw(reset())
        papers.replies[2].throw(ProviderError("p", "busy", retry_after=10.0))
        await trio.sleep(20)
        (first, _, one), (second, _, two) = papers.given
        assert (one, two) == (1, 2)
        assert first - begun < 1
        assert second - begun >= 10
        assert not runtime.events.of(DeadLetter)


async def test_one_whose_caller_has_gone_meanwhile_is_passed_over_and_holds_nobody_up(
    autojump_clock: MockClock,
) -> None:
    papers = Papers({n: ["defer"] for n in (1, 2, 3)})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        with trio.CancelScope() as gone:
            async with trio.open_nursery() as inner:
                await Senders(runtime, inner).send("call", 1)
                await senders.send("call", 2)
                papers.replies[1].throw(ProviderError("p", "busy", retry_after=20.0))
                papers.replies[2].throw(reset())
                await wait_all_tasks_blocked()
                papers.take()
                gone.cancel()
        begun = trio.current_time()
        assert await runtime.ref("porter").call("ping") == "pong"
        assert trio.current_time() - begun == 1.0
        assert papers.take() == [(1, 2)]


@pytest.mark.rule("S12")
@hows
async def test_a_stop_that_drains_waits_for_what_is_to_be_given_again(autojump_clock: MockClock, how: str) -> None:
    papers = Papers({1: [reset()]})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        await senders.send(how, 1, 2)
        await wait_all_tasks_blocked()
        await runtime.ref("porter").stop(drain=True)
        assert papers.take() == [(1, 1), (1, 1), (1, 2)]


# --- bounds

DEGRADING = RECOVERY.replacing(Row("Unknown", "Critical", Degrade()))


@hows
@pytest.mark.parametrize("policy", [Degrade(), DEGRADING], ids=["whatever it is", "as its row says"])
@pytest.mark.rule("S10")
async def test_a_message_of_which_every_incarnation_fails_is_given_up_after_ten_more(
    autojump_clock: MockClock, how: str, policy: Any
) -> None:
    papers = Papers({1: [KeyError(1)] * 100})
    async with lodge(papers, policy, feature="f") as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        senders.ref = senders.ref.within(None)
        await senders.send(how, 1)
        assert await senders.ref.call("ping") == "pong"
        await trio.sleep(3600)
        assert [number for _, number in papers.take()] == [1] * 11
        if how == "call":
            assert isinstance(senders.answers[1], ActorCrashed)
        else:
            assert [letter.method for letter in runtime.events.of(DeadLetter)] == ["work"]


@hows
@pytest.mark.rule("M9")
async def test_a_deferred_message_with_which_every_incarnation_fails_is_given_up_after_ten_more(
    autojump_clock: MockClock, how: str
) -> None:
    class Doomed(Porter):
        def _do(self, number: int) -> int:
            super()._do(number)
            if number == 1:
                self.break_down()
            return number

    papers = Papers({1: ["defer"] * 100, 2: ["defer"]})
    tree = supervisor("lodge", child("porter", lambda: Doomed(papers), policy=RETRY), max_restarts=1000)
    async with Runtime(tree) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        senders.ref = senders.ref.within(None)
        await senders.send(how, 1)
        await trio.sleep(100)
        assert [number for _, number in papers.take()] == [1] * 11
        await senders.send("call", 2)
        papers.replies[2].send(2)
        await wait_all_tasks_blocked()
        assert senders.answers[2] == 2


@pytest.mark.rule("M9")
async def test_a_deferred_message_bears_any_number_of_ends_that_lie_far_apart(autojump_clock: MockClock) -> None:
    papers = Papers({1: ["defer"] * 100})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send("cast", 1)
        for _ in range(30):
            await trio.sleep(60)
            runtime.ref("porter").cast("break_down")
        await trio.sleep(60)
        assert [number for _, number in papers.take()] == [1] * 31
        assert len(set(papers.names[1])) == 1
