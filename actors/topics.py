"""Topics: what is published reaches every actor that subscribed, as a cast.

A subscription belongs to an incarnation and ends with it. A subscriber whose mailbox is full misses the event, which
becomes a dead letter; it never slows the publisher or the other subscribers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .incarnation import Incarnation
    from .system import System


class Topics:
    """The topics of one runtime."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._subscribers: dict[str, dict[Incarnation, str]] = {}

    def subscribe(self, topic: str, incarnation: Incarnation, method: str) -> None:
        """Let the topic's events reach `method`. Subscribing again replaces the method."""
        self._subscribers.setdefault(topic, {})[incarnation] = method

    def unsubscribe(self, topic: str, incarnation: Incarnation) -> None:
        """End a subscription."""
        subscribers = self._subscribers.get(topic)
        if subscribers is not None:
            subscribers.pop(incarnation, None)
            if not subscribers:
                del self._subscribers[topic]

    def followers(self, topic: str) -> int:
        """How many are subscribed to a topic."""
        return len(self._subscribers.get(topic, ()))

    def publish(self, topic: str, event: Any) -> int:
        """Cast the event to every subscriber, in the order of their subscribing; how many it reached."""
        subscribers = self._subscribers.get(topic)
        if subscribers is None:
            return 0
        reached = 0
        args = (event,)
        refs = self._system.ref_class
        for incarnation, method in subscribers.items():
            cell = incarnation.cell
            mailbox = cell.mailbox
            if len(mailbox.queue) < mailbox.room:
                if refs.encodes:
                    args = (refs.travel(self._system, incarnation.methods.own_method(method), event),)
                mailbox.queue.append((method, args, {}, None))
                if cell.ready is not None:
                    cell.ready = None
                    incarnation.wake()
                reached += 1
            else:
                why = "it is stopping" if mailbox.is_closed else "its mailbox is full"
                self._system.dead_letter(cell.path, method, f"published on {topic!r}, but {why}")
        return reached
