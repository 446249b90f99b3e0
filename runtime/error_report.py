"""What is kept of an error: a report of it, as text and numbers of bounded size, which pins nothing (rule X3)."""

from __future__ import annotations

import enum
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime

import attrs

from ..actors.errors import ParseError, ProviderError, ResourceExhausted
from ..actors.messages import Message
from ..actors.shorten import short
from ..actors.system import Crash
from ..supervisors.recovery.classify import classify
from ..supervisors.recovery.failure import Failure

FRAMES = 30
"""Innermost frames of a traceback that are shown."""
TRACEBACK = 8000
"""Characters of a traceback; what is longer is cut in the middle."""
ATTRIBUTES = 40
"""Attributes of an actor that are shown."""
ARGUMENT = 100
"""Characters of a message's argument, and of an error."""
LINE = 400


class ErrorSeverity(enum.StrEnum):
    """How much an error matters to whoever reads reports (spec, "Error Telemetry"); the worst first."""

    CRITICAL = "Critical"
    ERROR = "Error"
    WARNING = "Warning"
    INFO = "Info"


_SEVERITIES: dict[type[BaseException], ErrorSeverity] = {
    ResourceExhausted: ErrorSeverity.CRITICAL,
    ProviderError: ErrorSeverity.WARNING,
    ParseError: ErrorSeverity.INFO,
}


@attrs.frozen
class ErrorReport:
    """One error, as text: what, where, how bad, and how the actor was."""

    time: str
    path: str
    incarnation: int
    method: str | None
    """The message in hand."""
    error: str
    traceback: str = ""
    state: dict[str, str] = attrs.field(factory=dict)
    """The actor's attributes."""
    held_back: int = 0
    """Errors of the same key since the last report, that were only counted."""
    severity: ErrorSeverity = ErrorSeverity.ERROR
    failure: Failure | None = None
    """The error, classified."""
    restarts: int = 0
    """How often the actor had been started again before."""
    action: str | None = None
    """What the actor's policy named; None: it has none, and the supervisor does as OTP's."""
    last_messages: tuple[str, ...] = ()
    """What the actor had taken last, oldest first; empty where the runtime does not remember them."""

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        texts = (self.error, self.traceback, *self.last_messages, *self.state, *self.state.values())
        return 1000 + sum(map(sys.getsizeof, (self.state, *texts)))


def report_of(crash: Crash, *, held_back: int = 0, action: str | None = None) -> ErrorReport:
    """A report of a crash. Whatever the error's and the actor's own methods do, it is made."""
    failure = classify(crash.error, crash.path)
    return ErrorReport(
        time=datetime.now(UTC).isoformat(),
        path=crash.path,
        incarnation=crash.incarnation,
        method=crash.method,
        error=error_text(crash.error),
        traceback=traceback_text(crash.error),
        state=state_of(crash.state),
        held_back=held_back,
        severity=severity_of(crash.error),
        failure=failure,
        restarts=max(0, crash.incarnation - 1),
        action=action,
        last_messages=messages_text(crash.recent),
    )


def severity_of(error: BaseException) -> ErrorSeverity:
    """The spec's `classify_severity`; of a group, its worst member's."""
    if isinstance(error, BaseExceptionGroup):
        return min(map(severity_of, error.exceptions), key=list(ErrorSeverity).index)
    return next((_SEVERITIES[kind] for kind in type(error).__mro__ if kind in _SEVERITIES), ErrorSeverity.ERROR)


def error_text(error: BaseException) -> str:
    """The error in a line or a few."""
    try:
        text = str(error)
    except Exception as fault:
        text = f"<its str raises {type(fault).__name__}>"
    name = type(error).__name__
    return _cut(f"{name}: {text}" if text else name, LINE)


def traceback_text(error: BaseException) -> str:
    """The traceback, with the innermost frames and what led to the error."""
    try:
        return _cut("".join(traceback.format_exception(error, limit=-FRAMES)), TRACEBACK)
    except Exception as fault:
        return f"{error_text(error)}\n(its traceback can't be formatted: {type(fault).__name__})\n"


def state_of(actor: object) -> dict[str, str]:
    """An actor's attributes, as text of bounded length; the first of them, where there are many."""
    try:
        found = list(getattr(actor, "__dict__", {}).items())
    except Exception as fault:  # of a __getattribute__ of its own
        return {"__dict__": f"<raises {type(fault).__name__}>"}
    return {str(name): short(value) for name, value in found[:ATTRIBUTES]}


def messages_text(messages: Iterable[Message]) -> tuple[str, ...]:
    """Messages as they would be written: `add(2, by='hand')`."""
    return tuple(_message_text(*message[:3]) for message in messages)


def _message_text(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    given = [short(value, ARGUMENT) for value in args[:ATTRIBUTES]]
    given += [f"{key}={short(value, ARGUMENT)}" for key, value in list(kwargs.items())[:ATTRIBUTES]]
    return _cut(f"{name}({', '.join(given)})", LINE)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]} … {text[-half:]}"
