"""`Backlog`: a session's notifications, numbered, and the last ones kept for a client that comes back."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from ...actors.ipc.framing import frame
from ...actors.ipc.jsonrpc import Notification, encode

GAP = "runtime/gap"
"""What the notification is called that tells that others are gone."""
MOST = 10_000
"""Notifications kept."""
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of them that are kept."""


class Backlog:
    """Numbers notifications from 1, and makes frames of them. Bounded in number and size: the oldest go first."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self.last_seq = 0
        self._most = most
        self._most_bytes = most_bytes
        self._kept: deque[bytes] = deque()
        self._bytes = 0
        self.added = 0
        """Bytes of all that there ever were."""

    @property
    def first_seq(self) -> int:
        """The number of the oldest that is kept; where none is, of the next that comes."""
        return self.last_seq + 1 - len(self._kept)

    def add(self, method: str, params: dict[str, Any]) -> None:
        """Give a notification its number (`seq`), and keep it. Raises TypeError for what JSON has no words for."""
        made = frame(encode(Notification(method, {**params, "seq": self.last_seq + 1})))
        self.last_seq += 1
        self._kept.append(made)
        self._bytes += len(made)
        self.added += len(made)
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._bytes -= len(self._kept.popleft())

    def frame(self, seq: int) -> bytes:
        """The notification of this number, which is kept."""
        return self._kept[seq - self.first_seq]

    def bytes_after(self, seq: int) -> int:
        """Bytes of those that came after this one and are kept."""
        return sum(map(len, islice(reversed(self._kept), max(0, self.last_seq - seq))))

    def gap_after(self, seq: int) -> tuple[int, int] | None:
        """The first and the last number of those after this one that are gone for good, if any are."""
        return (seq + 1, self.first_seq - 1) if seq + 1 < self.first_seq else None

    def gap_frame(self, seq: int) -> bytes:
        """The notification that tells of such a gap; its number is the last one's that is gone."""
        to = self.first_seq - 1
        return frame(encode(Notification(GAP, {"from": seq + 1, "to": to, "seq": to})))

    def clear(self) -> int:
        """Forget them all, so that a client that has missed them is told of a gap; how many bytes that were."""
        freed, self._bytes = self._bytes, 0
        self._kept.clear()
        return freed
