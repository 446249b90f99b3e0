"""`Brake`: how those who follow a terminal's output slow it down when they can't keep up.

A follower that is behind pulls the brake for a short time, again and again while it is. Output waits only while all
who follow are behind: nobody is held up by another who reads slowly.
"""

from __future__ import annotations


class Brake:
    """Pure; times are seconds on one clock."""

    def __init__(self) -> None:
        self._pulled: dict[str, float] = {}

    def pull(self, who: str, until: float) -> None:
        """A follower is behind, for now until then; a time that has passed lets go."""
        self._pulled[who] = until

    def left(self, followers: int, now: float) -> float:
        """Seconds for which output has to wait, if nothing changes before; 0 where it need not."""
        if not self._pulled:
            return 0.0
        self._pulled = {who: until for who, until in self._pulled.items() if until > now}
        if not self._pulled or len(self._pulled) < followers:
            return 0.0
        return min(self._pulled.values()) - now
