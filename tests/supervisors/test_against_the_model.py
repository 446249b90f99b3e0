"""Random trees, random misfortune: a real supervisor must do what the naive model says, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import ActorStopped, Backoff, Runtime, Supervisor, SupervisorGaveUp, UkemiError, supervisor
from ukemi.actors.events import ActorExited
from ukemi.supervisors import ChildSpec, restarts
from ukemi.supervisors.strategy import RestartType, Strategy

from .model import FIRST_DELAY, LONGEST_DELAY, GaveUp, Kid, Model, Pause
from .stage import Stage, Worker, infos

DECLARED = "abcde"
EXTRA = "x"
NAMES = DECLARED + EXTRA
WITHIN = 4.0

# All times are multiples of an eighth, so that sums are exact and deadlines are met to the tick.
names = st.sampled_from(NAMES)
pauses = st.sampled_from([None, None, (0.5, 1.0, None), (0.25, 1.0, 2), (6.0, 16.0, None)])
restart_types = st.sampled_from(["permanent", "permanent", "transient", "temporary"])

Command = tuple[Any, ...]
picks = st.integers(0, len(NAMES) - 1)
times = st.sampled_from([1, 2, 4, 8, 12, 16, 20, 32, 64]).map(lambda n: n / 8)
commands = st.one_of(
    st.tuples(st.just("crash"), picks),
    st.tuples(st.just("crash"), picks),
    st.tuples(st.just("kill"), st.lists(names, min_size=2, max_size=4, unique=True)),
    st.tuples(st.just("finish"), picks),
    st.tuples(st.just("stop"), names),
    st.tuples(st.just("revive"), picks),
    st.tuples(st.just("restart"), names),
    st.tuples(st.just("delete"), names),
    st.tuples(
        st.just("start"), names, restart_types, st.lists(st.sampled_from(NAMES), max_size=2, unique=True), pauses
    ),
    st.tuples(st.just("fail"), names, st.integers(1, 3)),
    st.tuples(st.just("advance"), times),
)


@st.composite
def declared(draw: st.DrawFn) -> list[Kid]:
    """Some children; who is needed by another is never temporary."""
    kids: list[Kid] = []
    for name in DECLARED[: draw(st.integers(2, len(DECLARED)))]:
        lasting = [kid.name for kid in kids if kid.restart != "temporary"]
        needs = draw(st.lists(st.sampled_from(lasting), max_size=2, unique=True)) if lasting else []
        kids.append(Kid(name, draw(restart_types), tuple(needs), as_pause(draw(pauses))))
    return kids


def as_pause(values: tuple[float, float, int | None] | None) -> Pause | None:
    return None if values is None else Pause(*values)


def spec_of(stage: Stage, kid: Kid) -> ChildSpec:
    pause = kid.pause
    backoff = pause and Backoff(pause.initial, pause.maximum, jitter=0.0, max_attempts=pause.max_attempts)
    return stage.child(kid.name, restart=kid.restart, depends_on=kid.needs, backoff=backoff)


class Play:
    """One run of a real supervisor beside its model."""

    def __init__(self, strategy: Strategy, kids: list[Kid], max_restarts: int) -> None:
        self.clock = MockClock()
        self.stage = Stage()
        self.model = Model(strategy, max_restarts, WITHIN, {kid.name: kid for kid in kids})
        specs = [spec_of(self.stage, kid) for kid in kids]
        self.tree = supervisor("top", *specs, strategy=strategy, max_restarts=max_restarts, within=WITHIN)
        self.running: set[str] = set()
        self.runtime: Runtime

    async def run(self, steps: list[Command]) -> None:
        try:
            async with Runtime(self.tree) as self.runtime:
                self.expect(self.model.begin)
                await self.check()
                for step in steps:
                    await getattr(self, step[0])(*step[1:])
                    if self.model.gave_up:
                        break
                if self.model.gave_up:
                    await self.runtime.wait()
                else:
                    self.expect(self.model.end)
        except SupervisorGaveUp:
            assert self.model.gave_up, "it gave up, and should not have"
        else:
            assert not self.model.gave_up, "it should have given up"
        self.check_log()

    def expect(self, happening: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Let it happen in the model."""
        try:
            return happening(*args, **kwargs)
        except GaveUp:
            self.model.gave_up = True
            self.model.end()

    # --- the commands

    def pick(self, number: int, state: str) -> str | None:
        """One of the children in this state."""
        found = [kid.name for kid in self.model.kids.values() if kid.state == state]
        return found[number % len(found)] if found else None

    async def crash(self, number: int) -> None:
        await self.end_one(number, Worker.boom, is_abnormal=True)

    async def finish(self, number: int) -> None:
        await self.end_one(number, Worker.finish, is_abnormal=False)

    async def end_one(self, number: int, message: Callable[..., Any], *, is_abnormal: bool) -> None:
        name = self.pick(number, "running")
        if name is not None:
            self.running.discard(name)
            self.expect(self.model.ended, [(name, is_abnormal)], logs_end=True)
            self.runtime.ref(name, Worker).cast(message)
            await self.check()

    async def kill(self, names: list[str]) -> None:
        """Several at once. Which of them ends first is chance, and told to the model."""
        victims = {f"/top/{name}": name for name in names if name in self.running}
        if not victims:
            return
        before = len(self.runtime.events)
        for path in victims:
            self.runtime.ref(path).kill()
        with trio.CancelScope(shield=True):  # it may give up
            await wait_all_tasks_blocked()
        ended = [event.path for event in list(self.runtime.events)[before:] if isinstance(event, ActorExited)]
        order = [victims[path] for path in dict.fromkeys(ended) if path in victims]
        self.running.difference_update(order)
        self.expect(self.model.ended, [(name, True) for name in order], logs_end=False)
        await self.check()

    async def start(self, name: str, restart: RestartType, needs: list[str], pause: Any) -> None:
        kid = Kid(name, restart, tuple(n for n in needs if n != name), as_pause(pause))
        await self.ask(Supervisor.start_child, spec_of(self.stage, kid), self.expect(self.model.start_child, kid))

    async def stop(self, name: str) -> None:
        await self.ask(Supervisor.stop_child, name, self.expect(self.model.stop_child, name))

    async def restart(self, name: str) -> None:
        await self.ask(Supervisor.restart_child, name, self.expect(self.model.restart_child, name))

    async def revive(self, number: int) -> None:
        name = self.pick(number, "stopped")
        if name is not None:
            await self.restart(name)

    async def delete(self, name: str) -> None:
        await self.ask(Supervisor.delete_child, name, self.expect(self.model.delete_child, name))

    async def ask(self, message: Callable[..., Any], argument: Any, error: str | None) -> None:
        answer: str | None = None
        try:
            await self.runtime.ref("top", Supervisor).call(message, argument)
        except UkemiError as raised:
            answer = type(raised).__name__
        if not self.model.gave_up:
            assert answer == error
            await self.check()

    async def fail(self, name: str, times: int) -> None:
        self.model.failures[name] = times
        self.stage.fail_starts(name, times)

    async def advance(self, seconds: float) -> None:
        end = self.model.now + seconds
        while not self.model.gave_up and (due := self.model.next_due()) is not None and due <= end:
            await self.jump_to(due)
            self.expect(self.model.run_due)
            await self.check()
        if not self.model.gave_up:
            await self.jump_to(end)
            await self.check()

    async def jump_to(self, time: float) -> None:
        self.clock.jump(time - self.model.now)
        self.model.now = time

    # --- the comparison

    async def check(self) -> None:
        if self.model.gave_up:
            return
        with trio.fail_after(1000):
            await wait_all_tasks_blocked()
            told = await infos(self.runtime)
        assert trio.current_time() == self.model.now
        expected = {kid.name: (kid.state, kid.restarts) for kid in self.model.kids.values()}
        assert [(name, (info.state, info.restarts)) for name, info in told.items()] == list(expected.items())
        self.check_log()
        for name, info in told.items():
            assert info.ref == self.runtime.ref(f"/top/{name}")
            if info.state == "stopped":
                with pytest.raises(ActorStopped):
                    info.ref.cast(Worker.note, "anyone there?")

    def check_log(self) -> None:
        """The same starts and stops, in the same order; side by side where the strategy says so."""
        log, expected = self.stage.take(), self.model.log
        self.model.log = []
        if self.model.strategy == "dependents":
            assert sorted(log) == sorted(expected)
        else:
            assert log == expected
        for what, name in log:
            if what == "-":
                self.running.discard(name)
            elif what == "+":
                self.running.add(name)
            if not self.model.gave_up and name in self.model.kids:
                self.check_order(what, name)

    def check_order(self, what: str, name: str) -> None:
        """What is started has what it needs."""
        if what == "+":
            for needed in self.model.kids[name].needs:
                assert needed in self.running or self.model.kids[needed].is_done, f"{name} before {needed}"


@pytest.fixture(autouse=True)
def _exact_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """No jitter where a start fails."""
    monkeypatch.setattr(restarts, "START_BACKOFF", Backoff(FIRST_DELAY, LONGEST_DELAY, jitter=0.0))


@pytest.mark.rule("S1", "S4", "S5", "S6", "S7")
@settings(max_examples=400, deadline=None)
@given(
    strategy=st.sampled_from(get_args(Strategy)),
    kids=declared(),
    max_restarts=st.sampled_from([0, 1, 2, 3, 9, 99]),
    steps=st.lists(commands, max_size=40),
)
def test_a_supervisor_does_what_the_model_says(
    strategy: Strategy, kids: list[Kid], max_restarts: int, steps: list[Command]
) -> None:
    play = Play(strategy, kids, max_restarts)
    trio.run(play.run, steps, clock=play.clock)
