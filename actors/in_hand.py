"""What a handler may do with the message in hand: answer it later, or put it aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import UkemiError
from .messages import Call, Message, Reply
from .turn import current

if TYPE_CHECKING:
    from .incarnation import Incarnation


def _claim(life: Incarnation) -> Call | None:
    """The call in hand, which will not be answered by returning. None for a cast."""
    assert life.current is not None
    if life.claimed is None:
        name, args, kwargs, call = life.current
        if call is None and life.is_inline:
            call = Call(life.cell, name)
            call.taken = True
            life.current = (name, args, kwargs, call)
            life.attention = True
        life.claimed = call
    return life.claimed


def defer(life: Incarnation) -> Reply:
    """Answer the call in hand later."""
    message = _in_hand(life, "defer")
    call = _claim(life)
    if call is None or life.is_over:  # a cast, or nobody waits any more: the answer goes nowhere
        call = Call(life.cell, message[0])
        call.settled = True
    else:
        life.deferred = life.deferred or {}
        life.deferred[call] = None
    return Reply(call)


def stash(life: Incarnation) -> None:
    """Put the message in hand aside: it is not in hand any more."""
    _in_hand(life, "stash")
    if life.is_over:
        return
    call = _claim(life)
    if call is not None:
        call.taken = False
        call.queued = True
    assert life.current is not None
    life.stashed = life.stashed or []
    life.stashed.append(life.current)
    life.current = None
    life.cell.mailbox.stash()


def _in_hand(life: Incarnation, asked: str) -> Message:
    """The message in hand, for one that may do something with it: its handler."""
    if life.current is None or current.get(None) is not life:
        raise UkemiError(f"{life.cell.path}: {asked}() outside a handler, or twice; there is no message in hand")
    return life.current


def unstash(life: Incarnation) -> None:
    """Put what was stashed back to the front of the mailbox."""
    stashed, life.stashed = life.stashed, None
    if stashed:
        life.cell.mailbox.unstash(stashed)
        life.cell.ready = None
        life.wake()
