"""`Detours`: what a supervisor may do about a child instead of restarting it.

- A *fallback* takes its place behind the same Ref (rule S15). The way back is made before the fallback is broken off:
  the child is started beside it, and takes over between two messages. That spends no window.
- Its *circuit* opens (rule S14): it is down for a time, its callers are told at once, dependents run their fallbacks
  or are held; then one probe decides.
- It is *degraded* with its feature, or *put down*: it stays down until it is started by hand.

Nothing here waits for time to pass: what comes later is a timer of the supervisor's own, and what takes long to start
does so in a task of its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import attrs
import trio

from ..actors.errors import ComponentNotFound
from ..actors.messages import ChildTells
from ..actors.reasons import Exit, describe
from ..actors.turn import is_cancelled
from .backoff import Backoff
from .degradation import Degradation
from .events import CircuitOpened, CircuitShut, FellBack
from .feature_states import FAILURE, Change
from .keeper import Keeper
from .record import Child, Why
from .recovery.actions import CircuitBreak, Degrade
from .recovery.guard import CircuitClosed, Guard
from .recovery.policy import OTP, Policy
from .spec import ChildSpec, SupervisorSpec, features_of

WAY_BACK = Backoff(initial=1.0, maximum=60.0)
"""How soon a child is tried again that something else replaces, or that is degraded, where it has no backoff."""
PROBE_QUIET = 5.0
"""Seconds after the start of a half-open child in which nobody calls, until that counts as a good probe."""
HEALTH_EVERY = 5.0
"""Seconds between questions after the health of children that provide a feature."""
ELSEWHERE = 30.0
"""Seconds without another failure after which a feature is no longer degraded by another feature's component."""


class Detours(Keeper):
    """See the module."""

    def __init__(self, spec: SupervisorSpec) -> None:
        super().__init__(spec)
        self._end_listening: Any = None
        self._provided: dict[str, str] = {}
        """The features of the children that have one."""
        self._lifts: dict[tuple[str, str], Any] = {}
        """The timers that end what children have done to features of others."""

    # --- what a child is given for its failures

    def _add(self, spec: ChildSpec) -> Child:
        if spec.feature is not None and spec.name not in self._provided:
            needed = [self._children[name].spec.feature for name in spec.depends_on]
            feature = attrs.evolve(spec.feature, depends_on=(*spec.feature.depends_on, *(f.name for f in needed if f)))
            Degradation.of(self._cell.system).declare([feature], whole=False)
            self._provided[spec.name] = feature.name
        child = super()._add(spec)
        if spec.tree is None:
            child.guard = child.cell.recovery = self._guard(child, self._policy_of(spec))
        return child

    def _remove(self, child: Child) -> None:
        super()._remove(child)
        feature = self._provided.pop(child.spec.name, None)
        if feature is not None:
            Degradation.of(self._cell.system).withdraw([feature])

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

    def _came_up(self, child: Child) -> None:
        if child.guard is not None:
            child.guard.came_up()
        if child.mode:
            self._emit(FellBack(path=child.cell.path, fallback=child.fallback_name, reason=describe(child.reason)))
            self._plan_return(child)
        elif child.cell.circuit is None:
            self._is_itself(child)

    async def _child_tells(self, told: ChildTells) -> None:
        """A child goes on, and something is to be done beside it."""
        child = self._children.get(told.cell.name)
        if child is None or child.cell is not told.cell:
            return
        if isinstance(told.action, CircuitClosed):
            await self._circuit_closed(child)
        elif isinstance(told.action, Degrade):
            self._degrade_other(child, told.action)

    # --- fallbacks, and the way back

    def _fall_back(self, child: Child, wanted: str | None = None, *, since: Why = "failure") -> bool:
        """From its next start on, a child that is down is its next fallback (or the one `wanted`). False: none left."""
        mode = child.next_fallback(wanted)
        if not mode:
            return False
        child.put_on(mode)
        child.reasons.add(since)
        child.is_free = True
        if since == "failure":
            self._mark_feature(child)
        return True

    def _plan_return(self, child: Child, *, at_once: bool = False) -> None:
        """Try to put a child back in its place after a while; each time that it can't be yet, after a longer one."""
        if child.swap is not None or (child.back is not None and not at_once):
            return
        child.stay()
        delay = 0.0
        if not at_once:
            delay = (child.spec.backoff or WAY_BACK).delay(child.returns, self.ctx.random)
            child.returns += 1
        child.back = self.ctx.after(delay, self._return, child.spec.name)

    def _return(self, name: str) -> None:
        """It is time to try it."""
        child = self._children[name]
        child.back = None
        if not child.mode or child.state != "running":
            return
        if self._is_kept_out(child):
            self._plan_return(child)
        else:
            self._swap(child, 0)

    def _is_kept_out(self, child: Child) -> bool:
        """Whether more than its own failure keeps a child out of its place."""
        return self._missing(child.spec) is not None or self._is_off(child)

    def _is_off(self, child: Child) -> bool:
        """Whether the feature that a child provides is degraded by more than the child's failure."""
        if child.spec.feature is None:
            return False
        state = Degradation.of(self._cell.system).state_of(child.spec.feature.name)
        return state.because_of is not None or any(reason != FAILURE for reason in state.reasons)

    def _swap(self, child: Child, mode: int) -> None:
        """Start what is to take a child's place beside it; it takes over when it is up."""
        child.stay()
        child.swap = self.ctx.start_task(self._make_ready, child, mode)

    async def _make_ready(self, child: Child, mode: int) -> None:
        """In a task of its own, since it may take its time: the start beside it, then the end of what runs now."""
        factory = child.spec.fallback[mode - 1][1] if mode else child.spec.factory
        failure = ""
        try:
            await child.cell.prepare(factory)
        except BaseException as error:  # whatever a start may raise; the real Cancelled is passed on
            if is_cancelled():
                raise
            failure = describe(error)
        else:
            if self._fits(child, mode):
                await child.cell.make_room()
            else:
                await child.cell.dismiss()
                failure = "it is not well enough, or no longer wanted"
        child.swap = None
        self.ctx.after(0, self._swapped, child.spec.name, mode, failure)

    async def _swapped(self, name: str, mode: int, failure: str) -> None:
        """What is to take over is up, and nothing else is any more; or it could not be started."""
        child = self._children.get(name)
        if child is None or child.state != "running":
            return
        if failure or child.cell.standby is None:
            if failure:
                self.ctx.log.info("{} is not replaced: {}", child.cell.path, failure)
            if child.mode:
                self._plan_return(child)
            return
        child.put_on(mode)
        if not child.cell.take_over():  # it has ended in between, and there is nothing any more
            child.is_free = True
            self._await_start(child)
            await self._start_due()
            return
        child.up_since = trio.current_time()
        reason = "degraded" if mode else "well again"
        if child.guard is not None:
            child.guard.begin_anew()
        self._emit(FellBack(path=child.cell.path, fallback=child.fallback_name, reason=reason))
        if mode:
            self._plan_return(child)
        else:
            self._is_itself(child)

    def _fits(self, child: Child, mode: int) -> bool:
        """Whether a child is still to be replaced by what is on standby, and that is well enough."""
        standby = child.cell.standby
        if mode or standby is None:
            return standby is not None and self._is_off(child)
        feature = child.spec.feature
        return not self._is_kept_out(child) and (feature is None or feature.is_well_at(_health_of(standby)))

    def _is_itself(self, child: Child) -> None:
        """A child is back in its place."""
        child.reasons -= {"failure", "dependency"}
        if not self._is_off(child):
            child.reasons.discard("feature")
        if child.spec.feature is not None:
            Degradation.of(self._cell.system).lift(child.spec.feature.name, FAILURE, child.cell.path)
        if child.returns:
            longest = (child.spec.backoff or WAY_BACK).maximum
            self.ctx.after(longest, self._returned_for_good, child.spec.name, child.returns)

    def _mark_feature(self, child: Child) -> None:
        """What a child provides suffers from its failure."""
        if child.spec.feature is not None:
            Degradation.of(self._cell.system).degrade(child.spec.feature.name, FAILURE, child.cell.path)

    def _returned_for_good(self, name: str, returns: int) -> None:
        """It has been well for a while: its next way back is as short as the first."""
        child = self._children.get(name)
        if child is not None and child.returns == returns and not child.mode:
            child.returns = 0

    # --- circuits

    async def _open_circuit(self, child: Child, *, seconds: float | None = None, by_hand: bool = False) -> None:
        """Keep a child down for a time. What depends on it runs its fallback, or is held until it is up again."""
        if child.guard is None or child.guard.circuit is None:
            last = child.spec.on_exhausted
            settings = last if isinstance(last, CircuitBreak) else CircuitBreak()
            policy = self._policy_of(child.spec) if child.spec.tree is None else None
            child.guard = child.cell.recovery = self._guard(child, policy, settings=settings)
        assert child.guard is not None
        circuit = child.guard.circuit
        assert circuit is not None
        below = self._below(child)
        await self._stop([child.spec.name, *(other.spec.name for other in below)])
        now = trio.current_time()
        if by_hand:
            circuit.force_open(now, seconds)
        elif circuit.state != "open":
            circuit.trip(now, describe(child.reason))
        child.state = "open"
        child.cell.open_circuit()
        self._mark_feature(child)
        left = circuit.info(now).seconds_left
        self._emit(CircuitOpened(path=child.cell.path, seconds=left, reason=describe(child.reason)))
        if left is not None:
            child.retry = self.ctx.after(left, self._probe, child.spec.name)
        for other in below:
            self._settle(other)
        await self._start_due()

    def _settle(self, child: Child) -> None:
        """A child that is down, since something that it depends on is: a fallback, or it is held until that is up."""
        if child.spec.restart == "temporary":
            self._remove(child)
        elif self._missing(child.spec, but_due=True) is None or self._fall_back(child, since="dependency"):
            self._await_start(child)
        else:
            child.close()
            child.is_held = True

    async def _probe(self, name: str) -> None:
        """The circuit has been open long enough: start the child, and let one message in."""
        child = self._children[name]
        child.hold()
        assert child.guard is not None
        child.guard.probe()
        child.cell.half_open_circuit()
        error = await self._start(child)
        if error is not None:
            child.reason = error
            child.guard.probe_failed(error)
            await self._open_circuit(child)
        elif child.state == "running" and child.cell.circuit == "half-open":
            child.retry = self.ctx.after(PROBE_QUIET, self._probe_is_over, name)

    async def _probe_is_over(self, name: str) -> None:
        """Nobody has called since a probe was started."""
        child = self._children[name]
        child.hold()
        assert child.guard is not None
        if child.state == "running" and child.cell.circuit == "half-open":
            if child.cell.lets_in() and child.guard.probe_is_quiet():
                await self._circuit_closed(child)
            else:
                child.retry = self.ctx.after(PROBE_QUIET, self._probe_is_over, name)

    async def _close_circuit(self, child: Child) -> BaseException | None:
        """Close it by hand; the error, if the child is down and can't be started."""
        circuit = child.guard.circuit if child.guard is not None else None
        assert circuit is not None
        if child.state == "open":
            child.cell.half_open_circuit()
            error = await self._start(child)
            if error is not None:
                child.reason = error
                await self._open_circuit(child)
                return error
        circuit.force_closed(trio.current_time())
        child.cell.close_circuit()
        await self._circuit_closed(child)
        return None

    async def _circuit_closed(self, child: Child) -> None:
        child.hold()
        child.reason = Exit.NORMAL
        self._is_itself(child)
        self._emit(CircuitShut(path=child.cell.path))
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
                other.reasons.discard("dependency")
                self._plan_return(other, at_once=True)

    # --- degradation

    def _degrade(self, child: Child, action: Degrade) -> bool:
        """Degrade as an action says; whether the child is to be restarted as usual."""
        feature = child.spec.feature
        if action.levels or (action.feature is not None and (feature is None or action.feature != feature.name)):
            self._degrade_other(child, action)
            return True
        if not self._fall_back(child):
            self._mark_feature(child)
            child.reasons.add("failure")
            child.is_free = True
            self._try_again_slowly(child)
        return False

    def _try_again_slowly(self, child: Child) -> None:
        """Start a child that is down and degraded after a while."""
        self._retry_after(child, (child.spec.backoff or WAY_BACK).delay(child.returns, self.ctx.random))
        child.returns += 1

    def _degrade_other(self, child: Child, action: Degrade) -> None:
        """Degrade the quality, or a feature that this child does not provide, until nothing has failed for a while."""
        degradation = Degradation.of(self._cell.system)
        if action.levels:
            degradation.lower_quality(action.levels, child.cell.path)
            return
        assert action.feature is not None
        feature, because = action.feature, f"{FAILURE} of {child.cell.path}"
        degradation.degrade(feature, because, child.cell.path)
        key, timers = (feature, because), self._cell.system.timers
        if key in self._lifts:
            self._lifts[key].cancel()

        def lift() -> None:
            self._lifts.pop(key, None)
            with suppress(ComponentNotFound):  # the feature has gone with whoever provided it
                degradation.lift(feature, because)

        self._lifts[key] = timers.at(trio.current_time() + ELSEWHERE, lift)

    def _declare_features(self) -> None:
        """Make the features of the declared children known, and the others that the supervisor is declared with."""
        features = features_of(self._spec)
        if features:
            Degradation.of(self._cell.system).declare(features, whole=False)
            self._provided = {f"feature {each.name}": each.name for each in self._spec.features}
            self._provided |= {each.name: each.feature.name for each in self._spec.children if each.feature is not None}

    def _watch_features(self) -> None:
        """Follow the features of the children, from now on."""
        if self._provided and self._end_listening is None:
            self._end_listening = Degradation.of(self._cell.system).listen(self._feature_changed)
            self.ctx.every(HEALTH_EVERY, self._ask_after_health)

    def _watch_no_features(self) -> None:
        if self._end_listening is not None:
            self._end_listening()
            self._end_listening = None
        if self._provided:
            Degradation.of(self._cell.system).withdraw(self._provided.values())
            self._provided = {}

    def _feature_changed(self, change: Change) -> None:
        provided = (child.spec.feature for child in self._children.values())
        if any(feature is not None and feature.name == change.feature for feature in provided):
            self.ctx.after(0, self._follow_feature, change.feature)

    def _follow_feature(self, feature: str) -> None:
        """A child runs its fallback while its feature is degraded by more than its own failure."""
        for child in self._children.values():
            if child.spec.feature is None or child.spec.feature.name != feature:
                continue
            is_off = self._is_off(child)
            if is_off and "feature" not in child.reasons:
                child.reasons.add("feature")
                if child.guard is not None and child.guard.is_ill:  # what runs in its place is not to speak for it
                    child.reasons.add("failure")
                    self._mark_feature(child)
                if not child.mode and child.spec.fallback and child.state == "running":
                    self._swap(child, 1)
            elif not is_off and "feature" in child.reasons:
                child.reasons.discard("feature")
                if child.mode and child.state == "running":
                    self._plan_return(child, at_once=True)

    def _ask_after_health(self) -> None:
        """Ask each child that provides a feature how it does."""
        for child in self._children.values():
            vitals = child.guard.vitals if child.guard is not None else None
            if vitals is not None and child.state == "running" and not child.mode:
                vitals.health(_health_of(child.cell))

    # --- down

    async def _put_down(self, child: Child) -> None:
        """Keep a child down until it is started by hand; its dependents run their fallbacks, or are held."""
        below = self._below(child)
        held = [other for other in below if other.is_held or other.state != "stopped"]
        self._mark_feature(child)
        await self._stop([child.spec.name, *(other.spec.name for other in below)])
        if child.spec.restart == "temporary":
            self._remove(child)
        else:
            child.close()
        for other in below:
            if other in held:
                self._settle(other)
        await self._start_due()

    # --- of the layer above

    async def _start_due(self) -> None:
        raise NotImplementedError

    def _retry_after(self, child: Child, delay: float) -> None:
        raise NotImplementedError


def _health_of(cell: Any) -> float:
    """What an actor says of its health; one that can't say is not well."""
    actor = getattr(cell.incarnation, "actor", None)
    if actor is None:
        return 0.0
    try:
        score = float(actor.health())
    except Exception as error:
        cell.system.events.emit(_unhealthy(cell, error))
        return 0.0
    return min(1.0, max(0.0, score)) if score == score else 0.0


def _unhealthy(cell: Any, error: Exception) -> Any:
    from ..actors.events import BackgroundFailed

    return BackgroundFailed(path=cell.path, reason=f"health() raised {describe(error)}")
