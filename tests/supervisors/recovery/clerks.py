"""Actors that answer later, and a book of what they were asked that outlives them."""

from __future__ import annotations

import errno
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from ukemi import Actor, Backoff, Retry, Runtime, child, falls_back_to, retryable, supervisor
from ukemi.actors import Reply

PAUSE = Backoff(initial=1.0, maximum=4.0, jitter=0.0)
RETRY = Retry(PAUSE)


def reset() -> OSError:
    return OSError(errno.ECONNRESET, "connection reset")


class Book:
    """What outlives the clerks: the replies that they have put off, and what they were asked."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.asked: list[tuple[int, str, str]] = []

    def take(self) -> list[tuple[int, str, str]]:
        asked, self.asked = self.asked, []
        return asked


class Clerk(Actor):
    """Answers later."""

    def __init__(self, book: Book, label: str = "clerk") -> None:
        self.book = book
        self.label = label

    @retryable
    def again(self, what: str) -> Any:
        self._note(what)

    @retryable
    async def again_async(self, what: str) -> Any:
        await trio.lowlevel.checkpoint()
        self._note(what)

    def once(self, what: str) -> Any:
        self._note(what)

    @falls_back_to("second_best")
    def read(self, what: str) -> Any:
        self._note(what)

    def second_best(self, what: str) -> Any:
        return f"second best {what}, since {self.ctx.failure}"

    @retryable
    def defer_and_fail(self, what: str) -> Any:
        first = len(self.book.asked) == 0
        self._note(what)
        if first:
            raise reset()

    def answer(self) -> None:
        while self.book.replies:
            self.book.replies.pop(0).send(f"answered by {self.label} {self.ctx.incarnation}")

    def break_down(self) -> None:
        async def fail() -> None:
            raise reset()

        self.ctx.start_task(fail)

    def _note(self, what: str) -> None:
        self.book.asked.append((self.ctx.incarnation, self.ctx.message_key, what))
        self.book.replies.append(self.ctx.defer())


class Deputy(Clerk):
    """What takes a clerk's place."""


def office(book: Book, policy: Any, **options: Any) -> Runtime:
    clerk = child("clerk", lambda: Clerk(book), policy=policy, **options)
    return Runtime(supervisor("office", clerk, max_restarts=100))


async def ask(runtime: Runtime, answers: list[Any], method: str, what: str = "x") -> None:
    try:
        answers.append(await runtime.ref("clerk").call(method, what))
    except Exception as error:
        answers.append(error)


class Papers:
    """What porters do with each message, time after time, and what they have done. It outlives them."""

    def __init__(self, plan: dict[int, list[Any]] | None = None) -> None:
        self.plan = plan or {}
        """By number, what to do each time that it is given: an error, "defer", "stash", or None; then always None."""
        self.replies: dict[int, Reply] = {}
        self.given: list[tuple[float, int, int]] = []
        """When, in which incarnation, which number."""
        self.names: dict[int, list[str]] = {}

    def take(self) -> list[tuple[int, int]]:
        """The incarnations and numbers since the last time."""
        given, self.given = self.given, []
        return [(incarnation, number) for _, incarnation, number in given]


class Porter(Actor):
    """Does as the papers say."""

    def __init__(self, papers: Papers) -> None:
        self.papers = papers

    @retryable
    def work(self, number: int) -> int:
        return self._do(number)

    @retryable
    async def work_async(self, number: int) -> int:
        await trio.lowlevel.checkpoint()
        return self._do(number)

    def ping(self) -> str:
        return "pong"

    def break_down(self) -> None:
        """Fail in the background."""

        async def fail() -> None:
            raise reset()

        self.ctx.start_task(fail)

    def _do(self, number: int) -> int:
        papers = self.papers
        papers.given.append((trio.current_time(), self.ctx.incarnation, number))
        papers.names.setdefault(number, []).append(self.ctx.message_key)
        steps = papers.plan.get(number)
        step = steps.pop(0) if steps else None
        if step == "defer":
            papers.replies[number] = self.ctx.defer()
        elif step == "stash":
            self.ctx.stash()
        elif step is not None:
            raise step
        return number


def lodge(papers: Papers, policy: Any, *, encode: bool = True, **options: Any) -> Runtime:
    porter = child("porter", lambda: Porter(papers), policy=policy, **options)
    return Runtime(supervisor("lodge", porter, max_restarts=1000), encode_messages=encode)


class Senders:
    """Send to the porter in order, and keep what becomes of the calls."""

    def __init__(self, runtime: Runtime, nursery: trio.Nursery, method: str = "work") -> None:
        self.ref = runtime.ref("porter")
        self.nursery = nursery
        self.method = method
        self.answers: dict[int, Any] = {}

    async def send(self, how: str, *numbers: int) -> None:
        for number in numbers:
            if how == "cast":
                self.ref.cast(self.method, number)
            else:
                self.nursery.start_soon(self._call, number)
                await wait_all_tasks_blocked()

    async def _call(self, number: int) -> None:
        try:
            self.answers[number] = await self.ref.call(self.method, number)
        except Exception as error:
            self.answers[number] = error
