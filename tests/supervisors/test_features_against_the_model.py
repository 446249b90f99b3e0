"""Random features, random fortune: the states must be what a naive model makes of the whole history, step by step.

The model remembers all that was ever said and works out from scratch who is degraded. The changes are replayed one by
one: each must be justified by what was told before it, what depends comes after what it depends on, none comes twice.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ukemi import ComponentNotFound, SpecError
from ukemi.supervisors.feature_states import Change, Features
from ukemi.supervisors.features import Feature

NAMES = "abcde"

# All times are multiples of an eighth, so that sums are exact and a hold time is met to the tick.
names = st.sampled_from(NAMES)
scores = st.sampled_from([0.0, 0.25, 0.5, 0.55, 0.6, 0.61, 0.9, 0.95, 1.0, None])
sources = st.sampled_from(["disk", "memory"])
reasons = st.sampled_from(["failure", "quality"])
paths = st.sampled_from(["", "/top/a", "/top/b"])
pauses = st.sampled_from([1, 4, 8, 20, 79, 80, 81, 200]).map(lambda n: n / 8)


@st.composite
def made(draw: st.DrawFn) -> Feature:
    """A feature; most depend on earlier names only, so that cycles are rare."""
    name = draw(names)
    fit = NAMES[: NAMES.index(name)] if draw(st.integers(0, 5)) else NAMES.replace(name, "")
    needed = draw(st.lists(st.sampled_from(fit), max_size=2, unique=True)) if fit else []
    threshold = draw(st.sampled_from([0.0, 0.5, 0.5, 0.9, 1.0]))
    return Feature(name, threshold, needed, hold=draw(st.sampled_from([0.0, 2.5, 10.0])))


class Told:
    """One feature of the model, and all that was ever said of it."""

    def __init__(self, feature: Feature) -> None:
        self.feature = feature
        self.uses = 0
        self.sources: dict[str, float] = {}
        self.history: list[tuple[float, float | None]] = []
        """The worst score of all sources, after each report."""
        self.reasons: set[tuple[str, str]] = set()

    @property
    def score(self) -> float | None:
        return min(self.sources.values(), default=None)

    def report(self, score: float | None, source: str, now: float) -> None:
        if score is None:
            self.sources.pop(source, None)
        else:
            self.sources[source] = score
        self.history.append((now, self.score))

    def is_well(self, score: float | None) -> bool:
        threshold = self.feature.threshold
        return score is None or score > 1.2 * threshold or (score == 1 and 1.2 * threshold >= 1)

    def ill(self, now: float) -> tuple[bool, float | None]:
        """Whether its health is bad, and when that ends, as things stand."""
        falls = [n for n, (_, score) in enumerate(self.history) if score is not None and score < self.feature.threshold]
        if not falls:
            return False, None
        since = None
        for time, score in self.history[falls[-1] + 1 :]:
            if not self.is_well(score):
                if since is not None and time - since >= self.feature.hold:
                    return False, None
                since = None
            elif since is None:
                since = time
        if since is None:
            return True, None
        return (False, None) if now - since >= self.feature.hold else (True, since + self.feature.hold)

    def own(self, now: float) -> set[str]:
        """Its own reasons."""
        return {reason for reason, _ in self.reasons} | ({"health"} if self.ill(now)[0] else set())


class AgainstTheModel(RuleBasedStateMachine):
    """The states, the model, and the view of somebody who only hears of changes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.states = Features()
        self.model: dict[str, Told] = {}
        self.view: dict[str, tuple[bool, float]] = {}
        """Whether it is degraded, and since when it is as it is."""

    # --- what is done

    @initialize(features=st.lists(made(), max_size=8, unique_by=lambda feature: feature.name))
    def begin(self, features: list[Feature]) -> None:
        self.declare(features, whole=False)

    @rule(features=st.lists(made(), min_size=1, max_size=2), whole=st.booleans())
    def declare(self, features: list[Feature], whole: bool) -> None:
        if self.is_refused(features, whole):
            with pytest.raises(SpecError):
                self.states.declare(features, self.now, whole=whole)
            return
        changes = self.states.declare(features, self.now, whole=whole)
        for feature in features:
            self.view.setdefault(feature.name, (False, self.now))
            self.model.setdefault(feature.name, Told(feature)).uses += 1
        self.replay(changes)

    @rule(name=names)
    def declare_again(self, name: str) -> None:
        if name in self.model:
            self.model[name].uses += 1
            self.replay(self.states.declare([self.model[name].feature], self.now, whole=False))

    @rule(victims=st.lists(names, min_size=1, max_size=2, unique=True))
    def withdraw(self, victims: list[str]) -> None:
        if not all(name in self.model for name in victims):
            with pytest.raises(ComponentNotFound):
                self.states.withdraw(victims, self.now)
            return
        changes = self.states.withdraw(victims, self.now)
        for name in victims:
            self.model[name].uses -= 1
            if not self.model[name].uses:
                del self.model[name], self.view[name]
        self.replay(changes)

    @rule(name=names, score=scores, source=sources, path=paths)
    def report(self, name: str, score: float | None, source: str, path: str) -> None:
        changes = self.ask(name, self.states.report, score, source, self.now, path)
        if name in self.model:
            self.model[name].report(score, source, self.now)
        self.replay(changes)

    @rule(pick=st.integers(0, len(NAMES)), score=st.sampled_from([0.0, 0.25, 0.95]))
    def fall(self, pick: int, score: float) -> None:
        """One that is declared gets a bad score, most likely."""
        if self.model:
            self.report(sorted(self.model)[pick % len(self.model)], score, "disk", "/top/a")

    @rule(pick=st.integers(0, len(NAMES)), score=st.sampled_from([0.55, 0.6, 0.61, 1.0, 1.0, None]), seconds=pauses)
    def rise(self, pick: int, score: float | None, seconds: float) -> None:
        """All sources of one that is ill get better, or end; one of them says so again after a while."""
        ill = [name for name in sorted(self.model) if self.model[name].ill(self.now)[0]]
        if ill:
            name = ill[pick % len(ill)]
            for source in sorted(self.model[name].sources):
                self.report(name, score, source, "")
            self.check()
            self.wait(seconds)
            self.report(name, score, "disk", "")

    @rule(name=names, reason=reasons, path=paths)
    def degrade(self, name: str, reason: str, path: str) -> None:
        changes = self.ask(name, self.states.degrade, reason, self.now, path)
        if name in self.model:
            self.model[name].reasons.add((reason, path))
        self.replay(changes)

    @rule(name=names, reason=reasons, path=st.none() | paths)
    def lift(self, name: str, reason: str, path: str | None) -> None:
        changes = self.ask(name, self.states.lift, reason, self.now, path)
        if name in self.model:
            given = self.model[name].reasons
            given -= {(r, p) for r, p in given if r == reason and path in (None, p)}
        self.replay(changes)

    @rule(marked=st.lists(names, unique=True), path=paths)
    def mark(self, marked: list[str], path: str) -> None:
        changes = self.states.mark("quality", marked, self.now, path)
        for name, told in self.model.items():
            if name not in marked:
                told.reasons = {(r, p) for r, p in told.reasons if r != "quality"}
            elif all(r != "quality" for r, _ in told.reasons):
                told.reasons.add(("quality", path))
        self.replay(changes)

    @rule(seconds=pauses)
    def wait(self, seconds: float) -> None:
        """Time passes as a driver would have it: it ticks when something is due, and only then."""
        end = self.now + seconds
        while (due := self.states.next_due) is not None and due <= end:
            assert due > self.now, "it should have been done"
            self.now = due
            changes = self.states.tick(self.now)
            self.replay(changes)
            self.check()
        self.now = end

    @rule()
    def tick(self) -> None:
        assert self.states.tick(self.now) == []

    # --- what is expected

    def ask(self, name: str, method: Any, *args: Any) -> list[Change]:
        if name in self.model:
            changes: list[Change] = method(name, *args)
            return changes
        with pytest.raises(ComponentNotFound):
            method(name, *args)
        return []

    def is_refused(self, features: list[Feature], whole: bool) -> bool:
        fresh = {feature.name: feature for feature in features}
        if any(fresh[feature.name] != feature for feature in features):
            return True
        if any(name in self.model and self.model[name].feature != feature for name, feature in fresh.items()):
            return True
        needs = {name: told.feature.depends_on for name, told in self.model.items()}
        needs |= {name: feature.depends_on for name, feature in fresh.items()}
        fresh = {name: feature for name, feature in fresh.items() if name not in self.model}
        if whole and any(needed not in needs for feature in fresh.values() for needed in feature.depends_on):
            return True
        return any(name in all_below(needs, name) for name in needs)

    def is_degraded(self, name: str) -> bool:
        """Worked out from scratch."""
        told = self.model[name]
        needed = [other for other in told.feature.depends_on if other in self.model]
        return bool(told.own(self.now)) or any(map(self.is_degraded, needed))

    def replay(self, changes: list[Change]) -> None:
        needs = {name: told.feature.depends_on for name, told in self.model.items()}
        heard: list[str] = []
        for change in changes:
            name, told = change.feature, self.model[change.feature]
            assert name not in heard, "twice in one step"
            assert self.view[name][0] != change.degraded, "it was told so already"
            culprits = [n for n in told.feature.depends_on if n in self.view and self.view[n][0]]
            if change.degraded:
                assert told.own(self.now) or culprits, f"nothing has degraded {name} yet"
                assert change.because_of == (culprits[0] if culprits else None)
            else:
                assert not told.own(self.now), f"{name} still has a reason"
                assert not culprits, f"{name} is restored before what it depends on"
            assert not any(name in all_below(needs, before) for before in heard), f"{name} comes too late"
            assert (change.score, change.at) == (told.score, self.now)
            self.view[name] = (change.degraded, self.now)
            heard.append(name)

    @invariant()
    def check(self) -> None:
        states = self.states.states()
        order = [state.feature for state in states]
        assert sorted(order) == sorted(self.model)
        for state in states:
            name = state.feature
            told = self.model[name]
            assert state.degraded == self.is_degraded(name)
            assert (state.degraded, state.since) == self.view[name], "the changes don't add up to the states"
            assert set(state.reasons) == told.own(self.now)
            assert len(set(state.reasons)) == len(state.reasons)
            needed = [other for other in told.feature.depends_on if other in self.model]
            assert state.because_of == next(filter(self.is_degraded, needed), None)
            assert all(order.index(other) < order.index(name) for other in needed)
            assert state.score == told.score
        dues = [due for told in self.model.values() if (due := told.ill(self.now)[1]) is not None]
        assert self.states.next_due == min(dues, default=None)


def all_below(needs: dict[str, tuple[str, ...]], name: str) -> set[str]:
    """All that a name needs, directly or not."""
    found: set[str] = set()
    while new := {n for other in found | {name} for n in needs.get(other, ())} - found:
        found |= new
    return found


TestAgainstTheModel = AgainstTheModel.TestCase
TestAgainstTheModel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
