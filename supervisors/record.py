"""What a supervisor keeps of each of its children."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from ..actors.cell import Cell
from ..actors.reasons import Exit, Reason
from ..actors.ref import Ref
from .backoff import Backoff
from .circuit import CircuitInfo
from .recovery.actions import Action, Order
from .spec import ChildSpec

if TYPE_CHECKING:
    import trio

    from .recovery.guard import Guard

ChildState: TypeAlias = Literal["starting", "running", "restarting", "stopped", "suspended", "open", "degraded"]
Why: TypeAlias = Literal["failure", "dependency", "feature"]
_NO_REASON: frozenset[Why] = frozenset()


@attrs.frozen
class ChildInfo:
    """What `children()` tells of each child."""

    name: str
    state: ChildState
    restarts: int
    ref: Ref[Any]
    fallback: str | None = None
    """The fallback that runs in its place."""
    circuit: CircuitInfo | None = None
    """Its circuit, if it has one."""


@attrs.define(eq=False)
class Swap:
    """What is being made to take the place of what runs, until it has."""

    cell: Cell
    mode: int
    """See `Child.mode`."""
    scope: trio.CancelScope | None = None
    """Around the task that makes it."""
    standby: Cell | None = None
    """Where it waits, once it is up."""
    failure: str = ""
    """Why it came to nothing."""


@attrs.define(eq=False)
class Child:
    """A supervisor's record of one child."""

    spec: ChildSpec
    cell: Cell
    guard: Guard | None = None
    """What decides about its failures, if that is not OTP's restart."""
    state: Literal["starting", "running", "restarting", "stopped", "open"] = "stopped"
    is_done: bool = False
    """It has ended of itself and for good, or had nothing to run."""
    is_held: bool = False
    """It was stopped since something that it depends on is down, and comes back with that."""
    restarts: int = 0
    tries: int = 0
    """Restarts in a row, without a quiet time between."""
    failed_at: float | None = None
    up_since: float = 0.0
    reason: Reason = Exit.NORMAL
    action: Action | None = None
    """What is to be done about its last end; None: OTP's restart."""
    backoff: Backoff | None = None
    """Its policy's, for its last restart."""
    retry: Any = None
    """The timer of the next start, or of the next probe."""
    is_free: bool = False
    """Its next start spends no window."""

    mode: int = 0
    """0: itself; n: its nth fallback, which runs in its place."""
    has_fallen: bool = False
    """Its next start is that of the fallback to which it has just fallen back."""
    reasons: frozenset[Why] = _NO_REASON
    """Why it is not, or not wholly, itself; see `suffer` and `recover`."""
    returns: int = 0
    """Attempts in a row to put it back in its place."""
    back: Any = None
    """The timer of the next of them."""
    swap: Swap | None = None
    """What is to take over."""

    @property
    def is_met(self) -> bool:
        """Whether what depends on it may run."""
        return (self.state == "running" and self.cell.gate.circuit is None) or self.is_done

    @property
    def is_due(self) -> bool:
        """Whether it is to be started again as soon as what it depends on is up."""
        return self.state == "restarting" and self.retry is None

    @property
    def is_delayed(self) -> bool:
        """Whether its next start, which nobody can do without, has to wait for its time."""
        return self.state == "restarting" and self.retry is not None and not self.is_degraded_and_down

    @property
    def is_degraded_and_down(self) -> bool:
        """Whether it is degraded and has no fallback to run."""
        return "failure" in self.reasons and not self.mode

    @property
    def does_without(self) -> bool:
        """Whether it runs its fallback for the want of what it depends on."""
        return self.mode > 0 and "dependency" in self.reasons

    @property
    def keeps_fallback(self) -> bool:
        """Whether it runs a fallback that stays until it ends."""
        return self.mode > 0 and self.spec.gives_way == "on restart"

    @property
    def fallback_name(self) -> str | None:
        """The fallback that runs in its place."""
        return self.spec.fallback[self.mode - 1][0] if self.mode else None

    def info(self) -> ChildInfo:
        """What `children()` tells."""
        circuit = self.guard.circuit_info() if self.guard is not None else None
        return ChildInfo(self.spec.name, self._shown_state(), self.restarts, self.cell.ref, self.fallback_name, circuit)

    def _shown_state(self) -> ChildState:
        if self.cell.gate.circuit is not None:
            return "open"
        if self.reasons and self.state in ("running", "restarting"):
            return "degraded"
        life = self.cell.incarnation
        return "suspended" if self.state == "running" and life is not None and life.suspended else self.state

    def next_fallback(self, wanted: str | None = None) -> int:
        """Which fallback is to take its place: the one of that name, or the next; 0 if there is none (any more)."""
        names = [name for name, _ in self.spec.fallback]
        if wanted is not None and wanted in names:
            return names.index(wanted) + 1 if names.index(wanted) + 1 != self.mode else 0
        return self.mode + 1 if self.mode < len(names) else 0

    def put_on(self, mode: int) -> None:
        """From its next start on it is itself (0), or its nth fallback."""
        self.mode = mode
        self.cell.factory = self.spec.fallback[mode - 1][1] if mode else self.spec.factory

    def suffer(self, why: Why) -> None:
        """It is not, or not wholly, itself for this reason."""
        self.reasons |= {why}

    def recover(self, *why: Why) -> None:
        """These reasons are over."""
        self.reasons = self.reasons.difference(why) or _NO_REASON

    def hold(self) -> None:
        """Call the timer of the next start off."""
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None

    def stay(self) -> None:
        """Call off whatever is to put something else in its place. What waits for that is still to be dismissed."""
        if self.back is not None:
            self.back.cancel()
            self.back = None
        if self.swap is not None:
            if self.swap.scope is not None:
                self.swap.scope.cancel()
            self.swap = None

    def await_start(self) -> None:
        """It is down and will be started again: its mail waits."""
        self.state = "restarting"
        self.cell.await_restart()

    def close(self) -> None:
        """It is down and stays down: its mail is refused. Its next start is of itself."""
        self.hold()
        self.stay()
        self.state, self.is_done, self.is_held, self.failed_at = "stopped", False, False, None
        self.put_on(0)
        self.reasons = _NO_REASON
        self.returns = 0
        if self.guard is not None:
            self.guard.end()
        self.cell.close()

    def failed(self, reason: Reason, order: Order | None, at: float) -> None:
        """It has ended of itself, at that time, and this is what is to be done."""
        self.hold()
        self.reason, self.failed_at = reason, at
        self.action, self.is_free = (None, False) if order is None else (order.action, order.is_bounded)
        self.went_down(at)

    def went_down(self, at: float) -> None:
        """It ran until `at`. If that was a quiet time, the row of its tries is over."""
        backoff = self.spec.backoff or self.backoff
        if backoff is None or at - self.up_since >= backoff.maximum:
            self.tries = 0
