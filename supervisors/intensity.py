"""Restart intensity: one sliding window per supervisor (OTP's `add_restart`)."""

from __future__ import annotations

from collections import deque


class RestartWindow:
    """Counts restarts: more than `max_restarts` of them within `within` seconds are one too many.

    It is enough to remember the last `max_restarts + 1`: they lie within the period if the oldest of them does. So a
    restart costs the same however many came before (OTP walks every stamp in the window).
    """

    __slots__ = ("_most", "_stamps", "_within")

    def __init__(self, max_restarts: int, within: float) -> None:
        self._most = max_restarts + 1
        self._stamps: deque[tuple[float, str]] = deque(maxlen=self._most)
        self._within = within

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, now: float, child: str = "") -> bool:
        """Count a restart at `now`, in seconds, no earlier than the last; whether that is one too many.

        A stamp exactly `within` seconds old still counts.
        """
        stamps = self._stamps
        while stamps and now - stamps[0][0] > self._within:
            stamps.popleft()
        stamps.append((now, child))
        return len(stamps) == self._most

    def forget(self, child: str) -> None:
        """Drop a child's stamps, and no other's (rule S9). What had left the window before is not missed."""
        self._stamps = deque((stamp for stamp in self._stamps if stamp[1] != child), maxlen=self._most)
