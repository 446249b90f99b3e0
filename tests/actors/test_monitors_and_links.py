"""Monitors and links: each is to one incarnation (rule R6), and a Down keeps its sender's order (M8)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Actor, Down, Exit, Ref, Runtime, StartFailed, Supervisor, child, supervisor
from ukemi.actors.events import ActorExited

from .subject import Boom, Subject, alone, boom


class Watcher(Actor):
    """Monitors, links, and writes down what it hears."""

    def __init__(self, log: list[Any], then: Callable[[Watcher, Down], Any] | None = None) -> None:
        self.log = log
        self.then = then
        self.monitors: list[Any] = []

    def watch(self, name: str) -> None:
        self.monitors.append(self.ctx.monitor(self.ctx.find(name)))

    def cancel(self) -> None:
        self.monitors.pop().cancel()

    def link(self, name: str) -> None:
        self.ctx.link(self.ctx.find(name))

    def unlink(self, name: str) -> None:
        self.ctx.unlink(self.ctx.find(name))

    async def hold(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def note(self, text: str) -> None:
        self.log.append(text)

    def on_down(self, down: Down) -> Any:
        self.log.append((down.ref.name, down.incarnation, type(down.reason).__name__, down.final))
        return self.then(self, down) if self.then is not None else None

    def on_stop(self, reason: object) -> None:
        self.log.append(f"stopped: {reason!r}")


def pair(log: list[Any], behave: Any = boom, then: Any = None, **options: Any) -> Runtime:
    """A watcher `w` and what it watches, `it`."""
    it = child("it", lambda: Subject(behave), **options)
    return Runtime(supervisor("app", it, child("w", lambda: Watcher(log, then)), max_restarts=50))


@pytest.mark.rule("R6")
async def test_a_monitor_yields_exactly_one_down_for_the_incarnation_it_watches() -> None:
    log: list[Any] = []
    async with pair(log) as runtime:
        it, w = runtime.ref("it", Subject), runtime.ref("w", Watcher)
        await w.call(Watcher.watch, "it")
        for _ in range(3):
            it.cast(Subject.sync)
            await wait_all_tasks_blocked()
        assert log == [("it", 1, "Boom", False)]
        await w.call(Watcher.watch, "it")
        it.kill()
        await wait_all_tasks_blocked()
        assert log[1:] == [("it", 4, "Exit", False)]


@pytest.mark.rule("R6")
@pytest.mark.parametrize(("restart", "final"), [("permanent", False), ("transient", False), ("temporary", True)])
async def test_a_down_says_whether_a_restart_follows(restart: str, final: bool) -> None:
    log: list[Any] = []
    async with pair(log, restart=restart) as runtime:
        await runtime.ref("w", Watcher).call(Watcher.watch, "it")
        runtime.ref("it", Subject).cast(Subject.sync)
        await wait_all_tasks_blocked()
    assert log[0] == ("it", 1, "Boom", final)


@pytest.mark.rule("R6")
async def test_a_normal_exit_yields_a_down_too_and_a_stop_by_the_supervisor() -> None:
    log: list[Any] = []
    async with pair(log, lambda self, n: self.ctx.stop()) as runtime:
        w = runtime.ref("w", Watcher)
        await w.call(Watcher.watch, "it")
        runtime.ref("it", Subject).cast(Subject.sync)
        await wait_all_tasks_blocked()
        await w.call(Watcher.watch, "it")
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        await wait_all_tasks_blocked()
        assert log == [("it", 1, "Exit", False), ("it", 2, "Exit", True)]


@pytest.mark.rule("R6")
async def test_monitoring_what_is_not_there_yields_a_down_at_once() -> None:
    log: list[Any] = []
    async with pair(log) as runtime:
        w = runtime.ref("w", Watcher)
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        await w.call(Watcher.watch, "it")
        await wait_all_tasks_blocked()
        assert log == [("it", 1, "Exit", True)]


@pytest.mark.rule("R6")
async def test_several_monitors_of_one_actor_yield_one_down_each() -> None:
    log: list[Any] = []
    async with pair(log) as runtime:
        w = runtime.ref("w", Watcher)
        for _ in range(3):
            await w.call(Watcher.watch, "it")
        await w.call(Watcher.cancel)
        runtime.ref("it").kill()
        await wait_all_tasks_blocked()
        assert len(log) == 2


@pytest.mark.rule("R5")
async def test_monitors_and_their_downs_die_with_the_incarnation_that_set_them(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    async with pair(log) as runtime:
        it, w = runtime.ref("it", Subject), runtime.ref("w", Watcher)
        await w.call(Watcher.watch, "it")
        w.kill()
        it.kill()
        await wait_all_tasks_blocked()
        await w.call(Watcher.watch, "it")
        w.cast(Watcher.hold, 1.0)
        await wait_all_tasks_blocked()
        it.kill()
        w.kill()
        await trio.sleep(3)
        assert (w.stats().waiting, w.stats().incarnation) == (0, 3)
    assert [entry for entry in log if isinstance(entry, tuple)] == []


@pytest.mark.rule("M8")
async def test_a_down_comes_after_what_its_sender_had_sent(autojump_clock: MockClock) -> None:
    log: list[Any] = []

    def say_and_crash(self: Subject, n: int) -> None:
        w = self.ctx.find("w", Watcher)
        w.cast(Watcher.note, "first")
        w.cast(Watcher.note, "second")
        raise Boom

    async with pair(log, say_and_crash) as runtime:
        w = runtime.ref("w", Watcher)
        await w.call(Watcher.watch, "it")
        w.cast(Watcher.hold, 1.0)
        await wait_all_tasks_blocked()
        runtime.ref("it", Subject).cast(Subject.sync)
        await wait_all_tasks_blocked()
        w.cast(Watcher.note, "third")
        await trio.sleep(2)
    assert log[:4] == ["first", "second", ("it", 1, "Boom", False), "third"]


@pytest.mark.rule("M8")
async def test_downs_are_not_bounded_and_take_no_room(autojump_clock: MockClock) -> None:
    log: list[Any] = []
    names = [f"n{n}" for n in range(20)]
    tree = supervisor(
        "app",
        child("w", lambda: Watcher(log), mailbox=2),
        *(child(name, Subject, restart="temporary") for name in names),
    )
    async with Runtime(tree) as runtime:
        w = runtime.ref("w", Watcher)
        for name in names:
            await w.call(Watcher.watch, name)
        w.cast(Watcher.hold, 1.0)
        await wait_all_tasks_blocked()
        w.cast(Watcher.note, "one")
        for name in names:
            runtime.ref(name).kill()
        await wait_all_tasks_blocked()
        assert w.stats().waiting == 1
        w.cast(Watcher.note, "two")
        assert w.stats().waiting == 2
        await trio.sleep(2)
        assert (w.stats().waiting, w.cell.mailbox.room) == (0, 2)
    assert [entry[0] if isinstance(entry, tuple) else entry for entry in log] == [
        *("one", *names, "two"),
        "stopped: <Exit.SHUTDOWN: 'shutdown'>",
    ]


@pytest.mark.rule("M8")
async def test_stop_kill_and_suspend_precede_the_next_message(autojump_clock: MockClock) -> None:
    for end in ("stop", "kill", "suspend"):
        log: list[Any] = []
        async with pair(log) as runtime:
            w = runtime.ref("w", Watcher)
            w.cast(Watcher.hold, 1.0)
            await wait_all_tasks_blocked()
            w.cast(Watcher.note, "next")
            assert w.cell.incarnation is not None
            if end == "stop":
                w.cell.incarnation.request_stop(Exit.NORMAL)
            elif end == "kill":
                w.kill()
            else:
                w.cell.suspend(True)
            await trio.sleep(2)
            exits = [(event.path, event.incarnation) for event in runtime.events.of(ActorExited)]
            assert exits == ([] if end == "suspend" else [("/app/w", 1)])
            assert ("next" in log) == (end != "suspend")
            if end == "suspend":
                w.cell.suspend(False)
                await wait_all_tasks_blocked()
                assert log == ["next"]


@pytest.mark.rule("M6", "R6")
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_on_down_may_be_sync_or_async_and_its_error_is_a_crash(kind: str) -> None:
    async def later(w: Watcher, down: Down) -> None:
        await trio.lowlevel.checkpoint()
        raise Boom

    log: list[Any] = []
    async with pair(log, then=boom if kind == "sync" else later) as runtime:
        w = runtime.ref("w", Watcher)
        await w.call(Watcher.watch, "it")
        runtime.ref("it").kill()
        await wait_all_tasks_blocked()
        assert (w.stats().crashes, w.stats().incarnation) == (1, 2)


# --- links


@pytest.mark.rule("R6")
@pytest.mark.parametrize("dies", ["it", "w"])
async def test_an_abnormal_end_crosses_a_link_either_way(dies: str) -> None:
    async with pair([]) as runtime:
        await runtime.ref("w", Watcher).call(Watcher.link, "it")
        life = runtime.ref(dies).cell.incarnation
        assert life is not None
        life.fail(Boom())
        await wait_all_tasks_blocked()
        assert [runtime.ref(name).stats().incarnation for name in ("it", "w")] == [2, 2]
        assert [event.reason for event in runtime.events.of(ActorExited)] == ["Boom", "Boom"]


@pytest.mark.rule("R6")
async def test_a_kill_crosses_a_link() -> None:
    async with pair([]) as runtime:
        await runtime.ref("w", Watcher).call(Watcher.link, "it")
        runtime.ref("it").kill()
        await wait_all_tasks_blocked()
        assert runtime.ref("w").stats().incarnation == 2


@pytest.mark.rule("R6")
async def test_a_normal_exit_does_not_cross_a_link() -> None:
    async with pair([], lambda self, n: self.ctx.stop()) as runtime:
        w = runtime.ref("w", Watcher)
        await w.call(Watcher.link, "it")
        runtime.ref("it", Subject).cast(Subject.sync)
        await wait_all_tasks_blocked()
        assert runtime.ref("it").stats().incarnation == 2
        assert w.stats().incarnation == 1


@pytest.mark.rule("R5")
async def test_a_link_is_to_one_incarnation_and_can_be_taken_back() -> None:
    async with pair([]) as runtime:
        w, it = runtime.ref("w", Watcher), runtime.ref("it")
        await w.call(Watcher.link, "it")
        await w.call(Watcher.unlink, "it")
        it.kill()
        await wait_all_tasks_blocked()
        await w.call(Watcher.link, "it")
        w.kill()
        await wait_all_tasks_blocked()
        assert (w.stats().incarnation, it.stats().incarnation) == (2, 3)
        it.kill()
        await wait_all_tasks_blocked()
        assert w.stats().incarnation == 2


@pytest.mark.rule("R6")
async def test_a_link_to_oneself_is_nothing_and_one_to_the_dead_is_a_crash() -> None:
    async with pair([]) as runtime:
        w = runtime.ref("w", Watcher)
        await w.call(Watcher.link, "w")
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
        await w.call(Watcher.link, "it")
        await wait_all_tasks_blocked()
        (exited,) = [event for event in runtime.events.of(ActorExited) if event.path == "/app/w"]
        assert "was to be linked" in exited.reason


@pytest.mark.rule("R6")
async def test_a_link_to_the_dead_in_a_sync_on_start_fails_the_start() -> None:
    class Linking(Actor):
        def on_start(self) -> None:
            self.ctx.link(self.ctx.find("later"))

    with pytest.raises(StartFailed, match="was to be linked"):
        async with Runtime(supervisor("app", child("it", Linking), child("later", Subject))):
            pass


@pytest.mark.rule("R6")
async def test_a_crash_spreads_through_a_ring_of_links_once() -> None:
    tree = supervisor("app", *(child(name, lambda: Watcher([])) for name in "abc"), max_restarts=50)
    async with Runtime(tree) as runtime:
        refs: list[Ref[Watcher]] = [runtime.ref(name, Watcher) for name in "abc"]
        for ref, other in zip(refs, "bca", strict=True):
            await ref.call(Watcher.link, other)
        life = refs[0].cell.incarnation
        assert life is not None
        life.fail(Boom())
        await wait_all_tasks_blocked()
        assert [ref.stats().crashes for ref in refs] == [1, 1, 1]


@pytest.mark.rule("R6")
async def test_a_long_chain_of_links_ends_as_a_whole() -> None:
    names = [f"n{n}" for n in range(1500)]
    tree = supervisor("app", *(child(name, lambda: Watcher([]), restart="temporary") for name in names))
    async with Runtime(tree, encode_messages=False) as runtime:
        refs: list[Ref[Watcher]] = [runtime.ref(name, Watcher) for name in names]
        for ref, other in pairwise(refs):
            await ref.call(Watcher.link, other.name)
        life = refs[0].cell.incarnation
        assert life is not None
        life.fail(Boom())
        await wait_all_tasks_blocked()
        assert runtime.events.counts["ActorExited"] == len(names)


@pytest.mark.rule("R5")
async def test_monitoring_from_a_stale_context_does_nothing() -> None:
    contexts: list[Any] = []

    class Leaky(Subject):
        def on_start(self) -> None:
            contexts.append(self.ctx)

    async with alone(Leaky) as runtime:
        it = runtime.ref("it", Leaky)
        it.kill()
        await wait_all_tasks_blocked()
        contexts[0].monitor(it)
        contexts[0].link(it)
        assert it.cell.watchers is None
        it.kill()
        await wait_all_tasks_blocked()
        assert it.stats().incarnation == 3
