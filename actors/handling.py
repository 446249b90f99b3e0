"""How an incarnation handles its messages in its own task: signals, what stands before the mailbox, then the mail.

`inline` is the other way, in a caller's turn. Both must be indistinguishable to the actor (rules I1 to I4). What the
fast paths share with the careful ones is kept in step by hand, since a function call more would cost a tenth of a
message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import checkpoint, wait_task_rescheduled

from .deferred import is_put_off
from .errors import HandlerTimeout, Reject
from .events import Traced
from .messages import ON_DOWN, ChildExit, Message, Notice, Thrown, Tick
from .outcome import GIVEN_UP, try_answer, try_recover, until_given_up
from .reasons import Reason, describe, plain
from .shorten import short

if TYPE_CHECKING:
    from .deferred import Deferred
    from .hold import Hold
    from .incarnation import Incarnation

BATCH = 128
"""Messages handled before the loop turns."""
SLICE = 0.002
"""Seconds of handling after which the loop turns."""
TURNS_PER_SECOND = BATCH / SLICE

PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple, set})
"""Types that can't be awaited; a look-up is cheaper than asking."""


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
            # what was handled last, and the error that it came to, is not kept alive by whoever waits (rule X3)
            message = args = kwargs = call = notice = result = None
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
            recent.add(message)
        known = own.get(name)
        if known is None or life.is_careful:
            await _handle_carefully(life, message)
        else:
            try:
                result = known.function(actor, *args, **kwargs)
                if not known.is_sync or (type(result) not in PLAIN and isawaitable(result)):
                    result = await result
            except (Reject, TypeError, BaseExceptionGroup) as error:
                if not try_answer(life, message, error):
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
            can_be_given_up = recovery is not None and call is not None
            result = await (until_given_up(life, result) if can_be_given_up else result)
        if cell.traced:
            outcome = short(result)
        if call is not None and call is not life.claimed:
            call.reply(result)
        if recovery is not None and recovery.watches and result is not GIVEN_UP and _was_handled(life, message):
            recovery.succeeded()
    except BaseException as error:
        leaf = plain(error)
        outcome = describe(leaf.error if isinstance(leaf, Reject) else error) if cell.traced else outcome
        if not (try_answer(life, message, error) or await try_recover(life, message, error)):
            raise
    finally:
        life.answers_for = life.history = life.place = None
        life.is_tick = False
        life.cell.gate.keep_pace()
        if timer is not None:
            timer.cancel()
        if cell.traced:
            seconds = cell.system.clock() - begun_at
            text = ", ".join([*map(short, args), *(f"{key}={short(value)}" for key, value in kwargs.items())])
            cell.system.events.emit(
                Traced(path=cell.path, method=name, arguments=text, outcome=outcome, seconds=seconds)
            )


def _was_handled(life: Incarnation, message: Message) -> bool:
    """Whether a message has come to its end: neither put off nor aside, nor answered in place of one that failed."""
    if life.is_tick or life.claimed is not None or life.current is None or life.answers_for is not None:
        return False
    return not is_put_off(life, message)


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
        if stop is not None and not (stop.drain and (life.cell.mailbox.queue or life.cell.gate.hold is not None)):
            return stop.reason
        if life.suspended or life.resting is not None:
            if life.resting is not None:
                life.resting.set()
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
                life.is_tick = True
                await _handle_carefully(life, life.current)
                life.current = life.claimed = None
        elif isinstance(signal, ChildExit):
            await life.actor._child_exited(signal)
        elif isinstance(signal, Thrown):
            await _take_thrown(life, signal)
        else:
            await life.actor._child_tells(signal)


async def _take_thrown(life: Incarnation, signal: Thrown) -> None:
    """A message that was to be answered later has failed: as if its handler had, just now."""
    deferred = signal.deferred
    if deferred.take() and deferred.is_open:
        _take_in_hand(life, deferred)
        await _handle_carefully(life, deferred.message, _raise(signal.error))
        life.current = life.claimed = None


async def _raise(error: BaseException) -> None:
    raise error


async def _take_hold(life: Incarnation) -> bool:
    """Give the message that was held back again, if it is due; else wait. Whether there was anything to take."""
    hold = life.cell.gate.hold
    if hold is None:
        return False
    if not hold.is_due:
        life.parked = life.task
        await wait_task_rescheduled(life.unpark)
        return True
    life.cell.gate.take(hold)
    if hold.message is not None:
        _take_in_hand(life, hold)
        await _handle_carefully(life, hold.message)
        life.current = life.claimed = None
        life.handled += 1
    return True


def _take_in_hand(life: Incarnation, kept: Hold | Deferred) -> None:
    """A message that was in hand before, with what is remembered of it."""
    life.current, life.place, life.history = kept.message, kept.place, kept.history
    life.keyed = None if kept.message is None or kept.key is None else (kept.message, kept.key)


def _handler(life: Incarnation, name: str) -> Callable[..., Any]:
    """What handles a message of this name, or a Down."""
    if name == ON_DOWN:
        return life.actor.on_down
    return partial(life.methods.own_method(name).function, life.actor)
