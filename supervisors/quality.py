"""Quality levels: what the whole runtime goes without while resources are short (spec, "Graceful Degradation").

Level 3 is full functionality, level 0 the least. A recovery policy takes it down (`Degrade(levels=1)`). It comes up by
itself, one level at a time, each time that it has been quiet for a while: not lowered, and the resource pressure low.
An operator may pin it. `Quality` is pure: the time is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from ..actors.errors import SpecError
from .features import is_name, is_number

TURNED_OFF = (
    ("shell_integration", "file_watching", "decorations"),
    ("shell_integration", "decorations"),
    ("decorations",),
    (),
)
"""The features that each level turns off, from 0 (minimum functionality) to 3 (full functionality)."""
FULL = len(TURNED_OFF) - 1
"""The highest level."""
QUIET = 30.0
"""Seconds of quiet before the next level up."""
LOW = 30.0
"""The highest pressure that is low, of 100: the spec's band of normal operation."""


@attrs.frozen(kw_only=True)
class QualityState:
    """What there is to know of the quality at this moment."""

    level: int
    turned_off: tuple[str, ...]
    """What it turns off at this level, whether or not there are such features."""
    pinned: bool
    pressure: float | None
    """The last that was measured; None: nobody measures."""
    rises_at: float | None
    """When the level (of a pinned one, that which it has once it is released) goes up, if it stays quiet."""


class Quality:
    """The quality level of a runtime. Times are seconds, and never go back.

    `turned_off` has the features' names for each level from 0 to 3; a level turns off all that the next higher does.
    """

    def __init__(self, turned_off: Sequence[Iterable[str]] = TURNED_OFF, quiet: float = QUIET) -> None:
        self._turned_off = _check_levels(turned_off)
        if not is_number(quiet) or not 0 < quiet < math.inf:
            raise SpecError(f"quality: quiet={quiet!r} must be a finite number of seconds above 0")
        self._quiet = quiet
        self._level = FULL
        self._pinned: int | None = None
        self._pressure: float | None = None
        self._rises_at: float | None = None
        """There is a time exactly if the level is not full and the pressure is low."""

    @property
    def level(self) -> int:
        """The level that holds."""
        return self._level if self._pinned is None else self._pinned

    @property
    def turned_off(self) -> tuple[str, ...]:
        """The features that are off at this level."""
        return self._turned_off[self.level]

    @property
    def next_due(self) -> float | None:
        """When `tick` will have something to do, as things stand."""
        return self._rises_at

    @property
    def state(self) -> QualityState:
        """The level, and what is to become of it."""
        return QualityState(
            level=self.level,
            turned_off=self.turned_off,
            pinned=self._pinned is not None,
            pressure=self._pressure,
            rises_at=self._rises_at,
        )

    def lower(self, now: float, levels: int = 1) -> None:
        """Go down, to 0 at most. The quiet time begins anew, at level 0 too."""
        self._level = max(0, self._level - _check_whole("levels", levels, least=1))
        self._wait(now)

    def pressure(self, value: float | None, now: float) -> None:
        """The resource pressure, 0 to 100; while it is not low the level does not rise. None: nobody measures it."""
        if value is not None and (not is_number(value) or not 0 <= value <= 100):
            raise ValueError(f"a resource pressure is a number from 0 to 100, not {value!r}")
        self._pressure = value
        if not self._is_low or self._rises_at is None:
            self._wait(now)

    def pin(self, level: int) -> None:
        """Hold this level whatever happens, until it is released. What happens is kept account of meanwhile."""
        self._pinned = _check_whole("level", level, least=0)

    def release(self) -> None:
        """Go by what happens again."""
        self._pinned = None

    def tick(self, now: float) -> None:
        """Do what is due: at most one level, however late it is."""
        if self._rises_at is not None and self._rises_at <= now:
            self._level += 1
            self._wait(now)

    @property
    def _is_low(self) -> bool:
        return self._pressure is None or self._pressure <= LOW

    def _wait(self, now: float) -> None:
        """Begin the quiet time, if it is one."""
        self._rises_at = now + self._quiet if self._is_low and self._level < FULL else None


def _check_levels(turned_off: Sequence[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    levels = tuple(names if isinstance(names, str) else tuple(names) for names in turned_off)
    if len(levels) != FULL + 1:
        raise SpecError(f"quality: turned_off={turned_off!r} must have the features' names for each level, 0 to {FULL}")
    for level, names in enumerate(levels):
        if isinstance(names, str) or not all(map(is_name, names)):
            raise SpecError(f"quality: level {level} turns off {names!r}, which must be a list of features' names")
        for name in levels[level + 1] if level < FULL else ():
            if name not in names:
                raise SpecError(f"quality: level {level} must turn off {name!r} too, as level {level + 1} does")
    return levels  # type: ignore[return-value]


def _check_whole(what: str, value: Any, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= FULL:
        raise ValueError(f"quality: {what}={value!r} must be a whole number from {least} to {FULL}")
    return value
