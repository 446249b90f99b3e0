"""How an incarnation handles a sync message in its caller's turn, in its own context (rules I1 to I4)."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from .deadlines import set_deadline
from .handling import PLAIN
from .messages import Call, Message
from .outcome import answer_otherwise, answer_to, carry_out
from .reasons import Exit, plain
from .recovery import AnswerBy, Recovery
from .turn import current

if TYPE_CHECKING:
    from .incarnation import Incarnation
    from .protocol import Method


def run_inline(
    life: Incarnation, known: Method, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
) -> Any:
    """Handle a sync message in the caller's turn, in the actor's own context.

    `timeout` is its caller's. The result; or a `Call` to wait for, where the handler did not answer by returning.
    """
    cell = life.cell
    cell.ready = None
    life.is_inline = True
    life.current = message = (known.name, args, kwargs, None)
    if life.recent is not None:
        life.recent.add(message)
    try:
        result = life.context.run(known.function, life.actor, *args, **kwargs)
    except BaseException as error:
        answer = answer_to(life, message, error)
        if answer is not None:
            if life.claimed is not None:
                life.claimed.fail(lambda: answer)
            if cell.recovery is not None and cell.recovery.watches:
                cell.recovery.succeeded()
            _finish_inline(life, message, None)
            raise answer from None
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
        if cell.recovery is not None and isinstance(error, Exception) and not life.killed and life.failure is None:
            return _recover_inline(life, message, plain(error), timeout)
        return _crash_inline(life, message, plain(error))
    recovery = cell.recovery
    if recovery is not None and recovery.watches:
        _was_handled(life, recovery, result)
    life.is_inline = False
    life.handled += 1
    if life.attention or cell.mailbox.queue or (type(result) not in PLAIN and isawaitable(result)):
        return _finish_inline(life, message, result)
    life.current = None
    cell.ready = life
    return result


def _was_handled(life: Incarnation, recovery: Recovery, result: Any) -> None:
    """Tell of a message that was handled: not of one that was deferred, put aside, or is still to be awaited."""
    if life.claimed is None and life.current is not None and (type(result) in PLAIN or not isawaitable(result)):
        recovery.succeeded()


def _crash_inline(life: Incarnation, message: Message, reason: BaseException) -> Call:
    """The supervisor is told before the caller resumes (rule I3)."""
    life.is_inline = False
    call = _call_inline(life, message)
    life.end(reason)
    return call


def _call_inline(life: Incarnation, message: Message) -> Call:
    """What the caller waits on, now that the handler has not answered by returning; with the message, if in hand."""
    in_hand = life.current[3] if life.current is not None else None
    call, life.claimed = life.claimed or in_hand or Call(life.cell, message[0]), None
    if life.current is not None:
        call.taken = True
        life.current = (*message[:3], call)
    return call


def _recover_inline(life: Incarnation, message: Message, error: BaseException, timeout: float | None) -> Call:
    """Do as the cell's recovery says, in the caller's turn as far as nothing has to be awaited."""
    recovery = life.cell.recovery
    assert recovery is not None
    call = _call_inline(life, message)
    set_deadline(call, timeout, current.get(None))
    message = (*message[:3], call)
    verdict = recovery.message_failed(life, life.current and message, error, None)
    life.is_inline = False
    if isinstance(verdict, AnswerBy):
        life.begun = (message, answer_otherwise(life, message, error, verdict.method))
        life.attention = True
        life.wake()
    elif carry_out(life, message, error, verdict):
        life.current = None
        _finish_inline(life, message, None)
    else:
        life.end(error)
    return call


def _finish_inline(life: Incarnation, message: Message, result: Any) -> Any:
    """Something came up while the message was handled: stash, defer, an awaitable, stop, new mail (rule I4)."""
    life.is_inline = False
    in_hand = life.current[3] if life.current is not None else None
    life.current = None
    if type(result) not in PLAIN and isawaitable(result):
        call = life.claimed or in_hand or Call(life.cell, message[0])
        call.taken = not call.queued
        message = (*message[:3], call)
        life.begun = (message, result)
        life.current = message if call.taken else None
        life.attention = True
        result = call
    elif life.claimed is not None:
        result, life.claimed = life.claimed, None
    if life.failure is not None or life.killed:
        life.end(Exit.KILLED if life.killed or life.failure is None else life.failure)
    elif life.stop_request is not None and not (life.is_spawned or life.stop_request.drain or life.begun):
        life.end(life.stop_request.reason)
    elif life.attention or life.cell.mailbox.queue:
        life.wake()
    else:
        life.be_ready()
    return result
