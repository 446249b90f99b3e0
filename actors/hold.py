"""`Hold`: what stands between an actor and its mailbox for a while, so that later mail waits behind it (rule S10).

It is a message that will be given again, or a mere pause between two messages. It belongs to the cell, so that it
outlives the incarnation in which the message failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .events import ActorStarted, Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cell import Cell
    from .messages import Message
    from .timers import Timer


class Hold:
    """Set it with `after` or `until_up`; once it `is_due`, its cell's actor takes it."""

    __slots__ = ("_cell", "_end_listening", "_timer", "history", "is_due", "key", "message", "place")

    def __init__(
        self, cell: Cell, message: Message | None = None, *, place: int = 0, history: Any = None, key: str | None = None
    ) -> None:
        self.message = message
        self.place = place
        """Of a message among others, by when they came (`Gate.next_place`); a mere pause is before all."""
        self.history = history
        """What the recovery remembers of the message's tries."""
        self.key = key
        """Names the message, if it is a cast whose handler has asked for that."""
        self.is_due = False
        self._cell = cell
        self._timer: Timer | None = None
        self._end_listening: Callable[[], object] | None = None

    def after(self, seconds: float) -> Hold:
        """Due after a time."""
        if seconds <= 0:
            self.is_due = True
        else:
            system = self._cell.system
            self._timer = system.timers.at(system.now() + seconds, self.be_due)
        return self

    def until_up(self, path: str, soon: float, at_most: float) -> Hold:
        """Due when the actor of this path is started; `soon`, if it is up already; at last after `at_most` seconds."""
        system = self._cell.system
        cell = system.registry.get(path)
        if cell is not None and cell.state == "running":
            return self.after(soon)

        def listener(event: Event) -> None:
            if isinstance(event, ActorStarted) and event.path == path:
                self.be_due()

        self._end_listening = system.events.listen(listener)
        return self.after(at_most)

    def be_due(self) -> None:
        """Time is up, or its message is no longer wanted."""
        self.is_due = True
        self.release()
        self._cell.look()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for its message, or it is a mere pause."""
        call = self.message[3] if self.message is not None else None
        return call is None or not call.settled

    def release(self) -> None:
        """Nothing more will make it due."""
        if self._timer is not None:
            self._timer.cancel()
        if self._end_listening is not None:
            self._end_listening()
            self._end_listening = None
