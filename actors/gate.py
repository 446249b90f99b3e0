"""`Gate`: what stands before a cell's mailbox, and says whether a message is let in, and when the next one is.

- A *circuit* (rule S14) that is open turns calls away and keeps accepted casts; half-open it lets in one message at a
  time, the probe.
- *Holds* make later mail wait: for messages that are given again, each when it is due, and for a *throttle*'s pace.
- A closed gate says why to everybody (rules R3, R7).

It belongs to the cell, so that it outlives the incarnations. When it opens or closes is up to the cell's supervisor and
its recovery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Literal

from .errors import ActorStopped, CircuitOpen
from .hold import Hold

if TYPE_CHECKING:
    from .cell import Cell
    from .messages import Call, Message


class Gate:
    """Of one cell."""

    __slots__ = ("_cell", "_holds", "_paces", "_places", "circuit", "shut_off_by", "why_closed")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._paces: dict[object, float] | None = None
        """Seconds between two messages, by who wants that."""
        self._places = 0
        """How many have been given out; see `next_place`."""
        self.circuit: Literal["open", "half-open"] | None = None
        """None is closed: everything is let through."""
        self._holds: deque[Hold] | None = None
        """What the mail waits behind, in order."""
        self.why_closed = "is not running"
        self.shut_off_by: str | None = None
        """The path of a supervisor above whose circuit is open, and that it is closed for."""

    # --- open and closed

    def open(self) -> None:
        """Let the mail in, unless the circuit says otherwise."""
        self.shut_off_by = None
        if self.circuit is None:
            self._cell.mailbox.open()

    def close(self, why: str, shut_off_by: str | None = None) -> None:
        """Let nothing in any more, and tell those who wait."""
        self.circuit = None
        self.why_closed, self.shut_off_by = why, shut_off_by
        self._refuse((*self._unhold(), *self._cell.mailbox.close()))

    def refusal(self) -> Callable[[], Exception]:
        """Makes the error that says why it takes no message."""
        path = self._off_with
        if path is not None:
            return partial(CircuitOpen, path)
        return partial(ActorStopped, self._cell.path, self.why_closed)

    def turn_away(self, name: str) -> None:
        """A cast finds the mailbox closed: an error, or, while a circuit is open, a dead letter."""
        if self._off_with is None:
            raise self.refusal()()
        self._cell.system.dead_letter(self._cell.path, name, "its circuit is open")

    @property
    def _off_with(self) -> str | None:
        """Whose circuit is open: its own, or that of a supervisor above."""
        return self._cell.path if self.circuit is not None else self.shut_off_by

    def _refuse(self, messages: Iterable[Message]) -> None:
        """Tell callers that their messages won't be handled; casts become dead letters."""
        refusal = self.refusal()
        for name, _, _, call in messages:
            if call is not None:
                call.fail(refusal)
            else:
                self._cell.system.dead_letter(self._cell.path, name, self.why_closed)

    # --- a circuit

    def open_circuit(self) -> None:
        """Its actor is down for a time: calls fail at once, queued ones too; accepted casts are kept, new ones lost."""
        self.circuit = "open"
        calls = [message for message in self.held() if message[3] is not None]
        holds, self._holds = self._holds or (), None
        for hold in holds:
            hold.be_due()
        self.put(*(hold for hold in holds if hold.message is not None and hold.message[3] is None))
        self._refuse((*self._cell.mailbox.shut(), *calls))

    def half_open_circuit(self) -> None:
        """One message at a time is let in as a probe: what was kept, then whoever comes first."""
        self.circuit = "half-open"

    def close_circuit(self) -> None:
        """Everything is let through again."""
        self.circuit = None
        self._cell.mailbox.open()
        self._changed()

    def lets_in(self) -> bool:
        """Whether a message may enter though the mailbox is closed: it is the probe of a half-open circuit."""
        life = self._cell.incarnation
        return (
            self.circuit == "half-open"
            and life is not None
            and life.is_started
            and life.current is None
            and not self._holds
            and not any(each.is_open for each in life.deferred or ())
            and not self._cell.mailbox.queue
        )

    # --- what the mail waits behind

    @property
    def hold(self) -> Hold | None:
        """What the mail waits behind now; what nobody waits for any more is dropped."""
        holds = self._holds
        while holds:
            if holds[0].is_wanted:
                return holds[0]
            holds.popleft().release()
        self._holds = None  # an empty deque has as much memory as one of many
        return None

    @property
    def is_holding(self) -> bool:
        """Whether a message waits to be given again."""
        return bool(self.held())

    def held(self) -> list[Message]:
        """The messages that wait to be given again, in order."""
        return [hold.message for hold in self._holds or () if hold.message is not None and hold.is_wanted]

    def put(self, *holds: Hold) -> None:
        """Let later mail wait until these are due: pauses, then messages in the order in which they have come."""
        self._holds = deque(sorted((*holds, *(self._holds or ())), key=lambda hold: hold.place))

    def next_place(self) -> int:
        """The place of a message that was just taken from the mail, among those that will be given again."""
        self._places += 1
        return self._places

    def take(self, hold: Hold) -> None:
        """This is due, and is dealt with."""
        assert self._holds is not None
        self._holds.remove(hold)
        hold.release()
        if not self._holds:
            self._holds = None

    def let_go(self, call: Call) -> None:
        """The caller of a message has gone; held back, it is not wanted any more."""
        if any(hold.message is not None and hold.message[3] is call for hold in self._holds or ()):
            self._cell.look()

    @property
    def pace(self) -> float | None:
        """Seconds between two messages, while it is throttled: as the slowest of those who want that says."""
        return max(self._paces.values()) if self._paces else None

    def throttle(self, by: object, seconds: float | None) -> None:
        """Let messages through at this distance, for somebody; None: as they come, as far as that one cares."""
        before, paces = self.pace, self._paces or {}
        if seconds is None:
            paces.pop(by, None)
        else:
            paces[by] = seconds
        self._paces = paces or None
        if before is None:
            self.keep_pace()
        elif self._paces is None:
            for hold in [each for each in self._holds or () if each.message is None]:
                self.take(hold)
            self._cell.look()
        self._changed()

    def keep_pace(self) -> None:
        """A message was handled: let the next one wait, while it is throttled."""
        pace = self.pace
        if pace is not None and not (self._holds and self._holds[0].message is None):
            self.put(Hold(self._cell).after(pace))
            self._cell.look()

    def _unhold(self) -> list[Message]:
        """Let go of all that is held; the messages."""
        held, holds = self.held(), self._holds
        self._holds = None
        for hold in holds or ():
            hold.release()
        return held

    def _changed(self) -> None:
        if self._cell.incarnation is not None:
            self._cell.incarnation.choose_path()
