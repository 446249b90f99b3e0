"""What happens in a tree, as typed values: everything that tools, tests and reports see comes through here.

Events hold text and numbers only, never an exception or an actor: a live traceback pins dead state (rule X3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar, TypeVar

import attrs
import trio

E = TypeVar("E", bound="Event")


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened to the actor at `path`, at `time` seconds on trio's clock."""

    path: str
    time: float = attrs.field(factory=trio.current_time)


@attrs.frozen(kw_only=True)
class ActorStarted(Event):
    """An incarnation is up."""

    incarnation: int


@attrs.frozen(kw_only=True)
class ActorExited(Event):
    """An incarnation has ended; `abnormal` says whether that was a failure."""

    incarnation: int
    reason: str
    abnormal: bool


@attrs.frozen(kw_only=True)
class DeadLetter(Event):
    """A message that could not be delivered, or was lost (rule M10)."""

    method: str
    why: str


@attrs.frozen(kw_only=True)
class Zombie(Event):
    """A killed incarnation did not end within the grace time, and was detached (rule S13)."""

    incarnation: int


@attrs.frozen(kw_only=True)
class BackgroundFailed(Event):
    """A background task failed while its actor was already ending."""

    reason: str


@attrs.frozen(kw_only=True)
class Traced(Event):
    """A traced actor has handled a message, in `seconds`."""

    method: str
    arguments: str
    outcome: str
    seconds: float


class EventLog:
    """The last events in order, and a way to follow those to come.

    Iterating gives what is remembered, oldest first. `counts` has how many of each kind there ever were.
    """

    remembered: ClassVar[int] = 1024

    def __init__(self) -> None:
        self._ring: deque[Event] = deque(maxlen=self.remembered)
        self._listeners: dict[Callable[[Event], None], None] = {}
        self.counts: dict[str, int] = {}

    def __iter__(self) -> Iterator[Event]:
        return iter(list(self._ring))

    def __len__(self) -> int:
        return len(self._ring)

    def of(self, kind: type[E]) -> list[E]:
        """The remembered events of one kind."""
        return [event for event in self._ring if isinstance(event, kind)]

    def emit(self, event: Event) -> None:
        """Remember an event and tell the listeners."""
        name = type(event).__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        self._ring.append(event)
        if self._listeners:
            for listener in list(self._listeners):
                listener(event)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with each event to come; it must be quick and not raise. The result ends it."""
        self._listeners[listener] = None
        return lambda: self._listeners.pop(listener, None)

    @asynccontextmanager
    async def follow(self, buffer: int = 1024) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """A channel of the events to come. One that is not read loses what does not fit in the buffer."""
        send, receive = trio.open_memory_channel[Event](buffer)

        def listener(event: Event) -> None:
            try:
                send.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self.counts["missed by a follower"] = self.counts.get("missed by a follower", 0) + 1

        end = self.listen(listener)
        try:
            with send, receive:
                yield receive
        finally:
            end()
