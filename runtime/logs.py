"""Logging: for people on the terminal, as JSON lines in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from loguru import logger

from ..actors.errors import UkemiError
from ..actors.events import ActorExited, BackgroundFailed, Event, Zombie
from ..supervisors.alerts import AlertRaised
from ..supervisors.degradation import FeatureDegraded, FeatureRestored, QualityChanged
from ..supervisors.events import (
    ChildRestarted,
    CircuitOpened,
    CircuitShut,
    Exhausted,
    FellBack,
    GaveUp,
    RestartDelayed,
)
from .log_file import LogFile

if TYPE_CHECKING:
    from loguru import Record

_HUMAN = "<green>{time:HH:mm:ss.SSS}</green> <level>{level: <8}</level> <cyan>{extra[actor]}</cyan> {extra[shown]}"
LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")


def set_up_logging(file: Path | None, level: str = "INFO") -> None:
    """Send the program's log to standard error, and to a file that is rotated at 10 MiB (three are kept).

    `level` is of what is shown on standard error; UkemiError names the levels if there is none of this name.
    """
    if level.upper() not in LEVELS:
        raise UkemiError(f"there is no log level {level!r}; there are: {', '.join(LEVELS)}")
    logger.remove()
    logger.configure(extra={"actor": "-"})
    logger.add(sys.stderr, level=level.upper(), format=_HUMAN, filter=_clean, diagnose=False, backtrace=False)
    if file is not None:
        logger.add(LogFile(file), level="DEBUG", format=_json_line, diagnose=False, backtrace=False)


def _clean(record: Record) -> bool:
    """Have it shown without what could command the terminal."""
    text = record["message"]
    record["extra"]["shown"] = "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
    return True


def _json_line(record: Record) -> str:
    line: dict[str, Any] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        **record["extra"],
        "message": record["message"],
        "source": f"{record['name']}:{record['line']}",
    }
    for added in ("line", "shown"):
        line.pop(added, None)
    if record["exception"] is not None:
        line["exception"] = repr(record["exception"].value)
    try:
        record["extra"]["line"] = orjson.dumps(line, default=str).decode()
    except TypeError:  # what orjson does not take, such as the name of a file that is no UTF-8
        record["extra"]["line"] = json.dumps(line, default=str, skipkeys=True)
    return "{extra[line]}\n"


def log_event(event: Event) -> None:
    """Write what happens in a tree to the log."""
    log = logger.bind(actor=event.path)
    match event:
        case GaveUp():
            log.critical("gave up on {}: {}", event.child, event.reason)
        case Zombie():
            log.error("incarnation {} was killed and does not end; it is detached", event.incarnation)
        case ActorExited(abnormal=True):
            log.warning("incarnation {} crashed: {}", event.incarnation, event.reason)
        case BackgroundFailed():
            log.warning("a background task failed while its actor was ending: {}", event.reason)
        case RestartDelayed():
            log.info("waits {:.3g} s for start number {}: {}", event.delay, event.attempt, event.reason)
        case ChildRestarted():
            log.info("is up again after {:.3g} ms, restart {}", event.took * 1000, event.restarts)
        case AlertRaised() | FeatureDegraded() | FeatureRestored() | QualityChanged():
            pass  # logged by whoever raised it
        case CircuitOpened(seconds=None):
            log.warning("its circuit is open until it is closed by hand: {}", event.reason)
        case CircuitOpened():
            log.warning("its circuit is open for {:.3g} s: {}", event.seconds, event.reason)
        case CircuitShut():
            log.info("its circuit is closed")
        case FellBack(fallback=None):
            log.info("is itself again: {}", event.reason)
        case FellBack():
            log.warning("{} runs in its place: {}", event.fallback, event.reason)
        case Exhausted():
            log.warning("its restarts are spent ({}): {}", event.why, event.action)
        case _:
            log.debug("{}", event)
