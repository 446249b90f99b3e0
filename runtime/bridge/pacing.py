"""`Pacing`: when a session slows down the terminals that its client follows, since the client can't keep up.

A terminal prints faster than most clients read. What waits for a client is bounded, so one that is far behind has its
terminals wait, as long as it takes some of what waits for it. One that takes nothing for `PATIENCE` is not waited for
any longer, whether it is connected or not: it loses what its backlog can't hold, and is told so when it is back. The
only client of a bridge always is.
"""

from __future__ import annotations

BEHIND = 1024 * 1024
"""Bytes that wait for a client above which its terminals are slowed down; they go on at a quarter of it."""
PATIENCE = 10.0
"""Seconds without any progress after which a client is waited for no longer."""
FOR = 1.0
"""Seconds for which a terminal is slowed down at a time."""
EVERY = 0.5
"""Seconds between two times."""


class Pacing:
    """Pure; times are seconds on one clock."""

    def __init__(self) -> None:
        self.is_slowing = False
        """Whether the client is behind."""
        self.is_patient = False
        """Whether it is waited for as long as it takes."""
        self._told = 0
        self._progress = 0.0

    def look(self, lag: int, told: int, now: float) -> bool:
        """Whether the terminals have to be slowed down now: so many bytes wait for the client, so many it was told."""
        if told != self._told or not self.is_slowing:
            self._told, self._progress = told, now
        self.is_slowing = lag > (BEHIND // 4 if self.is_slowing else BEHIND)
        return self.is_slowing and (self.is_patient or now - self._progress < PATIENCE)
