"""`Gate`: what stands before a cell's mailbox, and says whether a message is let in, and when the next one is.

- A *circuit* (rule S14) that is open turns calls away and keeps accepted casts; half-open it lets in one message at a
  time, the probe.
- A *hold* makes later mail wait: for a message that is given again, or for the pace of a *throttle*.
- A closed gate says why to everybody (rules R3, R7).

It belongs to the cell, so that it outlives the incarnations. When it opens or closes is up to the cell's supervisor and
its recovery.
"""

from __future__ import annotations

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

    __slots__ = ("_cell", "_paces", "circuit", "hold", "shut_off_by", "why_closed")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._paces: dict[object, float] | None = None
        """Seconds between two messages, by who wants that."""
        self.circuit: Literal["open", "half-open"] | None = None
        """None is closed: everything is let through."""
        self.hold: Hold | None = None
        """What the mail waits behind."""
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
        mailbox, held = self._cell.mailbox, self._unhold()
        self._refuse((*mailbox.shut(), *(message for message in held if message[3] is not None)))
        mailbox.queue.extendleft(message for message in reversed(held) if message[3] is None)

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
            and self.hold is None
            and not self._cell.mailbox.queue
        )

    # --- what the mail waits behind

    def put_hold(self, hold: Hold) -> None:
        """Let later mail wait until this is due."""
        if self.hold is not None:
            self.hold.release()
        self.hold = hold
        self._cell.look()

    def let_go(self, call: Call) -> None:
        """The caller of a message has gone; held back, it is not wanted any more."""
        if self.hold is not None and self.hold.message is not None and self.hold.message[3] is call:
            self.hold.be_due()

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
        pace = self.pace
        if pace is not None and self.hold is None and before is None:
            self.put_hold(Hold(self._cell).after(pace))
        elif pace is None and self.hold is not None and self.hold.message is None:
            self.hold.be_due()
        self._changed()

    def keep_pace(self) -> None:
        """A message was handled: let the next one wait, while it is throttled."""
        if self._paces and self.hold is None:
            self.put_hold(Hold(self._cell).after(max(self._paces.values())))

    def _unhold(self) -> list[Message]:
        hold, self.hold = self.hold, None
        if hold is None:
            return []
        hold.release()
        return hold.left()

    def _changed(self) -> None:
        if self._cell.incarnation is not None:
            self._cell.incarnation.choose_path()
