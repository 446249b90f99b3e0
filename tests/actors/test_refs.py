"""Refs stay good, or are dead for ever (rules R1 to R3); names and paths."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from ukemi import (
    ActorStopped,
    AmbiguousName,
    ComponentNotFound,
    Runtime,
    StartFailed,
    Supervisor,
    child,
    dynamic_supervisor,
    supervisor,
)
from ukemi.actors.events import DeadLetter
from ukemi.actors.registry import Registry

from .subject import Outcome, Subject, alone, ask, boom


def incarnation_of(self: Subject, n: int) -> int:
    return self.ctx.incarnation


def subject() -> Subject:
    return Subject(incarnation_of)


@pytest.mark.rule("R1")
async def test_a_ref_stays_good_across_restarts() -> None:
    async with alone(subject) as runtime:
        it = runtime.ref("it", Subject)
        for number in (1, 2, 3):
            assert await ask(it, "inline") == number
            it.kill()


@pytest.mark.rule("R1")
async def test_a_ref_to_a_declared_child_stays_good_across_a_restart_of_its_parent() -> None:
    tree = supervisor("app", supervisor("sub", child("it", subject)))
    async with Runtime(tree) as runtime:
        it = runtime.ref("it", Subject)
        uid = it.uid
        runtime.ref("sub").kill()
        assert await ask(it, "inline") == 2
        assert runtime.ref("it").uid == uid
        assert runtime.ref("it") == it


@pytest.mark.rule("R1")
async def test_a_ref_to_a_child_that_was_added_ends_with_a_restart_of_its_parent() -> None:
    async with Runtime(supervisor("app", dynamic_supervisor("sub"))) as runtime:
        sub = runtime.ref("sub", Supervisor)
        it = await sub.call(Supervisor.start_child, child("it", subject))
        sub.kill()
        await wait_all_tasks_blocked()
        with pytest.raises(ActorStopped, match="was deleted"):
            await it.call("sync")


@pytest.mark.rule("R1")
async def test_a_deleted_child_is_dead_for_ever_and_its_successor_gets_none_of_its_mail() -> None:
    outcome = Outcome()
    async with alone(subject) as runtime:
        app, old = runtime.ref("app", Supervisor), runtime.ref("it", Subject)
        await app.call(Supervisor.stop_child, "it")
        await app.call(Supervisor.delete_child, "it")
        new = await app.call(Supervisor.start_child, child("it", subject))
        assert (new.path, new.name) == (old.path, old.name)
        assert new != old
        assert new.uid != old.uid
        assert len({new, old, runtime.ref("it")}) == 2
        await outcome.of(old, "inline")
        assert outcome.kind is ActorStopped
        with pytest.raises(ActorStopped, match="/app/it was deleted"):
            old.cast(Subject.sync)
        assert new.stats().waiting == 0


@pytest.mark.rule("R1")
async def test_a_start_that_fails_leaves_no_name_behind() -> None:
    async with alone(subject) as runtime:
        app = runtime.ref("app", Supervisor)
        with pytest.raises(StartFailed):
            await app.call(Supervisor.start_child, child("bad", boom))
        with pytest.raises(ComponentNotFound):
            runtime.ref("bad")


@pytest.mark.rule("R2")
async def test_a_bare_name_is_good_only_while_it_is_unique() -> None:
    tree = supervisor("app", child("x", subject), supervisor("sub", child("x", subject), child("y", subject)))
    async with Runtime(tree) as runtime:
        assert runtime.ref("y").path == "/app/sub/y"
        assert runtime.ref("/app/sub/x").path == "/app/sub/x"
        with pytest.raises(AmbiguousName, match=r"use a path: /app/sub/x, /app/x$") as caught:
            runtime.ref("x")
        assert caught.value.paths == ("/app/sub/x", "/app/x")
        sub = runtime.ref("sub", Supervisor)
        await sub.call(Supervisor.stop_child, "x")
        await sub.call(Supervisor.delete_child, "x")
        assert runtime.ref("x").path == "/app/x"


@pytest.mark.rule("R2")
@pytest.mark.parametrize("name", ["nobody", "/app/nobody", "/it", "", "app/it"])
async def test_an_unknown_name_is_component_not_found(name: str) -> None:
    async with alone(subject) as runtime:
        with pytest.raises(ComponentNotFound, match=f"Component not found: {name}"):
            runtime.ref(name)


@pytest.mark.rule("R2")
async def test_a_name_is_text_and_a_ref_is_of_the_class_it_says() -> None:
    async with alone(subject) as runtime:
        with pytest.raises(TypeError, match="an actor's name or path is a str"):
            runtime.ref(3)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="/app/it is a Subject, not a Supervisor"):
            runtime.ref("it", Supervisor)
        assert repr(runtime.ref("it")) == "<Ref /app/it>"
        assert runtime.ref("it") != "/app/it"


@pytest.mark.rule("R3")
async def test_a_stopped_child_answers_actor_stopped_at_once_and_restart_child_revives_the_same_ref() -> None:
    async with alone(subject) as runtime:
        app, it = runtime.ref("app", Supervisor), runtime.ref("it", Subject)
        await app.call(Supervisor.stop_child, "it")
        for use in (it.call(Subject.sync), it.send(Subject.sync), it.stop()):
            with pytest.raises(ActorStopped, match="/app/it is not running"):
                await use
        with pytest.raises(ActorStopped):
            it.cast(Subject.sync)
        it.kill()
        assert await app.call(Supervisor.restart_child, "it") == it
        assert await ask(it, "inline") == 2


@pytest.mark.rule("R3")
async def test_stop_ends_one_incarnation_in_order_and_drain_handles_what_waits_first() -> None:
    log: list[int] = []
    async with alone(lambda: Subject(lambda self, n: log.append(n))) as runtime:
        it = runtime.ref("it", Subject)
        for n in range(3):
            it.cast(Subject.coroutine, n)
        await it.stop(drain=True)
        assert log == [0, 1, 2]
        it.cast(Subject.coroutine, 3)
        await wait_all_tasks_blocked()
        await it.stop()
        await wait_all_tasks_blocked()
        assert it.stats().incarnation == 3
        assert log == [0, 1, 2, 3]
        assert runtime.events.of(DeadLetter) == []


@pytest.mark.rule("R3")
async def test_several_may_wait_for_one_end() -> None:
    class Slow(Subject):
        async def on_stop(self, reason: object) -> None:
            await wait_all_tasks_blocked()

    async with alone(Slow) as runtime:
        it = runtime.ref("it", Slow)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(it.stop)
        await wait_all_tasks_blocked()
        assert it.stats().incarnation == 2


@pytest.mark.rule("R3")
async def test_stats_tell_how_an_actor_does() -> None:
    async with alone(lambda: Subject(boom), mailbox=7) as runtime:
        it = runtime.ref("it", Subject)
        await it.call(Subject.pause)
        stats = it.stats()
        assert (stats.path, stats.state, stats.incarnation) == ("/app/it", "running", 1)
        assert (stats.waiting, stats.bound, stats.senders, stats.handled) == (0, 7, 0, 1)
        assert (stats.crashes, stats.tasks) == (0, 0)
        it.cast(Subject.sync)
        await wait_all_tasks_blocked()
        assert (it.stats().crashes, it.stats().handled, it.stats().incarnation) == (1, 0, 2)


@pytest.mark.rule("R2")
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["/a/x", "/a/y", "/b/x", "/c/x"])), max_size=30))
def test_the_registry_finds_exactly_what_was_added_and_not_removed(steps: list[tuple[bool, str]]) -> None:
    registry = Registry()
    present: dict[str, Any] = {}
    for adds, path in steps:
        if adds and path not in present:
            cell: Any = SimpleNamespace(path=path, name=path.rpartition("/")[2])
            present[path] = cell
            registry.add(cell)
        elif not adds:
            gone: Any = present.pop(path, None) or SimpleNamespace(path=path, name=path.rpartition("/")[2])
            registry.remove(gone)
        assert list(registry) == list(present.values())
        assert len(registry) == len(present)
        for name in ("x", "y"):
            named = [path for path in present if path.endswith(f"/{name}")]
            if len(named) == 1:
                assert registry.find(name) is present[named[0]]
            else:
                with pytest.raises(AmbiguousName if named else ComponentNotFound):
                    registry.find(name)
