"""Replies that come later: `ctx.defer()` and the handle that it gives (rule M9).

A deferred message stays in the hands of its incarnation until it is answered. What becomes of it where that ends before
is up to the cell's recovery: it is given again to the next one, or it is lost with this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from .errors import UkemiError
from .messages import Call, Message, Thrown
from .reasons import describe

if TYPE_CHECKING:
    from .incarnation import Incarnation


@attrs.define(eq=False)
class Deferred:
    """A message that will be answered later."""

    life: Incarnation
    message: Message
    call: Call
    """What settles it. Of a cast, one for which nobody waits."""
    place: int = 0
    """Its place among all that may be given again (`Gate.next_place`)."""
    history: Any = None
    """What the recovery remembers of its tries."""
    key: str | None = None
    """Names the message, if it is a cast whose handler has asked for that."""
    is_thrown: bool = False
    """Whether it has failed, and its incarnation is still to look at that."""
    _before: int = attrs.field(init=False)
    """How many others its incarnation had answered before."""

    def __attrs_post_init__(self) -> None:
        self._before = self.life.answered

    @property
    def is_open(self) -> bool:
        """Whether somebody waits for its answer, or it is a cast."""
        return not self.call.settled

    @property
    def has_seen_another_answered(self) -> bool:
        """Whether its incarnation has answered another of those that it had put off, since it has had this one."""
        return self.life.answered > self._before

    def take(self) -> bool:
        """Take it out of its incarnation's hands; False where it is there no more."""
        held = self.life.deferred
        if held is None or self not in held:
            return False
        del held[self]
        return True

    def was_answered(self) -> None:
        """Count it: as handled, too, if anybody counts those."""
        self.life.answered += 1
        recovery = self.life.cell.recovery
        if recovery is not None and recovery.watches:
            recovery.succeeded()

    def fail(self, error: Exception) -> None:
        """Tell its caller; a cast becomes a dead letter."""
        if self.message[3] is not None:
            self.call.fail(lambda: error)
        else:
            cell = self.life.cell
            cell.system.dead_letter(cell.path, self.message[0], f"rejected: {describe(error)}")


class Reply:
    """The handle of a deferred reply (`ctx.defer()`). Dropping it, in any thread, fails the caller at once (rule M9).

    Only the first answer counts; what comes after the end of the incarnation, or after `throw`, does nothing. From
    another thread, answer with `trio.from_thread.run_sync(reply.send, value)`.
    """

    __slots__ = ("_deferred",)

    def __init__(self, deferred: Deferred) -> None:
        self._deferred = deferred

    def send(self, value: Any) -> None:
        """Answer the caller."""
        self._check_thread("send")
        if not self._deferred.is_thrown and self._deferred.take():
            self._deferred.call.reply(value)
            self._deferred.was_answered()

    def fail(self, error: Exception) -> None:
        """Answer the caller with an exception, as a Reject does. A cast becomes a dead letter."""
        self._check_thread("fail")
        if not self._deferred.is_thrown and self._deferred.take():
            self._deferred.fail(error)
            self._deferred.was_answered()

    def throw(self, error: Exception) -> None:
        """As if the handler had raised this: a crash, or whatever the actor's policy says.

        So the message may be given again, in its place before later mail, or another method may answer it. Its actor
        looks at that in its next turn.
        """
        self._check_thread("throw")
        if not isinstance(error, Exception):
            raise TypeError(f"throw takes the exception that the message has failed of, not {error!r}")
        deferred = self._deferred
        if not deferred.is_thrown and deferred in (deferred.life.deferred or ()):
            deferred.is_thrown = True
            deferred.life.post(Thrown(deferred, error))

    def _check_thread(self, what: str) -> None:
        cell = self._deferred.life.cell
        if not cell.system.is_here:
            to = f"{what} a deferred reply of {cell.path}"
            raise UkemiError(f"{to} from another thread: use trio.from_thread.run_sync(reply.{what}, …)")

    def __del__(self) -> None:
        deferred = self._deferred
        if deferred.is_open and not deferred.is_thrown:
            deferred.life.cell.system.run_here(_drop, deferred)


def _drop(deferred: Deferred) -> None:
    if not deferred.is_thrown and deferred.take():
        path, method = deferred.life.cell.path, deferred.message[0]
        deferred.call.fail(lambda: DroppedReply(path, method))


def take_back(life: Incarnation, message: Message) -> None:
    """A message that was deferred has another fate: what its handler still has of the reply is worth nothing."""
    for deferred in [each for each in life.deferred or () if is_same(each.message, message)]:
        deferred.take()


def is_put_off(life: Incarnation, message: Message) -> bool:
    """Whether a message, a cast too, is still to be answered later."""
    return any(is_same(each.message, message) for each in life.deferred or ())


def is_same(one: Message, other: Message) -> bool:
    """Whether two are the same message: it may have been put into another tuple with the call that waits for it."""
    return one is other or (one[3] is not None and one[3] is other[3])


class DroppedReply(UkemiError):
    """A deferred reply whose handle was dropped without an answer."""

    def __init__(self, path: str, method: str) -> None:
        super().__init__(f"{path} dropped the deferred reply to {method} without an answer")
