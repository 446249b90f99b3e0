"""Every row of the recovery matrix, carried out by a real tree, as matrix_cells.py and background_cells.py say.

A child under the policy RECOVERY fails as often as its cell says. After each step it is looked at from all sides: what
the sender got and when, what the tree told of, what the actor did, and how `children()` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ActorCrashed,
    ActorStopped,
    CallTimeout,
    Row,
    Runtime,
    SupervisorGaveUp,
    child,
    falls_back_to,
    retryable,
    supervisor,
)
from ukemi.actors.events import DeadLetter, Event
from ukemi.supervisors import (
    AlertRaised,
    ChildRestarted,
    CircuitOpened,
    CircuitShut,
    Exhausted,
    FeatureDegraded,
    FeatureRestored,
    FellBack,
    GaveUp,
    QualityChanged,
    Recovered,
    RestartDelayed,
    Supervisor,
)
from ukemi.supervisors.recovery import GENERAL, MATRIX

from .background_cells import BACKGROUND_CELLS
from .cells import CRASH, ERROR, TIMEOUT, Back, Cell, Step, row_of
from .matrix_cells import CELLS as MESSAGE_CELLS
from .patients import Patient, Ward

CELLS = (*MESSAGE_CELLS, *BACKGROUND_CELLS)
JITTER = 1.1
"""Every pause may be so many times as long."""
WHILE = 1e-3


class Part(Patient):
    """A patient whose answers may be repeated and replaced, and that fails in the background and at its start, too."""

    @retryable
    @falls_back_to("stale")
    def fetch(self, text: str = "") -> str:
        return self._do("fetch", text)

    async def stale(self, text: str = "") -> str:
        return "stale"

    def stray(self) -> None:
        async def fail() -> None:
            self.ward.pass_or_raise("task")

        self.ctx.start_task(fail)


class Play:
    """One cell in a tree of its own."""

    def __init__(self, cell: Cell, make_error: Callable[[], Exception] | None, *, by_cast: bool) -> None:
        self.cell = cell
        self.make_error = make_error
        self.by_cast = by_cast
        self.ward = Ward()
        self.told: list[Event] = []
        options = dict(cell.options)
        if cell.fallback is not None:
            options["fallback"] = {cell.fallback: lambda: Part(self.ward, cell.fallback or "")}
        a = child("a", lambda: Part(self.ward), **options)
        tree = supervisor("top", a, policy=cell.policy, max_restarts=cell.max_restarts, within=1000.0)
        self.runtime = Runtime(tree)

    async def run(self) -> None:
        """Play all steps."""
        async with self.runtime:
            self.runtime.events.listen(self.told.append)
            self.ward.take()
            for step in self.cell.steps:
                await self.step(step)
                if step.state in ("ended", "gave up"):
                    await self.runtime.wait()
                    return
            if self.cell.back is not None:
                await self.way_back(self.cell.back)

    async def step(self, step: Step) -> None:
        """Fail, and look."""
        errors = [self.make_error() for _ in range(step.fails)] if self.make_error is not None else []
        begun = trio.current_time()
        got: list[Any] = []
        async with trio.open_nursery() as nursery:
            if self.cell.in_a == "task":
                self.ward.fail("task", *errors)
                self.ref.cast("stray")
            elif self.cell.in_a == "start":
                self.ward.fail("start own", *errors)
                self.ref.kill()
            elif self.by_cast:
                self.ward.fail(self.cell.method, *errors)
                self.ref.cast(self.cell.method)
            else:
                self.ward.fail(self.cell.method, *errors)
                nursery.start_soon(self.ask, step, got)
            await trio.sleep((step.waits + step.settles) * JITTER + WHILE)
        await wait_all_tasks_blocked()
        assert self.does() == step.does
        self.check_pauses(step)
        assert self.tells() == step.tells
        assert await self.state() == step.state
        if self.cell.in_a == "message" and not self.by_cast:
            ((outcome, at),) = got
            assert step.waits - WHILE <= at - begun <= step.waits * JITTER + WHILE
            self.check_outcome(step, outcome, errors)
        elif self.cell.in_a == "message":
            self.check_letters(step, errors)
        await trio.sleep(step.rests)

    async def ask(self, step: Step, got: list[Any]) -> None:
        try:
            outcome: Any = await self.ref.call(self.cell.method, *([step.takes] if step.takes else []))
        except Exception as error:
            outcome = error
        got.append((outcome, trio.current_time()))

    def check_outcome(self, step: Step, outcome: Any, errors: list[Exception]) -> None:
        """What became of a call."""
        if step.gets == CRASH:
            assert isinstance(outcome, ActorCrashed)
            assert outcome.__cause__ is errors[-1]
        elif step.gets == ERROR:
            assert outcome is errors[-1]
        elif step.gets == TIMEOUT:
            assert isinstance(outcome, CallTimeout)
        else:
            assert outcome == step.gets

    def check_letters(self, step: Step, errors: list[Exception]) -> None:
        """What became of a cast: a dead letter, where a call would have failed, and none where it was handled."""
        letters = [event.why for event in self.told if isinstance(event, DeadLetter)]
        how = {CRASH: "lost in a crash: ", ERROR: "failed: "}.get(step.gets)
        assert len(letters) == (how is not None)
        for letter in letters:
            assert letter.startswith(f"{how}{type(errors[-1]).__name__}")
        self.told.clear()

    def check_pauses(self, step: Step) -> None:
        """Each restart that was delayed was so by twice as long as the one before, and the jitter."""
        delays = [event.delay for event in self.told if isinstance(event, RestartDelayed)]
        if step.settles:
            pauses = delays[:-1] if step.state == "degraded" else delays
            assert step.settles <= sum(pauses) <= step.settles * JITTER
        if step.state == "degraded":
            assert 1.0 <= delays[-1] <= JITTER, "the first try of a child that is degraded and down"

    async def way_back(self, back: Back) -> None:
        """Wait, and look."""
        self.told.clear()
        await trio.sleep(back.after)
        await wait_all_tasks_blocked()
        assert (self.does(), self.tells(), await self.state()) == (back.does, back.tells, back.state)
        if back.state == "stopped":
            with pytest.raises(ActorStopped):
                await self.ref.call("who")
        else:
            assert (await self.ref.call("who")).startswith("own ")

    # --- looking

    @property
    def ref(self) -> Any:
        return self.runtime.ref("a")

    def does(self) -> str:
        return ", ".join(self.ward.take())

    def tells(self) -> str:
        """The events since the last time, but for dead letters, which are left."""
        texts = [self.text_of(event) for event in self.told]
        self.told[:] = [event for event in self.told if isinstance(event, DeadLetter)]
        return ", ".join(filter(None, texts))

    def text_of(self, event: Event) -> str:
        row, name = row_of(self.cell), type(event).__name__
        match event:
            case Recovered(action=action, attempt=attempt):
                self.check_recovered(event)
                called = {str(row.then): "then"} | {str(row.first): "first"}
                return f"{called.get(action, action)} {attempt}"
            case AlertRaised(severity=severity, path="/top/a"):
                return f"{name} {severity}"
            case FellBack(fallback=fallback):
                return f"{name} {fallback}"
            case FeatureDegraded(feature=feature) | FeatureRestored(feature=feature):
                return f"{name} {feature}"
            case QualityChanged(before=before, level=level):
                return f"{name} {before} to {level}"
            case ChildRestarted() | RestartDelayed() | Exhausted() | CircuitOpened() | CircuitShut() | GaveUp():
                return name
        return ""

    def check_recovered(self, event: Recovered) -> None:
        """It is about the row that the cell is about, and the error."""
        row = row_of(self.cell)
        assert row.category in (None, event.category)
        assert row.severity in (None, event.severity)
        assert event.path == "/top/a"
        if self.make_error is not None:
            assert event.error == type(self.make_error()).__name__

    async def state(self) -> str:
        if self.runtime.is_stopping or self.runtime.ref("top").stats().state != "running":
            return "gave up" if self.runtime.events.of(GaveUp) else "ended"
        (info,) = await self.runtime.ref("top", Supervisor).call(Supervisor.children)
        return info.state if info.fallback is None else f"{info.state}: {info.fallback}"


def plays() -> list[Any]:
    """Each cell with each of its errors, by call and by cast where there is a message."""
    return [
        pytest.param(cell, make_error, how == "cast", id=f"{cell.id} [{named(make_error)}, {how}]")
        for cell in CELLS
        for make_error in cell.errors or (None,)
        for how in (("call", "cast") if cell.in_a == "message" and cell.errors else (cell.in_a,))
    ]


def named(make_error: Callable[[], Exception] | None) -> str:
    return type(make_error()).__name__ if make_error is not None else "no error"


@pytest.mark.rule("S10")
@pytest.mark.parametrize(("cell", "make_error", "by_cast"), plays())
async def test_a_tree_does_with_a_failure_as_the_matrix_says(
    cell: Cell, make_error: Callable[[], Exception] | None, by_cast: bool, autojump_clock: MockClock
) -> None:
    play = Play(cell, make_error, by_cast=by_cast)
    if cell.steps[-1].state == "gave up":
        with pytest.raises(SupervisorGaveUp, match="gave up on /top/a"):
            await play.run()
    else:
        await play.run()


# --- that nothing is missing


def count(cell: Cell, what: str) -> int:
    """How often a cell has an action of its row carried out, before the other comes."""
    told = [re.sub(r" \d+$", "", text) for step in cell.steps for text in step.tells.split(", ")]
    if what == "first" and "then" in told:
        told = told[: told.index("then")]
    return told.count(what)


def cells_of(row: Row) -> list[Cell]:
    return [cell for cell in CELLS if row_of(cell) is row]


@pytest.mark.parametrize("row", [*MATRIX, *GENERAL], ids=lambda row: row.name)
def test_every_row_has_a_cell_in_which_its_first_action_is_carried_out_as_often_as_it_says(row: Row) -> None:
    counts = {count(cell, "first") for cell in cells_of(row)}
    wanted = row.tries if row.then is not None else 3
    assert max(counts) >= wanted


@pytest.mark.parametrize("row", [row for row in (*MATRIX, *GENERAL) if row.then], ids=lambda row: row.name)
def test_every_row_that_says_what_comes_then_has_a_cell_in_which_it_does(row: Row) -> None:
    assert any(count(cell, "then") for cell in cells_of(row))


def test_each_error_of_a_cell_is_classified_as_its_row_says() -> None:
    for cell in CELLS:
        for make_error in cell.errors:
            failure = cell.policy.classifier.classify(make_error())
            assert cell.policy.row_for(failure.category, failure.severity) is row_of(cell), (cell.id, failure)


def test_no_two_plays_have_the_same_name() -> None:
    names = [(cell.row, cell.case) for cell in CELLS]
    assert len(set(names)) == len(names)
