"""`Substitutes`: what runs in a child's place behind the same Ref, and how the child gets it back (rule S15).

A child's declared fallback replaces it after a failure, while something that it depends on is down, or while the
feature that it provides is degraded. The way back is made before the fallback is broken off: the child is started
beside it, in a task of its own, and takes over between two messages. That spends no window.
"""

from __future__ import annotations

from typing import Any

import trio

from ..actors.events import BackgroundFailed
from ..actors.reasons import Reason, describe
from ..actors.turn import is_cancelled
from .backoff import Backoff
from .degradation import Degradation
from .events import FellBack
from .feature_states import FAILURE, Change
from .keeper import Keeper
from .record import Child, Swap
from .spec import ChildSpec, SupervisorSpec, feature_beside, features_of

WAY_BACK = Backoff(initial=1.0, maximum=60.0)
"""How soon a child is tried again that something else replaces, or that is degraded, where it has no backoff."""
ANSWERED_BY_THEN = 1.0
"""Seconds until the next look at what can't be replaced yet, since it has calls to answer."""
HEALTH_EVERY = 5.0
"""Seconds between questions after the health of children that provide a feature."""


class Substitutes(Keeper):
    """See the module."""

    def __init__(self, spec: SupervisorSpec) -> None:
        super().__init__(spec)
        self._provided: dict[str, str] = {}
        """The features of the children that have one, by child, and those that none provides."""
        self._follows_features = False

    def _add(self, spec: ChildSpec) -> Child:
        if spec.feature is not None and spec.name not in self._provided:
            siblings = {child.spec.name: child.spec for child in self._children.values()}
            feature = feature_beside(spec, siblings)
            Degradation.of(self._cell.system).declare([feature], whole=False)
            self._provided[spec.name] = feature.name
            self._follow_features()
        return super()._add(spec)

    def _remove(self, child: Child) -> None:
        super()._remove(child)
        feature = self._provided.pop(child.spec.name, None)
        if feature is not None:
            self._let_go_of(child)
            Degradation.of(self._cell.system).withdraw([feature])

    def _came_up(self, child: Child, why: Reason) -> None:
        if self._is_off(child):
            child.suffer("feature")
        if child.mode:
            self._silence(child)
            reason = describe(why) if "failure" in child.reasons else self._what_is_amiss(child)
            self._emit(FellBack(path=child.cell.path, fallback=child.fallback_name, reason=reason))
            self._plan_swap(child)
            return
        if child.cell.gate.circuit is None:
            self._is_itself(child)
        self._plan_swap(child, at_once=True)

    def _what_is_amiss(self, child: Child) -> str:
        """Why a child that has not failed itself can't be in its place."""
        missing = self._missing(child.spec)
        return f"{missing.spec.name} is {missing.state}" if missing is not None else "its feature is degraded"

    # --- a fallback, from the next start on

    def _fall_back(self, child: Child, wanted: str | None = None) -> bool:
        """After a failure: let a child that is down be its next fallback (or the one `wanted`). False: none left."""
        mode = child.next_fallback(wanted)
        if not mode:
            return False
        child.put_on(mode)
        child.suffer("failure")
        child.is_free = child.has_fallen = True
        self._mark_feature(child)
        return True

    def _go_without(self, child: Child) -> bool:
        """While what it depends on is down: let a child that is down run its fallback, if it has one for that."""
        if not (child.spec.fallback and child.spec.goes_without):
            return False
        if not child.mode:
            child.put_on(1)
        child.suffer("dependency")
        child.is_free = True
        return True

    async def _start_again(self, child: Child) -> BaseException | None:
        """Start one that is down; at once as its fallback, where its feature is degraded. The error if that fails."""
        if child.keeps_fallback and not (child.has_fallen or child.does_without):  # that has ended
            child.put_on(0)
            child.recover("failure")
        if not child.mode and child.spec.fallback and self._is_off(child):
            child.put_on(1)
        return await self._start(child)

    # --- another in its place, while it runs

    def _wanted_mode(self, child: Child) -> int | None:
        """What is to take a child's place as things are: itself (0), a fallback; None: it may stay as it is."""
        is_off = self._is_off(child)
        if child.mode:
            return None if is_off or self._missing(child.spec) is not None or self._is_behind(child) else 0
        return 1 if is_off and child.spec.fallback else None

    def _is_behind(self, child: Child) -> bool:
        """Whether something that it depends on, directly or not, runs in a fallback: one by one they come back."""
        needed = list(child.spec.depends_on)
        while needed:
            other = self._children[needed.pop()]
            if other.mode and not other.keeps_fallback:
                return True
            needed.extend(other.spec.depends_on)
        return False

    def _plan_swap(self, child: Child, *, at_once: bool = False) -> None:
        """See to it that what is to be in a child's place gets there: now, or later and later where that fails."""
        if child.swap is not None or child.keeps_fallback or (child.back is not None and not at_once):
            return
        if not child.mode and self._wanted_mode(child) is None:
            return
        child.stay()
        delay = 0.0
        if not at_once:
            delay = (child.spec.backoff or WAY_BACK).delay(child.returns, self.ctx.random)
            child.returns += 1
        child.back = self.ctx.after(delay, self._try_swap, child.spec.name)

    def _try_swap(self, name: str) -> None:
        """It is time to try it."""
        child = self._children[name]
        child.back = None
        if child.state != "running":
            return  # it is seen to when it comes up
        mode = self._wanted_mode(child)
        if mode is None:
            self._plan_swap(child)
            return
        if child.cell.owes_answers:
            child.back = self.ctx.after(ANSWERED_BY_THEN, self._try_swap, name)
            return
        child.swap = Swap(child.cell, mode)
        child.swap.scope = self.ctx.start_task(self._make_ready, child, child.swap)

    async def _make_ready(self, child: Child, swap: Swap) -> None:
        """In a task of its own, since it may take its time: the start beside it, then the end of what runs now."""
        factory = child.spec.fallback[swap.mode - 1][1] if swap.mode else child.spec.factory
        try:
            await child.cell.prepare(factory)
        except BaseException as error:  # whatever a start may raise; the real Cancelled is passed on
            if is_cancelled():
                raise
            swap.failure = describe(error)
        else:
            await self._make_room(child, swap)
        self.ctx.after(0, self._swapped, child.spec.name, swap)

    async def _make_room(self, child: Child, swap: Swap) -> None:
        """What is to take over is up: let what runs end. If that can't be, or is called off, nothing is left of it."""
        swap.standby = child.cell.standby

        def fits() -> bool:
            return child.swap is swap and self._fits(child, swap)

        try:
            if fits() and await child.cell.make_room(fits):
                return
        except BaseException:
            await child.cell.dismiss()
            raise
        swap.failure = "it is not well enough, or no longer wanted, or what runs has calls to answer"
        await child.cell.dismiss()

    def _fits(self, child: Child, swap: Swap) -> bool:
        """Whether a child is still to be replaced by what is on standby, and that is well enough."""
        standby = swap.standby
        if standby is None or not standby.is_fit or self._wanted_mode(child) != swap.mode or child.cell.owes_answers:
            return False
        feature = child.spec.feature
        return swap.mode > 0 or feature is None or feature.is_well_at(health_of(standby))

    async def _swapped(self, name: str, swap: Swap) -> None:
        """What is to take over is up, and nothing else is any more; or it could not be started."""
        child = self._children.get(name)
        if child is None or child.swap is not swap:  # called off since
            if swap.standby is not None and swap.cell.standby is swap.standby:
                await swap.cell.dismiss()
            return
        child.swap = None
        if swap.failure:
            self.ctx.log.info("{} is not replaced: {}", child.cell.path, swap.failure)
            self._plan_swap(child)
        elif child.cell.take_over():
            self._took_over(child, swap.mode)
        else:  # it has ended in between, and there is nothing any more: what has been there goes on
            child.is_free = True
            self._await_start(child)
            await self._start_due()

    def _took_over(self, child: Child, mode: int) -> None:
        child.put_on(mode)
        child.up_since = trio.current_time()
        if mode:
            self._silence(child)
        if child.guard is not None:
            child.guard.begin_anew()
        reason = "degraded" if mode else "well again"
        self._emit(FellBack(path=child.cell.path, fallback=child.fallback_name, reason=reason))
        if mode:
            self._plan_swap(child)
            return
        if child.cell.gate.circuit is None:
            self._is_itself(child)
        self._plan_swap(child, at_once=True)  # its feature may have been degraded while it took over
        for other in self._below(child):
            if other.mode:
                self._plan_swap(other, at_once=True)

    def _is_itself(self, child: Child) -> None:
        """A child is back in its place."""
        child.recover("failure", "dependency")
        if not self._is_off(child):
            child.recover("feature")
        if child.spec.feature is not None:
            Degradation.of(self._cell.system).lift(child.spec.feature.name, FAILURE, child.cell.path)
        if child.returns:
            longest = (child.spec.backoff or WAY_BACK).maximum
            self.ctx.after(longest, self._returned_for_good, child.spec.name, child.returns)

    def _returned_for_good(self, name: str, returns: int) -> None:
        """It has been well for a while: its next way back is as short as the first."""
        child = self._children.get(name)
        if child is not None and child.returns == returns and not child.mode:
            child.returns = 0

    # --- features

    def _declare_features(self) -> None:
        """Make the features of the declared children known, and the others that the supervisor is declared with."""
        features = features_of(self._spec)
        if features:
            Degradation.of(self._cell.system).declare(features, whole=False)
            self._provided = {f"feature {each.name}": each.name for each in self._spec.features}
            self._provided |= {each.name: each.feature.name for each in self._spec.children if each.feature is not None}
            self._follow_features()

    def _follow_features(self) -> None:
        """Follow the features of the children, from now on until this incarnation ends, however it does."""
        if not self._follows_features:
            self._follows_features = True
            end_listening = Degradation.of(self._cell.system).listen(self._feature_changed)
            self.ctx.every(HEALTH_EVERY, self._ask_after_health)

            async def until_the_end() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    end_listening()
                    self._withdraw_features()

            self.ctx.start_task(until_the_end)

    def _withdraw_features(self) -> None:
        for child in self._children.values():
            if child.spec.name in self._provided:
                self._let_go_of(child)
        provided, self._provided = self._provided, {}
        Degradation.of(self._cell.system).withdraw(provided.values())

    def _let_go_of(self, child: Child) -> None:
        """Nothing that is known of a child is to stay with its feature, which others may provide too."""
        assert child.spec.feature is not None
        if child.guard is not None:
            child.guard.end_vitals()
        Degradation.of(self._cell.system).lift(child.spec.feature.name, FAILURE, child.cell.path)

    def _silence(self, child: Child) -> None:
        """What runs in its place is not to speak for a child: if that is ill, it is so until it is back."""
        if child.guard is not None and child.guard.vitals is not None:
            if child.guard.is_ill:
                child.suffer("failure")
                self._mark_feature(child)
            child.guard.vitals.reset()

    def _mark_feature(self, child: Child) -> None:
        """What a child provides suffers from its failure."""
        if child.spec.feature is not None:
            Degradation.of(self._cell.system).degrade(child.spec.feature.name, FAILURE, child.cell.path)

    def _is_off(self, child: Child) -> bool:
        """Whether the feature that a child provides is degraded by more than the child's failure."""
        if child.spec.feature is None or child.spec.name not in self._provided:
            return False
        state = Degradation.of(self._cell.system).state_of(child.spec.feature.name)
        return state.because_of is not None or any(reason != FAILURE for reason in state.reasons)

    def _feature_changed(self, change: Change) -> None:
        if change.feature in self._provided.values():
            self.ctx.after(0, self._follow_feature, change.feature)

    def _follow_feature(self, feature: str) -> None:
        """A child runs its fallback while its feature is degraded by more than its own failure."""
        for child in self._children.values():
            if child.spec.feature is None or child.spec.feature.name != feature:
                continue
            is_off = self._is_off(child)
            if is_off == ("feature" in child.reasons):
                continue
            if is_off:
                child.suffer("feature")
            else:
                child.recover("feature")
            if child.state == "running" and self._wanted_mode(child) is not None:
                self._plan_swap(child, at_once=True)

    def _ask_after_health(self) -> None:
        """Ask each child that provides a feature how it does."""
        for child in self._children.values():
            vitals = child.guard.vitals if child.guard is not None else None
            if vitals is not None and child.state == "running" and not child.mode:
                vitals.health(health_of(child.cell))
        for feature in dict.fromkeys(self._provided.values()):  # news come only when one is degraded or restored
            self._follow_feature(feature)

    # --- of the layer above

    async def _start_due(self) -> None:
        raise NotImplementedError


def health_of(cell: Any) -> float:
    """What an actor says of its health; one that can't say is not well."""
    actor = getattr(cell.incarnation, "actor", None)
    if actor is None:
        return 0.0
    try:
        score = float(actor.health())
    except BaseException as error:  # of whatever class: it is the actor's, and not its supervisor's
        cell.system.events.emit(BackgroundFailed(path=cell.path, reason=f"health() raised {describe(error)}"))
        return 0.0
    return min(1.0, max(0.0, score)) if score == score else 0.0
