"""A restart whose start fails, under each strategy."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ukemi import ActorStopped, Backoff, ChildStateError, Ignore, Runtime, Supervisor, SupervisorGaveUp, supervisor
from ukemi.supervisors import RestartDelayed

from .stage import Stage, Worker, crash, finish, infos, states

EXACT = Backoff(initial=1.0, maximum=8.0, jitter=0.0)
"""For what has to be timed: no jitter."""


@pytest.mark.rule("S4")
async def test_one_for_one_tries_again_until_it_is_up(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", *stage.children("ab"))) as runtime:
        stage.take()
        stage.fail_starts("a", 2)
        await crash(runtime, "a")
        assert stage.take() == ["-a", "!a"]
        assert await states(runtime) == {"a": "restarting", "b": "running"}
        await trio.sleep(1)
        assert stage.take() == ["!a", "+a"]
        assert (await infos(runtime))["a"].restarts == 1
        delays = [event.delay for event in runtime.events.of(RestartDelayed)]
        assert 0.1 <= delays[0] <= 0.11
        assert 0.2 <= delays[1] <= 0.22


@pytest.mark.rule("S4")
async def test_each_retry_of_a_failed_start_counts_again(stage: Stage, clock: MockClock) -> None:
    with pytest.raises(SupervisorGaveUp, match=r"/top gave up on /top/a: more than 3 restarts within 5 s"):
        async with Runtime(supervisor("top", stage.child("a"))) as runtime:
            stage.fail_starts("a", 99)
            await crash(runtime, "a")
            await trio.sleep(100)
    assert stage.take() == ["+a", "-a", "!a", "!a", "!a"]


@pytest.mark.rule("S4")
async def test_rest_for_one_goes_on_from_the_one_that_failed_and_those_already_started_survive(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", *stage.children("abcd"), strategy="rest_for_one")) as runtime:
        stage.take()
        stage.fail_starts("c")
        await crash(runtime, "b")
        assert stage.take() == ["-b", "-d", "-c", "+b", "!c"]
        assert await states(runtime) == {"a": "running", "b": "running", "c": "restarting", "d": "restarting"}
        await trio.sleep(1)
        assert stage.take() == ["+c", "+d"]


@pytest.mark.rule("S4")
async def test_one_for_all_stops_everything_again_the_just_started_ones_too(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", *stage.children("abc"), strategy="one_for_all")) as runtime:
        stage.take()
        stage.fail_starts("c")
        await crash(runtime, "b")
        assert stage.take() == ["-b", "-c", "-a", "+a", "+b", "!c"]
        await trio.sleep(1)
        assert stage.take() == ["-b", "-a", "+a", "+b", "+c"]


@pytest.mark.rule("S4")
async def test_dependents_goes_on_from_the_one_that_failed_and_strangers_to_it_survive(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor(
        "top",
        stage.child("a"),
        stage.child("b", depends_on=["a"]),
        stage.child("c", depends_on=["b"]),
        stage.child("d", depends_on=["a"]),
        strategy="dependents",
    )
    async with Runtime(tree) as runtime:
        stage.fail_starts("b")
        await crash(runtime, "a")
        assert await states(runtime) == {"a": "running", "b": "restarting", "c": "restarting", "d": "running"}
        stage.take()
        await trio.sleep(1)
        assert stage.take() == ["+b", "+c"]


@pytest.mark.rule("S4")
async def test_two_that_failed_side_by_side_are_each_tried_again(stage: Stage, clock: MockClock) -> None:
    tree = supervisor(
        "top",
        stage.child("a"),
        stage.child("b", depends_on=["a"], backoff=EXACT),
        stage.child("c", depends_on=["a"], backoff=EXACT),
        stage.child("d", depends_on=["b", "c"]),
        strategy="dependents",
        max_restarts=9,
    )
    async with Runtime(tree) as runtime:
        stage.fail_starts("b", 1)
        stage.fail_starts("c", 2)
        await crash(runtime, "a")
        assert await states(runtime) == {"a": "running", "b": "restarting", "c": "restarting", "d": "restarting"}
        stage.take()
        await trio.sleep(1.5)
        assert sorted(stage.take()) == ["!c", "+b"]
        await trio.sleep(2)
        assert stage.take() == ["+c", "+d"]


@pytest.mark.rule("S4", "S10")
async def test_meanwhile_the_supervisor_serves_other_requests(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", backoff=EXACT), stage.child("b"))) as runtime:
        top = runtime.ref("top", Supervisor)
        stage.fail_starts("a")
        await crash(runtime, "a")
        assert await states(runtime) == {"a": "restarting", "b": "running"}
        await top.call(Supervisor.start_child, stage.child("c"))
        await top.call(Supervisor.stop_child, "b")
        assert await states(runtime) == {"a": "restarting", "b": "stopped", "c": "running"}


@pytest.mark.rule("S4")
async def test_while_a_child_is_restarting_it_is_already_present_and_cannot_be_restarted_or_deleted(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", stage.child("a", backoff=EXACT))) as runtime:
        top = runtime.ref("top", Supervisor)
        await crash(runtime, "a")
        with pytest.raises(ChildStateError, match=r"'a' is already present \(restarting\)"):
            await top.call(Supervisor.start_child, stage.child("a"))
        with pytest.raises(ChildStateError, match="'a' is restarting"):
            await top.call(Supervisor.restart_child, "a")
        with pytest.raises(ChildStateError, match="'a' is restarting"):
            await top.call(Supervisor.delete_child, "a")
        assert await states(runtime) == {"a": "restarting"}


@pytest.mark.rule("S4", "R3")
async def test_stopping_a_restarting_child_calls_the_retry_off(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", backoff=EXACT))) as runtime:
        top, a = runtime.ref("top", Supervisor), runtime.ref("a", Worker)
        await crash(runtime, "a")
        stage.take()
        await top.call(Supervisor.stop_child, "a")
        await trio.sleep(100)
        assert stage.take() == []
        assert await states(runtime) == {"a": "stopped"}
        with pytest.raises(ActorStopped):
            await a.call(Worker.incarnation)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.rule("S4")
async def test_what_waited_for_its_turn_is_started_when_the_retry_before_it_is_called_off(
    stage: Stage, clock: MockClock, strategy: str
) -> None:
    async with Runtime(supervisor("top", *stage.children("ab"), strategy=strategy)) as runtime:
        stage.fail_starts("a")
        await crash(runtime, "a")
        assert await states(runtime) == {"a": "restarting", "b": "restarting"}
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "a")
        assert await states(runtime) == {"a": "stopped", "b": "running"}


@pytest.mark.rule("R4")
async def test_while_a_child_is_restarting_its_mail_waits(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", backoff=EXACT))) as runtime:
        a = runtime.ref("a", Worker)
        await crash(runtime, "a")
        a.cast(Worker.note, "kept")
        assert await a.call(Worker.incarnation) == 2
        assert stage.take() == ["+a", "-a", "+a", "a:kept"]


async def ignore(worker: Worker) -> None:
    raise Ignore


@pytest.mark.rule("S4", "R3")
async def test_a_start_that_is_ignored_keeps_the_spec_with_no_child(stage: Stage, clock: MockClock) -> None:
    stage.starts["a"] = ignore
    async with Runtime(supervisor("top", *stage.children("ab"))) as runtime:
        assert stage.take() == ["+b"]
        assert await states(runtime) == {"a": "stopped", "b": "running"}
        with pytest.raises(ActorStopped):
            await runtime.ref("a", Worker).call(Worker.incarnation)
        stage.starts.clear()
        ref = await runtime.ref("top", Supervisor).call(Supervisor.restart_child, "a")
        assert ref == runtime.ref("a", Worker)
        assert stage.take() == ["+a"]


@pytest.mark.rule("S4")
async def test_a_temporary_child_whose_start_is_ignored_is_dropped(stage: Stage, clock: MockClock) -> None:
    stage.starts["a"] = stage.starts["c"] = ignore
    async with Runtime(supervisor("top", stage.child("a", restart="temporary"), stage.child("b"))) as runtime:
        assert await states(runtime) == {"b": "running"}
        ref = await runtime.ref("top", Supervisor).call(Supervisor.start_child, stage.child("c", restart="temporary"))
        assert await states(runtime) == {"b": "running"}
        with pytest.raises(ActorStopped):
            await ref.call(Worker.incarnation)


@pytest.mark.rule("S4")
async def test_a_restart_that_is_ignored_ends_the_row_of_retries(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", *stage.children("ab"), strategy="rest_for_one")) as runtime:
        stage.take()
        stage.starts["a"] = ignore
        await crash(runtime, "a")
        await trio.sleep(10)
        assert stage.take() == ["-a", "-b", "+b"]
        assert await states(runtime) == {"a": "stopped", "b": "running"}


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "dependents"])
@pytest.mark.parametrize("how", ["ignored", "finished"])
@pytest.mark.rule("S4")
async def test_a_child_is_restarted_though_what_it_depends_on_has_ended_for_good(
    stage: Stage, strategy: str, how: str, clock: MockClock
) -> None:
    if how == "ignored":
        stage.starts["a"] = ignore
    tree = supervisor(
        "top", stage.child("a", restart="transient"), stage.child("b", depends_on=["a"]), strategy=strategy
    )
    async with Runtime(tree) as runtime:
        if how == "finished":
            await finish(runtime, "a")
        assert await states(runtime) == {"a": "stopped", "b": "running"}
        await crash(runtime, "b")
        assert await states(runtime) == {"a": "stopped", "b": "running"}


@pytest.mark.rule("S4")
async def test_in_a_group_restart_what_follows_waits_for_the_one_before_even_if_it_was_added_later(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor("top", stage.child("a", backoff=EXACT), stage.child("b"), strategy="rest_for_one")
    async with Runtime(tree) as runtime:
        await crash(runtime, "a")
        await runtime.ref("top", Supervisor).call(Supervisor.start_child, stage.child("c"))
        stage.take()
        await crash(runtime, "c")
        log = stage.take()
        assert "+b" not in log, "it comes after a, which is down"
        await trio.sleep(10)
        assert await states(runtime) == {"a": "running", "b": "running", "c": "running"}


@pytest.mark.rule("M4")
async def test_a_start_that_calls_what_has_just_died_fails_at_once_since_only_its_supervisor_could_help(
    stage: Stage, clock: MockClock
) -> None:
    async def calls_a(worker: Worker) -> None:
        other = worker.ctx.find("a", Worker)
        if worker.ctx.incarnation == 2:
            other.kill()
        await other.call(Worker.incarnation)

    async with Runtime(supervisor("top", stage.child("a"), stage.child("b"), max_restarts=9)) as runtime:
        stage.starts["b"] = calls_a
        await crash(runtime, "b")
        await trio.sleep(1)
        assert trio.current_time() == 1.0
        assert await states(runtime) == {"a": "running", "b": "running"}
        assert [runtime.ref(name).stats().incarnation for name in "ab"] == [2, 3]
