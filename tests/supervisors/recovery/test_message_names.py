"""`ctx.message_key`: a message has one name, however often it is given, and no two have the same."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Runtime, Supervisor, child, retryable, supervisor

from .clerks import RETRY, Book, Clerk, Papers, Porter, Senders, lodge, office, reset

hows = pytest.mark.parametrize("how", ["call", "cast"])
encodings = pytest.mark.parametrize("encode", [True, False])


@pytest.mark.parametrize("how", ["call", "cast"])
async def test_a_message_keeps_its_name_and_no_two_have_the_same(autojump_clock: MockClock, how: str) -> None:
    book = Book()

    class Flaky(Clerk):
        @retryable
        async def again_async(self, what: str) -> Any:
            self.book.asked.append((self.ctx.incarnation, self.ctx.message_key, what))
            assert self.ctx.message_key == self.book.asked[-1][1]
            if len(self.book.asked) < 3:
                raise reset()

    tree = supervisor("office", child("clerk", lambda: Flaky(book), policy=RETRY))
    async with Runtime(tree) as runtime:
        clerk = runtime.ref("clerk")
        if how == "call":
            await clerk.call("again_async", "x")
        else:
            clerk.cast("again_async", "x")
            await trio.sleep(10)
        assert len({key for _, key, _ in book.asked}) == 1
        await clerk.call("again_async", "y")
        assert len({key for _, key, _ in book.take()}) == 2


async def test_messages_whose_replies_were_deferred_keep_their_names_in_the_next_incarnation(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    async with office(book, RETRY) as runtime, trio.open_nursery() as nursery:
        clerk = runtime.ref("clerk")
        for n in range(3):
            clerk.cast("again", f"cast {n}")
            nursery.start_soon(clerk.call, "again", f"call {n}")
            await wait_all_tasks_blocked()
        names = {what: key for _, key, what in book.take()}
        assert len(set(names.values())) == 6
        for _ in range(2):
            clerk.cast("break_down")
            await trio.sleep(3)
            again = book.take()
            assert [what for _, _, what in again] == list(names)
            assert {what: key for _, key, what in again} == names
        clerk.cast("answer")


@pytest.mark.rule("M9")
@hows
@encodings
async def test_a_thrown_message_keeps_its_name_whatever_has_asked_for_its_own_since(
    autojump_clock: MockClock, how: str, encode: bool
) -> None:
    papers = Papers({1: ["defer"], 2: ["defer"]})
    async with lodge(papers, RETRY, encode=encode) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        await senders.send(how, 1, 2, 3)
        await wait_all_tasks_blocked()
        papers.replies[1].throw(reset())
        papers.replies[2].throw(reset())
        await trio.sleep(2)
        assert [number for _, number in papers.take()] == [1, 2, 3, 1, 2]
        assert [len(set(papers.names[n])) for n in (1, 2, 3)] == [1, 1, 1]
        assert len({papers.names[n][0] for n in (1, 2, 3)}) == 3


@pytest.mark.rule("M9", "I4")
@encodings
async def test_a_message_that_is_run_in_its_callers_turn_and_then_awaited_has_one_name(
    autojump_clock: MockClock, encode: bool
) -> None:
    names: list[str] = []

    class Later(Porter):
        @retryable
        def work(self, number: int) -> Any:
            names.append(self.ctx.message_key)
            return self._go(number)

        async def _go(self, number: int) -> int:
            names.append(self.ctx.message_key)
            if len(names) < 6:
                raise reset()
            return number

    tree = supervisor("lodge", child("porter", lambda: Later(Papers()), policy=RETRY))
    async with Runtime(tree, encode_messages=encode) as runtime:
        assert await runtime.ref("porter").call("work", 7) == 7
        assert len(names) == 6
        assert len(set(names)) == 1


@pytest.mark.rule("M9", "S14")
async def test_a_cast_that_waits_to_be_given_again_keeps_its_name_over_a_time_with_the_circuit_open(
    autojump_clock: MockClock,
) -> None:
    papers = Papers({1: ["defer"], 2: [reset()]})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        await Senders(runtime, nursery).send("cast", 1, 2, 3)
        await wait_all_tasks_blocked()
        await runtime.ref("lodge", Supervisor).call(Supervisor.open_circuit, "porter", 5.0)
        await trio.sleep(20)
        assert papers.take() == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
        assert [len(set(papers.names[n])) for n in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.rule("M9")
async def test_a_message_that_was_put_aside_keeps_its_name() -> None:
    names: dict[str, list[str]] = {"a": [], "b": []}

    class Sorting(Porter):
        is_ready = False

        def sort(self, what: str) -> None:
            names[what].append(self.ctx.message_key)
            if not self.is_ready:
                self.ctx.stash()

        def begin(self) -> None:
            self.is_ready = True
            self.ctx.unstash()

    async with Runtime(supervisor("lodge", child("porter", lambda: Sorting(Papers())))) as runtime:
        porter = runtime.ref("porter")
        porter.cast("sort", "a")
        porter.cast("sort", "b")
        porter.cast("begin")
        await wait_all_tasks_blocked()
        assert [len(set(each)) for each in names.values()] == [1, 1]
        assert [len(each) for each in names.values()] == [2, 2]
        assert names["a"] != names["b"]
