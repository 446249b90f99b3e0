"""A call that can never be answered says so at once, naming the path (rule M4)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Actor, ActorCrashed, CalledItself, Ref, Runtime, StartFailed, Supervisor, child, supervisor

from .subject import WAYS, Subject, Way, alone, ask


class Node(Actor):
    """Calls what it is told to: the next of a list of names, with the rest."""

    async def relay(self, names: list[str]) -> int:
        if not names:
            return 0
        return 1 + await self.ctx.find(names[0], Node).call(Node.relay, names[1:])

    async def relay_caught(self, names: list[str]) -> list[str]:
        try:
            await self.relay(names)
        except CalledItself as error:
            return list(error.cycle)
        raise AssertionError("no cycle")

    async def by_thread(self, abandon: bool) -> int:
        return await trio.to_thread.run_sync(
            lambda: trio.from_thread.run(self.ctx.ref.call, Node.sync), abandon_on_cancel=abandon
        )

    async def in_background(self) -> None:
        self.ctx.start_task(self._call_myself)

    async def _call_myself(self) -> None:
        self.answer = await self.ctx.ref.call(Node.relay, [])

    async def in_a_nursery(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ctx.ref.call, Node.sync)

    async def stop_myself(self) -> None:
        await self.ctx.ref.stop()

    def sync(self) -> int:
        return 1

    def shown(self) -> Any:
        return self.answer

    answer: Any = None


def nodes(names: str) -> Runtime:
    return Runtime(supervisor("app", *(child(name, Node) for name in names), max_restarts=10))


@pytest.mark.rule("M4")
async def test_calling_oneself_is_an_error_at_once() -> None:
    async with nodes("a") as runtime:
        cycle = await runtime.ref("a", Node).call(Node.relay_caught, ["a"])
        assert cycle == ["/app/a", "/app/a"]


@pytest.mark.rule("M4")
@pytest.mark.parametrize("length", [2, 3, 5])
async def test_a_cycle_of_any_length_is_named_in_full(length: int) -> None:
    names = list("abcde"[:length])
    caught: list[CalledItself] = []
    async with nodes("abcde") as runtime:
        with pytest.raises(ActorCrashed) as crash:
            await runtime.ref("a", Node).call(Node.relay, [*names[1:], "a"])
        error: BaseException | None = crash.value
        while error is not None and not isinstance(error, CalledItself):
            error = error.__cause__
        assert isinstance(error, CalledItself)
        caught.append(error)
    last = names[-1]
    assert caught[0].cycle == tuple(f"/app/{name}" for name in (last, *names))
    assert " -> ".join(caught[0].cycle) in str(caught[0])


@pytest.mark.rule("M4")
async def test_an_error_of_a_cycle_can_be_caught_and_harms_nobody() -> None:
    async with nodes("ab") as runtime:
        a = runtime.ref("a", Node)
        assert await a.call(Node.relay_caught, ["a"]) == ["/app/a", "/app/a"]
        assert await a.call(Node.relay, ["b"]) == 1
        assert a.cell.incarnation is not None
        assert a.cell.incarnation.waits == []
        assert a.stats().crashes == 0


@pytest.mark.rule("M4")
async def test_two_actors_that_call_each_other_at_the_same_time_do_not_hang() -> None:
    async with nodes("ab") as runtime:
        results: list[str] = []

        async def call(name: str, other: str) -> None:
            try:
                results.append(str(await runtime.ref(name, Node).call(Node.relay, [other])))
            except ActorCrashed as error:
                results.append(type(error.__cause__).__name__)

        with trio.fail_after(5):
            for _ in range(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call, "a", "b")
                    nursery.start_soon(call, "b", "a")
                await wait_all_tasks_blocked()
    assert len(results) == 10
    assert "CalledItself" in results


@pytest.mark.rule("M4")
async def test_a_call_without_a_cycle_is_none_even_in_the_opposite_direction_later() -> None:
    async with nodes("abc") as runtime:
        assert await runtime.ref("a", Node).call(Node.relay, ["b", "c"]) == 2
        assert await runtime.ref("c", Node).call(Node.relay, ["b", "a"]) == 2


@pytest.mark.rule("M4")
async def test_a_background_task_may_call_its_own_actor() -> None:
    async with nodes("a") as runtime:
        a = runtime.ref("a", Node)
        await a.call(Node.in_background)
        await wait_all_tasks_blocked()
        assert await a.call(Node.shown) == 0


@pytest.mark.rule("M4")
@pytest.mark.parametrize("abandon", [False, True])
async def test_a_handler_that_calls_its_own_actor_from_a_thread_calls_itself(abandon: bool) -> None:
    async with nodes("a") as runtime:
        with trio.fail_after(5), pytest.raises(ActorCrashed) as caught:
            await runtime.ref("a", Node).call(Node.by_thread, abandon)
        assert type(caught.value.__cause__) is CalledItself


@pytest.mark.rule("M4", "X3")
async def test_a_handler_that_calls_its_own_actor_from_a_nursery_of_its_own_calls_itself() -> None:
    async with nodes("a") as runtime:
        with trio.fail_after(5), pytest.raises(ActorCrashed) as caught:
            await runtime.ref("a", Node).call(Node.in_a_nursery)
        assert type(caught.value.__cause__) is CalledItself


@pytest.mark.rule("M4")
async def test_a_handler_that_waits_for_its_own_end_waits_for_itself() -> None:
    async with nodes("a") as runtime:
        with trio.fail_after(5), pytest.raises(ActorCrashed) as caught:
            await runtime.ref("a", Node).call(Node.stop_myself)
        assert type(caught.value.__cause__) is CalledItself


@pytest.mark.rule("M4")
@pytest.mark.parametrize("target", ["it", "app"])
async def test_on_start_can_call_neither_itself_nor_the_supervisor_that_waits_for_it(target: str) -> None:
    class Early(Subject):
        async def on_start(self) -> None:
            method: Any = Subject.sync if target == "it" else Supervisor.stop_child
            await self.ctx.find(target).call(method, *([] if target == "it" else ["it"]))

    with trio.fail_after(5), pytest.raises(StartFailed) as caught:
        async with alone(Early):
            pass
    assert type(caught.value.__cause__) is CalledItself


@pytest.mark.rule("M4", "S10")
async def test_on_start_may_ask_its_supervisor_for_the_children() -> None:
    seen: list[Any] = []

    class Curious(Subject):
        async def on_start(self) -> None:
            seen.extend(info.state for info in await self.ctx.find("app", Supervisor).call(Supervisor.children))

    async with alone(Curious):
        pass
    assert seen == ["starting"]


@pytest.mark.rule("M4")
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_during_a_restart_is_answered_by_the_next_incarnation(autojump_clock: MockClock, way: Way) -> None:
    class SlowToStart(Subject):
        async def on_start(self) -> None:
            await trio.sleep(2)

    async with alone(lambda: SlowToStart(lambda self, n: self.ctx.incarnation)) as runtime:
        it = runtime.ref("it", Subject)
        it.kill()
        start = trio.current_time()
        assert await ask(it, way) == 2
        assert trio.current_time() - start == pytest.approx(2)


@pytest.mark.rule("M4")
async def test_an_actor_may_be_called_by_the_handler_of_another_while_it_waits_for_a_third() -> None:
    """Waiting is a chain, not a lock: only a cycle is an error."""
    gate = trio.Event()

    class Gate(Actor):
        async def wait(self) -> int:
            await gate.wait()
            return 1

    class Caller(Actor):
        async def go(self) -> int:
            found: Ref[Gate] = self.ctx.find("gate", Gate)
            return await found.call(Gate.wait)

    tree = supervisor("app", child("gate", Gate), child("a", Caller), child("b", Caller))
    async with Runtime(tree) as runtime:
        results: list[int] = []

        async def call(name: str) -> None:
            results.append(await runtime.ref(name, Caller).call(Caller.go))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "a")
            nursery.start_soon(call, "b")
            await wait_all_tasks_blocked()
            gate.set()
    assert results == [1, 1]
