"""The strategy matrix as data: what is done first about each kind of failure, how often, and what then.

`MATRIX` holds the spec's eleven rows, under the names that the spec gives them; `GENERAL` what holds for all others.
Rows that name the same mechanism share one object. `None` for a category or a severity stands for any.
"""

from __future__ import annotations

import math

import attrs

from ...actors.errors import SpecError
from ..backoff import START_BACKOFF
from .actions import Action, Alert, Cancel, Defer, Degrade, Extend, Fallback, Restart, Resume, Retry, Stop, Throttle
from .failure import Category, Severity
from .kinds import category_of, severity_of


def _any_category_of(value: str | None) -> Category | None:
    return None if value is None else category_of(value)


def _any_severity_of(value: str | None) -> Severity | None:
    return None if value is None else severity_of(value)


@attrs.frozen
class Row:
    """What is done about failures of one category and severity, each given as such or by its value; None: any.

    `first` is carried out until its tries are spent, then `then`. "Max retries N means N tries after the first": a
    Retry or an Extend, which come after a first try, are carried out `retries` times, any other action once and
    `retries` times more. Left out, a Retry's own `attempts` count, an Extend's own `times`, and 0 for any other.
    Where nothing follows (`then=None`), what tries nothing again has no end; Retry and Extend end in a restart.
    """

    category: Category | None = attrs.field(converter=_any_category_of)
    severity: Severity | None = attrs.field(converter=_any_severity_of)
    first: Action
    then: Action | None = None
    retries: int | None = None
    called: tuple[str, str] = attrs.field(default=("", ""), kw_only=True)
    """What people call the two; the spec's names in its matrix."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.first, Action):
            raise self._wrong("first", self.first, "an action, such as Restart()")
        if self.then is not None and not isinstance(self.then, Action):
            raise self._wrong("then", self.then, "an action, such as Restart(), or None")
        is_count = isinstance(self.retries, int) and not isinstance(self.retries, bool) and self.retries >= 0
        if self.retries is not None and not is_count:
            raise self._wrong("retries", self.retries, "a whole number from 0 up, or None for the action's own")

    @property
    def key(self) -> tuple[Category | None, Severity | None]:
        """What it is about."""
        return self.category, self.severity

    @property
    def name(self) -> str:
        """What it is about, as text."""
        return f"{self.category or 'any'}/{self.severity or 'any'}"

    @property
    def max_retries(self) -> int | None:
        """Tries after the first; None where nothing counts them."""
        match self.first:
            case Retry(_, own) | Extend(own) if self.retries is None:
                return own
            case _:
                return self.retries

    @property
    def tries(self) -> float:
        """How often `first` is carried out before `then`."""
        retries = self.max_retries or 0
        match self.first:
            case Retry(backoff) if backoff.max_attempts is not None:
                return min(retries, backoff.max_attempts - 1)
            case Retry() | Extend():
                return retries
            case _:
                return math.inf if self.then is None else 1 + retries

    def _wrong(self, option: str, value: object, right: str) -> SpecError:
        return SpecError(f"the row {self.name}: {option}={value!r} must be {right}")


_RESTART = Restart()
_RECONNECT = Restart(backoff=START_BACKOFF)
_RETRY = Retry()
_ALERT = Alert()
_NEXT_MODE = Fallback(like="next mode")
_CACHE = Fallback(like="cache")
_SKIP = Fallback(like="skip markers")
_RAW = Fallback(like="raw passthrough")
_FREE = Fallback(like="free resources")

MATRIX: tuple[Row, ...] = (
    Row("Terminal", "Critical", _RESTART, _ALERT, 1, called=("Recreate terminal", "Alert user")),
    Row("Terminal", "Recoverable", _RETRY, _NEXT_MODE, 3, called=("Retry command", "Raw output mode")),
    Row("FileSystem", "Critical", _ALERT, None, 0, called=("Alert user", "None")),
    Row("FileSystem", "Recoverable", _RETRY, _CACHE, 3, called=("Retry with backoff", "Cache previous")),
    Row("Network", "Critical", _RECONNECT, Degrade(), 5, called=("Reconnect IPC", "Local mode")),
    Row("Network", "Recoverable", _RETRY, Defer(), 3, called=("Retry request", "Queue for later")),
    Row("Parser", "Critical", _RESTART, _SKIP, 0, called=("Reset parser state", "Skip markers")),
    Row("Parser", "Recoverable", _RETRY, _RAW, 1, called=("Buffer & retry", "Raw passthrough")),
    Row("Resource", "Critical", _FREE, Stop(runtime=True), 0, called=("Free resources", "Graceful shutdown")),
    Row("Resource", "Recoverable", Throttle(), Degrade(levels=1), called=("Throttle operations", "Reduce quality")),
    Row("Timeout", "Recoverable", Extend(), Cancel(), 2, called=("Increase timeout", "Cancel operation")),
)
"""The spec's, "Recovery Strategy Matrix"."""

_RESUME = Resume()

GENERAL: tuple[Row, ...] = (
    Row(None, "Warning", _RESUME),
    Row(None, "Info", _RESUME),
    Row("UserCancelled", None, _RESUME),
    Row(None, None, _RESTART),
)
"""What holds where no row of a policy does."""
