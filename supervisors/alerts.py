"""Alerts: what the user is told, as typed events.

Whoever finds that something is wrong (a supervisor with the action `Alert`, the health monitor, an application) raises
an alert here. It is an event like any other, stands in the log, and reaches whoever subscribed to the topic `ALERTS`,
such as a bridge that passes it on to its clients. The last ones are remembered, however many other events follow.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from loguru import logger

from ..actors.errors import ActorCrashed, SpecError
from ..actors.events import Event
from .recovery.failure import Failure, Severity

if TYPE_CHECKING:
    from ..actors.system import System

ALERTS = "ukemi.alerts"
"""The topic of `AlertRaised` events."""
KEPT = 100
"""Alerts that are remembered."""
REPEATED = 10.0
"""Seconds in which one failure of one actor is told of once."""
LONGEST = 1000
"""Characters of an alert's message."""

_TOLD = "__ukemi_alerted__"
"""What an error bears that was alerted of."""

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
    system.only(_Last, _Last).alerts.append(alert)
    system.events.emit(alert)
    logger.bind(actor=path).log(level, "{}: {}", alert.kind, alert.message)
    system.topics.publish(ALERTS, alert)
    return alert


def alert_of_failure(system: System, path: str, failure: Failure, error: BaseException) -> None:
    """Alert of a failure that the actor at `path` has met.

    One that travels from actor to actor is told of where it was met first. The same one over and over is told of once
    in `REPEATED` seconds, with how many there were since.
    """
    root = _root_of(error)
    if getattr(root, _TOLD, False):
        return
    with suppress(Exception):  # it may be of any class
        setattr(root, _TOLD, True)
    message = f"{failure.error}: {failure.message}"
    more = _Repeats.of(system).more((path, message), system.now())
    if more is None:
        return
    if more:
        message = f"{message} ({more} more since the last alert)"
    raise_alert(system, path=path, severity=failure.severity, message=message, kind="failure")


class _Repeats:
    """When each failure was last told of, and how often it has come since. Bounded: the oldest are forgotten."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    @classmethod
    def of(cls, system: System) -> _Repeats:
        """Those of one runtime."""
        return system.only(cls, cls)

    def more(self, key: tuple[str, str], now: float) -> int | None:
        """It is there again: how many were held back, or None if it is too soon to tell."""
        at, held_back = self._last.pop(key, (-REPEATED, 0))
        if now - at < REPEATED:
            self._last[key] = at, held_back + 1
            return None
        self._last[key] = now, 0
        if len(self._last) > KEPT:
            del self._last[next(iter(self._last))]
        return held_back


def _root_of(error: BaseException) -> BaseException:
    """What made an actor crash; any other error itself."""
    while isinstance(error, ActorCrashed) and error.__cause__ is not None:
        error = error.__cause__
    return error


def last_alerts(system: System, last: int = KEPT) -> list[AlertRaised]:
    """The last alerts of a runtime, oldest first; at most 100 are remembered."""
    alerts = list(system.only(_Last, _Last).alerts)
    return alerts[-last:] if last > 0 else []


class _Last:
    """Those of one runtime."""

    def __init__(self) -> None:
        self.alerts: deque[AlertRaised] = deque(maxlen=KEPT)
