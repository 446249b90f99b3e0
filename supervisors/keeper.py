"""`Keeper`: an actor with children, which it starts and stops in dependency order.

The lowest layer of a supervisor. It knows what a child is and in which order things are done with several; when and why
is up to what derives from it; see `Supervisor`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import trio

from ..actors.actor import Actor
from ..actors.cell import Cell
from ..actors.errors import ActorStopped, ComponentNotFound, Ignore, Reject
from ..actors.reasons import Exit, Reason, describe
from ..actors.turn import is_cancelled
from ..actors.waiting import refuse_cycles
from .events import ChildRestarted
from .graph import dependents, reverse
from .record import Child
from .spec import ChildSpec, SupervisorSpec
from .walk import in_turn, side_by_side


class Keeper(Actor):
    """Holds the records of its children."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._children: dict[str, Child] = {}
        self._waiting: dict[str, Child] = {}
        """Those that may be due for a start."""

    # --- what it knows

    @property
    def _life(self) -> Any:
        return self.ctx._incarnation

    @property
    def _cell(self) -> Cell:
        return self.ctx._incarnation.cell

    @property
    def _order(self) -> Sequence[str]:
        return list(self._children)

    @property
    def _depends_on(self) -> Mapping[str, tuple[str, ...]]:
        return {name: child.spec.depends_on for name, child in self._children.items()}

    def _child(self, name: str) -> Child:
        child = self._children.get(name)
        if child is None:
            raise Reject(ComponentNotFound(str(name), f" under {self.ctx.path}"))
        return child

    def _below(self, child: Child) -> list[Child]:
        """All that directly or indirectly depends on a child, in start order."""
        return [self._children[name] for name in dependents([child.spec.name], self._order, self._depends_on)]

    def _missing(self, spec: ChildSpec, *, but_due: bool = False) -> Child | None:
        """What a child depends on and is down (`but_due`: and is not about to be started again)."""
        for needed in spec.depends_on:
            child = self._children[needed]
            if not (child.is_met or (but_due and child.state == "restarting")):
                return child
        return None

    # --- one child

    def _add(self, spec: ChildSpec) -> Child:
        child = self._children[spec.name] = Child(spec, self._cell.child(spec))
        return child

    def _remove(self, child: Child) -> None:
        child.hold()
        child.stay()
        if child.guard is not None:
            child.guard.end()
        child.cell.retire()
        self._children.pop(child.spec.name, None)

    def _finish(self, child: Child) -> None:
        """A child has ended for good, or has nothing to run."""
        child.close()
        child.is_done = True
        if child.spec.restart == "temporary":
            self._remove(child)

    def _came_up(self, child: Child, why: Reason) -> None:
        """A child was started; `why` it had been down."""

    @contextmanager
    def _waiting_for(self, cells: list[Cell]) -> Iterator[None]:
        """It waits for these to end: calls that wait for it in turn fail at once (rule M4)."""
        waits = self._life.waits
        waits.extend(cells)
        refuse_cycles(self._cell)
        try:
            yield
        finally:
            done = set(cells)
            waits[:] = [cell for cell in waits if cell not in done]

    async def _start(self, child: Child) -> BaseException | None:
        """Start one child; the error if that fails."""
        child.hold()
        if self._life.stop_request is not None:  # it asks no start to give up that begins only now
            return ActorStopped(child.cell.path, "was not started: its supervisor is to stop")
        child.state, child.is_done, child.is_held = "starting", False, False
        cell, waits = child.cell, self._life.waits
        waits.append(cell)
        try:
            await cell.start()
        except Ignore:
            self._finish(child)
            return None
        except BaseException as error:
            if is_cancelled():  # a Cancelled without that is forged, and no more than a failed start (rule X1)
                raise
            child.state = "stopped"
            return error
        finally:
            waits.remove(cell)
        child.state = "running"
        child.is_free = child.has_fallen = False
        child.up_since = trio.current_time()
        why = child.reason
        if child.failed_at is not None:
            self._is_back(child)
        self._came_up(child, why)
        return None

    def _is_back(self, child: Child) -> None:
        """A child that had failed is up again."""
        assert child.failed_at is not None
        child.restarts += 1
        took = child.up_since - child.failed_at
        child.failed_at = None
        self._emit(
            ChildRestarted(
                path=child.cell.path,
                incarnation=child.cell.number,
                restarts=child.restarts,
                reason=describe(child.reason),
                took=took,
            )
        )
        child.reason = Exit.NORMAL  # its traceback would keep what is dead alive (rule X3)

    async def _stop_one(self, child: Child) -> None:
        child.hold()
        child.stay()
        if child.state == "running":
            child.went_down(trio.current_time())
        with self._waiting_for([child.cell]):
            await child.cell.dismiss()
            await child.cell.stop(at_once=child.spec.shutdown == "kill")
        child.state = "stopped"

    # --- several children

    async def _stop(self, names: Iterable[str]) -> None:
        """Stop these, each before what it depends on."""
        await self._run_group(list(names), self._stop_one, backwards=True)

    async def _run_group(
        self, names: list[str], action: Callable[[Child], Awaitable[BaseException | None]], *, backwards: bool = False
    ) -> dict[str, BaseException]:
        """Do something with each child in start order (or `backwards`); the errors.

        Under `dependents` independent children go side by side, else the first error ends it (rules S1, S4).
        """

        async def act(name: str) -> BaseException | None:
            return await action(self._children[name])

        if self._spec.strategy != "dependents" or len(names) < 2:
            return await in_turn(names[::-1] if backwards else names, act)
        depends_on = {name: self._children[name].spec.depends_on for name in names}
        return await side_by_side(reverse(depends_on) if backwards else depends_on, act)

    # --- restarts

    def _await_start(self, child: Child) -> None:
        """It is started again as soon as what it depends on is up."""
        child.await_start()
        self._waiting[child.spec.name] = child

    def _emit(self, event: Any) -> None:
        self._cell.system.events.emit(event)
