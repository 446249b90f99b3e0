"""Sources of health: what is known of one child, as scores for the feature that it provides.

A child's `health()` hook, the rate at which its messages fail, and handlers that hang are told to its `Vitals`, which
report through the one seam that an application's own score takes, too: `Degradation.report`. All is pure, and goes by
operations, not by time: what is idle gets neither better nor worse.
"""

from __future__ import annotations

from typing import Protocol

from ..actors.errors import SpecError

WINDOW = 100
"""Operations that a failure rate looks back on."""
LEAST = 20
"""Operations without which it says nothing: one first failure is no alert."""
HANGS = 3
"""Handlers in a row that hang before nothing is left of the score."""


class FailureRate:
    """How many of the last `window` operations have failed; unknown with fewer than `least`.

    Recording costs the same however many there were, and a byte for each operation of the window is all that is kept.
    """

    __slots__ = ("_failed", "_last", "_least", "_next", "_seen")

    def __init__(self, window: int = WINDOW, least: int = LEAST) -> None:
        for name, value, most in (("window", window, 10**6), ("least", least, window)):
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise SpecError(f"FailureRate: {name}={value!r} must be a whole number from 1 to {most}")
        self._least = least
        self._last = bytearray(window)
        """A ring of them; 1 is a failure."""
        self._next = 0
        self._seen = 0
        self._failed = 0

    def __len__(self) -> int:
        """How many operations it looks back on by now."""
        return self._seen

    def record(self, ok: bool) -> None:
        """An operation has ended."""
        ring, place, failed = self._last, self._next, 0 if ok else 1
        self._failed += failed - ring[place]
        ring[place] = failed
        self._next = place + 1
        if self._next == len(ring):
            self._next = 0
        if self._seen < len(ring):
            self._seen += 1

    @property
    def rate(self) -> float | None:
        """The part of them that has failed, 0 to 1."""
        return self._failed / self._seen if self._seen >= self._least else None

    @property
    def score(self) -> float | None:
        """1 less that part."""
        return 1.0 - self._failed / self._seen if self._seen >= self._least else None

    def reset(self) -> None:
        """Forget all operations."""
        self._last = bytearray(len(self._last))
        self._next = self._seen = self._failed = 0


class Report(Protocol):
    """The seam: `Degradation.report`."""

    def __call__(self, feature: str, score: float | None, source: str, path: str = "") -> object:
        """A source's score for a feature; None ends the source."""


class Vitals:
    """The sources of one child's health. Each is reported when it changes, and only then.

    They outlast the child's restarts, since a child that crashes at every message is not well. They begin anew
    (`reset`) where another takes its place, such as its fallback.
    """

    def __init__(self, report: Report, feature: str, path: str, rate: FailureRate | None = None) -> None:
        self.rate = FailureRate() if rate is None else rate
        self._report = report
        self._feature = feature
        self._path = path
        self._hung = 0
        """Handlers in a row."""
        self._told: dict[str, float] = {}

    def operation(self, ok: bool) -> None:
        """A message was handled; a rejected one is handled well."""
        self.rate.record(ok)
        if ok and self._hung:
            self._hung = 0
            self._tell("hung handlers", 1.0)
        score = self.rate.score
        if score != self._told.get("failure rate"):
            self._tell("failure rate", score)

    def hung(self) -> None:
        """A handler has hung, which is a failed operation too."""
        self._hung += 1
        self._tell("hung handlers", max(0.0, 1.0 - self._hung / HANGS))
        self.operation(ok=False)

    def health(self, score: float | None) -> None:
        """What its `health()` hook has said; ValueError if it is no score. None: it can't say."""
        if score != self._told.get("health()"):
            self._tell("health()", score)

    @property
    def score(self) -> float | None:
        """The worst that its sources say; None if none says anything."""
        return min(self._told.values(), default=None)

    def reset(self) -> None:
        """Forget everything, and end all sources."""
        self.rate.reset()
        self._hung = 0
        for source in list(self._told):
            self._tell(source, None)

    def _tell(self, source: str, score: float | None) -> None:
        before = self._told.pop(source, None)
        if score is not None:
            self._told[source] = score  # first, since what it leads to may be that all is reset
        try:
            self._report(self._feature, score, f"{source} of {self._path}", self._path)
        except ValueError:
            self._told.pop(source, None)
            if before is not None:
                self._told[source] = before
            raise
