"""What may be done about a failure: the actions of the design's table, as immutable values.

Each is checked when it is made; what is wrong is a SpecError that names the action, the option and its value. How each
is carried out, and what becomes of the message that failed, is in docs/recovery.md.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from ...actors.errors import SpecError
from ..backoff import Backoff

RETRY_BACKOFF = Backoff(initial=0.1, maximum=5.0)
"""Between the tries of a message (spec, "Smart Retry System")."""
OPEN = 30.0
"""Seconds that a circuit stays open at first."""
FAILURES = 5
"""Failures in a row that open a circuit."""
THROTTLED = 5.0
"""Seconds without a further failure after which a throttled child's mail is let through again as it comes."""


@attrs.frozen
class Action:
    """The base of all actions."""

    def __str__(self) -> str:
        """The action as it would be written, without what is as by default."""
        fields = attrs.fields(type(self))
        given = [(f.name, getattr(self, f.name)) for f in fields if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given)})"


@attrs.frozen
class Resume(Action):
    """The actor keeps its state; the caller gets the error."""


@attrs.frozen
class Retry(Action):
    """The message is given again after a while, at most `attempts` times; it keeps its place, and later mail waits.

    Only for an error that may pass, and a message that may be repeated: its method is marked `@retryable`, or it is
    known not to have begun. What the error says of when to try again (`retry_after`) counts for more than the backoff.
    """

    backoff: Backoff = RETRY_BACKOFF
    attempts: int = 3

    def __attrs_post_init__(self) -> None:
        _check_backoff(self, "backoff", self.backoff)
        _check_count(self, "attempts", self.attempts, least=1)


@attrs.frozen
class Extend(Action):
    """A default deadline that has passed is lengthened by its own time; nothing is run again."""

    times: int = 2

    def __attrs_post_init__(self) -> None:
        _check_count(self, "times", self.times, least=1)


@attrs.frozen
class Restart(Action):
    """What failed is restarted, and with it `target` where one is named: a sibling, or a path in the tree."""

    target: str | None = None
    backoff: Backoff | None = None
    """How long to wait, where the child has no backoff of its own; None: not at all."""

    def __attrs_post_init__(self) -> None:
        _check_name(self, "target", self.target)
        if self.backoff is not None:
            _check_backoff(self, "backoff", self.backoff)


@attrs.frozen
class Fallback(Action):
    """Another method answers this message; or the child's declared fallback takes its place behind the same Ref.

    `handler` names a method of the actor, or one of the child's fallbacks. Without it: the method that the failed one
    names (`@falls_back_to`), else the child's next fallback; the one called `like`, if it has one of that name.
    """

    handler: str | None = None
    like: str | None = None

    def __attrs_post_init__(self) -> None:
        _check_name(self, "handler", self.handler)
        _check_name(self, "like", self.like)


@attrs.frozen
class Defer(Action):
    """The message is kept in its place until the component that failed is up again; later mail waits behind it."""


@attrs.frozen
class Throttle(Action):
    """The child's mail is let through at `rate` messages a second, until nothing has failed for `quiet` seconds."""

    rate: float = 10.0
    quiet: float = THROTTLED

    def __attrs_post_init__(self) -> None:
        _check_seconds(self, "rate", self.rate, above_zero=True)
        _check_seconds(self, "quiet", self.quiet, above_zero=True)


@attrs.frozen
class Degrade(Action):
    """A feature (the child's own, if none is named) and all that depends on it run in their fallbacks until it is well.

    With `levels`, the runtime's quality goes down by as many levels instead.
    """

    feature: str | None = None
    levels: int = 0

    def __attrs_post_init__(self) -> None:
        _check_name(self, "feature", self.feature)
        _check_count(self, "levels", self.levels, least=0, most=3)
        if self.feature is not None and self.levels:
            raise _wrong(self, "levels", self.levels, "0 where a feature is named")


@attrs.frozen
class CircuitBreak(Action):
    """The child stays down for a time, and its callers are told at once; then one probe decides.

    It opens at `failures` failures in a row; until then each is a restart. As `on_exhausted` it opens at once. Each
    probe that fails makes the next open time `growth` times as long, up to `longest` seconds.
    """

    duration: float = OPEN
    failures: int = FAILURES
    successes: int = 1
    """Good probes that close it."""
    growth: float = 2.0
    longest: float = 300.0

    def __attrs_post_init__(self) -> None:
        _check_seconds(self, "duration", self.duration, above_zero=True)
        _check_count(self, "failures", self.failures, least=1)
        _check_count(self, "successes", self.successes, least=1)
        _check_seconds(self, "growth", self.growth, least=1.0)
        _check_seconds(self, "longest", self.longest, above_zero=True)


@attrs.frozen
class Cancel(Action):
    """The operation is given up, and its caller told; the actor keeps its state."""


@attrs.frozen
class Escalate(Action):
    """The supervisor fails in turn."""


@attrs.frozen
class Stop(Action):
    """The child ends, and stays down; or (`runtime`) the whole runtime does, in order."""

    runtime: bool = False

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.runtime, bool):
            raise _wrong(self, "runtime", self.runtime, "True or False")


@attrs.frozen
class Alert(Action):
    """The user is told. The caller gets the error; a child that can't go on stays down."""


@attrs.frozen
class Order:
    """What a supervisor is to do about the end of a child."""

    action: Action
    is_bounded: bool = False
    """Whether the policy itself bounds how often that is done, so that it spends no window."""


# --- checks


def _check_name(action: Action, option: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise _wrong(action, option, value, "a name, or None")


def _check_backoff(action: Action, option: str, value: object) -> None:
    if not isinstance(value, Backoff):
        raise _wrong(action, option, value, "a Backoff(…)")


def _check_count(action: Action, option: str, value: Any, *, least: int, most: float = math.inf) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        upto = "up" if most == math.inf else f"to {most}"
        raise _wrong(action, option, value, f"a whole number from {least} {upto}")


def _check_seconds(action: Action, option: str, value: Any, *, least: float = 0.0, above_zero: bool = False) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value < math.inf or (above_zero and value == 0):
        raise _wrong(
            action, option, value, "a finite number above 0" if above_zero else f"a finite number from {least}"
        )


def _wrong(action: Action, option: str, value: object, right: str) -> SpecError:
    return SpecError(f"{type(action).__name__}: {option}={value!r} must be {right}")
