"""Topics: what is published reaches every subscriber, and never slows anybody (rules R5, M10)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ukemi import Actor, Runtime, Supervisor, UkemiError, UnknownMethod, child, supervisor
from ukemi.actors.events import DeadLetter
from ukemi.actors.system import DEAD_LETTERS

from .subject import Boom, alone


class Reader(Actor):
    """Writes down what it reads."""

    def __init__(self, log: list[Any], label: str = "") -> None:
        self.log = log
        self.label = label

    def on_start(self) -> None:
        self.ctx.subscribe("news", self.read)

    def read(self, text: str) -> None:
        self.log.append(f"{self.label}{text}")

    def aloud(self, text: str) -> None:
        self.log.append(text.upper())

    def read_aloud(self) -> None:
        self.ctx.subscribe("news", self.aloud)

    def unsubscribe(self) -> None:
        self.ctx.unsubscribe("news")
        self.ctx.unsubscribe("what it never subscribed to")

    def publish(self, text: str) -> int:
        return self.ctx.publish("news", text)

    async def hold(self) -> None:
        await trio.sleep_forever()

    def boom(self) -> None:
        raise Boom


async def test_what_is_published_reaches_all_subscribers_in_the_order_of_their_subscribing() -> None:
    log: list[Any] = []
    tree = supervisor("app", *(child(name, lambda n=name: Reader(log, n)) for name in "abc"))  # type: ignore[misc]
    async with Runtime(tree) as runtime:
        a = runtime.ref("a", Reader)
        assert await a.call(Reader.publish, "1") == 3
        assert await a.call(Reader.publish, "2") == 3
        await wait_all_tasks_blocked()
        for text in "12":
            assert sorted(entry for entry in log if text in entry) == [f"a{text}", f"b{text}", f"c{text}"]
            assert [entry for entry in log if entry[0] == "b"] == ["b1", "b2"]


async def test_subscribing_again_replaces_the_method_and_unsubscribing_ends_it() -> None:
    log: list[Any] = []
    async with alone(lambda: Reader(log)) as runtime:
        it = runtime.ref("it", Reader)
        await it.call(Reader.read_aloud)
        assert await it.call(Reader.publish, "a") == 1
        await it.call(Reader.unsubscribe)
        assert await it.call(Reader.publish, "b") == 0
    assert log == ["A"]


@pytest.mark.rule("R5")
async def test_a_subscription_ends_with_the_incarnation() -> None:
    class Once(Reader):
        def on_start(self) -> None:
            if self.ctx.incarnation == 1:
                super().on_start()

    log: list[Any] = []
    async with alone(lambda: Once(log)) as runtime:
        it = runtime.ref("it", Once)
        it.cast(Reader.boom)
        await wait_all_tasks_blocked()
        assert await it.call(Reader.publish, "x") == 0
    assert log == []


@pytest.mark.rule("M10")
async def test_a_full_subscriber_misses_the_event_and_slows_nobody() -> None:
    log: list[Any] = []
    tree = supervisor(
        "app",
        child("full", lambda: Reader([]), mailbox=1, shutdown="kill"),
        child("it", lambda: Reader(log)),
    )
    async with Runtime(tree) as runtime:
        runtime.ref("full", Reader).cast(Reader.hold)
        await wait_all_tasks_blocked()
        it = runtime.ref("it", Reader)
        assert [await it.call(Reader.publish, text) for text in "ab"] == [2, 1]
        await wait_all_tasks_blocked()
        assert [letter.path for letter in runtime.events.of(DeadLetter)] == ["/app/full"]
    assert log == ["a", "b"]


@pytest.mark.rule("M10")
async def test_a_full_subscriber_of_dead_letters_makes_one_more_and_no_flood() -> None:
    class Undertaker(Actor):
        def on_start(self) -> None:
            self.ctx.subscribe(DEAD_LETTERS, self.bury)

        def bury(self, letter: DeadLetter) -> None:
            pass

        async def hold(self) -> None:
            await trio.sleep_forever()

    tree = supervisor("app", child("u", Undertaker, mailbox=1, shutdown="kill"), child("it", lambda: Reader([])))
    async with Runtime(tree) as runtime:
        runtime.ref("u", Undertaker).cast(Undertaker.hold)
        await wait_all_tasks_blocked()
        it = runtime.ref("it", Reader)
        for _ in range(2):
            it.cast(Reader.boom)
            await wait_all_tasks_blocked()
        assert [letter.path for letter in runtime.events.of(DeadLetter)] == ["/app/it", "/app/it", "/app/u"]


async def test_a_subscription_needs_a_method_that_takes_the_event() -> None:
    errors: list[Exception] = []

    class Wrong(Actor):
        def on_start(self) -> None:
            for method, kind in ((self.nothing, TypeError), (print, UnknownMethod)):
                with pytest.raises(kind) as caught:
                    self.ctx.subscribe("news", method)  # type: ignore[arg-type]
                errors.append(caught.value)

        def nothing(self) -> None:
            pass

    async with alone(Wrong):
        assert len(errors) == 2


@pytest.mark.rule("X5")
async def test_an_event_travels_to_each_subscriber_as_its_method_declares() -> None:
    log: list[Any] = []

    class Pair(Actor):
        def on_start(self) -> None:
            self.ctx.subscribe("pairs", self.read)

        def read(self, pair: tuple[int, int]) -> None:
            log.append(pair)

        def publish(self) -> None:
            self.ctx.publish("pairs", (1, 2))
            with pytest.raises(UkemiError, match="can't travel"):
                self.ctx.publish("pairs", trio.Event())

    class Plain(Pair):
        def read(self, pair: Any) -> None:
            log.append(pair)

    async with Runtime(supervisor("app", child("a", Pair), child("b", Plain))) as runtime:
        await runtime.ref("a", Pair).call(Pair.publish)
        await wait_all_tasks_blocked()
    assert sorted(log, key=str) == [(1, 2), [1, 2]]


@pytest.mark.rule("M10")
async def test_a_subscriber_that_was_stopped_is_none_any_more() -> None:
    tree = supervisor("app", child("a", lambda: Reader([])), child("b", lambda: Reader([])))
    async with Runtime(tree) as runtime:
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "a")
        assert await runtime.ref("b", Reader).call(Reader.publish, "x") == 1
        assert runtime.events.of(DeadLetter) == []
