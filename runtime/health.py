"""The health monitor: looks at the metrics every so often, and raises an alert for an operation that does badly.

It does badly where more than 10 % of its recent operations have failed, or where their p99 is more than twice the
target declared for it (spec, "Health Monitoring"). An alert is raised once while that lasts. Recent are the operations
of the last five minutes, though never fewer than the last 20 nor more than the last 256: what is seldom done is judged
all the same, and what is past is not held against an operation for ever.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from ..actors.actor import Actor
from ..actors.errors import Reject, SpecError, duration_text
from ..actors.protocol import at_once
from ..supervisors.alerts import AlertRaised, raise_alert
from ..supervisors.recovery.failure import Severity
from .metrics import Metrics, Recent

INTERVAL = 5.0
"""Seconds between two looks."""
WINDOW = 300.0
"""Seconds that a look looks back."""
LEAST = 20
"""Operations without which nothing can be said."""
MOST_FAILURES = 0.1
"""The share of failures that is still well."""
SLOWER = 2.0
"""Times its target that a p99 may be."""
WELL = 0.8
"""An alert is over at this part of its limit, so that it does not flap."""

Kind: TypeAlias = Literal["HighFailureRate", "HighLatency"]


@attrs.frozen
class Finding:
    """One thing that is wrong with an operation."""

    kind: Kind
    severity: Severity
    value: float
    limit: float
    message: str


def findings(operation: str, recent: Recent, target: float | None, lasting: frozenset[Kind]) -> list[Finding]:
    """What is wrong with an operation, or still is: `lasting` are the kinds that an alert was raised for."""
    found: list[Finding] = []
    if recent.count < LEAST:
        return found
    rate = recent.failure_rate
    if rate > MOST_FAILURES * (WELL if "HighFailureRate" in lasting else 1.0):
        message = f"{operation}: {rate:.1%} of the last {recent.count} failed; up to {MOST_FAILURES:.0%} is well"
        found.append(Finding("HighFailureRate", Severity.RECOVERABLE, rate, MOST_FAILURES, message))
    if target is not None:
        limit = target * SLOWER
        if recent.p99 > limit * (WELL if "HighLatency" in lasting else 1.0):
            message = (
                f"{operation}: p99 of the last {recent.count} is {_text(recent.p99)}; "
                f"the target is {_text(target)}, and twice that is well"
            )
            found.append(Finding("HighLatency", Severity.WARNING, recent.p99, limit, message))
    return found


class HealthMonitor(Actor):
    """Watches the metrics of a runtime. `targets` are the p99 that operations should have, by name, in seconds."""

    def __init__(self, metrics: Metrics, targets: Mapping[str, float] | None = None) -> None:
        self._metrics = metrics
        self._targets = checked_targets(targets or {})
        self._marks: dict[str, deque[int]] = {}
        """How often each operation had been recorded at the last looks, the oldest first."""
        self._lasting: dict[tuple[str, Kind], AlertRaised] = {}

    def on_start(self) -> None:
        """Look every so often."""
        self.ctx.every(INTERVAL, self._look)

    def record_operation(self, operation: str, duration: float, success: bool = True) -> None:
        """Record an operation, for actors that have no metrics at hand; in seconds."""
        try:
            self._metrics.record(operation, duration, success)
        except (TypeError, ValueError) as error:
            raise Reject(error) from None

    @at_once
    def lasting(self) -> list[AlertRaised]:
        """The alerts of what is still wrong, in the order in which they were raised."""
        return list(self._lasting.values())

    def _look(self) -> None:
        for operation in self._metrics.operations:
            recent = self._metrics.recent(operation, self._count_recent(operation))
            kinds = frozenset(kind for name, kind in self._lasting if name == operation)
            found = findings(operation, recent, self._targets.get(operation), kinds)
            for kind in kinds.difference(each.kind for each in found):
                del self._lasting[operation, kind]
                self.ctx.log.info("{} is well again ({})", operation, kind)
            for each in found:
                if each.kind not in kinds:
                    self._lasting[operation, each.kind] = self._raise(operation, each)

    def _count_recent(self, operation: str) -> int:
        """How many of the last operations count as recent."""
        count = self._metrics.count(operation)
        marks = self._marks.setdefault(operation, deque(maxlen=int(WINDOW / INTERVAL)))
        before = marks[0] if len(marks) == marks.maxlen else 0
        marks.append(count)
        return max(count - before, LEAST)

    def _raise(self, operation: str, found: Finding) -> AlertRaised:
        return raise_alert(
            self.ctx._incarnation.cell.system,
            path=self.ctx.path,
            severity=found.severity,
            message=found.message,
            kind=found.kind,
            operation=operation,
            value=found.value,
            limit=found.limit,
        )


def checked_targets(targets: Mapping[str, float]) -> dict[str, float]:
    """The targets; SpecError names one that is no time."""
    for operation, seconds in targets.items():
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not isinstance(operation, str) or not is_number or not 0 < seconds < math.inf:
            raise SpecError(f"the target of {operation!r} must be finite seconds above 0, not {seconds!r}")
    return {operation: float(seconds) for operation, seconds in targets.items()}


def _text(seconds: float) -> str:
    return duration_text(float(f"{seconds:.3g}"))
