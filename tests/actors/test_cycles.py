"""Calls that close a cycle say so at once, however they are handled and whatever waits to be given again (rule M4)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    Backoff,
    CalledItself,
    Fallback,
    Retry,
    Runtime,
    child,
    falls_back_to,
    retryable,
    supervisor,
)

encodings = pytest.mark.parametrize("encode", [True, False])


class Asking(Actor):
    """Asks the other, and says of what that has failed."""

    async def ask(self, method: str) -> list[str]:
        try:
            return [str(await self.ctx.find("b").call(method))]
        except ActorCrashed as error:
            return list(getattr(error.__cause__, "cycle", [])) or [f"no cycle, but {error}"]

    def poke(self) -> str:
        return "poked"


class Asked(Actor):
    """Asks back, in every way in which a message can come to be handled."""

    async def plainly(self) -> Any:
        return await self._ask_back()

    def as_an_awaitable(self) -> Any:
        return self._ask_back()

    @falls_back_to("plainly")
    def by_another_method(self) -> Any:
        raise KeyError("a")

    @falls_back_to("as_an_awaitable")
    async def by_another_method_later(self) -> Any:
        await trio.lowlevel.checkpoint()
        raise KeyError("a")

    async def _ask_back(self) -> Any:
        await trio.lowlevel.checkpoint()
        return await self.ctx.find("a").call(Asking.poke)


@pytest.mark.rule("M4", "I4")
@encodings
@pytest.mark.parametrize("method", ["plainly", "as_an_awaitable", "by_another_method", "by_another_method_later"])
async def test_who_is_asked_in_its_callers_turn_and_asks_back_learns_at_once_that_nobody_can_answer(
    autojump_clock: MockClock, encode: bool, method: str
) -> None:
    tree = supervisor("app", child("a", Asking), child("b", Asked, policy=Fallback()), max_restarts=10)
    async with Runtime(tree, encode_messages=encode) as runtime:
        for _ in range(2):
            assert await runtime.ref("a").call("ask", method) == ["/app/b", "/app/a", "/app/b"]
        assert trio.current_time() == 0


@pytest.mark.rule("M4")
@encodings
async def test_what_asks_back_once_nobody_waits_for_it_any_more_is_answered(
    autojump_clock: MockClock, encode: bool
) -> None:
    answers: list[str] = []

    class Later(Asked):
        def as_an_awaitable(self) -> Any:
            return self._much_later()

        async def _much_later(self) -> None:
            await trio.sleep(5)
            answers.append(await self.ctx.find("a").call(Asking.poke))

    class Impatient(Asking):
        async def ask(self, method: str) -> list[str]:
            with trio.move_on_after(1):
                await self.ctx.find("b").call(method)
            return ["gave up"]

    tree = supervisor("app", child("a", Impatient), child("b", Later))
    async with Runtime(tree, encode_messages=encode) as runtime:
        assert await runtime.ref("a").call("ask", "as_an_awaitable") == ["gave up"]
        assert not runtime.ref("a").cell.incarnation.waits  # type: ignore[union-attr]
        await trio.sleep(10)
        assert answers == ["poked"]


class Putting(Actor):
    """Puts its answers off, and breaks down when it is told to."""

    @retryable
    def work(self) -> Any:
        self.reply = self.ctx.defer()

    @retryable
    async def work_async(self) -> Any:
        await trio.lowlevel.checkpoint()
        self.reply = self.ctx.defer()

    def break_down(self) -> None:
        async def fail() -> None:
            raise ConnectionResetError("broken")

        self.ctx.start_task(fail)


class Waiting(Actor):
    """Waits for the other, and takes long to stop if it has to."""

    def __init__(self, errors: list[BaseException]) -> None:
        self.errors = errors

    async def ask(self, method: str) -> None:
        try:
            await self.ctx.find("b").call(method)
        except Exception as error:
            self.errors.append(error)


@pytest.mark.rule("M4", "M9", "S4")
@encodings
@pytest.mark.parametrize("method", ["work", "work_async"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
async def test_a_call_that_waits_to_be_given_again_by_one_that_is_stopped_before_fails_at_once(
    autojump_clock: MockClock, encode: bool, method: str, strategy: Any
) -> None:
    errors: list[BaseException] = []
    b = child("b", Putting, policy=Retry(Backoff(1.0, 1.0), attempts=3))
    a = child("a", lambda: Waiting(errors), depends_on=["b"])
    async with Runtime(supervisor("app", b, a, strategy=strategy), encode_messages=encode) as runtime:
        runtime.ref("a").cast("ask", method)
        await wait_all_tasks_blocked()
        runtime.ref("b").cast("break_down")
        await wait_all_tasks_blocked()
        assert trio.current_time() == 0
        assert [type(error) for error in errors] == [CalledItself]
        assert {node.state for node in runtime.tree().walk()} == {"running"}
