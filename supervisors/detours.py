"""`Detours`: what a supervisor may do about a child instead of restarting it.

- A *fallback* takes its place; see `Substitutes`.
- Its *circuit* opens (rule S14): it is down for a time, its callers are told at once, dependents run their fallbacks
  or are held; then one probe decides.
- It is *degraded* with its feature, or *put down*: it stays down until it is started by hand.

Nothing here waits for time to pass: what comes later is a timer of the supervisor's own, and what takes long to start
does so in a task of its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio

from ..actors.errors import ComponentNotFound
from ..actors.messages import ChildTells
from ..actors.reasons import Exit, describe
from .degradation import Degradation
from .events import CircuitOpened, CircuitShut
from .feature_states import FAILURE
from .record import Child
from .recovery.actions import CircuitBreak, Degrade
from .recovery.guard import CircuitClosed, Guard
from .recovery.policy import OTP, Policy
from .recovery.probing import ChildCircuit
from .spec import ChildSpec, SupervisorSpec
from .substitutes import WAY_BACK, Substitutes

PROBE_QUIET = 5.0
"""Seconds after the start of a half-open child in which nobody calls, until that counts as a good probe; and between
looks at whether what a probe has to wait for is up."""
ELSEWHERE = 30.0
"""Seconds without another failure after which a feature is no longer degraded by another feature's component."""


class Detours(Substitutes):
    """See the module."""

    def __init__(self, spec: SupervisorSpec) -> None:
        super().__init__(spec)
        self._lifts: dict[tuple[str, str], Any] = {}
        """The timers that end what children have done to features of others."""

    # --- what a child is given for its failures

    def _add(self, spec: ChildSpec) -> Child:
        child = super()._add(spec)
        child.cell.standby = None
        if child.cell.gate.circuit is not None:  # a supervisor that comes back begins with all of them closed
            child.cell.gate.close_circuit()
        if spec.tree is None:
            child.guard = child.cell.recovery = self._guard(child, self._policy_of(spec))
        return child

    def _policy_of(self, spec: ChildSpec) -> Policy | None:
        """The child's own, or that of the nearest supervisor above that has one; None: OTP's."""
        if spec.policy is not None:
            return spec.policy
        cell: Any = self._cell
        while cell is not None:
            tree = getattr(getattr(cell, "spec", None), "tree", None)
            if tree is not None and tree.policy is not None:
                return tree.policy  # type: ignore[no-any-return]
            cell = getattr(cell, "parent", None)
        return None

    def _guard(self, child: Child, policy: Policy | None, *, settings: CircuitBreak | None = None) -> Guard | None:
        spec = child.spec
        if settings is None:
            actions = (*(policy.actions() if policy is not None else ()), spec.on_exhausted)
            settings = next((action for action in actions if isinstance(action, CircuitBreak)), None)
        if policy is None and settings is None and spec.feature is None:
            return None
        return Guard(
            child.cell,
            policy or OTP,
            feature=spec.feature,
            circuit=settings,
            has_fallback=lambda wanted: child.next_fallback(wanted) > 0,
        )

    async def _child_tells(self, told: ChildTells) -> None:
        """A child goes on, and something is to be done beside it."""
        child = self._children.get(told.cell.name)
        if child is None or child.cell is not told.cell:
            return
        if isinstance(told.action, CircuitClosed):
            await self._circuit_closed(child)
        elif isinstance(told.action, Degrade):
            self._degrade_other(child, told.action)

    # --- circuits

    async def _open_circuit(self, child: Child, *, seconds: float | None = None, by_hand: bool = False) -> None:
        """Keep a child down for a time. What depends on it runs its fallback, or is held until it is up again."""
        circuit = self._circuit_of(child)
        to_settle = await self._take_down(child)
        circuit.open(describe(child.reason), seconds=seconds, by_hand=by_hand)
        self._await_probe(child)
        self._mark_feature(child)
        left = circuit.seconds_left
        self._emit(CircuitOpened(path=child.cell.path, seconds=left, reason=describe(child.reason)))
        for other in to_settle:
            self._settle(other)
        await self._start_due()

    def _circuit_of(self, child: Child) -> ChildCircuit:
        """A child's circuit; a new one, in a new guard, if it has none."""
        guard = child.guard
        if guard is not None and guard.circuit is not None:
            return guard.circuit
        last = child.spec.on_exhausted
        settings = last if isinstance(last, CircuitBreak) else CircuitBreak()
        if guard is not None:
            return guard.add_circuit(settings)
        policy = self._policy_of(child.spec) if child.spec.tree is None else None
        guard = child.guard = self._guard(child, policy, settings=settings)
        if child.spec.tree is None:  # what a supervisor does is not to be given up halfway, as Cancel does
            child.cell.recovery = guard
        assert guard is not None
        assert guard.circuit is not None
        return guard.circuit

    def _shaken(self, child: Child) -> list[Child]:
        """All that can't go on as it is without a child, in start order: what needs it, and what needs that in turn.

        What runs its fallback for the want of something, or is down with a circuit of its own, is so already.
        """
        reached = {child.spec.name}
        for name in self._order:
            other = self._children[name]
            if not (other.does_without or other.state == "open" or reached.isdisjoint(other.spec.depends_on)):
                reached.add(name)
        return [self._children[name] for name in self._order if name in reached and name != child.spec.name]

    async def _take_down(self, child: Child) -> list[Child]:
        """Stop a child, and first what can't do without it; the part of that which is to be settled then.

        What was stopped by hand, or had ended for good, is not.
        """
        shaken = self._shaken(child)
        to_settle = [other for other in shaken if other.is_held or other.state != "stopped"]
        await self._stop([child.spec.name, *(other.spec.name for other in shaken)])
        return to_settle

    def _settle(self, child: Child) -> None:
        """A child that is down, since something that it depends on is: a fallback, or it is held until that is up."""
        if child.spec.restart == "temporary":
            self._remove(child)
        elif self._missing(child.spec, but_due=True) is None or self._go_without(child):
            self._await_start(child)
        else:
            child.close()
            child.is_held = True

    def _await_start(self, child: Child) -> None:
        if child.cell.gate.circuit is None:
            super()._await_start(child)
        else:  # it was being probed, and is probed again
            self._await_probe(child)

    def _await_probe(self, child: Child) -> None:
        """A child is down; it is probed as soon as its circuit allows it."""
        circuit = self._circuit_of(child)
        child.hold()
        circuit.give_probe_up()
        child.state = "open"
        child.cell.shut_off()
        left = circuit.seconds_left
        if left is not None:
            child.retry = self.ctx.after(left, self._probe, child.spec.name)

    async def _probe(self, name: str) -> None:
        """The circuit has been open long enough: start the child, and let one message in."""
        child = self._children[name]
        child.hold()
        circuit = self._circuit_of(child)
        if self._has_to_wait(child):
            child.retry = self.ctx.after(PROBE_QUIET, self._probe, name)
            return
        if not circuit.probe():  # too soon by what is lost in rounding
            self._await_probe(child)
            return
        child.cell.gate.half_open_circuit()
        error = await self._start(child)
        if error is not None:
            child.reason = error
            circuit.probe_failed(error)
            await self._open_circuit(child)
        elif child.state == "running" and child.cell.gate.circuit == "half-open":
            child.retry = self.ctx.after(PROBE_QUIET, self._probe_is_over, name)

    async def _probe_is_over(self, name: str) -> None:
        """Nobody has called since a probe was started."""
        child = self._children[name]
        child.hold()
        if child.state == "running" and child.cell.gate.circuit == "half-open":
            if child.cell.gate.lets_in() and self._circuit_of(child).probe_is_quiet():
                await self._circuit_closed(child)
            else:
                child.retry = self.ctx.after(PROBE_QUIET, self._probe_is_over, name)

    async def _probe_ended(self, child: Child) -> None:
        """What was being probed has ended of itself, and is down."""
        child.action = None
        self._circuit_of(child).probe_failed(child.reason)
        await self._open_circuit(child)

    async def _close_circuit(self, child: Child) -> BaseException | None:
        """Close it by hand; the error, if the child is down and can't be started."""
        was_down = child.state == "open"
        if was_down and not self._has_to_wait(child):
            child.hold()
            child.cell.gate.half_open_circuit()
            error = await self._start(child)
            if error is not None:
                child.reason = error
                await self._open_circuit(child)
                return error
        self._circuit_of(child).end()
        child.cell.gate.close_circuit()
        if child.state == "open":  # it is started with what it waits for
            child.hold()
            child.state = "stopped"
            self._settle(child)
        await self._circuit_closed(child)
        return None

    async def _circuit_closed(self, child: Child) -> None:
        """Let the others know; unless it is open again, since news of it may come late."""
        if child.cell.gate.circuit is not None:
            return
        self._emit(CircuitShut(path=child.cell.path))
        if child.state == "running":
            child.hold()
            child.reason = Exit.NORMAL
            if not child.mode:
                self._is_itself(child)
        self._release_held()
        await self._start_due()

    def _release_held(self) -> None:
        """Start again what had been stopped since something that it depends on was, and can run now."""
        for other in self._children.values():
            if self._missing(other.spec, but_due=True) is not None:
                continue
            if other.is_held:
                self._await_start(other)
            elif "dependency" in other.reasons:
                other.recover("dependency")
                self._plan_swap(other, at_once=True)

    # --- degradation

    def _degrade(self, child: Child, action: Degrade) -> bool:
        """Degrade as an action says; whether the child is to be restarted as usual."""
        if self._is_of_others(child, action):
            self._degrade_other(child, action)
            return True
        if not self._fall_back(child):
            self._mark_feature(child)
            child.suffer("failure")
            child.is_free = True
            self._try_again_slowly(child)
        return False

    def _is_of_others(self, child: Child, action: Degrade) -> bool:
        """Whether it is the quality, or a feature that this child does not provide, that is to be degraded."""
        own = child.spec.feature.name if child.spec.feature is not None else None
        return action.levels > 0 or action.feature not in (None, own)

    def _try_again_slowly(self, child: Child) -> None:
        """Start a child that is down and degraded after a while."""
        self._retry_after(child, (child.spec.backoff or WAY_BACK).delay(child.returns, self.ctx.random))
        child.returns += 1

    def _degrade_other(self, child: Child, action: Degrade) -> None:
        """Degrade the quality, or a feature that this child does not provide, until nothing has failed for a while."""
        degradation = Degradation.of(self._cell.system)
        if action.levels:
            degradation.lower_quality(action.levels, FAILURE, child.cell.path)
            return
        assert action.feature is not None
        feature, because = action.feature, f"{FAILURE} of {child.cell.path}"
        try:
            degradation.degrade(feature, because, child.cell.path)
        except ComponentNotFound:  # its provider is not there now, or was never declared
            self.ctx.log.warning("{} degrades {!r}, which is no feature at present", child.cell.path, feature)
            return
        key, timers = (feature, because), self._cell.system.timers
        if key in self._lifts:
            self._lifts[key].cancel()

        def lift() -> None:
            self._lifts.pop(key, None)
            with suppress(ComponentNotFound):  # the feature has gone with whoever provided it
                degradation.lift(feature, because)

        self._lifts[key] = timers.at(trio.current_time() + ELSEWHERE, lift)

    # --- down

    async def _put_down(self, child: Child) -> None:
        """Keep a child down until it is started by hand; its dependents run their fallbacks, or are held."""
        self._mark_feature(child)
        to_settle = await self._take_down(child)
        if child.spec.restart == "temporary":
            self._remove(child)
        else:
            child.close()
        for other in to_settle:
            self._settle(other)
        await self._start_due()

    # --- of the layer above

    def _has_to_wait(self, child: Child) -> bool:
        raise NotImplementedError

    def _retry_after(self, child: Child, delay: float) -> None:
        raise NotImplementedError
