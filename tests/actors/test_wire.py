"""Messages must be able to travel, and a switch makes them (rule X5)."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ukemi import Actor, ActorStopped, Ref, Runtime, Supervisor, UkemiError, child, supervisor
from ukemi.actors.wire import WireRef

from .subject import Subject, alone


class Colour(Enum):
    RED = "red"


@attrs.frozen
class Point:
    x: int
    y: float = 0.0


class Echo(Actor):
    """Answers what it is sent, and keeps it."""

    last: Any = None

    def point(self, value: Point) -> Point:
        self.last = value
        return value

    async def colour(self, value: Colour) -> Colour:
        return value

    def later(self, value: tuple[Point, ...]) -> Awaitable[tuple[Point, ...]]:
        return self._later(value)

    def soon(self, value: bytes) -> Coroutine[Any, Any, bytes]:
        return self._later(value)

    async def _later(self, value: Any) -> Any:
        return value

    def plain(self, value: Any) -> Any:
        self.last = value
        return value

    def many(self, *values: Point, **named: Point) -> list[Point]:
        return [*values, *named.values()]

    def nothing(self) -> None:
        return None

    def ref(self, other: Ref[Echo]) -> Ref[Echo]:
        self.last = other
        return other

    def untravelled(self) -> object:
        return trio.Event()

    def unseen(self) -> Any:
        return self.last


CASES: list[tuple[Any, Any]] = [
    (Echo.point, Point(1, 2.5)),
    (Echo.colour, Colour.RED),
    (Echo.later, (Point(1), Point(2))),
    (Echo.soon, b"\x00\xff"),
    (Echo.plain, {"a": [1, None, "x"]}),
]


@pytest.mark.rule("X5")
@pytest.mark.parametrize("encode", [True, False])
@pytest.mark.parametrize(("method", "value"), CASES)
async def test_a_message_and_its_reply_arrive_as_they_were_sent(encode: bool, method: Any, value: Any) -> None:
    async with alone(Echo, runtime={"encode_messages": encode}) as runtime:
        answer = await runtime.ref("it", Echo).call(method, value)
        assert answer == value
        assert type(answer) is type(value)


@pytest.mark.rule("X5")
async def test_nothing_is_shared_when_messages_travel() -> None:
    async with alone(Echo) as runtime:
        it = runtime.ref("it", Echo)
        sent: list[Any] = [1]
        for use in (it.call, it.send):
            await use(Echo.plain, sent)
            kept = it.cell.incarnation.actor.last  # type: ignore[union-attr]
            assert kept == sent
            assert kept is not sent
        point = Point(1)
        it.cast(Echo.point, point)
        await wait_all_tasks_blocked()
        kept = it.cell.incarnation.actor.last  # type: ignore[union-attr]
        assert kept == point
        assert kept is not point


@pytest.mark.rule("X5")
async def test_each_of_several_arguments_travels_as_declared() -> None:
    async with alone(Echo) as runtime:
        it = runtime.ref("it")
        assert await it.call("many", Point(1), Point(2), third=Point(3)) == [Point(1), Point(2), Point(3)]
        assert await it.call("nothing") is None


@pytest.mark.rule("X5")
async def test_what_cannot_travel_is_an_error_for_its_sender_that_names_it() -> None:
    async with alone(Echo) as runtime:
        it = runtime.ref("it", Echo)
        for use in (it.call, it.send):
            with pytest.raises(UkemiError, match=r"plain: value=<trio.Event .* can't travel in a message"):
                await use(Echo.plain, trio.Event())
        with pytest.raises(UkemiError, match="can't travel"):
            it.cast(Echo.plain, lambda: None)
        with pytest.raises(UkemiError, match="untravelled: return="):
            await it.call(Echo.untravelled)
        assert it.stats().crashes == 0


@pytest.mark.rule("X5", "R1")
async def test_a_ref_travels_as_path_and_uid_and_names_no_successor() -> None:
    tree = supervisor("app", child("it", Echo), child("other", Echo))
    async with Runtime(tree) as runtime:
        it, other = runtime.ref("it", Echo), runtime.ref("other", Echo)
        answer = await it.call(Echo.ref, other)
        assert answer == other
        assert isinstance(answer, WireRef)
        app = runtime.ref("app", Supervisor)
        await app.call(Supervisor.stop_child, "other")
        await app.call(Supervisor.delete_child, "other")
        await app.call(Supervisor.start_child, child("other", Echo))
        with pytest.raises(UkemiError, match="is gone; another has its path"):
            await it.call(Echo.ref, other)


@pytest.mark.rule("X5", "R3")
async def test_a_call_to_the_stopped_ends_the_same_way() -> None:
    async with alone(Echo) as runtime:
        it = runtime.ref("it", Echo)
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        with pytest.raises(ActorStopped):
            await it.call(Echo.nothing)


@pytest.mark.rule("X5")
async def test_the_tests_of_ukemi_run_with_the_switch_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with alone(Subject) as runtime:
        assert type(runtime.ref("it")) is WireRef
        assert type(runtime.ref("it").within(1)) is WireRef
    for value in ("", "0"):
        monkeypatch.setenv("UKEMI_ENCODE_MESSAGES", value)
        async with alone(Subject) as runtime:
            assert type(runtime.ref("it")) is Ref


@pytest.mark.rule("X5")
async def test_annotations_that_only_a_type_checker_knows_do_no_harm() -> None:
    class Unknown(Actor):
        def say(self, value: Nowhere) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
            return value

    async with alone(Unknown) as runtime:
        assert await runtime.ref("it").call("say", [1]) == [1]


@pytest.mark.rule("X5")
async def test_paths_and_other_common_kinds_travel_or_say_so() -> None:
    class Files(Actor):
        def parent(self, path: Path) -> Path:
            return path.parent

    async with alone(Files) as runtime:
        assert await runtime.ref("it", Files).call(Files.parent, Path("/a/b")) == Path("/a")
