"""What a handler may do with the message in hand: answer it later, or put it aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .deferred import Deferred, Reply
from .errors import UkemiError
from .hold import Hold
from .messages import Call, Message
from .turn import current

if TYPE_CHECKING:
    from .incarnation import Incarnation


def _call_in_hand(life: Incarnation) -> Call | None:
    """The call in hand, made where it is handled in its caller's turn. None for a cast."""
    assert life.current is not None
    name, args, kwargs, call = life.current
    if call is None and life.is_inline:
        call = Call(life.cell, name)
        call.taken = True
        life.current = (name, args, kwargs, call)
    return call


def _claim(life: Incarnation) -> Call | None:
    """The call in hand, which will not be answered by returning. None for a cast."""
    if life.claimed is None:
        life.claimed = _call_in_hand(life)
        if life.claimed is not None and life.is_inline:
            life.attention = True
    return life.claimed


def defer(life: Incarnation) -> Reply:
    """Answer the call in hand later."""
    message = _in_hand(life, "defer")
    call = _claim(life)
    if life.is_over:  # nobody waits any more: the answer goes nowhere
        call = Call(life.cell, message[0])
        call.settled = True
        return Reply(Deferred(life, message, call))
    assert life.current is not None
    place, key = life.place or life.cell.gate.next_place(), key_of(life, message)
    deferred = Deferred(life, life.current, call or Call(life.cell, message[0]), place, life.history, key)
    life.deferred = life.deferred or {}
    life.deferred[deferred] = None
    return Reply(deferred)


def message_key(life: Incarnation) -> str:
    """What names the message in hand, whenever it is given again."""
    message = _in_hand(life, "message_key")
    call = _call_in_hand(life)
    if call is not None:
        if call.key is None:
            call.key = life.cell.system.next_key()
        return call.key
    if life.keyed is None or life.keyed[0] is not message:
        life.keyed = (message, life.cell.system.next_key())
    for deferred in life.deferred or ():
        if deferred.message is message:
            deferred.key = life.keyed[1]
    return life.keyed[1]


def stash(life: Incarnation) -> None:
    """Put the message in hand aside: it is not in hand any more."""
    _in_hand(life, "stash")
    if life.is_over:
        return
    call = _claim(life)
    if call is not None:
        call.taken = False
        call.queued = True
    message = life.current
    assert message is not None
    place, key = life.place or life.cell.gate.next_place(), key_of(life, message)
    life.stashed = life.stashed or []
    life.stashed.append(Hold(life.cell, message, place=place, history=life.history, key=key).after(0))
    life.current = None
    life.cell.mailbox.stash()


def key_of(life: Incarnation, message: Message) -> str | None:
    """What names a cast in hand, if it has asked for that."""
    return life.keyed[1] if life.keyed is not None and life.keyed[0] is message else None


def _in_hand(life: Incarnation, asked: str) -> Message:
    """The message in hand, for one that may do something with it: its handler."""
    if life.current is None or current.get(None) is not life:
        raise UkemiError(f"{life.cell.path}: {asked}() outside a handler, or twice; there is no message in hand")
    return life.current


def unstash(life: Incarnation) -> None:
    """Put what was stashed back to the front of the mailbox."""
    if life.stashed:
        give_back_stashed(life)
        life.cell.ready = None
        life.attention = True
        life.wake()


def give_back_stashed(life: Incarnation) -> None:
    """What was stashed comes before all other mail; what is remembered of any of it is kept."""
    stashed, life.stashed = life.stashed or [], None
    cell = life.cell
    messages = [hold.message for hold in stashed if hold.message is not None]
    if cell.gate.is_holding or any(hold.history is not None or hold.key is not None for hold in stashed):
        cell.mailbox.unstash_elsewhere(messages)
        cell.gate.put(*stashed)
    else:
        cell.mailbox.unstash(messages)
