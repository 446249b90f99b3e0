"""The debug commands that tell how well a runtime does: its crashes, errors, alerts and metrics, and its timeouts."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import trio
from loguru import logger

from ...actors.errors import SpecError
from ...actors.events import ActorExited
from ...actors.shorten import short
from ...actors.timeouts import TimeoutInfo
from ...supervisors.alerts import last_alerts
from ..aggregation import ErrorAggregate, Tallies
from ..error_report import ErrorReport
from ..metrics import OperationStats
from .declaring import BadCommand, Commands, OperationName
from .session import Session, event_data

WELLBEING = Commands()
EVERY = "*"
"""Stands for all operations that nothing is declared for."""
_TIMES = 'a number of seconds above 0, or "none" for no timeout'


@WELLBEING.declare(shown="crashes")
async def crashes(session: Session, last: int = 5) -> list[ErrorReport]:
    """The last crashes, oldest first, with their tracebacks where error reports are kept."""
    reports = session.runtime.errors.reports(last)
    if reports:
        return reports
    return [_report_of(event) for event in _last(_abnormal_exits(session), last)]


@WELLBEING.declare(shown="errors")
async def errors(session: Session, last: int = 20) -> list[ErrorAggregate]:
    """How often which errors came and what was done about them, those that came last at the end."""
    aggregates = session.runtime.errors.aggregates(last)
    if aggregates:
        return aggregates
    tallies, now = Tallies(), trio.current_time()
    for event in _abnormal_exits(session):
        tallies.count((event.path, event.reason.partition(":")[0]), event.time)
    return _last(tallies.aggregates(now, _wall_time), last)


@WELLBEING.declare(shown="alerts")
async def alerts(session: Session, last: int = 20) -> list[dict[str, Any]]:
    """The last alerts, oldest first."""
    return [event_data(alert) for alert in last_alerts(session.runtime.system, last)]


@WELLBEING.declare(shown="metrics")
async def metrics(session: Session, operation: OperationName | None = None) -> list[OperationStats]:
    """How often operations were carried out, how often they failed, and how long they took: all of them, or one."""
    if operation is None:
        return session.runtime.metrics.snapshot()
    stats = session.runtime.metrics.stats(operation)
    if stats is None:
        known = ", ".join(session.runtime.metrics.operations) or "none"
        raise BadCommand(f"metrics: no operation {operation!r} was recorded; those that were: {known}")
    return [stats]


@WELLBEING.declare(shown="timeouts")
async def timeouts(session: Session, operation: OperationName | None = None, seconds: Any = None) -> list[TimeoutInfo]:
    """How long operations may take, in seconds; or let one take so long from now on.

    An operation is a message's name, or one that the application bounds; * is all others. SECONDS is a number, `none`
    for no timeout, or `default` to end an override: timeouts read 5.
    """
    known = session.runtime.timeouts
    if operation is None:
        return [TimeoutInfo(EVERY, known.default, "default"), *known.info()]
    if seconds is not None:
        _set_timeout(session, operation, seconds)
    if operation == EVERY:
        return [TimeoutInfo(EVERY, known.default, "default")]
    return [known.info_of(operation)]


@WELLBEING.declare()
async def operations(session: Session, prefix: str = "") -> list[str]:
    """The names of operations that begin so, of those that were recorded or have a timeout."""
    known = {*session.runtime.metrics.operations, *(each.operation for each in session.runtime.timeouts.info())}
    return sorted(name for name in known if name.startswith(prefix))


# --- helpers


def _set_timeout(session: Session, operation: str, seconds: Any) -> None:
    known = session.runtime.timeouts
    try:
        if seconds == "default" and operation != EVERY:
            known.clear(operation)
        elif operation == EVERY:
            known.default = _seconds(seconds)
        else:
            known.override(operation, _seconds(seconds))
    except SpecError:
        more = "" if operation == EVERY else '; "default" ends an override'
        raise BadCommand(f"timeouts: seconds={short(seconds)} must be {_TIMES}{more}") from None
    logger.bind(actor=session.path).info("the timeout of {} is now {} s", operation, known.of(operation))


def _seconds(value: Any) -> Any:
    return math.inf if value == "none" else value


def _abnormal_exits(session: Session) -> list[ActorExited]:
    return [event for event in session.runtime.events.of(ActorExited) if event.abnormal]


def _last(values: list[Any], last: int) -> list[Any]:
    return values[max(0, len(values) - last) :]


def _wall_time(time: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=trio.current_time() - time)).isoformat()


def _report_of(event: ActorExited) -> ErrorReport:
    return ErrorReport(_wall_time(event.time), event.path, event.incarnation, None, event.reason)
