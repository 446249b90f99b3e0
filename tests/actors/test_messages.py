"""What is a message (rule M1), in which order messages are handled (M2), and where those go that can't be (M10)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorStopped,
    MailboxFull,
    Ref,
    Runtime,
    Supervisor,
    UkemiError,
    UnknownMethod,
    child,
    supervisor,
)
from ukemi.actors.events import DeadLetter
from ukemi.actors.system import DEAD_LETTERS

from .subject import WAYS, Subject, Way, alone, ask, boom


def doubling(function: Callable[..., int]) -> Callable[..., int]:
    @wraps(function)
    def wrapper(self: Any, *args: Any) -> int:
        return 2 * function(self, *args)

    return wrapper


class Everything(Actor):
    """One member of each kind."""

    value = 1

    def sync(self, n: int = 0) -> int:
        return n

    async def coroutine(self) -> str:
        return "coroutine"

    def awaitable(self) -> Awaitable[str]:
        return self.coroutine()

    @doubling
    def decorated(self, n: int) -> int:
        return n

    def by_name_only(self, *, n: int) -> int:
        return n

    def many(self, *numbers: int) -> int:
        return sum(numbers)

    @property
    def shown(self) -> int:
        return 1

    @staticmethod
    def static() -> int:
        return 1

    @classmethod
    def of_class(cls) -> int:
        return 1

    def generator(self) -> Iterator[int]:
        yield 1

    async def stream(self) -> AsyncIterator[int]:
        yield 1

    def _private(self) -> int:
        return 1

    def on_event(self) -> int:
        return 1


class Derived(Everything):
    def sync(self, n: int = 0) -> int:
        return n + 100

    def more(self) -> str:
        return "more"


@pytest.mark.rule("M1")
async def test_a_public_method_is_a_message_by_function_and_by_name() -> None:
    async with alone(Everything) as runtime:
        it = runtime.ref("it", Everything)
        assert await it.call(Everything.sync, 3) == 3
        assert await it.call("sync", 3) == 3
        assert await it.call(Everything.coroutine) == "coroutine"
        assert await it.call(Everything.by_name_only, n=4) == 4
        assert await it.call(Everything.many, 1, 2, 3) == 6
        assert await it.call(Everything.decorated, 4) == 8


@pytest.mark.rule("M1")
async def test_what_a_plain_def_returns_is_awaited_if_it_can_be() -> None:
    async with alone(Everything) as runtime:
        it: Ref[Any] = runtime.ref("it", Everything)
        assert await it.call(Everything.awaitable) == "coroutine"
        it.cast(Everything.awaitable)
        assert await it.call(Everything.awaitable) == "coroutine"


@pytest.mark.rule("M1")
@pytest.mark.parametrize(
    "name",
    [
        *("on_start", "on_stop", "on_down", "on_event", "health"),
        *("shown", "static", "of_class", "generator", "stream", "_private", "__init__", "ctx", "value", "nothing"),
    ],
)
async def test_everything_else_is_no_message_and_the_error_lists_those_there_are(name: str) -> None:
    async with alone(Everything) as runtime:
        it = runtime.ref("it")
        known = r"awaitable, by_name_only, coroutine, decorated, many, sync$"
        with pytest.raises(UnknownMethod, match=known):
            await it.call(name)
        with pytest.raises(UnknownMethod, match=name):
            it.cast(name)
        with pytest.raises(UnknownMethod, match=name):
            await it.send(name)
        assert it.stats().crashes == 0


@pytest.mark.rule("M1")
async def test_a_message_named_by_a_base_class_reaches_the_override() -> None:
    async with alone(Derived) as runtime:
        it = runtime.ref("it", Derived)
        assert await it.call(Everything.sync, 1) == 101
        assert await it.call(Derived.sync, 1) == 101
        assert await it.call(Derived.more) == "more"


@pytest.mark.rule("M1")
def test_ctx_is_the_runtimes_name() -> None:
    with pytest.raises(TypeError, match="defines 'ctx'"):
        type("Wrong", (Actor,), {"ctx": 1})
    with pytest.raises(UkemiError, match="ctx is there from on_start on"):
        Everything().ctx


class Log(Actor):
    def __init__(self, log: list[str], gate: trio.Event | None = None) -> None:
        self.log = log
        self.gate = gate

    def note(self, text: str) -> None:
        self.log.append(text)

    async def slowly(self, text: str) -> None:
        self.log.append(f"<{text}")
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        self.log.append(f"{text}>")

    async def hold(self) -> None:
        assert self.gate is not None
        await self.gate.wait()


@pytest.mark.rule("M2")
async def test_messages_are_handled_one_at_a_time() -> None:
    log: list[str] = []
    async with alone(lambda: Log(log)) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Log)
        for text in "abc":
            nursery.start_soon(it.call, Log.slowly, text)
        nursery.start_soon(it.call, Log.note, "d")
    assert [log.index(f"{text}>") - log.index(f"<{text}") for text in "abc"] == [1, 1, 1]
    assert len(log) == 7


@pytest.mark.rule("M2")
async def test_each_senders_messages_are_handled_in_the_order_of_their_sending() -> None:
    log: list[str] = []

    async def sender(it: Ref[Log], name: str) -> None:
        for n in range(60):
            if n % 4 == 0:
                await it.send(Log.note, f"{name}{n}")
            elif n % 4 == 1:
                await it.call(Log.note, f"{name}{n}")
            elif n % 4 == 2:
                await it.call(Log.slowly, f"{name}{n}")
            else:
                try:
                    it.cast(Log.note, f"{name}{n}")
                except MailboxFull:
                    await it.send(Log.note, f"{name}{n}")

    async with alone(lambda: Log(log), mailbox=2) as runtime:
        it = runtime.ref("it", Log)
        async with trio.open_nursery() as nursery:
            for name in "abcd":
                nursery.start_soon(sender, it, name)
        await wait_all_tasks_blocked()
    for name in "abcd":
        assert [text for text in log if text.startswith(name) and text[-1] != ">"] == [
            f"{name}{n}" for n in range(60) if n % 4 != 2
        ]
        assert [int(text[2:]) for text in log if text.startswith(f"<{name}")] == list(range(2, 60, 4))


@pytest.mark.rule("M2", "M7")
async def test_a_blocked_send_keeps_its_place_and_casts_never_overtake_it() -> None:
    log: list[str] = []
    gate = trio.Event()
    async with alone(lambda: Log(log, gate), mailbox=1) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        await wait_all_tasks_blocked()
        it.cast(Log.note, "0")
        for text in "123":
            nursery.start_soon(it.send, Log.note, text)
            await wait_all_tasks_blocked()
        nursery.start_soon(it.call, Log.note, "4")
        await wait_all_tasks_blocked()
        assert it.stats().senders == 4
        with pytest.raises(MailboxFull):
            it.cast(Log.note, "a cast")
        gate.set()
        await wait_all_tasks_blocked()
    assert log == ["0", "1", "2", "3", "4"]


@pytest.mark.rule("M10")
async def test_queued_casts_of_a_stopped_child_are_counted_inspectable_and_on_a_topic() -> None:
    heard: list[Any] = []

    class Undertaker(Actor):
        def on_start(self) -> None:
            self.ctx.subscribe(DEAD_LETTERS, self.bury)

        def bury(self, letter: DeadLetter) -> None:
            heard.append(letter)

    gate = trio.Event()
    tree = supervisor("app", child("undertaker", Undertaker), child("it", lambda: Log([], gate), shutdown="kill"))
    async with Runtime(tree) as runtime:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        it.cast(Log.note, "never")
        await wait_all_tasks_blocked()
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        await wait_all_tasks_blocked()
        letters = runtime.events.of(DeadLetter)
        assert [(letter.path, letter.method) for letter in letters] == [("/app/it", "hold"), ("/app/it", "note")]
        assert runtime.events.counts["DeadLetter"] == 2
        assert heard == letters


@pytest.mark.rule("M10", "R3")
async def test_a_cast_to_what_has_stopped_is_an_error_for_its_sender() -> None:
    async with alone(Everything) as runtime:
        it = runtime.ref("it", Everything)
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        with pytest.raises(ActorStopped, match="/app/it is not running"):
            it.cast(Everything.sync)
        with pytest.raises(ActorStopped):
            await it.send(Everything.sync)


@pytest.mark.rule("M10")
async def test_a_publication_that_finds_no_room_or_is_lost_is_a_dead_letter() -> None:
    gate = trio.Event()

    class Reader(Log):
        def on_start(self) -> None:
            self.ctx.subscribe("news", self.note)

    class Paper(Actor):
        def print(self, text: str) -> int:
            return self.ctx.publish("news", text)

    tree = supervisor("app", child("reader", lambda: Reader([], gate), mailbox=1), child("paper", Paper))
    async with Runtime(tree) as runtime:
        runtime.ref("reader", Reader).cast(Reader.hold)
        await wait_all_tasks_blocked()
        paper = runtime.ref("paper", Paper)
        assert [await paper.call(Paper.print, text) for text in "ab"] == [1, 0]
        (letter,) = runtime.events.of(DeadLetter)
        assert letter.path == "/app/reader"
        assert "its mailbox is full" in letter.why
        gate.set()


@pytest.mark.rule("M10", "R4")
async def test_a_cast_lost_in_a_crash_is_a_dead_letter_with_the_cause() -> None:
    async with alone(lambda: Subject(boom)) as runtime:
        runtime.ref("it", Subject).cast(Subject.sync)
        await wait_all_tasks_blocked()
        (letter,) = runtime.events.of(DeadLetter)
        assert letter.why == "lost in a crash: Boom: as told"


@pytest.mark.rule("R1")
async def test_a_cast_to_a_sibling_that_has_not_started_yet_waits_for_it() -> None:
    log: list[str] = []

    class First(Actor):
        def on_start(self) -> None:
            later = self.ctx.find("later", Log)
            later.cast(Log.note, "early")
            later.cast("nothing_such", 1)
            with pytest.raises(UnknownMethod, match="can't be a message"):
                later.cast("_private")

    async with Runtime(supervisor("app", child("first", First), child("later", lambda: Log(log)))) as runtime:
        await wait_all_tasks_blocked()
        assert log == ["early"]
        (letter,) = runtime.events.of(DeadLetter)
        assert letter.why.startswith("rejected: UnknownMethod: Log has no method 'nothing_such'")


@pytest.mark.rule("M10")
@pytest.mark.parametrize("way", WAYS)
async def test_a_thread_must_send_through_trio(way: Way) -> None:
    """A plain append from a thread would be lost: nothing would wake the actor."""
    async with alone(Subject) as runtime:
        it = runtime.ref("it", Subject)
        with pytest.raises(UkemiError, match="from another thread"):
            await trio.to_thread.run_sync(it.cast, Subject.sync)
        with pytest.raises(UkemiError, match="from another thread"):
            await trio.to_thread.run_sync(it.kill)
        await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(it.cast, Subject.sync, 1))
        assert await trio.to_thread.run_sync(lambda: trio.from_thread.run(ask, it, way, 7)) == 7
