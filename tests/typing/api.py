"""The types that users see. Both checkers read this file: every line is right, except those marked `# error`.

Nothing here runs; `test_typing.py` compares what mypy and pyright report with the marks.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, assert_type

from ukemi import Actor, Down, Ref, Runtime, Supervisor, child, dynamic_supervisor, supervisor


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.total = start

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    async def add_later(self, n: int, *, factor: float = 1.0) -> float:
        return n * factor

    def promise(self, text: str) -> Awaitable[list[str]]:
        return self._promise(text)

    async def _promise(self, text: str) -> list[str]:
        return [text]

    def on_down(self, down: Down) -> None:
        assert_type(down.incarnation, int)
        assert_type(down.final, bool)

    def set_timers(self) -> None:
        self.ctx.after(1, self.add, 2)
        self.ctx.after(1, self.add, "2")  # error
        self.ctx.after(1, self.add)  # error
        self.ctx.every(1.5, self.add_later, 2, factor=0.5)
        self.ctx.every(1.5, self.add_later, 2, factor="x")  # error
        self.ctx.start_task(self.add_later, 1)
        self.ctx.start_task(self.add_later, "1")  # error
        self.ctx.start_task(self.add, 1)  # error
        assert_type(self.ctx.find("other", Other), Ref[Other])
        assert_type(self.ctx.incarnation, int)


class SpecialCounter(Counter):
    def reset(self) -> None: ...


class Other(Actor):
    def greet(self, name: str) -> str:
        return name


async def calls(counter: Ref[Counter], special: Ref[SpecialCounter], untyped: Ref[Any]) -> None:
    assert_type(await counter.call(Counter.add, 2), int)
    assert_type(await counter.call(Counter.add, n=2), int)
    assert_type(await counter.call(Counter.add_later, 2, factor=2.5), float)
    assert_type(await counter.call(Counter.promise, "x"), list[str])
    assert_type(await counter.call("add", 2), Any)
    assert_type(await counter.within(2.0).call(Counter.add, 2), int)
    assert_type(await special.call(Counter.add, 2), int)
    assert_type(await untyped.call(Other.greet, "x"), str)
    await counter.call(Counter.add, "2")  # error
    await counter.call(Counter.add)  # error
    await counter.call(Counter.add, 2, 3)  # error
    await counter.call(Counter.add, m=2)  # error
    await counter.call(Counter.add_later, 2, factor="x")  # error
    await counter.call(Other.greet, "x")  # error
    await counter.call(SpecialCounter.reset)  # error
    await counter.call(3)  # error
    text: str = await counter.call(Counter.add, 2)  # error
    del text


async def casts(counter: Ref[Counter]) -> None:
    counter.cast(Counter.add, 3)
    counter.cast(Counter.add_later, 3, factor=1.0)
    counter.cast("add", 3)
    assert_type(await counter.send(Counter.add, 3), None)
    counter.cast(Counter.add, "3")  # error
    counter.cast(Other.greet, "x")  # error
    await counter.send(Counter.add, None)  # error
    await counter.stop(drain=True)
    counter.kill()
    counter.within("soon")  # error


async def refs(runtime: Runtime, special: Ref[SpecialCounter]) -> None:
    assert_type(runtime.ref("counter", Counter), Ref[Counter])
    assert_type(runtime.ref("counter"), Ref[Any])
    runtime.ref("counter", int)  # error
    base: Ref[Counter] = special
    other: Ref[Other] = special  # error
    assert_type(base.name, str)
    assert_type(other.stats().waiting, int)
    app = runtime.ref("app", Supervisor)
    added: Ref[Any] = await app.call(Supervisor.start_child, child("c", Counter))
    assert_type(added.path, str)
    await app.call(Supervisor.start_child, "c")  # error


def trees() -> None:
    child("counter", Counter)
    child("counter", lambda: Counter(2), restart="transient", shutdown="kill", depends_on=["other"])
    supervisor("app", child("counter", Counter), dynamic_supervisor("pool"), strategy="dependents")
    child("counter", Counter(2))  # error
    child("counter", int)  # error
    child("counter", Counter, restart="sometimes")  # error
    child("counter", Counter, shutdown="soon")  # error
    supervisor("app", Counter)  # error
    supervisor("app", strategy="one_for_some")  # error
