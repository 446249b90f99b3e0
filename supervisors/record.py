"""What a supervisor keeps of each of its children."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from ..actors.cell import Cell
from ..actors.reasons import Exit, Reason
from ..actors.ref import Ref
from .spec import ChildSpec

ChildState: TypeAlias = Literal["starting", "running", "restarting", "stopped", "suspended", "open", "degraded"]


@attrs.frozen
class ChildInfo:
    """What `children()` tells of each child."""

    name: str
    state: ChildState
    restarts: int
    ref: Ref[Any]


@attrs.define(eq=False)
class Child:
    """A supervisor's record of one child."""

    spec: ChildSpec
    cell: Cell
    state: Literal["starting", "running", "restarting", "stopped"] = "stopped"
    is_done: bool = False
    """It has ended of itself and for good, or had nothing to run."""
    is_held: bool = False
    """It was stopped since something that it depends on was stopped by hand, and comes back with that."""
    restarts: int = 0
    tries: int = 0
    """Restarts in a row, without a quiet time between."""
    failed_at: float | None = None
    up_since: float = 0.0
    reason: Reason = Exit.NORMAL
    retry: Any = None
    """The timer of the next start."""

    @property
    def is_met(self) -> bool:
        """Whether what depends on it may run."""
        return self.state == "running" or self.is_done

    @property
    def is_due(self) -> bool:
        """Whether it is to be started again as soon as what it depends on is up."""
        return self.state == "restarting" and self.retry is None

    def info(self) -> ChildInfo:
        """What `children()` tells."""
        suspended = self.state == "running" and self.cell.incarnation is not None and self.cell.incarnation.suspended
        return ChildInfo(self.spec.name, "suspended" if suspended else self.state, self.restarts, self.cell.ref)

    def hold(self) -> None:
        """Call the timer of the next start off."""
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None

    def await_start(self) -> None:
        """It is down and will be started again: its mail waits."""
        self.state = "restarting"
        self.cell.await_restart()

    def close(self) -> None:
        """It is down and stays down: its mail is refused."""
        self.hold()
        self.state, self.is_done, self.is_held, self.failed_at = "stopped", False, False, None
        self.cell.close()

    def went_down(self, at: float) -> None:
        """It ran until `at`. If that was a quiet time, the row of its tries is over."""
        backoff = self.spec.backoff
        if backoff is None or at - self.up_since >= backoff.maximum:
            self.tries = 0
