"""The supervisor: an actor that keeps its children alive, as OTP's `supervisor` does and rules S1 to S15 say.

Here is what it is asked and told: its messages, its start and stop, the exits of its children. What it does then is in
the layers below: `Restarts`, `Detours` for what may be done instead of a restart, `Substitutes` for what runs in a
child's place, and `Keeper`, which starts and stops in dependency order.
"""

from __future__ import annotations

import math
from typing import Any

import trio

from ..actors.errors import Reject, SpecError
from ..actors.messages import ChildExit, ChildTells
from ..actors.protocol import at_once, local
from ..actors.reasons import Exit, Reason, Shutdown, is_abnormal
from ..actors.ref import Ref
from .degradation import Degradation
from .errors import ChildStateError, StartFailed
from .names import check_names, paths_of
from .record import Child, ChildInfo
from .recovery.actions import Escalate, Restart
from .restarts import Restarts
from .spec import ChildSpec, check_sibling, features_below
from .strategy import is_restarted, restart_roots, triggers_shutdown

__all__ = ["ChildInfo", "Supervisor"]


class Supervisor(Restarts):
    """Runs a `SupervisorSpec`. Made by `supervisor(…)`; its messages administer the children at run time."""

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
        try:
            child = self._add(spec)
        except SpecError as error:
            raise Reject(error) from None
        failure = await self._start_first(child)
        if failure is not None:
            self._remove(child)
            raise Reject(StartFailed(child.cell.path, failure))
        return child.cell.ref

    async def stop_child(self, name: str) -> None:
        """Stop a child, its dependents first (rule S7). A restart that waits is called off.

        The spec is kept for `restart_child`, which brings the dependents back too; a temporary child's is dropped.
        """
        child = self._child(name)
        below = self._below(child)
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
        was_done = child.is_done
        self._await_start(child)
        self._release_held()  # their mail waits from now on
        error = await self._start_or_fall_back(child)
        if error is not None:
            child.close()
            child.is_done = was_done  # what can run without it still can
            for other in self._shaken(child):
                if other.state == "restarting":
                    self._settle(other)
                elif other.mode and self._missing(other.spec) is not None:
                    other.suffer("dependency")
            await self._start_due()
            raise Reject(StartFailed(child.cell.path, error))
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

    async def open_circuit(self, name: str, seconds: float | None = None) -> None:
        """Open a child's circuit by hand: for a time, then comes a probe; or, with None, until it is closed by hand."""
        child = self._child(name)
        if seconds is not None and not 0 < seconds < math.inf:
            raise Reject(ValueError(f"seconds={seconds!r} must be a finite number above 0, or None for no end"))
        if child.state not in ("running", "restarting", "open"):
            raise Reject(ChildStateError(name, child.state))
        child.reason = Shutdown("its circuit was opened by hand")
        await self._open_circuit(child, seconds=seconds, by_hand=True)

    async def close_circuit(self, name: str) -> None:
        """Close a child's circuit by hand, and start it if it is down. StartFailed if that fails: it stays open."""
        child = self._child(name)
        if child.cell.gate.circuit is None:
            raise Reject(ChildStateError(name, child.state, "; its circuit is not open"))
        error = await self._close_circuit(child)
        if error is not None:
            raise Reject(StartFailed(child.cell.path, error))

    # --- hooks

    async def on_start(self) -> None:
        """Start the declared children. If one can't be started, stop those that were, and fail (rule S3)."""
        self._declare_features()
        for spec in self._spec.children:
            self._add(spec)
        declared = self._children
        for cell in list((self._cell.children or {}).values()):
            if cell.name not in declared:
                cell.retire()
        await self._start_all_or_none()
        await self._start_due()

    async def _start_all_or_none(self) -> None:
        try:
            failed = await self._run_group(list(self._children), self._start_first)
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
        failed_probes: list[Child] = []
        for each in (exit, *self._life.take_exits()):
            child = self._children.get(each.cell.name)
            if child is None or child.cell is not each.cell or child.cell.incarnation is not None:
                continue
            if each.incarnation != child.cell.number or child.state not in ("running", "starting"):
                continue  # it was taken down since
            child.failed(each.reason, each.order, each.at)
            child.stay()
            if not is_restarted(child.spec.restart, each.reason):
                self._ended(child)
                self._do_beside(child)
            elif child.cell.gate.circuit is not None:
                failed_probes.append(child)
            else:
                failed[each.cell.name] = None
                self._await_start(child)
        if self._life.stop_request is not None:
            return
        for child in failed_probes:
            await self._probe_ended(child)
        targets = await self._stop_targets(failed)
        roots = restart_roots(self._spec.strategy, failed, self._order, self._depends_on)
        for child in (*targets, *(self._children[name] for name in roots)):
            if child.state == "restarting":
                await self._act_on(child)
        await self._start_due()

    async def _child_tells(self, told: ChildTells) -> None:
        child = self._children.get(told.cell.name)
        if not isinstance(told.action, Restart):
            await super()._child_tells(told)
        elif child is not None and child.cell is told.cell and child.state == "running":
            child.failed_at = trio.current_time()
            await self._restart_too(child, child)
            await self._restart(child)
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

    async def _start_first(self, child: Child) -> BaseException | None:
        """A first start. One that fails is not tried again: a fallback, or what is declared for its exhaustion (S3)."""
        missing = self._missing(child.spec)
        if missing is not None:
            self._settle(child)
            return None
        error = await self._start_or_fall_back(child)
        if error is None or self._life.stop_request or isinstance(child.spec.on_exhausted, Escalate):
            return error
        child.reason = error
        await self._exhausted(child, "its first start failed")
        return None

    async def _start_or_fall_back(self, child: Child) -> BaseException | None:
        """Start a child, or what may stand in for it; the last error if nothing can."""
        error = await self._start(child)
        while error is not None and not self._life.stop_request and self._fall_back(child):
            child.reason = error
            error = await self._start(child)
        return error

    # --- one child

    def _check_new(self, spec: ChildSpec) -> None:
        siblings = {name: child.spec for name, child in self._children.items()}
        check_sibling(self.ctx.path, spec, siblings, self._spec.auto_shutdown)
        self._check_names(spec)
        missing = self._missing(spec)
        if missing is not None:
            raise SpecError(f"{spec.name!r} depends on {missing.spec.name!r}, which is {missing.state}")

    def _check_names(self, spec: ChildSpec) -> None:
        """What a new child declares about failures names what is there now, or comes with it."""
        path, system = f"{self.ctx.path}/{spec.name}", self._cell.system
        own = [spec.feature] if spec.feature is not None else []
        features = [*own, *(features_below(spec.tree) if spec.tree is not None else ())]
        known = {state.feature for state in Degradation.of(system).states()} | {each.name for each in features}
        coming = {place for place, _ in paths_of(spec, path)}
        check_names(spec, path, known, lambda place: place in coming or system.registry.get(place) is not None)
