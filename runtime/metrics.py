"""Metrics: how often each operation was carried out, how often it failed, and how long it took.

Recording is a few list operations: what is measured goes into a ring of the last operations, and from there, a ring at
a time, into an HDR histogram. Percentiles are computed when somebody asks, never as an operation is recorded.

A histogram tells times apart to two significant digits, from a microsecond to an hour. Three, as the spec's sketch has
it, would take 98 KB an operation in place of 10 to 18 KB, and tell a p99 that is known to a few per cent, at best, from
one 0.1 % away. An operation that was carried out less often than a ring has places has no histogram at all.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from time import perf_counter
from typing import TYPE_CHECKING

import attrs
import trio
from hdrh.histogram import HdrHistogram

from ..actors.errors import Reject

if TYPE_CHECKING:
    from ..actors.system import System

OPERATIONS = 32
"""Operations that are told apart; the others are counted together, as `OTHERS`."""
OTHERS = "(others)"
RECENT = 256
"""Operations that are remembered one by one, of each name."""
DIGITS = 2
"""Significant ones."""

_LONGEST = 3600 * 1_000_000
_RANGES = (100_000, 10_000_000, _LONGEST)
"""Microseconds up to which a histogram reaches; it is replaced by a wider one when it has to."""
_FULL = 2**31
"""Measurements after which a histogram is begun anew, since its counters have 32 bits."""


@attrs.frozen
class OperationStats:
    """An operation, from the beginning on. Times in seconds."""

    operation: str
    count: int
    failures: int
    p50: float
    p99: float
    p999: float


@attrs.frozen
class Recent:
    """The last operations of one name."""

    count: int
    failures: int
    p99: float
    """Seconds. The slowest one of all is passed over, so that one slow first time is no trend."""

    @property
    def failure_rate(self) -> float:
        """From 0 to 1."""
        return self.failures / self.count if self.count else 0.0


class Metrics:
    """The metrics of one runtime. `clock` is what `measure` measures with, in seconds."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._operations: dict[str, _Operation] = {}

    @classmethod
    def of(cls, system: System) -> Metrics:
        """That of this system; made when it is first asked for."""
        return system.only(cls, lambda: cls(lambda: system.clock()))

    def record(self, operation: str, seconds: float, ok: bool = True) -> None:
        """An operation was carried out, or has failed (`ok`), in so many seconds.

        Raises ValueError for a time that is none: negative, NaN, or without end.
        """
        (self._operations.get(operation) or self._add(operation)).record(seconds, ok)

    def measure(self, operation: str) -> Measured:
        """Record the block of a `with`: a failure, if it raises anything but a Reject, which is an answer.

        One that is cancelled is not counted.
        """
        return Measured(self, operation, self._clock)

    @property
    def operations(self) -> tuple[str, ...]:
        """The names, sorted."""
        return tuple(sorted(self._operations))

    def count(self, operation: str) -> int:
        """How often it was recorded."""
        found = self._operations.get(operation)
        return found.count if found is not None else 0

    def stats(self, operation: str) -> OperationStats | None:
        """What is known of one operation; None if it never was recorded."""
        found = self._operations.get(operation)
        return found.stats(operation) if found is not None else None

    def snapshot(self) -> list[OperationStats]:
        """What is known of each operation, by name. Computes percentiles: about 0.2 ms for each."""
        return [self._operations[name].stats(name) for name in self.operations]

    def recent(self, operation: str, last: int = RECENT) -> Recent:
        """The last operations of this name, at most 256."""
        found = self._operations.get(operation)
        return found.last(last) if found is not None else Recent(0, 0, 0.0)

    def _add(self, name: str) -> _Operation:
        if not isinstance(name, str) or not name:
            raise TypeError(f"an operation's name is a str, not {name!r}")
        if len(self._operations) >= OPERATIONS - (OTHERS not in self._operations):
            name = OTHERS
        return self._operations.setdefault(name, _Operation())


class Measured:
    """What `Metrics.measure` returns."""

    __slots__ = ("_begun", "_clock", "_metrics", "_operation")

    def __init__(self, metrics: Metrics, operation: str, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._operation = operation
        self._clock = clock
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = self._clock()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        seconds = self._clock() - self._begun
        if error is None:
            self._metrics.record(self._operation, seconds)
        elif not _is_cancellation(error):
            self._metrics.record(self._operation, seconds, isinstance(error, Reject))


class _Operation:
    """One operation's numbers. Times in microseconds, negative where it failed."""

    __slots__ = ("_folded", "_histogram", "_ring", "count", "failures")

    def __init__(self) -> None:
        self.count = 0
        self.failures = 0
        self._ring = array("f", bytes(4 * RECENT))
        self._folded = 0
        """How many are in the histogram; those after it are in the ring only."""
        self._histogram: HdrHistogram | None = None

    def record(self, seconds: float, ok: bool) -> None:
        micros = seconds * 1e6
        if not 1.0 <= micros <= _LONGEST:
            micros = _clamped(seconds)
        place = self.count % RECENT
        if ok:
            self._ring[place] = micros
        else:
            self._ring[place] = -micros
            self.failures += 1
        self.count += 1
        if place == RECENT - 1:
            self._fold()

    def last(self, wanted: int) -> Recent:
        place = self.count % RECENT
        in_order = self._ring[place:] + self._ring[:place] if self.count > RECENT else self._ring[: self.count]
        values = sorted(in_order[max(0, len(in_order) - wanted) :])
        count, failures = len(values), bisect_left(values, 0.0)
        micros = sorted(map(abs, values))
        rank = min(math.ceil(count * 0.99), count - 1)
        return Recent(count, failures, micros[max(rank, 1) - 1] / 1e6 if micros else 0.0)

    def stats(self, name: str) -> OperationStats:
        return OperationStats(name, self.count, self.failures, *self._percentiles(50.0, 99.0, 99.9))

    def _percentiles(self, *wanted: float) -> list[float]:
        if self._histogram is None:
            micros = sorted(map(abs, self._ring[: self.count]))
            return [micros[_rank(each, len(micros)) - 1] / 1e6 for each in wanted]
        self._fold()
        counts = list(accumulate(self._histogram.counts[:]))
        places = [bisect_left(counts, _rank(each, counts[-1])) for each in wanted]
        values = map(self._histogram.get_value_from_index, places)
        return [self._histogram.get_highest_equivalent_value(value) / 1e6 for value in values]

    def _fold(self) -> None:
        """Put what is only in the ring into the histogram: each different time once."""
        new = (int(abs(self._ring[n % RECENT]) + 0.5) for n in range(self._folded, self.count))
        micros = Counter(new)
        self._folded = self.count
        if micros:
            histogram = self._fitting(max(micros))
            for value, times in micros.items():
                histogram.record_value(value, times)

    def _fitting(self, micros: int) -> HdrHistogram:
        """The histogram, once it reaches as far as this."""
        old = self._histogram
        if old is not None and old.get_total_count() >= _FULL:
            old = None
        if old is None or micros > old.highest_trackable_value:
            reach = next(reach for reach in _RANGES if micros <= reach)
            self._histogram = HdrHistogram(1, reach, DIGITS, word_size=4)
            if old is not None:
                self._histogram.add(old)
        assert self._histogram is not None
        return self._histogram


def _clamped(seconds: float) -> float:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"an operation takes a finite time of at least 0 seconds, not {seconds!r}")
    return min(max(seconds * 1e6, 1.0), float(_LONGEST))


def _rank(percentile: float, count: int) -> int:
    """Which of so many values, sorted, is at this percentile; from 1."""
    return max(1, math.ceil(percentile / 100 * count))


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
