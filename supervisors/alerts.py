"""Alerts: what the user is told, as typed events.

Whoever finds that something is wrong (a supervisor with the action `Alert`, the health monitor, an application) raises
an alert here. It is an event like any other, stands in the log, and reaches whoever subscribed to the topic `ALERTS`,
such as a bridge that passes it on to its clients. The last ones are remembered, however many other events follow.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
from loguru import logger

from ..actors.errors import SpecError
from ..actors.events import Event
from .recovery.failure import Severity

if TYPE_CHECKING:
    from ..actors.system import System

ALERTS = "ukemi.alerts"
"""The topic of `AlertRaised` events."""
KEPT = 100
"""Alerts that are remembered."""
LONGEST = 1000
"""Characters of an alert's message."""

_LEVELS = {
    Severity.CRITICAL: "CRITICAL",
    Severity.RECOVERABLE: "ERROR",
    Severity.WARNING: "WARNING",
    Severity.INFO: "INFO",
}


@attrs.frozen(kw_only=True)
class AlertRaised(Event):
    """The user should know of this. `path` is that of the actor that it is about, or that has found it."""

    severity: str
    """A `Severity`'s text."""
    message: str
    kind: str
    """What sort of alert it is, such as `failure` or `HighLatency`."""
    operation: str | None = None
    """Whose numbers they are, where it is about an operation."""
    value: float | None = None
    """What was measured, and what would have been well: seconds, or a share from 0 to 1."""
    limit: float | None = None


def raise_alert(
    system: System,
    *,
    path: str,
    severity: Severity | str,
    message: str,
    kind: str,
    operation: str | None = None,
    value: float | None = None,
    limit: float | None = None,
) -> AlertRaised:
    """Emit an alert, log it at the level that its severity asks for, and publish it on `ALERTS`.

    Raises SpecError for a severity that is none. A message longer than 1,000 characters is cut.
    """
    try:
        level = _LEVELS[Severity(severity)]
    except ValueError:
        raise SpecError(f"severity={severity!r} must be one of {', '.join(Severity)}") from None
    alert = AlertRaised(
        path=path,
        severity=str(severity),
        message=message if len(message) <= LONGEST else f"{message[: LONGEST - 1]}…",
        kind=kind,
        operation=operation,
        value=value,
        limit=limit,
    )
    _remembered(system).append(alert)
    system.events.emit(alert)
    logger.bind(actor=path).log(level, "{}: {}", alert.kind, alert.message)
    system.topics.publish(ALERTS, alert)
    return alert


def last_alerts(system: System, last: int = KEPT) -> list[AlertRaised]:
    """The last alerts of a runtime, oldest first; at most 100 are remembered."""
    alerts = list(_remembered(system))
    return alerts[-last:] if last > 0 else []


def _remembered(system: System) -> deque[AlertRaised]:
    found: deque[AlertRaised] | None = system.shared.get(AlertRaised)
    if found is None:
        found = system.shared[AlertRaised] = deque(maxlen=KEPT)
    return found
