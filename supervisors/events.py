"""What supervisors tell of their doings."""

from __future__ import annotations

import attrs

from ..actors.events import Event


@attrs.frozen(kw_only=True)
class ChildRestarted(Event):
    """A child is up again, `took` seconds after it (or what it depends on) had failed."""

    incarnation: int
    restarts: int
    reason: str
    took: float


@attrs.frozen(kw_only=True)
class RestartDelayed(Event):
    """A child waits `delay` seconds for its next start: try number `attempt`, counted from 1."""

    delay: float
    attempt: int
    reason: str


@attrs.frozen(kw_only=True)
class GaveUp(Event):
    """A supervisor ends: its window is spent, or a child's tries are."""

    child: str
    reason: str


@attrs.frozen(kw_only=True)
class Recovered(Event):
    """A policy has named an action on a failure, for the `attempt`th time; `method` is that of the message in hand."""

    method: str | None
    action: str
    category: str
    severity: str
    error: str
    """The exception's class."""
    message: str
    attempt: int


@attrs.frozen(kw_only=True)
class Exhausted(Event):
    """A child's restarts are spent, and its `on_exhausted` is carried out instead of giving up (rule S9)."""

    action: str
    why: str


@attrs.frozen(kw_only=True)
class FellBack(Event):
    """A fallback runs in a child's place; None: the child itself is back in it (rule S15)."""

    fallback: str | None
    reason: str


@attrs.frozen(kw_only=True)
class CircuitOpened(Event):
    """A child is down for `seconds`, None: until it is closed by hand; its callers are told at once (rule S14)."""

    seconds: float | None
    reason: str


@attrs.frozen(kw_only=True)
class CircuitShut(Event):
    """A circuit is closed again: everything is let through."""
