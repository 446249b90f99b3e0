"""How long operations may take: the spec's timeout manager ("Timeout Management").

An operation is a name: a message's, or what an application calls a block of its own. Its time is the override made at
run time, else the default declared for it, else the default of all, 30 s. Calls look theirs up by their message's
name; any other block is bounded with `limit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

from .errors import OperationTimeout, SpecError, UkemiError

if TYPE_CHECKING:
    from .timers import Timer, Timers

DEFAULT_TIMEOUT = 30.0
"""Seconds that an operation may take, unless somebody says otherwise."""

OnExpiry: TypeAlias = Callable[[str, float, int], "float | None"]
"""Asked when the time of an operation has passed: its name, its time so far, and how often that was lengthened.

The result is the seconds by which to lengthen it, or None. It is asked in the middle of other things, so it must be
quick; if it raises, the time is over, and the OperationTimeout has what it raised as its cause.
"""


@attrs.frozen
class TimeoutInfo:
    """How long one operation may take, in seconds, and who says so."""

    operation: str
    seconds: float
    source: str
    """`override`, or `default`."""


class Timeouts:
    """The timeouts of one runtime, in seconds; `math.inf` is none. Wrong values are SpecErrors that name the operation.

    A change counts for what begins after it.
    """

    def __init__(
        self,
        default: float = DEFAULT_TIMEOUT,
        defaults: Mapping[str, float] | None = None,
        overrides: Mapping[str, float] | None = None,
    ) -> None:
        self._default = _checked("the default timeout", default)
        self._defaults = _table(defaults)
        self._overrides = _table(overrides)
        self._known = {**self._defaults, **self._overrides}
        self.on_expiry: OnExpiry | None = None
        """Asked where `limit` is given no other."""
        self.timers: Timers | None = None
        """What expires limits; there while the runtime runs."""

    @property
    def default(self) -> float:
        """Of operations that nothing is declared for."""
        return self._default

    @default.setter
    def default(self, seconds: float) -> None:
        self._default = _checked("the default timeout", seconds)

    @property
    def defaults(self) -> Mapping[str, float]:
        """What was declared, by operation."""
        return MappingProxyType(self._defaults)

    @property
    def overrides(self) -> Mapping[str, float]:
        """What was overridden at run time, by operation."""
        return MappingProxyType(self._overrides)

    def of(self, operation: str) -> float:
        """The override for this operation, else its default, else the default of all."""
        return self._known.get(operation, self._default) if self._known else self._default

    def override(self, operation: str, seconds: float) -> None:
        """Let an operation take so long from now on, until `clear`."""
        self._overrides[_name(operation)] = _checked(f"the timeout of {operation!r}", seconds)
        self._known[operation] = self._overrides[operation]

    def clear(self, operation: str) -> None:
        """Take back `override`. Harmless where there is none."""
        if self._overrides.pop(operation, None) is not None:
            self._known = {**self._defaults, **self._overrides}

    def info(self) -> list[TimeoutInfo]:
        """Everything that was declared or overridden, by name."""
        return [self.info_of(name) for name in sorted(self._known)]

    def info_of(self, operation: str) -> TimeoutInfo:
        """How long one operation may take, whether or not it was declared."""
        source = "override" if operation in self._overrides else "default"
        return TimeoutInfo(operation, self.of(operation), source)

    @contextmanager
    def limit(self, operation: str, *, on_expiry: OnExpiry | None = None) -> Iterator[None]:
        """Bound a block by the operation's time: past it, the block is cancelled, and OperationTimeout raised.

        `on_expiry` may lengthen the time when it has passed; None: the timeouts' own does. A block that ends before it
        meets a checkpoint has ended in time, as with `trio.fail_after`. Cancellation from elsewhere is left alone.
        """
        if self.timers is None:
            raise UkemiError(f"the time of {operation!r} can only be limited while the runtime runs")
        limit = _Limit(_name(operation), self.of(operation), self.timers, on_expiry or self.on_expiry)
        try:
            with limit.scope:
                yield
        finally:
            limit.end()
        if limit.scope.cancelled_caught:
            raise OperationTimeout(operation, limit.seconds) from limit.error


class _Limit:
    """One block's bound: a timer, so that it costs no task, and can be asked for more time when it comes due."""

    def __init__(self, operation: str, seconds: float, timers: Timers, on_expiry: OnExpiry | None) -> None:
        self.seconds = seconds
        self.error: BaseException | None = None
        """What `on_expiry` raised."""
        self.scope = trio.CancelScope()
        self._operation = operation
        self._timers = timers
        self._on_expiry = on_expiry
        self._lengthened = 0
        self._deadline = trio.current_time() + seconds
        self._timer: Timer | None = None
        self._arm()

    def _arm(self) -> None:
        self._timer = self._timers.at(self._deadline, self._expire) if self._deadline < math.inf else None

    def _expire(self) -> None:
        more = self._more()
        if more > 0:
            self.seconds += more
            self._deadline += more
            self._lengthened += 1
            self._arm()
        else:
            self._timer = None
            self.scope.cancel()

    def _more(self) -> float:
        if self._on_expiry is None:
            return 0.0
        try:
            more = self._on_expiry(self._operation, self.seconds, self._lengthened)
            return 0.0 if more is None else _checked(f"more time for {self._operation!r}", more)
        except BaseException as error:  # whose turn this is has nothing to do with it
            self.error = error
            return 0.0

    def end(self) -> None:
        """The block has ended."""
        if self._timer is not None:
            self._timer.cancel()


def _table(given: Mapping[str, float] | None) -> dict[str, float]:
    return {_name(name): _checked(f"the timeout of {name!r}", seconds) for name, seconds in (given or {}).items()}


def _name(operation: object) -> str:
    if not isinstance(operation, str) or not operation:
        raise SpecError(f"an operation's name is a str, not {operation!r}")
    return operation


def _checked(what: str, seconds: object) -> float:
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
        return float(seconds)
    raise SpecError(f"{what} must be seconds above 0, or math.inf for none, not {seconds!r}")
