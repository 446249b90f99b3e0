"""Metrics: exact while they are few, within a per cent when they are many, and of bounded size."""

import math
import random
import tracemalloc
from contextlib import nullcontext
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ukemi import Reject, Runtime, supervisor
from ukemi.runtime import metrics as module
from ukemi.runtime.metrics import OPERATIONS, OTHERS, RECENT, Metrics, OperationStats, Recent

seconds = st.floats(1e-6, 3600.0)


def made_of(times: list[float], failed: set[int] = frozenset()) -> Metrics:  # type: ignore[assignment]
    metrics = Metrics()
    for n, each in enumerate(times):
        metrics.record("op", each, n not in failed)
    return metrics


def nearest_rank(times: list[float], percentile: float) -> float:
    return sorted(times)[max(1, math.ceil(percentile / 100 * len(times))) - 1]


def test_counts_and_failures_are_by_operation() -> None:
    metrics = Metrics()
    metrics.record("read", 0.1)
    metrics.record("read", 0.2, ok=False)
    metrics.record("write", 0.3)
    assert metrics.operations == ("read", "write")
    assert [(each.operation, each.count, each.failures) for each in metrics.snapshot()] == [
        ("read", 2, 1),
        ("write", 1, 0),
    ]
    assert (metrics.count("read"), metrics.count("walk")) == (2, 0)


def test_what_was_never_recorded_has_no_stats() -> None:
    assert Metrics().stats("read") is None
    assert Metrics().snapshot() == []
    assert Metrics().recent("read") == Recent(0, 0, 0.0)
    assert Metrics().recent("read").failure_rate == 0.0


@given(st.lists(seconds, min_size=1, max_size=3 * RECENT), st.randoms())
@settings(deadline=None)
def test_percentiles_are_those_of_all_that_was_recorded_within_a_per_cent(times: list[float], shuffle: Any) -> None:
    stats = made_of(times).stats("op")
    assert stats is not None
    assert stats.count == len(times)
    for said, percentile in ((stats.p50, 50.0), (stats.p99, 99.0), (stats.p999, 99.9)):
        assert said == pytest.approx(nearest_rank(times, percentile), rel=0.01, abs=1e-6)


def test_many_operations_of_all_lengths_keep_their_percentiles() -> None:
    source = random.Random(7)
    times = [source.lognormvariate(-7, 3) % 3000 + 1e-6 for _ in range(20_000)]
    stats = made_of(times).stats("op")
    assert stats is not None
    for said, percentile in ((stats.p50, 50.0), (stats.p99, 99.0), (stats.p999, 99.9)):
        assert said == pytest.approx(nearest_rank(times, percentile), rel=0.01)


def test_asking_in_between_changes_nothing() -> None:
    times = [n / 1000 for n in range(1, 2000)]
    asked, unasked = Metrics(), made_of(times)
    for n, each in enumerate(times):
        asked.record("op", each)
        if n % 37 == 0:
            asked.snapshot()
    assert asked.snapshot() == unasked.snapshot()


@given(st.lists(st.tuples(seconds, st.booleans()), max_size=3 * RECENT), st.integers(0, 2 * RECENT))
@settings(deadline=None)
def test_the_last_operations_are_known_one_by_one(done: list[tuple[float, bool]], last: int) -> None:
    metrics = Metrics()
    for each, ok in done:
        metrics.record("op", each, ok)
    expected = done[max(0, len(done) - min(last, RECENT)) :]
    recent = metrics.recent("op", last)
    assert (recent.count, recent.failures) == (len(expected), sum(not ok for _, ok in expected))
    assert recent.failure_rate == (recent.failures / recent.count if expected else 0.0)


def test_the_slowest_of_the_last_operations_is_no_trend() -> None:
    assert made_of([9.0, *[0.1] * 19]).recent("op").p99 == pytest.approx(0.1)
    assert made_of([9.0, 8.0, *[0.1] * 18]).recent("op").p99 == pytest.approx(8.0)
    assert made_of([9.0] * 3 + [0.1] * 253).recent("op").p99 == pytest.approx(9.0)
    assert made_of([9.0]).recent("op").p99 == pytest.approx(9.0)


def test_times_outside_a_histograms_range_are_put_at_its_ends() -> None:
    stats = made_of([0.0, 1e-9, 1e9]).stats("op")
    assert stats == OperationStats("op", 3, 0, 1e-6, 3600.0, 3600.0)
    many = made_of([1e9] * RECENT + [0.0] * RECENT).stats("op")
    assert many is not None
    assert (many.p50, many.p99) == (pytest.approx(1e-6), pytest.approx(3600.0, rel=0.01))


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, -math.inf])
def test_a_time_that_is_none_is_refused(wrong: float) -> None:
    metrics = made_of([1.0])
    with pytest.raises(ValueError, match="a finite time of at least 0 seconds, not"):
        metrics.record("op", wrong)
    assert metrics.count("op") == 1


@pytest.mark.parametrize("wrong", ["", None, 7])
def test_a_name_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="an operation's name is a str, not"):
        Metrics().record(wrong, 1.0)


def test_names_beyond_the_bound_are_counted_together() -> None:
    metrics = Metrics()
    for n in range(OPERATIONS + 100):
        metrics.record(f"op {n:03}", 0.1)
    assert len(metrics.operations) == OPERATIONS
    assert metrics.count(OTHERS) == 101
    metrics.record("op 000", 0.1)
    assert (metrics.count("op 000"), metrics.count(OTHERS)) == (2, 101)


def test_a_histogram_whose_counters_are_full_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FULL", 2 * RECENT)
    stats = made_of([1.0] * 2 * RECENT + [0.001] * 2 * RECENT).stats("op")
    assert stats is not None
    assert (stats.count, stats.p99) == (4 * RECENT, pytest.approx(0.001, rel=0.01))


def test_the_memory_of_many_operations_is_bounded() -> None:
    source = random.Random(3)
    metrics = Metrics()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(OPERATIONS):
        for _ in range(2 * RECENT):
            metrics.record(f"op {n}", source.lognormvariate(-4, 3) % 3600)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used < OPERATIONS * 21_000


# --- measuring a block


class Ticks:
    """A clock that goes on by a second each time it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.parametrize(
    ("error", "failures"),
    [(None, 0), (ValueError(), 1), (KeyboardInterrupt(), 1), (Reject(ValueError()), 0)],
)
def test_a_block_is_measured_and_fails_of_what_it_raises(error: BaseException | None, failures: int) -> None:
    metrics = Metrics(Ticks())
    with pytest.raises(type(error)) if error is not None else nullcontext(), metrics.measure("op"):
        if error is not None:
            raise error
    assert metrics.snapshot() == [OperationStats("op", 1, failures, 1.0, 1.0, 1.0)]


async def test_a_block_that_is_cancelled_counts_neither_way() -> None:
    metrics = Metrics()
    with trio.CancelScope() as scope, metrics.measure("op"):
        scope.cancel()
        await trio.lowlevel.checkpoint()
    with trio.CancelScope() as scope, metrics.measure("op"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
    assert metrics.count("op") == 0


async def test_a_runtime_has_metrics_of_its_own_on_its_own_clock(autojump_clock: object) -> None:
    one, other = Runtime(supervisor("app")), Runtime(supervisor("app"))
    one.metrics.record("op", 1.0)
    assert one.metrics is one.metrics
    assert other.metrics.operations == ()
    async with one:
        with one.metrics.measure("sleep"):
            await trio.sleep(5)
    assert one.metrics.stats("sleep") == OperationStats("sleep", 1, 0, 5.0, 5.0, 5.0)
