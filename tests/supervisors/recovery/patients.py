"""Actors that fail as a test tells them to, and a log of what they did."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from ukemi import Actor, falls_back_to, retryable
from ukemi.actors.protocol import local


class Ward:
    """What befell the patients of one test, and what is still to."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.errors: dict[str, deque[BaseException | None]] = {}
        """For each method (or "start"), the errors of its next calls; None for one that goes well."""
        self.healths: dict[str, float] = {}

    def fail(self, what: str, *errors: BaseException | None) -> None:
        """Let the next calls of a method (or starts: `start NAME`) raise these."""
        self.errors.setdefault(what, deque()).extend(errors)

    def pass_or_raise(self, what: str) -> None:
        """Raise the next error, if there is one."""
        waiting = self.errors.get(what)
        error = waiting.popleft() if waiting else None
        if error is not None:
            raise error

    def take(self) -> list[str]:
        """What has happened since the last time."""
        taken, self.log = self.log, []
        return taken


class Patient(Actor):
    """Does as it is told, and says who it is."""

    def __init__(self, ward: Ward, label: str = "own") -> None:
        self.ward = ward
        self.label = label
        self.count = 0

    async def on_start(self) -> None:
        self.ward.log.append(f"+{self.label}")
        self.ward.pass_or_raise(f"start {self.label}")

    def on_stop(self, reason: object) -> None:
        self.ward.log.append(f"-{self.label}")

    def health(self) -> float:
        return self.ward.healths.get(self.label, 1.0)

    def who(self) -> str:
        """Who answers, and how many messages it has handled."""
        self.count += 1
        return f"{self.label} {self.count}"

    @retryable
    def again(self, text: str = "") -> str:
        return self._do("again", text)

    @retryable
    async def again_async(self, text: str = "") -> str:
        await trio.lowlevel.checkpoint()
        return self._do("again", text)

    def once(self, text: str = "") -> str:
        return self._do("once", text)

    async def once_async(self, text: str = "") -> str:
        await trio.lowlevel.checkpoint()
        return self._do("once", text)

    @falls_back_to("stale")
    def read(self, text: str = "") -> str:
        return self._do("read", text)

    @falls_back_to("stale")
    async def read_async(self, text: str = "") -> str:
        return self._do("read", text)

    async def stale(self, text: str = "") -> str:
        self.ward.pass_or_raise("stale")
        return f"stale {text}, since {self.ctx.failure}"

    async def last(self, seconds: float) -> str:
        """Take so long."""
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            self.ward.log.append("cancelled")
            raise
        return "done"

    def background(self, text: str) -> None:
        """Fail in a task of its own."""

        async def fail() -> None:
            raise OSError(text)

        self.ctx.start_task(fail)

    @local
    def raise_(self, error: BaseException) -> None:
        raise error

    def _do(self, name: str, text: str) -> str:
        self.count += 1
        self.ward.log.append(f"{name} {text}".strip())
        self.ward.pass_or_raise(name)
        return f"{self.label} {self.count}"


class Second(Patient):
    """What takes a patient's place."""


def make(ward: Ward, label: str = "own", kind: type[Patient] = Patient) -> Callable[[], Any]:
    """A factory."""
    return lambda: kind(ward, label)
