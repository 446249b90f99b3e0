"""What a message says of its actor's health is the same in each way in which it can come to be handled (rule I4)."""

from __future__ import annotations

import errno
from typing import Any, Literal, TypeAlias, get_args

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ukemi import Actor, Fallback, Policy, Reject, Resume, Row, Runtime, child, falls_back_to, supervisor
from ukemi.actors import Reply
from ukemi.supervisors.vitals import Vitals

Way: TypeAlias = Literal["inline", "busy", "coroutine", "awaitable", "cast"]

POLICY = Policy((Row("Unknown", None, Fallback()), Row(None, None, Resume())))


class Counted(Actor):
    """Does each kind of thing, in each way."""

    def __init__(self, replies: list[Reply]) -> None:
        self.replies = replies

    # what answers instead

    def other(self, kind: str) -> Any:
        if kind == "its fallback rejects":
            raise Reject(LookupError(kind))
        return "other"

    async def other_later(self, kind: str) -> Any:
        await trio.lowlevel.checkpoint()
        return self.other(kind)

    # the ways

    @falls_back_to("other")
    def sync(self, kind: str) -> Any:
        return self._do(kind)

    @falls_back_to("other_later")
    async def coroutine(self, kind: str) -> Any:
        await trio.lowlevel.checkpoint()
        return self._do(kind)

    @falls_back_to("other_later")
    def awaitable(self, kind: str) -> Any:
        return self.coroutine(kind)

    async def pause(self) -> None:
        await trio.lowlevel.checkpoint()

    def _do(self, kind: str) -> Any:
        match kind:
            case "it answers":
                return kind
            case "it rejects":
                raise Reject(LookupError(kind))
            case "another method answers" | "its fallback rejects":
                raise KeyError(kind)
            case "its error is resumed":
                raise OSError(errno.EIO, kind)
            case "it answers later" | "it is thrown back":
                self.replies.append(self.ctx.defer())
        return None


OUTCOMES = {
    "it answers": [True],
    "it rejects": [True],
    "another method answers": [False],
    "its fallback rejects": [False, True],
    "its error is resumed": [False],
    "it answers later": [True],
    "it is thrown back": [False],
}
"""Whether what was done went well, and what was done instead."""


@pytest.mark.rule("I4", "S10")
@pytest.mark.parametrize("encode", [True, False])
@pytest.mark.parametrize("kind", OUTCOMES)
@pytest.mark.parametrize("way", get_args(Way))
async def test_it_counts_once_and_the_same_in_whatever_way_it_is_handled(
    monkeypatch: pytest.MonkeyPatch, way: Way, kind: str, encode: bool
) -> None:
    replies: list[Reply] = []
    told: list[bool] = []
    operation = Vitals.operation

    def spy(vitals: Vitals, *, ok: bool) -> None:
        told.append(ok)
        operation(vitals, ok=ok)

    monkeypatch.setattr(Vitals, "operation", spy)
    tree = supervisor("top", child("a", lambda: Counted(replies), policy=POLICY, feature="f"), max_restarts=0)
    async with Runtime(tree, encode_messages=encode) as runtime, trio.open_nursery() as nursery:
        ref = runtime.ref("a")

        async def ask() -> None:
            try:
                await ref.call(way if way in ("coroutine", "awaitable") else "sync", kind)
            except (LookupError, OSError):
                pass

        for _ in range(2):
            told.clear()
            if way == "busy":
                ref.cast("pause")
            if way == "cast":
                ref.cast("sync", kind)
            else:
                nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            if kind == "it answers later":
                assert told == [True] * (way == "busy"), "it has not been answered yet"
                replies.pop().send("later")
            elif kind == "it is thrown back":
                replies.pop().throw(OSError(errno.EIO, "thrown"))
            await wait_all_tasks_blocked()
            assert told == [True] * (way == "busy") + OUTCOMES[kind]
