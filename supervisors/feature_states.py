"""Which features are degraded, and why: the state of all features of a runtime.

A feature is degraded while it has a reason of its own, or while anything that it depends on is degraded. There are two
kinds of reasons:

- "health": its score, which is the worst that its sources give, has fallen below its threshold. This reason goes by
  itself, once the score has been well for a while without interruption, so that the feature does not flap;
- those that somebody gives it: a recovery policy ("failure"), the quality level ("quality"), an operator ("manual").
  Such a reason stays until it is lifted.

All is pure: the time is passed in, and every method returns the changes that it has brought about, in dependency order,
each feature at most once. What they lead to is up to `Degradation`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import count
from typing import Any

import attrs

from ..actors.errors import ComponentNotFound, SpecError
from .features import Feature, check_features, check_known, is_name, is_number

HEALTH = "health"
"""The reason that comes and goes with the score."""
FAILURE = "failure"
"""The reason that a recovery policy gives (action `Degrade`)."""
QUALITY = "quality"
"""The reason of what the quality level has turned off."""
MANUAL = "manual"
"""The reason that an operator gives."""


@attrs.frozen(kw_only=True)
class Change:
    """A feature has been degraded, or restored."""

    feature: str
    degraded: bool
    because: str
    """Its own reasons, or which dependency; of a restored one, what is over."""
    because_of: str | None
    """The first of its dependencies that is degraded (or was, till now)."""
    score: float | None
    fallback: str | None
    path: str
    """The component that is at the root of it; empty, if none is."""
    at: float


@attrs.frozen(kw_only=True)
class FeatureState:
    """What there is to know of a feature at this moment."""

    feature: str
    degraded: bool
    score: float | None
    """The worst of its sources'; None without any."""
    threshold: float
    reasons: tuple[str, ...]
    """Its own."""
    because_of: str | None
    """The first of its dependencies that is degraded."""
    fallback: str | None
    since: float
    """When it came into this state."""


@attrs.frozen
class _Cause:
    """Why a feature is degraded."""

    reasons: tuple[str, ...]
    because_of: str | None
    path: str

    def __str__(self) -> str:
        return ", ".join(self.reasons) if self.reasons else f"{self.because_of} is degraded"

    @property
    def ended(self) -> str:
        """What to say when it is over."""
        return f"{', '.join(self.reasons)} is over" if self.reasons else f"{self.because_of} is no longer degraded"


@attrs.define(eq=False)
class _Live:
    """A declared feature and its state."""

    feature: Feature
    since: float
    scores: dict[str, float] = attrs.field(factory=dict)
    """By source."""
    reasons: dict[str, dict[str, None]] = attrs.field(factory=dict)
    """Each with the paths of those that have given it, in the order of their coming."""
    cause: _Cause | None = None
    """None: it is whole."""
    uses: int = 0
    """How often it was declared."""

    @property
    def score(self) -> float | None:
        return min(self.scores.values(), default=None)


class Features:
    """The state of all features of one runtime. Times are seconds, and never go back."""

    def __init__(self) -> None:
        self._live: dict[str, _Live] = {}
        self._rank: dict[str, int] = {}
        """Each one's place in dependency order; so are the names themselves."""
        self._ranks = count()
        self._needed_by: dict[str, dict[str, None]] = {}
        """Who directly depends on each name that anybody depends on, those still to come too."""
        self._well_at: dict[str, float] = {}
        """When the bad health of those that are well by now will be forgotten."""

    def __contains__(self, name: str) -> bool:
        return name in self._live

    def __iter__(self) -> Iterator[str]:
        """The names, in dependency order."""
        return iter(list(self._rank))

    # --- what may be declared

    def declare(self, features: Iterable[Feature], now: float, *, whole: bool = True) -> list[Change]:
        """Add features; nothing is added if one of them does not fit (SpecError).

        The same feature may be declared by several: it is there until each of them has withdrawn it. Unless these are
        the `whole`, one may depend on a feature that is still to come, and is taken for whole until then.
        """
        declared = list(features)
        features = check_features(declared, whole=False)
        for feature in features:
            there = self._live.get(feature.name)
            if there is not None and there.feature != feature:
                raise SpecError(f"feature {feature.name!r} is declared as {there.feature} already, not as {feature}")
        fresh = [feature for feature in features if feature.name not in self._live]
        if whole:
            check_known(fresh, dict.fromkeys((*self._live, *(feature.name for feature in fresh))))
        order: Iterable[Feature] = fresh
        if any(feature.name in self._needed_by for feature in fresh):  # it comes before some, and may close a cycle
            order = check_features([*(live.feature for live in self._live.values()), *fresh], whole=False)
            self._rank.clear()
        for feature in order:
            self._rank[feature.name] = next(self._ranks)
        for feature in declared:
            self._live.setdefault(feature.name, _Live(feature, since=now)).uses += 1
        for feature in fresh:
            for needed in feature.depends_on:
                self._needed_by.setdefault(needed, {})[feature.name] = None
        return self._settle([feature.name for feature in fresh], now)

    def withdraw(self, names: Iterable[str], now: float) -> list[Change]:
        """Take features away, with their scores and reasons; what was degraded because of one may be restored."""
        names = list(names)
        for live in [self._find(name) for name in names]:
            live.uses -= 1
        gone = [name for name in dict.fromkeys(names) if self._live[name].uses <= 0]
        for name in gone:
            self._forget(name)
        left = [name for needed in gone for name in self._needed_by.get(needed, ())]
        return self._settle(left, now)

    # --- what degrades and restores

    def report(self, name: str, score: float | None, source: str, now: float, path: str = "") -> list[Change]:
        """A source's score, from 0 (useless) to 1 (well). It stands until the source gives another.

        None ends the source. A feature that has none left is given the benefit of the doubt: it counts as well.
        """
        live = self._find(name)
        if score is None:
            live.scores.pop(source, None)
        else:
            live.scores[source] = check_score(name, score)
        roots = []
        if HEALTH in live.reasons:
            if live.feature.is_well_at(live.score):
                self._well_at.setdefault(name, now + live.feature.hold)
            else:
                self._well_at.pop(name, None)
        elif live.feature.is_ill_at(live.score):
            live.reasons[HEALTH] = {path: None}
            roots = [name]
        return self._settle(roots, now)

    def degrade(self, name: str, reason: str, now: float, path: str = "") -> list[Change]:
        """Give a feature a reason, which stays until it is lifted. `path` is the component that gives it."""
        live = self._find(name)
        _check_reason(reason)
        live.reasons.setdefault(reason, {})[path] = None
        return self._settle([name], now)

    def lift(self, name: str, reason: str, now: float, path: str | None = None) -> list[Change]:
        """Take a reason away, or only what the component at `path` has given; harmless where it is not given."""
        live = self._find(name)
        _check_reason(reason)
        givers = live.reasons.get(reason, {})
        givers.pop(path or "", None)
        if path is None or not givers:
            live.reasons.pop(reason, None)
        return self._settle([name], now)

    def mark(self, reason: str, names: Iterable[str], now: float, path: str = "") -> list[Change]:
        """Give the reason to exactly those of the declared features that are named, and take it from all others."""
        _check_reason(reason)
        marked = set(names)
        roots = [name for name, live in self._live.items() if (name in marked) != (reason in live.reasons)]
        for name in roots:
            if name in marked:
                self._live[name].reasons[reason] = {path: None}
            else:
                del self._live[name].reasons[reason]
        return self._settle(roots, now)

    def tick(self, now: float) -> list[Change]:
        """Do what is due. A score that is reported in the same moment counts first."""
        return self._settle((), now)

    @property
    def next_due(self) -> float | None:
        """When `tick` will have something to do, as things stand."""
        return min(self._well_at.values(), default=None)

    # --- what is shown

    def state_of(self, name: str) -> FeatureState:
        """The state of one feature."""
        live = self._find(name)
        feature, cause = live.feature, live.cause
        return FeatureState(
            feature=name,
            degraded=cause is not None,
            score=live.score,
            threshold=feature.threshold,
            reasons=cause.reasons if cause is not None else (),
            because_of=cause.because_of if cause is not None else None,
            fallback=feature.fallback,
            since=live.since,
        )

    def states(self) -> list[FeatureState]:
        """The state of every feature, in dependency order."""
        return [self.state_of(name) for name in self]

    # --- how it works

    def _find(self, name: str) -> _Live:
        live = self._live.get(name)
        if live is None:
            raise ComponentNotFound(name, f"; the features are: {', '.join(self._rank) or 'none'}")
        return live

    def _forget(self, name: str) -> None:
        """Nobody declares it any more."""
        feature = self._live.pop(name).feature
        del self._rank[name]
        self._well_at.pop(name, None)
        for needed in dict.fromkeys(feature.depends_on):
            del self._needed_by[needed][name]
            if not self._needed_by[needed]:
                del self._needed_by[needed]

    def _settle(self, roots: Collection[str], now: float) -> list[Change]:
        """The changes that follow where the reasons of the roots have changed, or time has passed."""
        if not roots and not self._well_at:
            return []
        well = [name for name, due in self._well_at.items() if due <= now]
        for name in well:
            del self._well_at[name]
            del self._live[name].reasons[HEALTH]
        updated = (self._update(self._live[name], now) for name in self._affected([*roots, *well]))
        return [change for change in updated if change is not None]

    def _affected(self, roots: Collection[str]) -> list[str]:
        """The roots and all that directly or indirectly depends on them, in dependency order."""
        reached = set(roots)
        stack = list(roots)
        while stack:
            fresh = [name for name in self._needed_by.get(stack.pop(), ()) if name not in reached]
            reached.update(fresh)
            stack += fresh
        return sorted(reached, key=self._rank.__getitem__)

    def _update(self, live: _Live, now: float) -> Change | None:
        """Bring one up to date whose dependencies are."""
        before, live.cause = live.cause, self._cause_of(live)
        cause = live.cause or before
        if cause is None or (before is not None and live.cause is not None):
            return None
        live.since = now
        return Change(
            feature=live.feature.name,
            degraded=live.cause is not None,
            because=str(cause) if live.cause is not None else cause.ended,
            because_of=cause.because_of,
            score=live.score,
            fallback=live.feature.fallback,
            path=cause.path,
            at=now,
        )

    def _cause_of(self, live: _Live) -> _Cause | None:
        needed = (self._live[name] for name in live.feature.depends_on if name in self._live)
        culprit = next((other for other in needed if other.cause is not None), None)
        if live.reasons:
            path = next(iter(next(iter(live.reasons.values()))))
        elif culprit is not None and culprit.cause is not None:
            path = culprit.cause.path
        else:
            return None
        return _Cause(tuple(live.reasons), culprit.feature.name if culprit is not None else None, path)


# --- checks


def check_score(name: str, score: Any) -> float:
    """The score as a float; ValueError if it is none."""
    if not is_number(score) or not 0 <= score <= 1:
        raise ValueError(f"a health score is a number from 0.0 (useless) to 1.0 (well), not {score!r} (of {name!r})")
    return float(score)


def _check_reason(reason: object) -> None:
    if not is_name(reason):
        raise ValueError(f"a reason is printable text such as {MANUAL!r}, not {reason!r}")
    if reason == HEALTH:
        raise ValueError(f"the reason {HEALTH!r} comes and goes with the score; report one, or give another reason")
