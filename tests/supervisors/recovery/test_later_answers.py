"""Messages that are answered later, under a policy: thrown back, given again, and kept over the end of an actor."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ActorCrashed,
    Backoff,
    CallTimeout,
    Fallback,
    MailboxFull,
    Policy,
    Reject,
    Restart,
    Resume,
    Row,
    Runtime,
)
from ukemi.actors.events import DeadLetter
from ukemi.supervisors import Recovered
from ukemi.supervisors.recovery.tries import History

from .clerks import RETRY, Book, Deputy, Papers, Senders, ask, lodge, office, reset

methods = pytest.mark.parametrize("method", ["again", "again_async"])


# --- throw


@methods
@pytest.mark.rule("S10", "M9")
async def test_a_deferred_message_that_is_thrown_back_is_given_again_after_the_pause(
    autojump_clock: MockClock, method: str
) -> None:
    book, answers = Book(), list[Any]()
    async with office(book, RETRY) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, method)
        await wait_all_tasks_blocked()
        begun = trio.current_time()
        book.replies.pop().throw(reset())
        await trio.sleep(1.5)
        ((one, key, _), (two, same, _)) = book.take()
        assert (one, two) == (1, 1)
        assert key == same
        assert not answers
        runtime.ref("clerk").cast("answer")
        await wait_all_tasks_blocked()
        assert answers == ["answered by clerk 1"]
        (recovered,) = runtime.events.of(Recovered)
        assert (recovered.method, recovered.attempt) == (method, 1)
        assert trio.current_time() - begun >= 1.0


@methods
async def test_its_tries_are_counted_over_all_throws_and_then_its_caller_gets_the_cause(
    autojump_clock: MockClock, method: str
) -> None:
    book, answers = Book(), list[Any]()
    async with office(book, RETRY) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, method)
        errors = []
        for _ in range(4):
            await trio.sleep(5)
            errors.append(reset())
            book.replies.pop().throw(errors[-1])
        await wait_all_tasks_blocked()
        (answer,) = answers
        assert isinstance(answer, ActorCrashed)
        assert answer.__cause__ is errors[-1]
        assert len({key for _, key, _ in book.take()}) == 1
        assert runtime.ref("clerk").stats().incarnation == 2


async def test_a_throw_that_the_policy_resumes_gives_the_caller_the_error_itself() -> None:
    book, answers = Book(), list[Any]()
    async with office(book, Resume()) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, "once")
        await wait_all_tasks_blocked()
        error = reset()
        book.replies.pop().throw(error)
        await wait_all_tasks_blocked()
        assert answers == [error]
        assert runtime.ref("clerk").stats().incarnation == 1


@pytest.mark.parametrize("policy", [None, Restart()])
async def test_a_throw_without_a_better_policy_is_a_crash(policy: Any) -> None:
    book, answers = Book(), list[Any]()
    async with office(book, policy) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, "once")
        await wait_all_tasks_blocked()
        error = reset()
        book.replies.pop().throw(error)
        await wait_all_tasks_blocked()
        (answer,) = answers
        assert isinstance(answer, ActorCrashed)
        assert answer.__cause__ is error
        assert runtime.ref("clerk").stats().incarnation == 2


async def test_a_throw_lets_another_method_answer_where_the_policy_falls_back() -> None:
    book, answers = Book(), list[Any]()
    async with office(book, Fallback()) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, "read")
        await wait_all_tasks_blocked()
        book.replies.pop().throw(ValueError("worn out"))
        await wait_all_tasks_blocked()
        assert answers == ["second best x, since worn out"]


async def test_a_thrown_reject_is_an_answer() -> None:
    book, answers = Book(), list[Any]()
    async with office(book, RETRY) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, "once")
        await wait_all_tasks_blocked()
        book.replies.pop().throw(Reject(LookupError("no such thing")))
        await wait_all_tasks_blocked()
        assert isinstance(answers[0], LookupError)


async def test_what_is_thrown_is_answered_once_whatever_is_done_with_its_handle() -> None:
    book, answers = Book(), list[Any]()
    async with office(book, Resume()) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, "once")
        await wait_all_tasks_blocked()
        reply, error = book.replies.pop(), ValueError("first")
        reply.throw(error)
        reply.send("second")
        reply.fail(KeyError("third"))
        reply.throw(KeyError("fourth"))
        del reply
        await wait_all_tasks_blocked()
        assert answers == [error]


async def test_throw_takes_an_exception_and_says_so() -> None:
    book, answers = Book(), list[Any]()
    async with office(book, None) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, "once")
        await wait_all_tasks_blocked()
        with pytest.raises(TypeError, match="not 'broken'"):
            book.replies[0].throw("broken")  # type: ignore[arg-type]
        book.replies.pop().send("well")


async def test_a_cast_that_was_deferred_and_fails_is_a_dead_letter_with_the_cause() -> None:
    book = Book()
    async with office(book, Resume()) as runtime:
        clerk = runtime.ref("clerk")
        for how in ("throw", "fail"):
            clerk.cast("once", how)
            await wait_all_tasks_blocked()
            getattr(book.replies.pop(), how)(ValueError(f"by {how}"))
            await wait_all_tasks_blocked()
        assert [letter.why for letter in runtime.events.of(DeadLetter)] == [
            "failed: ValueError: by throw",
            "rejected: ValueError: by fail",
        ]


async def test_a_cast_that_was_deferred_is_lost_with_its_actor_and_told_so() -> None:
    book = Book()
    async with office(book, None) as runtime:
        runtime.ref("clerk").cast("once", "x")
        await wait_all_tasks_blocked()
        runtime.ref("clerk").kill()
        await wait_all_tasks_blocked()
        (letter,) = runtime.events.of(DeadLetter)
        assert letter.method == "once"
        assert letter.why.startswith("lost in a crash")


@pytest.mark.rule("I4")
@pytest.mark.parametrize("busy", [False, True])
async def test_a_handler_that_defers_and_then_fails_is_retried_like_any_other(
    autojump_clock: MockClock, busy: bool
) -> None:
    book, answers = Book(), list[Any]()
    async with office(book, RETRY) as runtime, trio.open_nursery() as nursery:
        if busy:
            runtime.ref("clerk").cast("answer")
        nursery.start_soon(ask, runtime, answers, "defer_and_fail")
        await trio.sleep(1.5)
        assert not answers
        assert len(book.take()) == 2
        runtime.ref("clerk").cast("answer")
        await wait_all_tasks_blocked()
        assert answers == ["answered by clerk 1"]


# --- given again to the next incarnation


@methods
@pytest.mark.rule("M9", "R4")
@pytest.mark.parametrize("fate", ["fails", "is killed"])
async def test_what_may_be_repeated_outlives_its_incarnation_in_order_before_later_mail(method: str, fate: str) -> None:
    book, answers = Book(), list[Any]()
    async with office(book, RETRY) as runtime, trio.open_nursery() as nursery:
        for what in ("1", "2", "3"):
            nursery.start_soon(ask, runtime, answers, method, what)
            await wait_all_tasks_blocked()
        before = book.take()
        book.replies.pop(1).send("2 at once")
        clerk = runtime.ref("clerk")
        if fate == "fails":
            clerk.cell.incarnation.fail(reset())  # type: ignore[union-attr]
        else:
            clerk.kill()
        clerk.cast(method, "4")
        await wait_all_tasks_blocked()
        after = book.take()
        assert [(n, what) for n, _, what in after] == [(2, "1"), (2, "3"), (2, "4")]
        assert [key for _, key, _ in after[:2]] == [before[0][1], before[2][1]]
        assert answers == ["2 at once"]
        del book.replies[:2]  # of the dead incarnation, and worth nothing
        await wait_all_tasks_blocked()
        assert answers == ["2 at once"]
        runtime.ref("clerk").cast("answer")
        await wait_all_tasks_blocked()
        assert answers == ["2 at once", "answered by clerk 2", "answered by clerk 2"]


@pytest.mark.rule("M9")
@pytest.mark.parametrize(("policy", "method"), [(RETRY, "once"), (None, "again"), (Restart(), "again")])
async def test_what_may_not_be_repeated_or_is_under_no_policy_that_retries_fails_with_it(
    policy: Any, method: str
) -> None:
    book, answers = Book(), list[Any]()
    async with office(book, policy) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, method)
        await wait_all_tasks_blocked()
        runtime.ref("clerk").cast("break_down")
        await wait_all_tasks_blocked()
        (answer,) = answers
        assert isinstance(answer, ActorCrashed)


async def test_it_never_outlives_its_callers_time(autojump_clock: MockClock) -> None:
    book = Book()
    async with office(book, RETRY, backoff=Backoff(10.0, 10.0)) as runtime:
        clerk = runtime.ref("clerk")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def in_vain() -> None:
                with pytest.raises(CallTimeout):
                    await clerk.within(2.0).call("again", "x")

            await wait_all_tasks_blocked()
            clerk.cast("break_down")
        await trio.sleep(20)
        assert [n for n, _, _ in book.take()] == [1]


async def end_it(runtime: Runtime) -> None:
    """The porter ends, and its next incarnation has what is given again."""
    runtime.ref("porter").kill()
    await trio.sleep(0.1)


@pytest.mark.rule("M9")
async def test_an_actor_that_gets_others_done_keeps_one_that_takes_longer_though_it_ends_often(
    autojump_clock: MockClock,
) -> None:
    others = range(100, 200)
    papers = Papers({1: ["defer"] * 101, **{n: ["defer"] for n in others}})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        await senders.send("call", 1)
        for n in others:
            await senders.send("call", n)
            papers.replies[n].send(n)
            await end_it(runtime)
        papers.replies[1].send(1000)
        await wait_all_tasks_blocked()
        assert senders.answers[1] == 1000
        assert senders.answers.keys() == {1, *others}
        assert len(set(papers.names[1])) == 1


@pytest.mark.rule("M9")
async def test_one_with_which_its_actor_ends_is_not_given_without_end_though_others_get_done(
    autojump_clock: MockClock,
) -> None:
    others = range(100, 201)
    papers = Papers({1: ["defer"] * 102, **{n: ["defer"] for n in others}})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        await senders.send("call", 1)
        for n in others:
            assert 1 not in senders.answers
            await senders.send("call", n)
            papers.replies[n].send(n)
            await end_it(runtime)
        assert isinstance(senders.answers[1], ActorCrashed)


@pytest.mark.rule("M9")
@pytest.mark.parametrize("others", ["none", "at once", "too early"])
async def test_one_with_which_its_actor_ends_each_time_is_given_ten_times_more(
    autojump_clock: MockClock, others: str
) -> None:
    papers = Papers({n: ["defer"] * 100 for n in (1, 2)})
    async with lodge(papers, RETRY) as runtime, trio.open_nursery() as nursery:
        senders = Senders(runtime, nursery)
        if others == "too early":
            await senders.send("call", 2)
            papers.replies[2].send("before")
        await senders.send("call", 1)
        for _ in range(11):
            assert 1 not in senders.answers
            if others == "at once":
                await senders.send("call", 3)
            await end_it(runtime)
        assert isinstance(senders.answers[1], ActorCrashed)
        assert [n for _, n in papers.take()].count(1) == 11


@pytest.mark.rule("M9")
@pytest.mark.parametrize(("apart", "moved_on", "given"), [(1.0, False, 10), (1.0, True, 100), (31.0, False, None)])
def test_how_often_a_message_is_given_to_another_incarnation(apart: float, moved_on: bool, given: int | None) -> None:
    history, times = History(), 0
    while times < 200 and (kept := history.keep(times * apart, own=False, moved_on=moved_on)) is not None:
        history, times = kept, times + 1
    assert times == (given or 200)


async def test_a_child_that_is_stopped_for_good_fails_what_it_had_put_off() -> None:
    book, answers = Book(), list[Any]()
    async with office(book, RETRY, restart="temporary") as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime, answers, "again")
        await wait_all_tasks_blocked()
        runtime.ref("clerk").cast("break_down")
        await wait_all_tasks_blocked()
        assert str(answers[0]) == "/office/clerk is not running"


async def test_what_is_given_again_takes_no_room_from_what_comes() -> None:
    book, answers = Book(), list[Any]()
    async with office(book, RETRY, mailbox=2, backoff=Backoff(0.01, 0.01)) as runtime, trio.open_nursery() as nursery:
        clerk = runtime.ref("clerk")
        for what in ("1", "2", "3"):
            nursery.start_soon(ask, runtime, answers, "again", what)
            await wait_all_tasks_blocked()
        book.take()
        clerk.cast("break_down")
        await wait_all_tasks_blocked()
        assert clerk.stats().waiting == 3
        clerk.cast("again", "4")
        clerk.cast("again", "5")
        with pytest.raises(MailboxFull):
            clerk.cast("again", "6")
        assert clerk.stats().waiting == 5
        while len(book.asked) < 5:
            await trio.sleep(0.01)
        assert [what for _, _, what in book.take()] == ["1", "2", "3", "4", "5"]
        clerk.cast("answer")


# --- fallbacks and what is still to be answered


@pytest.mark.rule("S15")
async def test_a_fallback_is_not_replaced_while_it_has_calls_to_answer(autojump_clock: MockClock) -> None:
    book, answers = Book(), list[Any]()
    options = {"fallback": {"deputy": lambda: Deputy(book, "deputy")}}
    async with office(book, Fallback(), **options) as runtime, trio.open_nursery() as nursery:
        runtime.ref("clerk").cast("break_down")
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, runtime, answers, "once")
        await trio.sleep(20)
        assert not answers
        runtime.ref("clerk").cast("answer")
        await trio.sleep(3)
        assert answers == ["answered by deputy 2"]
        nursery.start_soon(ask, runtime, answers, "once")
        await wait_all_tasks_blocked()
        runtime.ref("clerk").cast("answer")
        await wait_all_tasks_blocked()
        assert answers[1].startswith("answered by clerk")


@pytest.mark.rule("S15")
async def test_calls_that_may_be_given_again_do_not_hold_the_way_back_up(autojump_clock: MockClock) -> None:
    book, answers = Book(), list[Any]()
    policy = Policy((Row("Network", None, Fallback()), Row(None, None, RETRY)))
    options = {"fallback": {"deputy": lambda: Deputy(book, "deputy")}}
    async with office(book, policy, **options) as runtime, trio.open_nursery() as nursery:
        runtime.ref("clerk").cast("break_down")
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, runtime, answers, "again")
        await trio.sleep(3)
        runtime.ref("clerk").cast("answer")
        await wait_all_tasks_blocked()
        assert answers[0].startswith("answered by clerk")
