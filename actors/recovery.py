"""What is done about a failure at the actor's own cell: the seam between an actor and the policy above it.

A cell may have a `Recovery`, which its supervisor has made of a policy. It is asked when a handler has raised, and its
verdict is carried out at once: what needs no supervisor (resume, retry, another method's answer) waits for none (rule
S10). It also says with which action the supervisor is to meet the end of an incarnation. A cell without one has OTP's
policy: every exception that is no rejection is a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from .incarnation import Incarnation
    from .messages import Message
    from .reasons import Reason


@attrs.frozen
class Answer:
    """The caller gets the error itself; the actor keeps its state and goes on."""


@attrs.frozen
class Repeat:
    """The message is given again after `delay` seconds; of an actor at `until_up` that is down, once it is started."""

    delay: float
    history: Any
    """What the recovery remembers of the message's tries."""
    until_up: str | None = None
    at_most: float = 0.0
    """Seconds for which it waits for that, at most."""


@attrs.frozen
class AnswerBy:
    """This method of the actor answers in place of the one that failed."""

    method: str


@attrs.frozen
class Crash:
    """The incarnation ends; the supervisor does as `order` says, or as OTP does, a restart."""

    order: Any = None
    keep: bool = False
    """Whether the message is given again to the next incarnation, not before `delay` seconds have passed."""
    history: Any = None
    delay: float = 0.0


Verdict: TypeAlias = Answer | Repeat | AnswerBy | Crash


class Recovery(Protocol):
    """Decides for one cell. It must be quick and not raise."""

    watches: bool
    """Whether it is told of each message that was handled."""

    def message_failed(self, life: Incarnation, message: Message | None, error: BaseException, history: Any) -> Verdict:
        """A handler has raised; `message` is None where it had put its message aside."""

    def ended(self, life: Incarnation, reason: Reason) -> Any:
        """The order upon an abnormal end that no message has brought about, or on which nobody has decided."""

    def gives_again(self, life: Incarnation, method: str, history: Any = None, *, moved_on: bool = False) -> Any:
        """What to remember of a message, so that it is given again, that was to be answered later than its incarnation
        has lived. None: it is lost.

        `moved_on`: meanwhile the incarnation has answered another one that it had put off.
        """

    def succeeded(self) -> None:
        """A message was handled, or rejected, if `watches`."""

    def more_time(self, operation: str, seconds: float, extended: int) -> float:
        """Seconds by which the default time of an operation is lengthened; 0 for none.

        That is after `seconds`, which have just passed, and having been lengthened `extended` times before.
        """
