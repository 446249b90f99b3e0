"""What a link answers, and what it remembers across its connections and incarnations."""

from __future__ import annotations

import secrets
from typing import Any

import attrs

from ..actor import Actor


@attrs.frozen
class LinkState:
    """How a link is, as of now."""

    connected: bool
    """Whether the peer is reached; otherwise what is asked of it waits."""
    waiting: int
    """Requests and notifications that wait to be sent."""
    unanswered: int
    """Requests that were sent, and have no answer yet."""
    connections: int
    session: str | None
    resumed: int
    missed: int


class Link(Actor):
    """What a link answers, whether its peer is reached (`IpcLink`) or not (`LocalLink`): the type to refer to it by."""

    def request(self, method: str, params: dict[str, Any] | None = None, lane: str = "") -> Any:
        """Ask the peer; its result."""
        raise NotImplementedError

    def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Tell the peer."""
        raise NotImplementedError

    def cancel(self, request_key: Any) -> None:
        """Give up what was asked with this `requestKey` among its parameters, if it is under way."""
        raise NotImplementedError

    def state(self) -> LinkState:
        """How the link is."""
        raise NotImplementedError

    def close_idle(self) -> int:
        """Close what is open and not in use; how many connections those were."""
        raise NotImplementedError


@attrs.frozen
class _Sent:
    """Where a request went out: in which session of the peer's, and over which connection of the link's."""

    session: str | None
    connected: int


@attrs.define(eq=False)
class LinkSession:
    """A link's session with its peer. It outlives the link's incarnations, so it is made outside their factory.

    It belongs to one link. In it stand the session's id, the last notification that was seen, and which requests have
    gone out and are not answered: after a cut they are asked again under the same key, so that the peer runs each
    once.
    """

    id: str | None = None
    last_seq: int = 0
    resumed: int = 0
    """How many times a connection took the session up again."""
    missed: int = 0
    """Notifications that the peer no longer had when the session was taken up again."""
    _prefix: str = attrs.field(factory=lambda: secrets.token_hex(4))
    """What tells the keys of this session's requests from all others'."""
    _connected: int = 0
    """How often it was taken up or begun."""
    _sent: dict[str, _Sent] = attrs.field(factory=dict)

    def began(self, id: str, gap: dict[str, int] | None) -> None:
        """The peer has taken the session up, or has begun another."""
        self._connected += 1
        if id == self.id:
            self.resumed += 1
        else:
            self.id, self.last_seq = id, 0
        if gap is not None:
            self.missed += gap["to"] - gap["from"] + 1
            self.last_seq = max(self.last_seq, gap["to"])

    def is_new(self, seq: int) -> bool:
        """Whether a notification of this number has not been seen; it has now."""
        if seq <= self.last_seq:
            return False
        self.last_seq = seq
        return True

    # --- requests

    def key_of(self, message: str) -> str:
        """The `requestKey` of a message to the link: the same whenever that is given again."""
        return f"{self._prefix}.{message}"

    def sends(self, message: str) -> bool:
        """Whether a message's request may go out, which it does now. Not if it went out in a session that the peer has
        lost: whether it was run there nobody knows."""
        before = self._sent.pop(message, None)
        if before is not None and before.session != self.id:
            return False
        self._sent[message] = _Sent(self.id, self._connected)
        return True

    def knows(self, message: str) -> bool:
        """Whether a message's request has gone out, and is not answered."""
        return message in self._sent

    def answered(self, message: str) -> None:
        """A message's request has its answer."""
        self._sent.pop(message, None)

    def take_abandoned(self) -> list[str]:
        """Those whose requests went out over earlier connections and were not asked again: nobody waits for them."""
        abandoned = [message for message, sent in self._sent.items() if sent.connected != self._connected]
        for message in abandoned:
            del self._sent[message]
        return abandoned
