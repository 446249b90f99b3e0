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
