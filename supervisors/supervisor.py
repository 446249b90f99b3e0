"""The supervisor: an actor that keeps its children alive, as OTP's `supervisor` does and rules S1 to S13 say.

Decisions are pure functions (`strategy`, `intensity`, `backoff`, `graph`); this module carries them out. It never
sleeps: a restart that has to wait is a timer of the supervisor's own, so that it serves other requests meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import trio

from ..actors.actor import Actor
from ..actors.cell import Cell
from ..actors.errors import ComponentNotFound, Ignore, Reject, SpecError
from ..actors.messages import ChildExit
from ..actors.protocol import at_once, local
from ..actors.reasons import Exit, Reason, describe, is_abnormal
from ..actors.ref import Ref
from ..actors.turn import is_cancelled
from ..actors.waiting import refuse_cycles
from .backoff import START_BACKOFF
from .errors import ChildStateError, StartFailed, SupervisorGaveUp
from .events import ChildRestarted, GaveUp, RestartDelayed
from .graph import dependents, reverse
from .intensity import RestartWindow
from .record import Child, ChildInfo
from .spec import ChildSpec, SupervisorSpec, check_sibling
from .strategy import is_restarted, restart_group, restart_roots, triggers_shutdown
from .walk import in_turn, side_by_side

__all__ = ["ChildInfo", "Supervisor"]


class Supervisor(Actor):
    """Runs a `SupervisorSpec`. Made by `supervisor(…)`; its messages administer the children at run time."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._children: dict[str, Child] = {}
        self._waiting: dict[str, Child] = {}
        """Those that may be due for a start."""
        self._window = RestartWindow(spec.max_restarts, spec.within)

    # --- messages

    @at_once
    @local
    def children(self) -> tuple[ChildInfo, ...]:
        """All children in start order, at any moment, in the middle of a transition too (rule S10)."""
        return tuple(child.info() for child in self._children.values())

    @local
    async def start_child(self, spec: ChildSpec) -> Ref[Any]:
        """Add a child and start it; its Ref. If its start fails it is not kept, and StartFailed says why.

        Raises SpecError for what doesn't fit beside its siblings, ChildStateError if the name is taken.
        """
        if not isinstance(spec, ChildSpec):
            raise Reject(SpecError(f"start_child takes a child(…), not {spec!r}"))
        present = self._children.get(spec.name)
        if present is not None:
            raise Reject(ChildStateError(spec.name, "already present", f" ({present.state})"))
        try:
            self._check_new(spec)
        except SpecError as error:
            raise Reject(error) from None
        child = self._add(spec)
        failure = await self._start(child)
        if failure is not None:
            self._remove(child)
            raise Reject(StartFailed(child.cell.path, failure))
        return child.cell.ref

    async def stop_child(self, name: str) -> None:
        """Stop a child, its dependents first (rule S7). A restart that waits is called off.

        The spec is kept for `restart_child`, which brings the dependents back too; a temporary child's is dropped.
        """
        child = self._child(name)
        below = [self._children[other] for other in dependents([name], self._order, self._depends_on)]
        held = [other for other in below if other.is_held or other.state != "stopped"]
        await self._stop([name, *(other.spec.name for other in below)])
        for other in (child, *below):
            if other.spec.restart == "temporary":
                self._remove(other)
            else:
                other.close()
        for other in held:
            other.is_held = True
        await self._start_due()  # what only waited for this child's turn

    @local
    async def restart_child(self, name: str) -> Ref[Any]:
        """Start a stopped child again, and what was stopped because of it; its Ref is the same (rule R3)."""
        child = self._child(name)
        if child.state != "stopped":
            raise Reject(ChildStateError(name, child.state))
        missing = self._missing(child.spec)
        if missing is not None:
            detail = f"; it depends on {missing.spec.name!r}, which is {missing.state}"
            raise Reject(ChildStateError(name, "stopped", detail))
        error = await self._start(child)
        if error is not None:
            child.close()
            raise Reject(StartFailed(child.cell.path, error))
        self._release_held()
        await self._start_due()
        return child.cell.ref

    async def delete_child(self, name: str) -> None:
        """Forget a stopped child's spec; its Ref is dead for ever (rule R1)."""
        child = self._child(name)
        if child.state != "stopped":
            raise Reject(ChildStateError(name, child.state, "; stop it first"))
        needing = [other.spec.name for other in self._children.values() if name in other.spec.depends_on]
        if needing:
            raise Reject(ChildStateError(name, "needed", f" by {', '.join(map(repr, needing))}; delete those first"))
        self._remove(child)

    # --- hooks

    async def on_start(self) -> None:
        """Start the declared children. If one can't be started, stop those that were, and fail (rule S3)."""
        for spec in self._spec.children:
            self._add(spec)
        declared = self._children
        for cell in list((self._cell.children or {}).values()):
            if cell.name not in declared:
                cell.retire()
        await self._start_all_or_none()

    async def _start_all_or_none(self) -> None:
        try:
            failed = await self._run_group(list(self._children), self._start)
        except BaseException:  # cancelled, which a nursery makes a group of
            with trio.CancelScope(shield=True):
                await self._stop(list(self._children))
            raise
        for name, why in failed.items():
            await self._stop(list(self._children))
            raise StartFailed(self._children[name].cell.path, why)

    async def on_stop(self, reason: Reason) -> None:
        """Stop the children in reverse. After a failure their mail goes too: escalation is a clean slate (rule R7)."""
        await self._stop(list(self._children))
        if is_abnormal(reason):
            for child in self._children.values():
                child.cell.close("stopped, as its supervisor gave up")

    def _stop_asked(self) -> None:
        """Do not wait for a start that hangs: this supervisor is to stop."""
        for child in self._children.values():
            if child.state == "starting":
                child.cell.ask_to_stop()

    async def _child_exited(self, exit: ChildExit) -> None:
        failed: dict[str, None] = {}
        for each in (exit, *self._life.take_exits()):
            child = self._children.get(each.cell.name)
            if child is None or child.cell is not each.cell or child.state != "running":
                continue
            if each.incarnation != child.cell.number or child.cell.incarnation is not None:
                continue
            child.reason, child.failed_at = each.reason, each.at
            child.went_down(each.at)
            if is_restarted(child.spec.restart, each.reason):
                failed[each.cell.name] = None
                self._await_start(child)
            else:
                self._ended(child)
        if self._life.stop_request is not None:
            return
        for name in restart_roots(self._spec.strategy, failed, self._order, self._depends_on):
            child = self._children[name]
            if child.spec.backoff is None:
                self._count(child)
                await self._stop_group(name)
            else:
                delay = self._next_delay(child)
                await self._stop_group(name)
                self._retry_after(child, delay)
        await self._start_due()

    def _ended(self, child: Child) -> None:
        """A child has ended of itself, for good."""
        spec = child.spec
        self._finish(child)
        if not spec.significant:
            return
        others_running = any(
            other.spec.significant and other.state != "stopped"
            for other in self._children.values()
            if other is not child
        )
        if triggers_shutdown(self._spec.auto_shutdown, spec.restart, child.reason, others_running):
            self.ctx.stop(Exit.SHUTDOWN)

    def _release_held(self) -> None:
        """Start again what had been stopped since something that it depends on was, and can run now."""
        for other in self._children.values():
            if other.is_held and self._missing(other.spec, but_due=True) is None:
                self._await_start(other)

    def _finish(self, child: Child) -> None:
        """A child has ended for good, or has nothing to run."""
        child.close()
        child.is_done = True
        if child.spec.restart == "temporary":
            self._remove(child)

    # --- restarting

    def _count(self, child: Child) -> None:
        """This restart of a child takes place now. Gives up if that is one too many."""
        if self._window.add(trio.current_time()):
            self._give_up(child, f"more than {self._spec.max_restarts} restarts within {self._spec.within:.6g} s")

    def _next_delay(self, child: Child) -> float:
        backoff = child.spec.backoff or START_BACKOFF
        if backoff.max_attempts is not None and child.tries + 1 >= backoff.max_attempts:
            self._give_up(child, f"{backoff.max_attempts} tries in a row did not help (max_attempts)")
        delay = backoff.delay(child.tries, self.ctx.random)
        child.tries += 1
        return delay

    def _retry_after(self, child: Child, delay: float) -> None:
        child.hold()
        child.retry = self.ctx.after(delay, self._retry, child.spec.name)
        self._emit(
            RestartDelayed(path=child.cell.path, delay=delay, attempt=child.tries, reason=describe(child.reason))
        )

    async def _retry(self, name: str) -> None:
        """A restart has come due. (A timer that was called off never gets here.)"""
        child = self._children[name]
        child.hold()
        self._await_start(child)
        self._count(child)
        await self._stop_group(name)
        await self._start_due()

    async def _stop_group(self, name: str) -> None:
        """Stop all that is to be started again with a child, which is down. Temporary ones are dropped."""
        group = restart_group(self._spec.strategy, name, self._order, self._depends_on)
        if len(group) == 1:
            return
        root = self._children[name]
        others = [self._children[other] for other in group if other != name]
        cells = tuple(other.cell for other in others)
        held_up = (root.cell, *cells)
        for cell in held_up:
            cell.hold_up(cells)
        await self._stop([other.spec.name for other in others])
        for cell in held_up:
            cell.hold_up(())
        for other in others:
            if other.spec.restart == "temporary":
                self._remove(other)
            elif self._missing(other.spec, but_due=True) is None:
                self._await_start(other)
                if other.failed_at is None:
                    other.failed_at, other.reason = root.failed_at, root.reason

    def _await_start(self, child: Child) -> None:
        """It is started again as soon as what it depends on is up."""
        child.await_start()
        self._waiting[child.spec.name] = child

    async def _start_due(self) -> None:
        """Start what waits for it, each after what it depends on. What fails is tried again later."""
        while not self._life.stop_request and (due := self._due()):
            for name, error in (await self._run_group(due, self._start)).items():
                child = self._children[name]
                child.reason = error
                self._await_start(child)
                self._retry_after(child, self._next_delay(child))

    def _due(self) -> list[str]:
        self._waiting = {name: child for name, child in self._waiting.items() if child.is_due}
        return self._startable() if self._waiting else []

    def _startable(self) -> list[str]:
        """Those of the waiting children that can be started now, in order.

        Under one_for_all and rest_for_one none can while one before it waits; else only the dependencies decide.
        """
        due: dict[str, None] = {}
        in_order = self._spec.strategy in ("one_for_all", "rest_for_one")
        for name, child in self._children.items():
            if child.is_due and all(n in due or self._children[n].is_met for n in child.spec.depends_on):
                due[name] = None
            elif in_order and child.state == "restarting":
                break
        return list(due)

    def _give_up(self, child: Child, why: str) -> None:
        self._emit(GaveUp(path=self.ctx.path, child=child.cell.path, reason=describe(child.reason)))
        raise SupervisorGaveUp(self.ctx.path, child.cell.path, why, child.reason)

    # --- one child

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

    def _check_new(self, spec: ChildSpec) -> None:
        siblings = {name: child.spec for name, child in self._children.items()}
        check_sibling(self.ctx.path, spec, siblings, self._spec.auto_shutdown)
        missing = self._missing(spec)
        if missing is not None:
            raise SpecError(f"{spec.name!r} depends on {missing.spec.name!r}, which is {missing.state}")

    def _missing(self, spec: ChildSpec, *, but_due: bool = False) -> Child | None:
        """What a child depends on and is down (`but_due`: and is not about to be started again)."""
        for needed in spec.depends_on:
            child = self._children[needed]
            if not (child.is_met or (but_due and child.state == "restarting")):
                return child
        return None

    def _child(self, name: str) -> Child:
        child = self._children.get(name)
        if child is None:
            raise Reject(ComponentNotFound(str(name), f" under {self.ctx.path}"))
        return child

    def _add(self, spec: ChildSpec) -> Child:
        child = self._children[spec.name] = Child(spec, self._cell.child(spec))
        return child

    def _remove(self, child: Child) -> None:
        child.hold()
        child.cell.retire()
        self._children.pop(child.spec.name, None)

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
        child.up_since = trio.current_time()
        if child.failed_at is not None:
            child.restarts += 1
            took = child.up_since - child.failed_at
            child.failed_at = None
            self._emit(
                ChildRestarted(
                    path=cell.path,
                    incarnation=cell.number,
                    restarts=child.restarts,
                    reason=describe(child.reason),
                    took=took,
                )
            )
            child.reason = Exit.NORMAL  # its traceback would keep what is dead alive (rule X3)
        return None

    async def _stop_one(self, child: Child) -> None:
        child.hold()
        if child.state == "running":
            child.went_down(trio.current_time())
        with self._waiting_for([child.cell]):
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

    def _emit(self, event: Any) -> None:
        self._cell.system.events.emit(event)
