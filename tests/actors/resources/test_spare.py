"""What is held back, and what is given back: room that is there when there is none."""

from __future__ import annotations

import gc
import resource
import weakref

from ukemi import Runtime, child, supervisor
from ukemi.actors.resources import Trimmer
from ukemi.actors.resources.spare import RESERVE, Reserve

from ...limited import run_limited


def test_a_reserve_is_held_and_let_go_as_often_as_one_likes() -> None:
    reserve = Reserve()
    assert not reserve.is_held
    for _ in range(2):
        reserve.hold()
        reserve.hold()
        assert reserve.is_held
        reserve.let_go()
        reserve.let_go()
        assert not reserve.is_held


def test_where_there_is_no_room_for_a_reserve_there_is_none() -> None:
    reserve = Reserve(2**60)
    reserve.hold()
    assert not reserve.is_held


def test_a_process_without_memory_has_some_again_once_its_reserve_is_let_go() -> None:
    code = f"""
from ukemi.actors.resources.spare import Reserve
reserve = Reserve()
reserve.hold()
held = []
try:
    while True: held.append(bytearray(1024 * 1024))
except MemoryError:
    print("none left")
reserve.let_go()
held.append(bytearray({RESERVE // 2}))
print("some again")
"""
    said = run_limited(code, which=resource.RLIMIT_AS, limit=512 * 1024 * 1024)
    assert said.splitlines() == ["none left", "some again"]


class Cyclic:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


async def test_a_trimmer_frees_what_nobody_can_reach_and_gives_back_what_is_free() -> None:
    async with Runtime(supervisor("app", child("trimmer", Trimmer))) as runtime:
        trimmer = runtime.ref("trimmer", Trimmer)
        gc.disable()
        try:
            lost = weakref.ref(Cyclic())
            await trimmer.call(Trimmer.trim)
            assert lost() is not None
            await trimmer.call(Trimmer.trim_all)
            assert lost() is None
        finally:
            gc.enable()
        pieces = [bytes(1000) for _ in range(50_000)]
        last = pieces.pop()
        del pieces
        assert await trimmer.call(Trimmer.trim) >= 0
        assert len(last) == 1000
