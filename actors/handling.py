"""How an incarnation handles its messages: in its own task, or in its caller's turn.

Both ways must be indistinguishable to the actor (rules I1 to I4). What the fast paths share with the careful ones is
kept in step by hand, since a function call more would cost a tenth of a message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import checkpoint, wait_task_rescheduled

from .errors import HandlerTimeout, Reject, UkemiError, UnknownMethod
from .events import Traced
from .hold import Hold
from .messages import ON_DOWN, Call, ChildExit, Message, Notice, Reply, Tick
from .reasons import Exit, Reason, describe, plain
from .recovery import Answer, AnswerBy, Crash, Repeat, Verdict
from .shorten import short
from .turn import current, is_cancelled

if TYPE_CHECKING:
    from .incarnation import Incarnation
    from .protocol import Method

BATCH = 128
"""Messages handled before the loop turns."""
SLICE = 0.002
"""Seconds of handling after which the loop turns."""
TURNS_PER_SECOND = BATCH / SLICE
PATIENCE = 30.0
"""Seconds for which a message waits, at most, for another component to be up again."""

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple, set})
"""Types that can't be awaited; a look-up is cheaper than asking."""


# --- in its own task


async def handle_all(life: Incarnation) -> Reason:
    """Handle signals and messages until told to stop; the reason why."""
    cell, actor = life.cell, life.actor
    mailbox = cell.mailbox
    queue, own = mailbox.queue, life.methods.own
    recent, clock = life.recent, cell.system.clock
    left, slice_end = BATCH, clock() + SLICE
    while True:
        if life.attention:
            if (reason := await _attend(life)) is not None:
                return reason
            if life.cell is not cell:  # it has taken over
                cell, mailbox = life.cell, life.cell.mailbox
                queue = mailbox.queue
        if not queue:
            if not life.attention:
                cell.ready = life
            life.parked = life.task
            await wait_task_rescheduled(life.unpark)
            left, slice_end = BATCH, clock() + SLICE
            continue
        message = queue.popleft()
        name, args, kwargs, call = message
        if call is not None:
            if call.settled:
                mailbox.bury_one()
                notice = call
                if type(notice) is not Notice or notice.life is not life:
                    continue
                name, call = ON_DOWN, None
                message = (name, (notice.down,), {}, None)
            else:
                call.taken = True
        if mailbox.waiting:
            mailbox.admit()
        life.current = message
        if recent is not None:
            recent.append(message)
        known = own.get(name)
        if known is None or life.is_careful:
            await _handle_carefully(life, message)
        else:
            try:
                result = known.function(actor, *args, **kwargs)
                if not known.is_sync or (type(result) not in _PLAIN and isawaitable(result)):
                    result = await result
            except (Reject, TypeError, BaseExceptionGroup) as error:
                if not _is_answered(life, message, error):
                    raise
            else:
                if call is not None and call is not life.claimed:
                    call.reply(result)
        life.current = life.claimed = None
        life.handled += 1
        left -= 1
        if queue and (left <= 0 or clock() > slice_end):
            await checkpoint()
            left, slice_end = BATCH, clock() + SLICE


async def _handle_carefully(life: Incarnation, message: Message, begun: Awaitable[Any] | None = None) -> None:
    """The same with a time limit, traced, with a recovery, for what is not in the table or has `begun` inline."""
    name, args, kwargs, call = message
    cell, limit, timer = life.cell, life.handler_timeout, None
    recovery = cell.recovery
    if limit is not None:
        hung = HandlerTimeout(cell.path, name, limit)
        timer = cell.system.timers.at(trio.current_time() + limit, lambda: life.fail(hung))
    begun_at, outcome = cell.system.clock(), "crashed"
    try:
        result = begun or _handler(life, name)(*args, **kwargs)
        if isawaitable(result):
            result = await (result if recovery is None else _can_be_given_up(life, result))
        if cell.traced:
            outcome = short(result)
        if call is not None and call is not life.claimed:
            call.reply(result)
        if recovery is not None and recovery.watches:
            recovery.succeeded(name, cell.system.clock() - begun_at)
    except BaseException as error:
        leaf = plain(error)
        outcome = describe(leaf.error if isinstance(leaf, Reject) else error) if cell.traced else outcome
        if not (_is_answered(life, message, error) or await _is_recovered(life, message, error)):
            raise
    finally:
        life.answers_for = life.history = None
        if cell.pace is not None and life.cell.hold is None:
            life.cell.put_hold(Hold(life.cell).after(cell.pace))
        if timer is not None:
            timer.cancel()
        if cell.traced:
            seconds = cell.system.clock() - begun_at
            text = ", ".join([*map(short, args), *(f"{key}={short(value)}" for key, value in kwargs.items())])
            cell.system.events.emit(
                Traced(path=cell.path, method=name, arguments=text, outcome=outcome, seconds=seconds)
            )


async def _can_be_given_up(life: Incarnation, result: Awaitable[Any]) -> Any:
    """Await it until it is done, or its caller's time is over (`Cancel`)."""
    with trio.CancelScope() as life.turn:
        try:
            return await result
        finally:
            life.turn = None
    return None


def _is_answered(life: Incarnation, message: Message, error: BaseException) -> bool:
    """Tell whoever sent the message of an error that is theirs (rule M6). False for one that is not."""
    answer = _answer(life, message, error)
    if answer is None:
        return False
    _fail(life, message, answer, "rejected")
    if life.cell.recovery is not None and life.cell.recovery.watches:
        life.cell.recovery.succeeded(message[0], 0.0)
    return True


def _fail(life: Incarnation, message: Message, error: BaseException, how: str) -> None:
    """Tell a caller of an error; a cast becomes a dead letter."""
    name, _, _, call = message
    if call is not None:
        call.fail(lambda: error)
    else:
        life.cell.system.dead_letter(life.cell.path, name, f"{how}: {describe(error)}")


# --- what its recovery does about a failure


async def _is_recovered(life: Incarnation, message: Message, error: BaseException) -> bool:
    """Do as the cell's recovery says; whether the incarnation goes on."""
    recovery = life.cell.recovery
    if recovery is None or life.answers_for is not None:
        return False
    if life.killed or life.failure is not None or is_cancelled():
        return False
    verdict = recovery.message_failed(life, life.current and message, plain(error), life.history)
    if isinstance(verdict, AnswerBy):
        await _answer_otherwise(life, message, plain(error), verdict.method)
        return True
    return _carry_out(life, message, plain(error), verdict)


def _carry_out(life: Incarnation, message: Message, error: BaseException, verdict: Verdict) -> bool:
    """A verdict that takes no waiting; whether the incarnation goes on."""
    match verdict:
        case Answer():
            _fail(life, message, error, "failed")
        case Repeat():
            _hold(life, message, verdict)
        case Crash(action=action, keep=keep):
            life.action = action
            if keep and life.current is not None:
                _hold(life, message, verdict)
                life.current = None
            return False
        case _:
            raise AssertionError(verdict)
    return True


def _hold(life: Incarnation, message: Message, verdict: Repeat | Crash) -> None:
    """Keep a message for another try, before all that waits."""
    if life.cell.hold is not None and life.cell.hold.message is not None:  # a timer's, while another is held back
        life.cell.mailbox.queue.appendleft(message)
        return
    hold = Hold(life.cell, message, verdict.history)
    if isinstance(verdict, Crash):  # for the next incarnation: this one is not to look at it
        life.cell.hold = hold.after(0)
    elif verdict.until_up is not None:
        life.cell.put_hold(hold.until_up(verdict.until_up, PATIENCE))
    else:
        life.cell.put_hold(hold.after(verdict.delay))
    if life.claimed is not None and life.deferred is not None:
        life.deferred.pop(life.claimed, None)


async def _answer_otherwise(life: Incarnation, message: Message, error: BaseException, method: str) -> None:
    """Let another method answer. What it raises is a crash; a rejection is an answer."""
    _, args, kwargs, call = message
    other = (method, args, kwargs, call)
    life.answers_for, life.claimed = error, None
    try:
        result = life.methods.own_method(method).function(life.actor, *args, **kwargs)
        if isawaitable(result):
            result = await result
    except BaseException as second:
        if second.__context__ is None:
            second.__context__ = error
        if not _is_answered(life, other, second):
            raise
    else:
        if call is not None and call is not life.claimed:
            call.reply(result)


async def _take_hold(life: Incarnation) -> bool:
    """Give the message that was held back again, if it is due; else wait. Whether there was anything to take."""
    cell = life.cell
    hold = cell.hold
    if hold is None:
        return False
    message = hold.message
    is_wanted = message is not None and (message[3] is None or not message[3].settled)
    if not hold.is_due and (is_wanted or message is None):
        life.parked = life.task
        await wait_task_rescheduled(life.unpark)
        return True
    cell.hold = None
    hold.release()
    if message is not None and is_wanted:
        life.current, life.history = message, hold.history
        await _handle_carefully(life, message)
        life.current = life.claimed = None
        life.handled += 1
    return True


def _answer(life: Incarnation, message: Message, error: BaseException) -> Exception | None:
    """The sender's error: a rejection, out of a nursery too, or arguments or a name that don't fit. None: a crash."""
    name, args, kwargs, _ = message
    leaf = plain(error)
    if isinstance(leaf, Reject):
        return leaf.error
    if isinstance(error, TypeError | UnknownMethod) and name != ON_DOWN:
        try:
            life.methods.own_method(name).check(args, kwargs)
        except (TypeError, UnknownMethod) as wrong:
            return wrong
    return None


async def _attend(life: Incarnation) -> Reason | None:
    """Look at everything but the queue: kill, stop, suspend, then the signals. The reason to end, if there is one."""
    clock = life.cell.system.clock
    slice_end = clock() + SLICE
    while True:
        if clock() > slice_end:
            await checkpoint()
            slice_end = clock() + SLICE
        if life.killed or life.failure is not None:  # its handler did not pause, or held a shield
            await checkpoint()
        if life.begun is not None:
            (message, awaitable), life.begun = life.begun, None
            await _handle_carefully(life, message, awaitable)
            life.current = life.claimed = None
            continue
        stop = life.stop_request
        if stop is not None and not (stop.drain and (life.cell.mailbox.queue or life.cell.hold)):
            return stop.reason
        if life.suspended:
            life.parked = life.task
            await wait_task_rescheduled(life.unpark)
            continue
        if not life.lane:
            if await _take_hold(life):
                continue
            life.attention = stop is not None
            return None
        signal = life.lane.popleft()
        if isinstance(signal, Tick):
            if signal.timer.taken():
                life.current = (signal.method, signal.args, signal.kwargs, None)
                await _handle_carefully(life, life.current)
                life.current = life.claimed = None
        elif isinstance(signal, ChildExit):
            await life.actor._child_exited(signal)
        else:
            await life.actor._child_tells(signal)


def _handler(life: Incarnation, name: str) -> Callable[..., Any]:
    """What handles a message of this name, or a Down."""
    if name == ON_DOWN:
        return life.actor.on_down
    return partial(life.methods.own_method(name).function, life.actor)


# --- in the caller's turn


def run_inline(life: Incarnation, known: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Handle a sync message in the caller's turn, in the actor's own context.

    Returns the result, or a `Call` to wait for where the handler did not answer by returning.
    """
    cell = life.cell
    cell.ready = None
    life.is_inline = True
    life.current = message = (known.name, args, kwargs, None)
    if life.recent is not None:
        life.recent.append(message)
    try:
        result = life.context.run(known.function, life.actor, *args, **kwargs)
    except BaseException as error:
        answer = _answer(life, message, error)
        if answer is not None:
            if life.claimed is not None:
                life.claimed.fail(lambda: answer)
            _finish_inline(life, message, None)
            raise answer from None
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
        if cell.recovery is not None and not (life.killed or life.failure is not None):
            return _recover_inline(life, message, plain(error))
        return _crash_inline(life, message, plain(error))
    life.is_inline = False
    life.current = None
    life.handled += 1
    if life.attention or cell.mailbox.queue or (type(result) not in _PLAIN and isawaitable(result)):
        return _finish_inline(life, message, result)
    cell.ready = life
    return result


def _crash_inline(life: Incarnation, message: Message, reason: BaseException) -> Call:
    """The supervisor is told before the caller resumes (rule I3)."""
    life.is_inline = False
    call = _call_inline(life, message)
    life.end(reason)
    return call


def _call_inline(life: Incarnation, message: Message) -> Call:
    """What the caller waits on, now that the handler has not answered by returning; with the message, if in hand."""
    call, life.claimed = life.claimed or Call(life.cell, message[0]), None
    if life.current is not None:
        call.taken = True
        life.current = (*message[:3], call)
    return call


def _recover_inline(life: Incarnation, message: Message, error: BaseException) -> Call:
    """Do as the cell's recovery says, in the caller's turn as far as nothing has to be awaited."""
    recovery = life.cell.recovery
    assert recovery is not None
    verdict = recovery.message_failed(life, life.current and message, error, None)
    call = _call_inline(life, message)
    message = (*message[:3], call)
    life.is_inline = False
    if isinstance(verdict, AnswerBy):
        life.begun = (message, _answer_otherwise(life, message, error, verdict.method))
        life.attention = True
        life.wake()
    elif _carry_out(life, message, error, verdict):
        life.current = None
        _finish_inline(life, message, None)
    else:
        life.end(error)
    return call


def _finish_inline(life: Incarnation, message: Message, result: Any) -> Any:
    """Something came up while the message was handled: stash, defer, an awaitable, stop, new mail (rule I4)."""
    life.is_inline = False
    life.current = None
    if type(result) not in _PLAIN and isawaitable(result):
        call = life.claimed or Call(life.cell, message[0])
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


# --- what a handler may do with the message in hand


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
