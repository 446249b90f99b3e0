"""Pressure: what it is, in which band, and how it is smoothed. All pure; the time is passed in.

Each source gives a reading in percent of its own; its `Scale` says what pressure that is. A `Gauge` smooths that of one
source exponentially, up fast and down slowly, and keeps its band, which goes down only once the pressure is 5 below its
edge (`HYSTERESIS`): so neither noise nor a short lull makes it flap. The pressure of the whole is the worst of them.
"""

from __future__ import annotations

import enum
import math

import attrs

from ..errors import ResourceExhausted, SpecError
from ..events import Event

MEASURED = "ukemi.resources.measured"
"""The topic of `PressureMeasured`: every measurement."""
PRESSURE = "ukemi.resources.pressure"
"""The topic of `PressureChanged`: the first measurement, and whenever the band is another."""
RISE = 2.5
"""Seconds in which a gauge takes up two thirds of a rise: most of it by the next measurement."""
FALL = 12.0
"""Seconds in which it takes up two thirds of a fall."""
HYSTERESIS = 5
"""How far below the lower edge of its band the pressure has to be before the band goes down."""


class Resource(enum.StrEnum):
    """What may run out."""

    MEMORY = "memory"
    CPU = "cpu"
    FILES = "files"
    """File descriptors."""
    PROCESSES = "processes"
    """Processes and threads."""


class Band(enum.StrEnum):
    """How bad a pressure is (spec, "Memory Management"); the best first."""

    NORMAL = "normal"
    MODERATE = "moderate"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for normal, 3 for critical."""
        return _RANKS[self]

    @property
    def highest(self) -> int:
        """The highest pressure that is in it: 30, 60, 80, 100."""
        return _HIGHEST[self.rank]


_RANKS = {band: rank for rank, band in enumerate(Band)}
_HIGHEST = (30, 60, 80, 100)


def band_of(pressure: int) -> Band:
    """The band of a pressure from 0 to 100, whatever was before."""
    return next((band for band in Band if pressure <= band.highest), Band.CRITICAL)


def next_band(band: Band, pressure: int) -> Band:
    """The band of a pressure, where `band` was the one before: up at its edge, down only well below it."""
    now, well_below = band_of(pressure), band_of(min(100, pressure + HYSTERESIS))
    if now.rank > band.rank:
        return now
    return well_below if well_below.rank < band.rank else band


@attrs.frozen
class Scale:
    """Where a source's percents leave the bands normal, moderate and high, and where its pressure is 100.

    In between it is straight. `full` above 100 keeps a source that never gets there from ever being critical.
    """

    normal: float
    moderate: float
    high: float
    full: float = 100.0

    def __attrs_post_init__(self) -> None:
        values = (self.normal, self.moderate, self.high, self.full)
        if not all(math.isfinite(value) for value in values) or not 0 < values[0] < values[1] < values[2] < values[3]:
            raise SpecError(f"{self} must have four finite percents above 0, each above the one before")

    def pressure(self, percent: float) -> float:
        """From 0 to 100, whatever the percent; never lower for a higher one. ValueError if it is no number."""
        if math.isnan(percent):
            raise ValueError("a reading is a number of percents, not nan")
        below_percent, below = 0.0, 0.0
        for edge, highest in zip((self.normal, self.moderate, self.high, self.full), _HIGHEST, strict=True):
            if percent <= edge:
                part = max(0.0, percent - below_percent) / (edge - below_percent)
                return below + min(1.0, part) * (highest - below)
            below_percent, below = edge, float(highest)
        return 100.0


@attrs.frozen
class Reading:
    """What a source says at one moment."""

    percent: float
    current: int | None = None
    limit: int | None = None
    """Where there is a limit that may be reached: how much is used of how much, in the resource's own unit."""


def reading_of(current: int, limit: int) -> Reading:
    """So much of so much; all of a limit of 0 is used."""
    return Reading(100.0 * current / limit if limit > 0 else 100.0, current, limit)


class Gauge:
    """The smoothed pressure of one source. The first value is taken as it is."""

    __slots__ = ("_at", "_value", "band")

    def __init__(self) -> None:
        self.band = Band.NORMAL
        self._value: float | None = None
        self._at = 0.0

    @property
    def pressure(self) -> int:
        """From 0 to 100; 0 before the first value."""
        return round(self._value or 0.0)

    def take(self, pressure: float, now: float) -> None:
        """The pressure as it is now, in seconds that never go back."""
        before, seconds = self._value, max(0.0, now - self._at)
        if before is None:
            self._value = pressure
        else:
            part = 1.0 - math.exp(-seconds / (RISE if pressure > before else FALL))
            self._value = min(100.0, max(0.0, before + (pressure - before) * part))
        self._at = now
        self.band = next_band(self.band, self.pressure)

    def reset(self) -> None:
        """The source has nothing to say any more."""
        self._value, self.band = None, Band.NORMAL


@attrs.frozen
class SourcePressure:
    """One source, as it was measured last."""

    name: str
    resource: Resource
    pressure: int
    """Smoothed, from 0 to 100."""
    band: Band
    percent: float
    """As it was read."""
    current: int | None = None
    limit: int | None = None

    @property
    def exhausted(self) -> ResourceExhausted | None:
        """The error of a limit that is reached; None while there is room, or where there is no limit."""
        if self.limit is None or self.current is None or self.current < self.limit:
            return None
        return ResourceExhausted(self.name, self.limit, self.current)


def worst_band(sources: tuple[SourcePressure, ...], of: tuple[Resource, ...] = ()) -> Band:
    """The worst band of the sources, or only of those of some resources; normal if there is none."""
    bands = (source.band for source in sources if not of or source.resource in of)
    return max(bands, key=lambda band: band.rank, default=Band.NORMAL)


@attrs.frozen(kw_only=True)
class PressureMeasured(Event):
    """A measurement: the worst pressure of all sources, and the worst band; the worst sources first."""

    pressure: int
    band: Band
    """It may be one above that of the pressure, which has to be well below its edge before it goes down."""
    sources: tuple[SourcePressure, ...]


@attrs.frozen(kw_only=True)
class PressureChanged(Event):
    """The band is another one; the first measurement's, too."""

    pressure: int
    band: Band
    sources: tuple[SourcePressure, ...]
    before: Band | None
    """None at the first measurement of an incarnation of the monitor."""
