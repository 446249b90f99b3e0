"""`Outlet`: what goes to a client over one of its connections, in which order, and how much of it at a time.

Notifications go out in the order of their numbers, and an answer behind all that came before it. No more than `WINDOW`
bytes, and the message that passes them, are under way: what comes on top waits until the connection has acknowledged
some, notifications in the backlog, answers here. So a client that reads slowly holds up nobody, and costs no more than
its backlog and the answers that are made for it; one that falls so far behind that the backlog no longer has what comes
next is lost, and has to come back. A connection that has joined a session has a backlog in which nothing ever is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from ...actors.ref import Ref
from .backlog import Backlog

WINDOW = 1024 * 1024
"""Bytes that may be under way to a client."""
PIECE = 64 * 1024
"""Bytes after which a piece goes out."""


@attrs.frozen
class Piece:
    """Frames that go out together."""

    data: bytes
    released: list[Callable[[], object]]
    """To be called once it was handed over."""


@attrs.frozen
class _Held:
    """An answer that has to wait its turn."""

    behind: int
    frame: Callable[[], bytes]
    size: int
    release: Callable[[], object] | None


class Outlet:
    """Pure: what it gives (`take`), the session hands over to `connection`."""

    def __init__(self, backlog: Backlog, window: int = WINDOW) -> None:
        self.connection: Ref[Any] | None = None
        """Where all of it goes, if there is such."""
        self._backlog = backlog
        self._window = window
        self._tells_gaps = False
        self._told = 0
        """The number of the last notification that was handed over."""
        self.told_bytes = 0
        """Of what the backlog has had, up to there."""
        self._under_way = 0
        self._held: deque[_Held] = deque()
        self._held_bytes = 0

    def open(self, connection: Ref[Any], last_seq: int = 0, *, tells_gaps: bool = False) -> tuple[int, int] | None:
        """Let all that comes after `last_seq` go out over this connection; the gap, if there is one.

        With `tells_gaps` it is never lost: what is no longer kept when its turn comes is told as a gap, in its place.
        """
        gap = self._backlog.gap_after(last_seq)
        self.close()
        self.connection = connection
        self._tells_gaps = tells_gaps
        self._told = min(gap[1] if gap is not None else last_seq, self._backlog.last_seq)
        self.told_bytes = self._backlog.added - self._backlog.bytes_after(self._told)
        return gap

    def close(self) -> None:
        """There is no connection any more: answers that were to go out over it are lost."""
        self.connection = None
        self._under_way = 0
        self._held_bytes = 0
        held, self._held = self._held, deque()
        for each in held:
            if each.release is not None:
                each.release()

    @property
    def is_behind(self) -> bool:
        """Whether notifications wait for their turn."""
        return self._told < self._backlog.last_seq

    @property
    def lag(self) -> int:
        """Bytes of notifications that wait for their turn."""
        return self._backlog.added - self.told_bytes

    @property
    def is_lost(self) -> bool:
        """Whether what comes next is no longer kept."""
        return self.connection is not None and not self._tells_gaps and self._has_gap

    @property
    def _has_gap(self) -> bool:
        return self._told + 1 < self._backlog.first_seq

    @property
    def is_busy(self) -> bool:
        """Whether an answer has to wait its turn."""
        return bool(self._held) or self._under_way >= self._window or self._told < self._backlog.last_seq

    @property
    def is_full(self) -> bool:
        """Whether so many answers wait that no further requests should be taken."""
        return self._held_bytes >= self._window

    def hold(self, frame: Callable[[], bytes], size: int, release: Callable[[], object] | None = None) -> None:
        """Let an answer go out behind all notifications that there are now, and all answers before it.

        It is made then, and has about so many bytes.
        """
        self._held.append(_Held(self._backlog.last_seq, frame, size, release))
        self._held_bytes += size

    def sent(self, size: int) -> None:
        """So many bytes have gone to the connection by another way."""
        self._under_way += size

    def acknowledge(self, size: int) -> None:
        """The connection has sent so many bytes, or they are about to go."""
        self._under_way = max(0, self._under_way - size)

    def take(self) -> Piece | None:
        """What is to go out now; None where nothing is, or nothing more may be under way."""
        parts: list[bytes] = []
        released: list[Callable[[], object]] = []
        size = 0
        while size < PIECE and self._under_way < self._window:
            if self._held and self._held[0].behind <= self._told:
                held = self._held.popleft()
                self._held_bytes -= held.size
                if held.release is not None:
                    released.append(held.release)
                frame = held.frame()
            elif self._has_gap:
                frame = self._backlog.gap_frame(self._told)
                self._told = self._backlog.first_seq - 1
                self.told_bytes = self._backlog.added - self._backlog.bytes_after(self._told)
            elif self.is_behind:
                frame = self._backlog.frame(self._told + 1)
                self._told += 1
                self.told_bytes += len(frame)
            else:
                break
            size += len(frame)
            self._under_way += len(frame)
            parts.append(frame)
        return Piece(b"".join(parts), released) if parts else None
