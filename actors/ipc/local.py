"""`LocalLink`: local mode. It runs in a link's place while its peer can't be reached.

What is for the peer is kept, in order, up to a bound, and goes out once the link is back: messages that are put aside
go to whoever takes this actor's place. What can be said without the peer is said.
"""

from __future__ import annotations

from typing import Any

from ..errors import Reject, ResourceExhausted
from ..protocol import at_once, retryable
from .link_session import Link, LinkSession, LinkState

MOST_WAITING = 1_000
"""Requests and notifications that wait for a peer, unless told otherwise."""


class LocalLink(Link):
    """Answers what `IpcLink` does. `session` is the link's; `peer` is what it can't reach, for messages to people."""

    def __init__(self, session: LinkSession, most_waiting: int = MOST_WAITING, peer: str = "the peer") -> None:
        self.session = session
        self._most_waiting = most_waiting
        self._peer = peer
        self._kept = 0
        """Messages that were put aside, those whose callers have gone since included."""

    @retryable
    def request(self, method: str, params: dict[str, Any] | None = None, lane: str = "") -> Any:
        """Keep it for the peer. Rejects with ResourceExhausted when too much waits already."""
        self._keep()

    def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Keep it for the peer. Rejects with ResourceExhausted when too much waits already: a dead letter."""
        self._keep()

    def cancel(self, request_key: Any) -> None:
        """Nothing: what waits is not asked once its caller has gone."""

    @at_once
    def state(self) -> LinkState:
        """How the link is: not connected."""
        session = self.session
        waiting = self.ctx.ref.stats().waiting
        return LinkState(False, waiting, 0, 0, session.id, session.resumed, session.missed)

    def close_idle(self) -> int:
        """Nothing: there is no connection."""
        return 0

    def _keep(self) -> None:
        if self._kept >= self._most_waiting:
            waiting = self.ctx.ref.stats().waiting  # without those whose callers have gone
            if waiting >= self._most_waiting:
                raise Reject(ResourceExhausted(f"messages that wait for {self._peer}", self._most_waiting, waiting))
        self._kept += 1
        self.ctx.stash()
