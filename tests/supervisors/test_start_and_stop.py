"""The order of starts and stops, first starts that fail, and what a child is given to end in."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Actor, ActorStopped, Runtime, StartFailed, Supervisor, child, dynamic_supervisor, supervisor
from ukemi.actors import StartTimeout
from ukemi.actors.events import Zombie

from .stage import Boom, Stage, Worker, hang, pause, states


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.rule("S1")
async def test_children_start_in_declared_order_and_stop_in_reverse(
    stage: Stage, strategy: str, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", *stage.children("abc"), strategy=strategy)):
        assert stage.take() == ["+a", "+b", "+c"]
    assert stage.take() == ["-c", "-b", "-a"]


@pytest.mark.rule("S1")
async def test_each_child_waits_until_the_one_before_is_up(stage: Stage, clock: MockClock) -> None:
    stage.starts["a"] = pause(3)
    begun = trio.current_time()
    async with Runtime(supervisor("top", *stage.children("ab"))):
        assert stage.take() == ["+a", "+b"]
        assert trio.current_time() == begun + 3


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one", "dependents"])
@pytest.mark.rule("S1")
async def test_dependencies_start_first_and_stop_last_under_every_strategy(
    stage: Stage, strategy: str, clock: MockClock
) -> None:
    tree = supervisor(
        "top",
        stage.child("a", depends_on=["b"]),
        stage.child("b", depends_on=["c"]),
        stage.child("c"),
        strategy=strategy,
    )
    async with Runtime(tree):
        assert stage.take() == ["+c", "+b", "+a"]
    assert stage.take() == ["-a", "-b", "-c"]


def diamond(stage: Stage) -> object:
    return supervisor(
        "top",
        stage.child("a"),
        stage.child("b", depends_on=["a"]),
        stage.child("c", depends_on=["a"]),
        stage.child("d", depends_on=["b", "c"]),
        stage.child("e"),
        strategy="dependents",
    )


@pytest.mark.rule("S1")
async def test_under_dependents_independent_children_start_side_by_side(stage: Stage, clock: MockClock) -> None:
    for name, seconds in {"a": 1, "b": 2, "c": 2, "d": 1, "e": 4}.items():
        stage.starts[name] = pause(seconds)
    begun = trio.current_time()
    async with Runtime(diamond(stage)):
        log = stage.take()
        assert trio.current_time() == begun + 4
        assert log[0] == "+a"
        assert set(log[1:3]) == {"+b", "+c"}
        assert set(log[3:]) == {"+d", "+e"}


@pytest.mark.rule("S1")
async def test_under_dependents_independent_children_stop_side_by_side(stage: Stage, clock: MockClock) -> None:
    for name, seconds in {"a": 1, "b": 2, "c": 2, "d": 1, "e": 4}.items():
        stage.stops[name] = pause(seconds)
    async with Runtime(diamond(stage)) as runtime:
        stage.take()
        begun = trio.current_time()
        await runtime.stop()
        assert trio.current_time() == begun + 4
    log = stage.take()
    assert log[0] == "-d"
    assert set(log[1:3]) == {"-b", "-c"}
    assert set(log[3:]) == {"-a", "-e"}


@pytest.mark.rule("S1")
async def test_under_the_other_strategies_nothing_goes_side_by_side(stage: Stage, clock: MockClock) -> None:
    for name in "ab":
        stage.starts[name] = stage.stops[name] = pause(1)
    begun = trio.current_time()
    async with Runtime(supervisor("top", *stage.children("ab"))):
        assert trio.current_time() == begun + 2
    assert trio.current_time() == begun + 4


@pytest.mark.rule("S2")
async def test_a_subtree_counts_as_started_when_all_its_children_are(stage: Stage, clock: MockClock) -> None:
    stage.starts["y"] = pause(1)
    tree = supervisor(
        "top",
        stage.child("b", depends_on=["sub"]),
        supervisor("sub", *stage.children("xy")),
        strategy="dependents",
    )
    async with Runtime(tree) as runtime:
        assert stage.take() == ["+x", "+y", "+b"]
        assert await states(runtime, "sub") == {"x": "running", "y": "running"}
    assert stage.take() == ["-b", "-y", "-x"]


# --- first starts that fail


@pytest.mark.rule("S3")
async def test_a_first_start_that_fails_is_not_retried_and_what_was_started_is_stopped(
    stage: Stage, clock: MockClock
) -> None:
    stage.fail_starts("c")
    with pytest.raises(StartFailed, match="/top/c could not be started: Boom: start of c") as caught:
        async with Runtime(supervisor("top", *stage.children("abcd"))):
            pytest.fail("the body must not run")
    assert stage.take() == ["+a", "+b", "!c", "-b", "-a"]
    assert "/top/c" in str(caught.value)
    assert leaf(caught.value) == "start of c"


def leaf(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    assert isinstance(error, Boom)
    return str(error)


@pytest.mark.rule("S3")
async def test_a_failed_start_deep_in_the_tree_stops_the_whole_tree_and_names_the_child(
    stage: Stage, clock: MockClock
) -> None:
    stage.fail_starts("x")
    tree = supervisor("top", stage.child("a"), supervisor("mid", stage.child("b"), supervisor("low", stage.child("x"))))
    with pytest.raises(StartFailed, match="/top/mid/low/x could not be started") as caught:
        async with Runtime(tree):
            pytest.fail("the body must not run")
    assert stage.take() == ["+a", "+b", "!x", "-b", "-a"]
    assert leaf(caught.value) == "start of x"


@pytest.mark.rule("S3")
async def test_under_dependents_a_failed_first_start_stops_what_was_started_beside_it(
    stage: Stage, clock: MockClock
) -> None:
    stage.starts["b"] = pause(1)
    stage.fail_starts("c")
    tree = supervisor(
        "top",
        stage.child("a"),
        stage.child("b", depends_on=["a"]),
        stage.child("c", depends_on=["a"]),
        stage.child("d", depends_on=["c"]),
        strategy="dependents",
    )
    with pytest.raises(StartFailed, match="/top/c"):
        async with Runtime(tree):
            pytest.fail("the body must not run")
    assert stage.take() == ["+a", "!c", "+b", "-b", "-a"]


@pytest.mark.rule("S3")
async def test_a_factory_that_raises_is_a_failed_start(clock: MockClock) -> None:
    def broken() -> Worker:
        raise Boom("no such thing")

    with pytest.raises(StartFailed, match="/top/a could not be started: Boom: no such thing"):
        async with Runtime(supervisor("top", child("a", broken))):
            pytest.fail("the body must not run")


@pytest.mark.rule("S3")
async def test_start_timeout_bounds_on_start(stage: Stage, clock: MockClock) -> None:
    stage.starts["b"] = hang
    begun = trio.current_time()
    with pytest.raises(StartFailed, match="/top/b") as caught:
        async with Runtime(supervisor("top", stage.child("a"), stage.child("b", start_timeout=2.5))):
            pytest.fail("the body must not run")
    assert trio.current_time() == begun + 2.5
    cause = caught.value.__cause__
    assert isinstance(cause, StartTimeout) or isinstance(cause.__cause__, StartTimeout)
    assert stage.take() == ["+a", "-a"]


@pytest.mark.parametrize("strategy", ["one_for_one", "dependents"])
@pytest.mark.rule("S3", "S1")
async def test_a_tree_that_is_stopped_while_it_starts_stops_what_was_started_in_reverse(
    stage: Stage, strategy: str, clock: MockClock
) -> None:
    stage.starts["c"] = hang
    tree = supervisor(
        "top",
        stage.child("a"),
        stage.child("b", depends_on=["a"]),
        stage.child("c", depends_on=["b"]),
        strategy=strategy,
    )
    runtime = Runtime(tree)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def run() -> None:
            with pytest.raises(ActorStopped, match="/top was stopped while it started"):
                async with runtime:
                    pytest.fail("the body runs without its tree")

        await wait_all_tasks_blocked()
        assert stage.take() == ["+a", "+b"]
        runtime.ask_to_stop()
    assert stage.take() == ["-b", "-a"]


@pytest.mark.parametrize("strategy", ["one_for_one", "dependents"])
@pytest.mark.rule("X1", "S3")
async def test_a_forged_cancelled_from_a_start_is_a_failed_start(stage: Stage, strategy: str, clock: MockClock) -> None:
    async def forge(worker: Worker) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                stale = error
        raise stale

    stage.starts["b"] = forge
    with pytest.raises(StartFailed, match="/top/b"):
        async with Runtime(supervisor("top", *stage.children("abc"), strategy=strategy)):
            pytest.fail("the body must not run")
    assert sorted(stage.take())[-2:] == ["-a", "-c"] if strategy == "dependents" else stage.take() == ["+a", "-a"]


# --- the end of a child


@pytest.mark.rule("S12")
async def test_a_child_that_ends_within_its_shutdown_time_is_not_killed(stage: Stage, clock: MockClock) -> None:
    stage.stops["a"] = pause(4.5)
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        begun = trio.current_time()
        await runtime.stop()
        assert trio.current_time() == begun + 4.5
    assert stage.take() == ["+a", "-a"]


@pytest.mark.rule("S12")
async def test_a_child_that_takes_longer_than_its_shutdown_time_is_killed(stage: Stage, clock: MockClock) -> None:
    stage.stops["a"] = hang
    async with Runtime(supervisor("top", stage.child("a", shutdown=2.0), stage.child("b"))) as runtime:
        begun = trio.current_time()
        await runtime.stop()
        assert trio.current_time() == begun + 2.0


@pytest.mark.rule("S12")
async def test_each_child_has_its_own_shutdown_time_one_after_the_other(stage: Stage, clock: MockClock) -> None:
    for name in "ab":
        stage.stops[name] = hang
    tree = supervisor("top", stage.child("a", shutdown=2.0), stage.child("b", shutdown=3.0))
    async with Runtime(tree) as runtime:
        begun = trio.current_time()
        await runtime.stop()
        assert trio.current_time() == begun + 5.0


@pytest.mark.rule("S12")
async def test_a_shutdown_of_none_has_no_limit(stage: Stage, clock: MockClock) -> None:
    stage.stops["a"] = pause(10_000)
    async with Runtime(supervisor("top", stage.child("a", shutdown=None))) as runtime:
        begun = trio.current_time()
        await runtime.stop()
        assert trio.current_time() == begun + 10_000
    assert stage.take() == ["+a", "-a"]


@pytest.mark.rule("S11", "S12")
async def test_a_brutal_kill_does_not_run_on_stop(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a", shutdown="kill"), stage.child("b"))) as runtime:
        begun = trio.current_time()
        await runtime.stop()
        assert trio.current_time() == begun
    assert stage.take() == ["+a", "+b", "-b"]


@pytest.mark.rule("S13")
async def test_what_does_not_end_when_killed_is_a_zombie_that_holds_up_nobody(stage: Stage, clock: MockClock) -> None:
    async def refuse(worker: Worker) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    stage.stops["b"] = refuse
    async with Runtime(supervisor("top", stage.child("a"), stage.child("b", shutdown=2.0))) as runtime:
        stage.take()
        begun = trio.current_time()
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "b")
        assert begun + 2.0 < trio.current_time() < begun + 5.0
        assert runtime.system.zombies == 1
        assert [event.path for event in runtime.events.of(Zombie)] == ["/top/b"]
        assert await states(runtime) == {"a": "running", "b": "stopped"}
        await runtime.ref("top", Supervisor).call(Supervisor.restart_child, "b")
        assert await states(runtime) == {"a": "running", "b": "running"}
        assert await runtime.ref("b", Worker).call(Worker.incarnation) == 2
        stage.stops.clear()


@pytest.mark.rule("S1", "S12")
async def test_a_dynamic_supervisor_asks_all_children_to_stop_at_once(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", dynamic_supervisor("pool"))) as runtime:
        pool = runtime.ref("pool", Supervisor)
        for name in "abc":
            stage.stops[name] = pause(2)
            await pool.call(Supervisor.start_child, stage.child(name))
        stage.stops["c"] = hang
        begun = trio.current_time()
        await runtime.stop()
        assert trio.current_time() == begun + 5
    assert sorted(stage.take()[:5]) == ["+a", "+b", "+c", "-a", "-b"]


@pytest.mark.rule("S1", "S11")
async def test_a_killed_supervisor_takes_its_subtree_along_and_is_started_anew(stage: Stage, clock: MockClock) -> None:
    tree = supervisor("top", supervisor("sub", *stage.children("ab")), stage.child("c"))
    async with Runtime(tree) as runtime:
        a = runtime.ref("a", Worker)
        stage.take()
        runtime.ref("sub").kill()
        await wait_all_tasks_blocked()
        assert stage.take() == ["+a", "+b"], "no on_stop runs after a kill"
        assert await a.call(Worker.incarnation) == 2
        assert await runtime.ref("c", Worker).call(Worker.incarnation) == 1


class Busy(Actor):
    """Has a background task, so that its end takes a while."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def on_start(self) -> None:
        self.ctx.start_task(trio.sleep_forever)

    def on_stop(self, reason: object) -> None:
        self.log.append(self.ctx.name)


@pytest.mark.rule("S11")
async def test_on_stop_does_not_run_after_a_kill_whatever_had_to_be_joined(clock: MockClock) -> None:
    log: list[str] = []
    names = [f"busy{i}" for i in range(40)]
    tree = supervisor("top", *(child(name, lambda: Busy(log), restart="transient") for name in names), max_restarts=99)
    async with Runtime(tree) as runtime:
        for name in names:
            runtime.ref(name).kill()
        await wait_all_tasks_blocked()
        assert log == []


@pytest.mark.rule("S12")
async def test_a_stop_does_not_wait_for_a_restart_that_hangs(clock: MockClock) -> None:
    class Hangs(Actor):
        async def on_start(self) -> None:
            if self.ctx.incarnation > 1:
                await trio.sleep_forever()

        def fail(self) -> None:
            raise ValueError("on purpose")

    async with Runtime(supervisor("top", child("a", Hangs), supervisor("nested", child("b", Hangs)))) as runtime:
        for name in ("a", "b"):
            runtime.ref(name, Hangs).cast(Hangs.fail)
        await trio.sleep(1)
        assert [node.state for node in runtime.tree().walk() if node.name in "ab"] == ["starting", "starting"]
        await runtime.stop()
