"""`ChildCircuit`: the circuit of one child, and the probe that is under way (rule S14).

The child's guard hands it what becomes of messages, its supervisor opens and closes it and makes the probes. What the
cell does at its mailbox follows: it is told whenever the circuit closes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.reasons import Reason, describe
from ..circuit import Circuit, CircuitInfo
from .actions import Action, Cancel, CircuitBreak, Restart, Resume
from .failure import Failure

if TYPE_CHECKING:
    from ...actors.cell import Cell


class ChildCircuit:
    """Of one child. Times are those of its system's clock."""

    __slots__ = ("_cell", "_circuit", "_probe")

    def __init__(self, cell: Cell, settings: CircuitBreak) -> None:
        self._cell = cell
        self._circuit = Circuit(settings, cell.path)
        self._probe: int | None = None
        """The token of the probe that is under way."""

    # --- what becomes of messages

    def succeeded(self) -> bool:
        """A message was handled; whether that closed it."""
        circuit = self._circuit
        if circuit.state == "closed" and not circuit.failures:
            return False
        now = self._now()
        token = self._probe if self._probe is not None else circuit.admit(now)
        if token is None:
            return False
        self._probe = None
        if circuit.succeeded(token, now):
            self._cell.gate.close_circuit()
            return True
        if circuit.state == "half-open":
            self._probe = circuit.admit(now)
        return False

    def failed(self, action: Action, failure: Failure) -> Action:
        """The policy has named an action on a failure; what is to be done, now that this may open the circuit."""
        now = self._now()
        if self._circuit.state != "closed":
            if self._probe is None or isinstance(action, Resume | Cancel):
                return action
            self._circuit.failed(self._probe, now, failure.message)
            self._probe = None
            return CircuitBreak()
        if not isinstance(action, CircuitBreak):
            return action
        token = self._circuit.admit(now)
        if token is not None and self._circuit.failed(token, now, failure.message):
            return action
        return Restart()

    # --- the supervisor's side

    def open(self, why: str, *, seconds: float | None = None, by_hand: bool = False) -> None:
        """Let it be open: by hand, or unless the failure that has led to this has opened it already."""
        self._probe = None
        if by_hand:
            self._circuit.force_open(self._now(), seconds)
        elif self._circuit.state != "open":
            self._circuit.trip(self._now(), why)

    def end(self) -> None:
        """Close it as if it were new."""
        self._probe = None
        if self._circuit.state != "closed":
            self._circuit.force_closed(self._now())

    @property
    def seconds_left(self) -> float | None:
        """Until a probe may be made; None: not before it is closed by hand."""
        return self.info().seconds_left

    def probe(self) -> bool:
        """A probe is about to be made; False where it is too soon for that."""
        self._probe = self._circuit.admit(self._now())
        return self._probe is not None

    def probe_failed(self, error: Reason) -> None:
        """The start that was to be the probe has failed, or what was started has ended before it had answered."""
        if self._probe is not None:
            self._circuit.failed(self._probe, self._now(), describe(error))
        self._probe = None

    def give_probe_up(self) -> None:
        """What was being probed was stopped: neither good nor bad, and another probe may be made."""
        if self._probe is not None:
            self._circuit.abandoned(self._probe)
        self._probe = None

    def probe_is_quiet(self) -> bool:
        """Nobody has called: the start alone is the probe. Whether that closed the circuit."""
        while True:
            token, self._probe = self._probe, None
            if token is None:
                token = self._circuit.admit(self._now())
            if token is None:
                return False
            if self._circuit.succeeded(token, self._now()):
                self._cell.gate.close_circuit()
                return True

    def info(self) -> CircuitInfo:
        """What is told of it."""
        return self._circuit.info(self._now())

    def _now(self) -> float:
        return self._cell.system.now()
