"""Actors with a fallback, of whom it is known which of them are there, and how long they take to come and to go."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ukemi import ActorCrashed, Backoff, Fallback, Runtime, Supervisor, child, supervisor

from .patients import Patient, Ward

EXACT = Backoff(initial=2.0, maximum=8.0, jitter=0.0)


class House(Ward):
    """A ward that knows who is there, and how long each takes to come and to go."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[str] = []
        self.starts: dict[str, float] = {}
        self.stops: dict[str, float] = {}


class Resident(Patient):
    """Says so while it is there, even if it is killed."""

    ward: House

    async def on_start(self) -> None:
        self.ctx.start_task(self._be_there)
        await super().on_start()
        await trio.sleep(self.ward.starts.get(self.label, 0.0))

    async def on_stop(self, reason: object) -> None:  # type: ignore[override]
        super().on_stop(reason)
        await trio.sleep(self.ward.stops.get(self.label, 0.0))
        self.ward.pass_or_raise(f"stop {self.label}")

    async def defer_after(self, seconds: float) -> None:
        """Answer a second after that."""
        await trio.sleep(seconds)
        reply = self.ctx.defer()
        self.ctx.after(1.0, self._answer, reply)

    def _answer(self, reply: Any) -> None:
        reply.send(f"later by {self.label}")

    async def _be_there(self) -> None:
        self.ward.alive.append(self.label)
        try:
            await trio.sleep_forever()
        finally:
            self.ward.alive.remove(self.label)


def hotel(house: House, *, encode: bool = True, strategy: Any = None, **options: Any) -> Runtime:
    """The child is `a`; with a strategy, it depends on the desk."""
    a = child(
        "a",
        lambda: Resident(house, "own"),
        policy=Fallback(),
        fallback={"second": lambda: Resident(house, "second")},
        depends_on=["desk"] if strategy else [],
        **{"backoff": EXACT, **options},
    )
    desk = [child("desk", lambda: Resident(house, "desk"))] if strategy else []
    inner = supervisor("inner", *desk, a, strategy=strategy or "one_for_one", max_restarts=100)
    return Runtime(supervisor("top", inner), encode_messages=encode)


async def fall_back(runtime: Runtime, house: House) -> None:
    """Let the child fail; 2 s from now is its way back."""
    house.fail("once", ValueError("the first"))
    with pytest.raises(ActorCrashed):
        await runtime.ref("a").call("once")
    assert await runtime.ref("a").call("who") == "second 1"


async def check_it_is_back(runtime: Runtime, house: House) -> None:
    """Nothing but the child itself is there, and it answers."""
    assert (await runtime.ref("a").call("who")).startswith("own ")
    assert set(house.alive) - {"desk"} == {"own"}
    assert len(set(house.alive)) == len(house.alive)
    cell = runtime.ref("a").cell
    assert cell.standby is None
    for info in await runtime.ref("inner").call(Supervisor.children):
        assert (info.state, info.fallback) == ("running", None)
    assert runtime.system.zombies == 0


async def until_it_is_prepared(runtime: Runtime) -> None:
    """Until the way back has begun, and is in the middle of whatever takes it a second."""
    while runtime.ref("a").cell.standby is None:
        await trio.sleep(0.125)
    await trio.sleep(0.25)
