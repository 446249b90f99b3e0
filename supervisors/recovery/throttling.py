"""`Throttling`: lets a child's mail through slowly, until nothing has failed for a while (the action `Throttle`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .actions import Throttle

if TYPE_CHECKING:
    from ...actors.cell import Cell
    from ...actors.timers import Timer


class Throttling:
    """Of one child."""

    __slots__ = ("_action", "_cell", "_relief")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._action: Throttle | None = None
        """What holds at present."""
        self._relief: Timer | None = None

    def begin(self, action: Throttle) -> None:
        """Throttle as this says, from now on."""
        self._action = action
        self._cell.gate.throttle(self, 1 / action.rate)
        self._arm(action)

    def renew(self) -> None:
        """It has failed again: what holds goes on for its time once more."""
        if self._action is not None:
            self._arm(self._action)

    def _arm(self, action: Throttle) -> None:
        if self._relief is not None:
            self._relief.cancel()
        system = self._cell.system
        self._relief = system.timers.at(system.now() + action.quiet, self.end)

    def end(self) -> None:
        """Let the mail through as it comes."""
        if self._relief is not None:
            self._relief.cancel()
            self._action = self._relief = None
            self._cell.gate.throttle(self, None)
