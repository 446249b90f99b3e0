"""Children that are started, stopped, restarted, deleted and listed while the tree runs."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    ActorStopped,
    CalledItself,
    ChildStateError,
    ComponentNotFound,
    Runtime,
    SpecError,
    StartFailed,
    Supervisor,
    child,
    supervisor,
)

from .stage import Stage, Worker, crash, hang, infos, pause, states


@pytest.mark.rule("S7")
async def test_a_child_can_be_started_at_run_time_and_is_kept_alive_like_any_other(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        ref = await runtime.ref("top", Supervisor).call(Supervisor.start_child, stage.child("b"))
        assert ref == runtime.ref("/top/b", Worker)
        await crash(runtime, "b")
        assert await ref.call(Worker.incarnation) == 2
        assert await states(runtime) == {"a": "running", "b": "running"}
    assert stage.take() == ["+a", "+b", "-b", "+b", "-b", "-a"]


@pytest.mark.rule("S7")
async def test_a_subtree_can_be_started_at_run_time(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top")) as runtime:
        sub = supervisor("sub", *stage.children("xy"))
        await runtime.ref("top", Supervisor).call(Supervisor.start_child, sub)
        assert await states(runtime, "sub") == {"x": "running", "y": "running"}
        await runtime.ref("top", Supervisor).call(Supervisor.stop_child, "sub")
    assert stage.take() == ["+x", "+y", "-y", "-x"]


@pytest.mark.rule("S7")
async def test_a_name_that_is_taken_is_refused(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        top = runtime.ref("top", Supervisor)
        with pytest.raises(ChildStateError, match=r"'a' is already present \(running\)") as caught:
            await top.call(Supervisor.start_child, stage.child("a"))
        assert (caught.value.child, caught.value.state) == ("a", "already present")
        await top.call(Supervisor.stop_child, "a")
        with pytest.raises(ChildStateError, match=r"'a' is already present \(stopped\)"):
            await top.call(Supervisor.start_child, stage.child("a"))


@pytest.mark.rule("S3", "S7")
async def test_a_child_whose_start_fails_is_not_kept_and_the_supervisor_goes_on(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"), max_restarts=0)) as runtime:
        top = runtime.ref("top", Supervisor)
        stage.fail_starts("b")
        with pytest.raises(StartFailed, match="/top/b could not be started: Boom: start of b"):
            await top.call(Supervisor.start_child, stage.child("b"))
        assert await states(runtime) == {"a": "running"}
        with pytest.raises(ComponentNotFound):
            runtime.ref("b")
        await top.call(Supervisor.start_child, stage.child("b"))
        assert await states(runtime) == {"a": "running", "b": "running"}


@pytest.mark.parametrize("wrong", ["a child", None, Worker])
async def test_what_is_no_child_is_refused(stage: Stage, wrong: object, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        with pytest.raises(SpecError, match=r"start_child takes a child\(…\)"):
            await runtime.ref("top", Supervisor).call(Supervisor.start_child, wrong)  # type: ignore[arg-type]
        assert await states(runtime) == {"a": "running"}


@pytest.mark.rule("S7")
async def test_a_child_added_at_run_time_may_depend_on_its_siblings(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"), strategy="dependents")) as runtime:
        await runtime.ref("top", Supervisor).call(Supervisor.start_child, stage.child("b", depends_on=["a"]))
        stage.take()
        await crash(runtime, "a")
        assert stage.take() == ["-a", "-b", "+a", "+b"]


@pytest.mark.rule("S7")
async def test_it_must_fit_beside_them(stage: Stage, clock: MockClock) -> None:
    tree = supervisor("top", stage.child("a"), stage.child("t", restart="temporary"), stage.child("s"))
    async with Runtime(tree) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "s")
        for needed, message in {"x": "a sibling under", "t": "temporary", "s": "'s', which is stopped"}.items():
            with pytest.raises(SpecError, match=message):
                await top.call(Supervisor.start_child, stage.child("b", depends_on=[needed]))
        with pytest.raises(SpecError, match="significant=True"):
            await top.call(Supervisor.start_child, stage.child("b", restart="transient", significant=True))
        assert await states(runtime) == {"a": "running", "t": "running", "s": "stopped"}


@pytest.mark.rule("S7")
async def test_stopping_a_child_stops_its_dependents_first_and_restarting_it_brings_them_back(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor(
        "top",
        stage.child("a"),
        stage.child("b", depends_on=["a"]),
        stage.child("c", depends_on=["b"]),
        stage.child("d"),
    )
    async with Runtime(tree) as runtime:
        top = runtime.ref("top", Supervisor)
        stage.take()
        await top.call(Supervisor.stop_child, "a")
        assert stage.take() == ["-c", "-b", "-a"]
        assert await states(runtime) == {"a": "stopped", "b": "stopped", "c": "stopped", "d": "running"}
        await top.call(Supervisor.restart_child, "a")
        assert stage.take() == ["+a", "+b", "+c"]
        assert {info.restarts for info in (await infos(runtime)).values()} == {0}


@pytest.mark.rule("S7")
async def test_what_was_stopped_for_its_own_sake_stays_stopped(stage: Stage, clock: MockClock) -> None:
    tree = supervisor("top", stage.child("a"), stage.child("b", depends_on=["a"]), stage.child("c", depends_on=["a"]))
    async with Runtime(tree) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "b")
        await top.call(Supervisor.stop_child, "a")
        await top.call(Supervisor.stop_child, "c")
        await top.call(Supervisor.restart_child, "a")
        assert await states(runtime) == {"a": "running", "b": "stopped", "c": "stopped"}


@pytest.mark.rule("S7")
async def test_what_hangs_on_two_stopped_children_comes_back_with_the_last_of_them(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor("top", *stage.children("ab"), stage.child("c", depends_on=["a", "b"]))
    async with Runtime(tree) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "a")
        await top.call(Supervisor.stop_child, "b")
        await top.call(Supervisor.restart_child, "a")
        assert await states(runtime) == {"a": "running", "b": "stopped", "c": "stopped"}
        await top.call(Supervisor.restart_child, "b")
        assert await states(runtime) == {"a": "running", "b": "running", "c": "running"}


@pytest.mark.rule("S7", "R3")
async def test_a_group_restart_does_not_bring_back_what_hangs_on_a_stopped_child(
    stage: Stage, clock: MockClock
) -> None:
    tree = supervisor("top", *stage.children("ab"), stage.child("c", depends_on=["a", "b"]), strategy="dependents")
    async with Runtime(tree) as runtime:
        top, c = runtime.ref("top", Supervisor), runtime.ref("c", Worker)
        await top.call(Supervisor.stop_child, "a")
        await crash(runtime, "b")
        assert await states(runtime) == {"a": "stopped", "b": "running", "c": "stopped"}
        with pytest.raises(ActorStopped):
            await c.call(Worker.incarnation)


@pytest.mark.rule("S7", "S4")
async def test_a_dependent_that_fails_to_come_back_is_tried_again(stage: Stage, clock: MockClock) -> None:
    tree = supervisor("top", stage.child("a"), stage.child("b", depends_on=["a"]), stage.child("c", depends_on=["a"]))
    async with Runtime(tree) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "a")
        stage.take()
        stage.fail_starts("b")
        await top.call(Supervisor.restart_child, "a")
        assert stage.take() == ["+a", "!b", "+c"]
        assert await states(runtime) == {"a": "running", "b": "restarting", "c": "running"}
        await trio.sleep(1)
        assert stage.take() == ["+b"]


@pytest.mark.rule("S7")
async def test_a_child_is_not_restarted_before_what_it_depends_on(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"), stage.child("b", depends_on=["a"]))) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "a")
        with pytest.raises(ChildStateError, match="'b' is stopped; it depends on 'a', which is stopped"):
            await top.call(Supervisor.restart_child, "b")


@pytest.mark.rule("R3")
async def test_a_stopped_child_answers_at_once_that_it_is_not_there_and_restarting_revives_the_same_ref(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        top, a = runtime.ref("top", Supervisor), runtime.ref("a", Worker)
        await top.call(Supervisor.stop_child, "a")
        with pytest.raises(ActorStopped, match="/top/a"):
            await a.call(Worker.incarnation)
        with pytest.raises(ActorStopped):
            a.cast(Worker.note, "x")
        assert await top.call(Supervisor.restart_child, "a") == a
        assert await a.call(Worker.incarnation) == 2


@pytest.mark.rule("S4", "S7")
async def test_a_restart_by_hand_that_fails_leaves_the_child_stopped(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        top, a = runtime.ref("top", Supervisor), runtime.ref("a", Worker)
        await top.call(Supervisor.stop_child, "a")
        stage.fail_starts("a")
        with pytest.raises(StartFailed, match="/top/a could not be started"):
            await top.call(Supervisor.restart_child, "a")
        await trio.sleep(10)
        assert await states(runtime) == {"a": "stopped"}
        with pytest.raises(ActorStopped):
            await a.call(Worker.incarnation)
        await top.call(Supervisor.restart_child, "a")
        assert await states(runtime) == {"a": "running"}


@pytest.mark.rule("S7")
async def test_a_running_child_cannot_be_restarted_or_deleted(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        top = runtime.ref("top", Supervisor)
        with pytest.raises(ChildStateError, match="'a' is running"):
            await top.call(Supervisor.restart_child, "a")
        with pytest.raises(ChildStateError, match="'a' is running; stop it first"):
            await top.call(Supervisor.delete_child, "a")


@pytest.mark.rule("S7", "R1")
async def test_deleting_ends_the_ref_for_ever_and_frees_the_name(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        top, old = runtime.ref("top", Supervisor), runtime.ref("a", Worker)
        await top.call(Supervisor.stop_child, "a")
        await top.call(Supervisor.delete_child, "a")
        assert await states(runtime) == {}
        new = await top.call(Supervisor.start_child, stage.child("a"))
        assert new != old
        with pytest.raises(ActorStopped, match="was deleted"):
            await old.call(Worker.incarnation)
        assert await new.call(Worker.incarnation) == 1


@pytest.mark.rule("S7")
async def test_deleting_what_others_depend_on_is_refused(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"), stage.child("b", depends_on=["a"]))) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "a")
        with pytest.raises(ChildStateError, match="'a' is needed by 'b'"):
            await top.call(Supervisor.delete_child, "a")
        await top.call(Supervisor.delete_child, "b")
        await top.call(Supervisor.delete_child, "a")
        assert await states(runtime) == {}


@pytest.mark.parametrize("message", [Supervisor.stop_child, Supervisor.restart_child, Supervisor.delete_child])
async def test_an_unknown_child_is_an_error_that_names_it_and_the_supervisor(
    stage: Stage, message: object, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        with pytest.raises(ComponentNotFound, match="nobody under /top"):
            await runtime.ref("top", Supervisor).call(message, "nobody")  # type: ignore[arg-type]
        assert await states(runtime) == {"a": "running"}


@pytest.mark.rule("S7")
async def test_stopping_what_is_stopped_is_harmless(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", stage.child("a"))) as runtime:
        top = runtime.ref("top", Supervisor)
        await top.call(Supervisor.stop_child, "a")
        await top.call(Supervisor.stop_child, "a")
        assert stage.take() == ["+a", "-a"]


@pytest.mark.rule("R1", "S8")
async def test_when_the_supervisor_is_restarted_it_has_its_declared_children_and_no_others(
    stage: Stage, clock: MockClock
) -> None:
    sub = supervisor("sub", *stage.children("xy"), max_restarts=0)
    async with Runtime(supervisor("top", sub)) as runtime:
        boss, x = runtime.ref("sub", Supervisor), runtime.ref("x", Worker)
        added = await boss.call(Supervisor.start_child, stage.child("z"))
        await boss.call(Supervisor.stop_child, "y")
        await boss.call(Supervisor.delete_child, "y")
        await crash(runtime, "x")
        assert await states(runtime, "sub") == {"x": "running", "y": "running"}
        assert await x.call(Worker.incarnation) == 2
        with pytest.raises(ActorStopped):
            await added.call(Worker.incarnation)


# --- children() at any moment


@pytest.mark.rule("S10")
async def test_a_supervisor_answers_children_in_the_middle_of_a_transition(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", *stage.children("abc"), strategy="one_for_all")) as runtime:
        stage.stops["b"] = pause(2)
        stage.starts["b"] = pause(2)
        runtime.ref("a", Worker).cast(Worker.boom)
        with trio.fail_after(0.5):
            await wait_all_tasks_blocked()
            during_stop = await states(runtime)
        assert during_stop["b"] == "running"
        assert during_stop["a"] == "restarting"
        await trio.sleep(3)
        with trio.fail_after(0.5):
            during_start = await states(runtime)
        assert during_start == {"a": "running", "b": "starting", "c": "restarting"}
        await trio.sleep(2)
        assert await states(runtime) == dict.fromkeys("abc", "running")


@pytest.mark.rule("S10")
async def test_it_answers_while_it_stops(stage: Stage, clock: MockClock) -> None:
    async with Runtime(supervisor("top", supervisor("sub", *stage.children("ab")))) as runtime:
        stage.stops["a"] = pause(2)
        sub = runtime.ref("sub", Supervisor)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.ref("top", Supervisor).call, Supervisor.stop_child, "sub")
            await wait_all_tasks_blocked()
            with trio.fail_after(0.5):
                answered = {info.name: info.state for info in await sub.call(Supervisor.children)}
            assert answered == {"a": "running", "b": "stopped"}


class Curious(Actor):
    """Asks its supervisor for the children while it starts."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    async def on_start(self) -> None:
        path = self.ctx.path.rpartition("/")[0]
        for info in await self.ctx.find(path, Supervisor).call(Supervisor.children):
            self.told.append(f"{info.name} {info.state}")


@pytest.mark.rule("S10")
async def test_it_answers_while_it_starts_even_to_the_child_that_starts(stage: Stage, clock: MockClock) -> None:
    told: list[str] = []
    async with Runtime(supervisor("top", stage.child("a"), child("b", lambda: Curious(told)), stage.child("c"))):
        assert told == ["a running", "b starting", "c stopped"]


class Meddler(Actor):
    """Asks its own supervisor to stop it."""

    async def leave(self) -> None:
        await self.ctx.find("top", Supervisor).call(Supervisor.stop_child, self.ctx.name)


@pytest.mark.rule("M4", "S7")
async def test_a_child_that_asks_its_supervisor_to_stop_it_learns_at_once_that_nobody_can_answer(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", child("m", Meddler, shutdown=1.0), stage.child("b"))) as runtime:
        with pytest.raises(ActorCrashed, match="/top/m -> /top -> /top/m") as crashed:
            await runtime.ref("m", Meddler).call(Meddler.leave)
        assert isinstance(crashed.value.__cause__, CalledItself)
        assert trio.current_time() == 0.0
        await wait_all_tasks_blocked()
        assert await states(runtime) == {"m": "stopped", "b": "running"}


@pytest.mark.rule("S10", "S6")
async def test_a_start_that_hangs_is_cut_short_by_its_start_timeout_in_a_restart_too(
    stage: Stage, clock: MockClock
) -> None:
    async with Runtime(supervisor("top", stage.child("a", start_timeout=1.0), stage.child("b"))) as runtime:
        stage.starts["a"] = hang
        await crash(runtime, "a")
        assert (await states(runtime))["a"] == "starting"
        await trio.sleep(1.05)
        assert (await states(runtime))["a"] == "restarting"
        stage.starts.clear()
        await trio.sleep(1)
        assert (await states(runtime))["a"] == "running"
