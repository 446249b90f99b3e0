"""An actor's last messages, for a crash dump."""

from __future__ import annotations

import gc
import weakref

import pytest

from ukemi import Actor, Runtime, child, supervisor
from ukemi.actors.protocol import local
from ukemi.actors.recent import Recent
from ukemi.actors.system import Crash


class Payload:
    """Something large."""


class Sink(Actor):
    def small(self, n: int, text: str = "") -> None: ...

    @local
    def large(self, payload: object) -> None: ...

    async def later(self, n: int) -> None: ...

    @local
    def boom(self, payload: object) -> None:
        raise ValueError


def texts(recent: Recent) -> list[str]:
    return [f"{name}{args!r}" for name, args, _, _ in recent.with_in_hand(None)]


def test_it_keeps_the_last_ones_in_order_with_their_small_arguments() -> None:
    recent = Recent(3)
    for n in range(5):
        recent.add(("add", (n, "text"), {}, None))
    assert texts(recent) == ["add(2, 'text')", "add(3, 'text')", "add(4, 'text')"]


@pytest.mark.parametrize("value", ["x" * 201, b"x" * 201, [1], {"a": 1}, (1,), object()])
def test_what_may_be_large_is_left_out(value: object) -> None:
    recent = Recent(3)
    recent.add(("put", (1, value), {}, None))
    recent.add(("put", (1,), {"key": value}, None))
    assert texts(recent) == ["put(…,)", "put(…,)"]


def test_the_one_in_hand_is_whole() -> None:
    recent, message = Recent(3), ("put", ([1],), {}, None)
    recent.add(("add", (1,), {}, None))
    recent.add(message)
    assert recent.with_in_hand(message)[-1] is message


async def test_actors_remember_in_either_way_of_handling_and_keep_nothing_large_alive() -> None:
    runtime = Runtime(supervisor("top", child("sink", Sink)), encode_messages=False)
    runtime.system.remembers = 4
    crashes: list[Crash] = []
    async with runtime:
        runtime.system.listen_to_crashes(crashes.append)
        ref = runtime.ref("sink", Sink)
        payload = Payload()
        dead = weakref.ref(payload)
        await ref.call(Sink.small, 1, "inline")
        await ref.call(Sink.large, payload)
        await ref.call(Sink.later, 2)
        ref.cast(Sink.small, 3)
        await ref.call(Sink.later, 4)
        del payload
        gc.collect()
        assert dead() is None
        ref.cast(Sink.boom, [1, 2])
        with pytest.raises(Exception, match="boom"):
            await ref.call(Sink.boom, [3])
        assert [name for name, *_ in crashes[0].recent] == ["later", "small", "later", "boom"]
        assert crashes[0].recent[-1][1] == ([1, 2],)


async def test_nothing_is_remembered_where_nobody_has_asked_for_it() -> None:
    async with Runtime(supervisor("top", child("sink", Sink))) as runtime:
        await runtime.ref("sink", Sink).call(Sink.small, 1)
        life = runtime.ref("sink").cell.incarnation
        assert life is not None
        assert life.last_messages == ()
