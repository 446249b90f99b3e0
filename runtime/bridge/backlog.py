"""`Backlog`: a session's notifications, numbered, and the last ones kept for a client that comes back."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from ...actors.ipc.jsonrpc import Notification

MOST = 10_000
"""Notifications kept."""
MOST_BYTES = 4 * 1024 * 1024
"""Characters of what they carry that are kept, about."""
_OVERHEAD = 200  # of one with nothing in it


@attrs.frozen
class Missed:
    """What a client did not see: the notifications, in order, and how many before them are gone for good."""

    notifications: list[Notification]
    gap: tuple[int, int] | None
    """The first and the last number of those that are gone."""


class Backlog:
    """Numbers notifications from 1. Bounded in number and size: the oldest go first."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self.last_seq = 0
        self._most = most
        self._most_bytes = most_bytes
        self._kept: deque[tuple[Notification, int]] = deque()
        self._bytes = 0

    def add(self, method: str, params: dict[str, Any]) -> Notification:
        """The notification with its number, which is kept."""
        self.last_seq += 1
        note = Notification(method, {**params, "seq": self.last_seq})
        size = _OVERHEAD + sum(len(value) for value in params.values() if isinstance(value, str))
        self._kept.append((note, size))
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            _, dropped = self._kept.popleft()
            self._bytes -= dropped
        return note

    def after(self, seq: int) -> Missed:
        """What came after this number."""
        first = self.last_seq + 1 - len(self._kept)
        notes = [note for note, _ in self._kept if note.params["seq"] > seq]
        return Missed(notes, (seq + 1, first - 1) if seq + 1 < first else None)
