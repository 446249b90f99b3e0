"""What travels between actors: messages, the slot that a caller waits on, and the signals of the lane of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from trio.lowlevel import Abort, RaiseCancelT, Task, reschedule

from .errors import CallTimeout

if TYPE_CHECKING:
    from .cell import Cell
    from .deferred import Deferred
    from .incarnation import Incarnation
    from .reasons import Reason
    from .ref import Ref
    from .timers import Timer

Message: TypeAlias = "tuple[str, tuple[Any, ...], dict[str, Any], Call | None]"
"""A method's name, its arguments, and who waits for the reply (None for a cast). A bare tuple, since a cast must cost
little more than a deque's append."""


ON_DOWN = "on_down"
"""The name under which a Down stands in the mailbox. No sender can use it, since hooks are no messages."""


class Call:
    """One caller's wait for one reply.

    Exactly one of the reply, the callee's end, the deadline and the caller's cancellation settles it; whatever comes
    later is dropped and harms nobody.
    """

    __slots__ = (
        "__weakref__",
        "caller",
        "cell",
        "deadline",
        "error",
        "extended",
        "is_default",
        "is_inherited",
        "key",
        "method",
        "queued",
        "seconds",
        "settled",
        "taken",
        "task",
        "timer",
        "value",
    )

    def __init__(self, cell: Cell, method: str) -> None:
        self.cell = cell
        self.caller: Incarnation | None = None
        """The actor whose message in hand waits for it, if it is one's."""
        self.method = method
        self.seconds = 0.0
        """How long it may take, and until when on trio's clock. 0 where nobody waits as long as that."""
        self.deadline = 0.0
        self.is_inherited = False
        """Whether that is the deadline of its caller's own caller."""
        self.is_default = False
        """Whether nobody has named it, so that it may be lengthened."""
        self.extended = 0
        """How often it was."""
        self.key: str | None = None
        """Names it, once its handler has asked for that."""
        self.task: Task | None = None
        self.timer: Timer | None = None
        self.value: Any = None
        self.error: Callable[[], BaseException] | None = None
        self.queued = False
        self.taken = False
        self.settled = False

    def reply(self, value: Any) -> None:
        """Settle with a value."""
        if not self.settled:
            self.settled = True
            self.value = value
            task = self.task
            if task is not None:
                self.task = None
                reschedule(task)

    def fail(self, error: Callable[[], BaseException]) -> None:
        """Settle with an exception, made afresh by `error` when the caller takes it."""
        if not self.settled:
            self.error = error
            self.reply(None)

    def expire(self) -> None:
        """The deadline has passed."""
        if self.settled or self._is_lengthened():
            return
        path, began = self.cell.path, self.taken
        self.fail(lambda: CallTimeout(path, self.method, self.seconds, began))
        if not began:
            self.cell.mailbox.withdraw(self)
        else:
            self.cell.give_up(self)

    def _is_lengthened(self) -> bool:
        """Whether it has more time: its recovery's, or what its caller's own caller was given since."""
        more = 0.0
        asked = self.caller.current[3] if self.caller is not None and self.caller.current is not None else None
        if self.is_inherited and asked is not None and not asked.settled:
            more = asked.deadline - self.deadline
        elif self.is_default and self.cell.recovery is not None and self._is_in_hand:
            more = self.cell.recovery.more_time(self.method, self.seconds, self.extended)
        if more <= 0:
            return False
        self.extended += 1
        self.seconds += more
        self.deadline += more
        self.timer = self.cell.system.timers.at(self.deadline, self.expire)
        return True

    @property
    def _is_in_hand(self) -> bool:
        """Whether its handler runs, or is to answer it later."""
        life = self.cell.incarnation
        if life is None:
            return False
        is_current = life.current is not None and life.current[3] is self
        return is_current or any(each.call is self for each in life.deferred or ())

    def abort(self, _: RaiseCancelT) -> Abort:
        """The caller is cancelled while it waits. Not taken yet, the message never runs (rule M5)."""
        self.task = None
        self.settled = True
        if not self.taken:
            self.cell.mailbox.withdraw(self)
        else:
            self.cell.gate.let_go(self)
        return Abort.SUCCEEDED


class Notice(Call):
    """A `Down` for one incarnation, in the mailbox behind what its sender had sent before (rule M8).

    It is settled from the start, so that it counts against no bound.
    """

    __slots__ = ("down", "life")

    def __init__(self, life: Incarnation, down: Down) -> None:
        super().__init__(life.cell, ON_DOWN)
        self.life = life
        self.down = down
        self.queued = self.settled = True


@attrs.frozen(eq=False)
class Down:
    """What a monitor yields, exactly once: the incarnation it watched has ended (rule R6)."""

    ref: Ref[Any]
    incarnation: int
    reason: Reason
    final: bool
    """Whether no restart follows."""


@attrs.frozen(eq=False)
class ChildExit:
    """What a parent is told when an incarnation of a child has ended."""

    cell: Cell
    incarnation: int
    reason: Reason
    at: float
    """When it failed, on trio's clock, in seconds."""
    order: Any = None
    """What the cell's recovery says that the supervisor is to do; None: as OTP does."""


@attrs.frozen(eq=False)
class Tick:
    """A timer of the actor's own has come due."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    timer: Any


@attrs.frozen(eq=False)
class Thrown:
    """A message that its handler was to answer later has failed."""

    deferred: Deferred
    error: BaseException


@attrs.frozen(eq=False)
class ChildTells:
    """What a parent is told of a child that goes on: an action for it to carry out."""

    cell: Cell
    action: Any
    failure: Any


Signal: TypeAlias = ChildExit | ChildTells | Thrown | Tick
