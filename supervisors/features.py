"""Features: what a user would miss. An immutable description, checked when it is made.

A feature is named, may depend on others, and has a health score from 0 to 1. Below its threshold it is degraded, and
above 1.2 times the threshold, held for a while, restored (spec, "Feature Degradation"). What is wrong with a
description is a `SpecError` that names the feature, the option and its value. What becomes of the features is in
`feature_states`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

import attrs

from ..actors.errors import SpecError
from .graph import find_cycle, start_order

HOLD = 10.0
"""Seconds for which a feature has to be well before its bad health is forgotten."""
HEADROOM = 1.2
"""How far above its threshold a score has to be for that."""


def _as_tuple(names: Any) -> Any:
    return tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else names


@attrs.frozen
class Feature:
    """One feature, as it is declared; SpecError if it can't be right.

    It degrades when its score is below `threshold` (0 to 1; at 0, never of its score). `fallback` is what users are
    told of the mode that it runs in then, such as "without colours".
    """

    name: str
    threshold: float = 0.5
    depends_on: tuple[str, ...] = attrs.field(default=(), converter=_as_tuple)
    """Features without which this one can't be whole."""
    fallback: str | None = None
    hold: float = HOLD
    """Seconds for which its score has to be well before it counts as healthy again."""

    def __attrs_post_init__(self) -> None:
        if not is_name(self.name):
            raise SpecError(f"a feature's name is printable text, not {self.name!r}")
        if not is_number(self.threshold) or not 0 <= self.threshold <= 1:
            raise _wrong(self.name, "threshold", self.threshold, "a number from 0 to 1")
        if not isinstance(self.depends_on, tuple):
            raise _wrong(self.name, "depends_on", self.depends_on, "a list of features' names")
        for needed in self.depends_on:
            if not is_name(needed):
                raise _wrong(self.name, "depends_on", needed, "a feature's name")
            if needed == self.name:
                raise _wrong(self.name, "depends_on", needed, "another feature; it can't depend on itself")
        if self.fallback is not None and not is_name(self.fallback):
            raise _wrong(self.name, "fallback", self.fallback, "printable text, or None")
        if not is_number(self.hold) or not 0 <= self.hold < math.inf:
            raise _wrong(self.name, "hold", self.hold, "a finite number of seconds from 0 up")

    def is_ill_at(self, score: float | None) -> bool:
        """Whether this score degrades it. Without one, nothing speaks against it."""
        return score is not None and score < self.threshold

    def is_well_at(self, score: float | None) -> bool:
        """Whether it may be restored at this score: above 1.2 times the threshold, or 1 where that is more."""
        bar = min(1.0, HEADROOM * self.threshold)
        return score is None or score > bar or score == bar == 1.0


def check_features(features: Iterable[Feature], *, whole: bool = True) -> tuple[Feature, ...]:
    """The features in dependency order; SpecError if they don't fit together.

    Where they are not the `whole`, one may depend on a feature that is not among them. Several children may provide the
    same one.
    """
    by_name: dict[str, Feature] = {}
    for feature in features:
        if not isinstance(feature, Feature):
            raise SpecError(f"{feature!r} is no feature; make it with Feature(name)")
        if by_name.get(feature.name, feature) != feature:
            raise SpecError(
                f"two features are named {feature.name!r}; where several provide one, they say the same of it"
            )
        by_name[feature.name] = feature
    if whole:
        check_known(by_name.values(), by_name)
    depends_on = {name: feature.depends_on for name, feature in by_name.items()}
    cycle = find_cycle(depends_on)
    if cycle is not None:
        raise SpecError(f"feature cycle: {' -> '.join(cycle)}")
    return tuple(by_name[name] for name in start_order(list(by_name), depends_on))


def check_known(features: Iterable[Feature], known: Collection[str]) -> None:
    """Raise SpecError if one depends on a feature that is not known."""
    for feature in features:
        for needed in feature.depends_on:
            if needed not in known:
                right = f"a feature that is declared, which are: {', '.join(map(repr, known))}"
                raise _wrong(feature.name, "depends_on", needed, right)


def is_name(value: object) -> bool:
    """Whether it is text that can be shown in a line."""
    return isinstance(value, str) and value != "" and value.isprintable()


def is_number(value: object) -> bool:
    """Whether it is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(name: str, option: str, value: object, right: str) -> SpecError:
    return SpecError(f"feature {name!r}: {option}={value!r} must be {right}")
