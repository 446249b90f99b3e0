"""What becomes of a child's mail when it is shut down."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import ActorCrashed, ActorStopped, Runtime, Supervisor, supervisor
from ukemi.actors.events import DeadLetter

from .stage import Stage, Worker


async def stop_child(runtime: Runtime, name: str) -> None:
    await runtime.ref("top", Supervisor).call(Supervisor.stop_child, name)


@pytest.mark.rule("S12")
async def test_the_message_in_hand_is_finished_within_the_shutdown_time(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", shutdown=5.0))) as runtime:
        answers: list[str] = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                answers.append(await runtime.ref("a", Worker).call(Worker.hold))

            await wait_all_tasks_blocked()
            nursery.start_soon(stop_child, runtime, "a")
            await trio.sleep(4)
            assert stage.take() == ["+a"]
            stage.gate.set()
        assert answers == ["a"]
        assert stage.take() == ["-a"]


@pytest.mark.rule("S12")
async def test_after_the_shutdown_time_it_is_killed_and_its_caller_told(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", shutdown=2.0))) as runtime:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                with pytest.raises(ActorCrashed, match="killed"):
                    await runtime.ref("a", Worker).call(Worker.hold)

            await wait_all_tasks_blocked()
            begun = trio.current_time()
            await stop_child(runtime, "a")
            assert trio.current_time() == begun + 2.0
        assert stage.take() == ["+a"], "no on_stop after a kill"


@pytest.mark.rule("S12")
async def test_queued_calls_fail_and_queued_casts_become_dead_letters(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        a = runtime.ref("a", Worker)
        a.cast(Worker.hold)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                with pytest.raises(ActorStopped):
                    await a.call(Worker.note, "call")

            await wait_all_tasks_blocked()
            a.cast(Worker.note, "cast")
            nursery.start_soon(stop_child, runtime, "a")
            await wait_all_tasks_blocked()
            stage.gate.set()
        assert stage.take() == ["+a", "-a"]
        assert [(e.path, e.method) for e in runtime.events.of(DeadLetter)] == [("/top/a", "note")]


@pytest.mark.rule("S12")
async def test_at_the_end_of_the_runtime_likewise(stage: Stage, clock: MockClock) -> None:
    runtime = Runtime(supervisor("top", stage.child("a")))
    async with runtime:
        a = runtime.ref("a", Worker)
        a.cast(Worker.hold)
        await wait_all_tasks_blocked()
        a.cast(Worker.note, "cast")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                with pytest.raises(ActorStopped):
                    await a.call(Worker.note, "call")

            await wait_all_tasks_blocked()
            nursery.start_soon(runtime.stop)
            await wait_all_tasks_blocked()
            stage.gate.set()
    assert stage.take() == ["+a", "-a"]
    assert [(e.path, e.method) for e in runtime.events.of(DeadLetter)] == [("/top/a", "note")]


@pytest.mark.rule("S12")
async def test_a_stop_that_drains_handles_what_waits_first(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", restart="transient"))) as runtime:
        a = runtime.ref("a", Worker)
        a.cast(Worker.hold)
        await wait_all_tasks_blocked()
        a.cast(Worker.note, "one")
        a.cast(Worker.note, "two")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: a.stop(drain=True))
            await wait_all_tasks_blocked()
            stage.gate.set()
        assert stage.take() == ["+a", "a:one", "a:two", "-a"]


@pytest.mark.rule("S12", "R4")
async def test_in_a_group_restart_the_mail_of_the_siblings_waits_for_their_next_incarnation(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", *stage.children("ab"), strategy="one_for_all")) as runtime:
        b = runtime.ref("b", Worker)
        b.cast(Worker.hold)
        await wait_all_tasks_blocked()
        b.cast(Worker.note, "kept")
        stage.take()
        runtime.ref("a").kill()
        await wait_all_tasks_blocked()
        stage.gate.set()
        await wait_all_tasks_blocked()
        assert stage.take() == ["-b", "+a", "+b", "b:kept"]
