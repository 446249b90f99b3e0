"""An actor that does as its test tells it, in each way in which a message can come to be handled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import trio

from ukemi import Actor, Ref, Runtime, child, supervisor

Way: TypeAlias = Literal["inline", "busy", "coroutine", "awaitable"]
WAYS: tuple[Way, ...] = get_args(Way)
"""A sync method of an idle actor, of a busy one, an async method, and a sync one that returns an awaitable."""


class Subject(Actor):
    """`behave(self, n)` is what each of its messages does."""

    def __init__(self, behave: Callable[[Any, int], Any] = lambda self, n: n) -> None:
        self.behave = behave

    def sync(self, n: int = 0) -> Any:
        return self.behave(self, n)

    async def coroutine(self, n: int = 0) -> Any:
        return self.behave(self, n)

    def awaitable(self, n: int = 0) -> Any:
        return self.coroutine(n)

    async def pause(self) -> None:
        await trio.lowlevel.checkpoint()


async def ask(ref: Ref[Subject], way: Way, n: int = 0) -> Any:
    """Call the subject in this way."""
    if way == "busy":
        ref.cast(Subject.pause)
    return await ref.call(method_for(way), n)


def method_for(way: Way) -> Any:
    """The message that is handled in this way."""
    return {"coroutine": Subject.coroutine, "awaitable": Subject.awaitable}.get(way, Subject.sync)


def alone(factory: Callable[[], Actor], *, runtime: dict[str, Any] | None = None, **options: Any) -> Runtime:
    """A runtime of one child, named `it`, that may crash often."""
    return Runtime(supervisor("app", child("it", factory, **options), max_restarts=100), **(runtime or {}))


class Boom(Exception):
    """What a subject crashes of."""


def boom(*_: Any) -> Any:
    """Crash."""
    raise Boom("as told")


class Outcome:
    """How a call ended, for a test that goes on meanwhile."""

    def __init__(self) -> None:
        self.value: Any = "pending"

    async def of(self, ref: Ref[Subject], way: Way, n: int = 0) -> None:
        try:
            self.value = await ask(ref, way, n)
        except Exception as error:
            self.value = error

    @property
    def kind(self) -> type:
        return type(self.value)
