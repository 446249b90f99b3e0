"""Scales, bands and gauges: from percents to a pressure that does not flap."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi import SpecError
from ukemi.actors.resources import Band, Reading, Resource, Scale, SourcePressure
from ukemi.actors.resources.pressure import HYSTERESIS, Gauge, band_of, next_band, reading_of, worst_band
from ukemi.actors.resources.sources import BUSY, COUNTED, STALLED_FOR_CPU, STALLED_FOR_MEMORY, THROTTLED, USED_MEMORY

SCALES = st.sampled_from([USED_MEMORY, STALLED_FOR_MEMORY, BUSY, STALLED_FOR_CPU, THROTTLED, COUNTED])
PERCENTS = st.floats(-10, 1000) | st.just(math.inf)
PRESSURES = st.floats(0, 100)
STEPS = st.lists(st.tuples(PRESSURES, st.floats(0, 60)), max_size=20)


@pytest.mark.parametrize(
    ("pressure", "band"),
    [(0, "normal"), (30, "normal"), (31, "moderate"), (60, "moderate"), (61, "high"), (80, "high"), (81, "critical")],
)
def test_the_bands_are_the_specs(pressure: int, band: str) -> None:
    assert band_of(pressure) == Band(band)
    assert band_of(100) is Band.CRITICAL


def test_a_scale_says_at_which_percents_the_bands_end() -> None:
    scale = Scale(70, 85, 95)
    assert [scale.pressure(percent) for percent in (0, 70, 85, 90, 95, 100)] == [0, 30, 60, 70, 80, 100]


def test_cpus_that_are_all_busy_are_high_and_not_critical() -> None:
    assert band_of(round(BUSY.pressure(100))) is Band.HIGH


@pytest.mark.parametrize("edges", [(0, 1, 2, 3), (30, 30, 50, 60), (50, 40, 60, 70), (1, 2, math.nan, 4), (1, 2, 3, 3)])
def test_a_scale_that_does_not_rise_is_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(SpecError, match="each above the one before"):
        Scale(*edges)


def test_what_is_no_number_is_no_pressure() -> None:
    with pytest.raises(ValueError, match="nan"):
        USED_MEMORY.pressure(math.nan)


@given(SCALES, PERCENTS)
def test_a_pressure_is_from_0_to_100(scale: Scale, percent: float) -> None:
    assert 0 <= scale.pressure(percent) <= 100


@given(SCALES, PERCENTS, PERCENTS)
def test_more_percents_are_never_less_pressure(scale: Scale, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert scale.pressure(less) <= scale.pressure(more)


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_all_that_is_used_of_a_limit_is_all_percents(current: int, limit: int) -> None:
    reading = reading_of(current, limit)
    assert (reading.percent >= 100) is (current >= limit)
    assert 0 <= USED_MEMORY.pressure(reading.percent) <= 100


def gauge_after(steps: list[tuple[float, float]]) -> tuple[Gauge, float]:
    """A gauge that was told these pressures, so many seconds after one another; and what time it is then."""
    gauge, now = Gauge(), 0.0
    for pressure, seconds in steps:
        now += seconds
        gauge.take(pressure, now)
    return gauge, now


@given(STEPS)
def test_a_gauge_stays_between_0_and_100_and_within_what_it_was_told(steps: list[tuple[float, float]]) -> None:
    gauge, _ = gauge_after(steps)
    told = [pressure for pressure, _ in steps] or [0.0]
    assert math.floor(min(told)) <= gauge.pressure <= math.ceil(max(told))


@given(STEPS, PRESSURES, PRESSURES, st.floats(0, 60))
def test_a_gauge_never_falls_for_more_pressure(
    steps: list[tuple[float, float]], one: float, other: float, seconds: float
) -> None:
    less, more = sorted((one, other))
    (low, now), (high, _) = gauge_after(steps), gauge_after(steps)
    low.take(less, now + seconds)
    high.take(more, now + seconds)
    assert low.pressure <= high.pressure
    assert low.band.rank <= high.band.rank


@given(STEPS, st.floats(HYSTERESIS / 2, 100 - HYSTERESIS / 2), st.lists(st.floats(-1, 1), min_size=5, max_size=60))
def test_noise_within_the_hysteresis_never_makes_it_flap(
    steps: list[tuple[float, float]], level: float, noise: list[float]
) -> None:
    gauge, now = gauge_after(steps)
    now += 1000  # whatever was before is forgotten
    gauge.take(level, now)
    bands = [gauge.band]
    for each in noise:
        now += 5
        gauge.take(level + each * (HYSTERESIS / 2 - 0.5), now)  # half a point is lost in rounding
        bands.append(gauge.band)
    changes = [(one, other) for one, other in pairwise(bands) if one != other]
    assert len(changes) <= 1


def test_a_rise_is_felt_at_the_next_measurement_and_a_lull_is_not() -> None:
    gauge, now = gauge_after([(10, 0)])
    gauge.take(100, now + 5)
    assert gauge.band is Band.CRITICAL
    gauge.take(0, now + 10)
    assert gauge.band is Band.HIGH
    gauge.take(100, now + 15)
    assert gauge.band is Band.CRITICAL


def test_the_way_down_goes_through_each_band() -> None:
    gauge, now = gauge_after([(100, 0)])
    bands = [gauge.band]
    while gauge.pressure > 0:
        now += 5
        gauge.take(0, now)
        bands.append(gauge.band)
    assert list(dict.fromkeys(bands)) == [Band.CRITICAL, Band.HIGH, Band.MODERATE, Band.NORMAL]
    assert [band.rank for band in bands] == sorted((band.rank for band in bands), reverse=True)


@pytest.mark.parametrize(
    ("before", "pressure", "after"),
    [
        (Band.NORMAL, 31, Band.MODERATE),
        (Band.MODERATE, 26, Band.MODERATE),
        (Band.MODERATE, 25, Band.NORMAL),
        (Band.HIGH, 56, Band.HIGH),
        (Band.HIGH, 55, Band.MODERATE),
        (Band.CRITICAL, 76, Band.CRITICAL),
        (Band.CRITICAL, 0, Band.NORMAL),
        (Band.NORMAL, 100, Band.CRITICAL),
    ],
)
def test_a_band_goes_down_only_well_below_its_edge(before: Band, pressure: int, after: Band) -> None:
    assert next_band(before, pressure) is after


def test_a_clock_that_goes_back_is_no_time() -> None:
    gauge, now = gauge_after([(50, 10)])
    gauge.take(100, now - 5)
    assert gauge.pressure == 50


def source(resource: Resource, band: Band, current: int | None = None, limit: int | None = None) -> SourcePressure:
    return SourcePressure("it", resource, band.highest, band, 0.0, current, limit)


def test_the_worst_band_is_of_all_sources_or_of_some_resources() -> None:
    sources = (source(Resource.CPU, Band.CRITICAL), source(Resource.MEMORY, Band.MODERATE))
    assert worst_band(sources) is Band.CRITICAL
    assert worst_band(sources, (Resource.MEMORY, Resource.FILES)) is Band.MODERATE
    assert worst_band(sources, (Resource.FILES,)) is Band.NORMAL


def test_a_limit_that_is_reached_is_resource_exhausted() -> None:
    error = source(Resource.FILES, Band.CRITICAL, 1024, 1024).exhausted
    assert error is not None
    assert (error.resource, error.limit, error.current, str(error)) == ("it", 1024, 1024, "Resource exhausted: it")
    assert source(Resource.FILES, Band.CRITICAL, 1023, 1024).exhausted is None
    assert source(Resource.CPU, Band.CRITICAL).exhausted is None


def test_a_reading_of_no_limit_is_only_percents() -> None:
    assert Reading(12.5).limit is None
