"""How an incarnation ends: background tasks, `on_stop`, those below, then everything that it held is let go of.

Its end takes a task only where something has to be waited for. What must finish is shielded, and bounded: by the
child's shutdown time, and after a kill by `GRACE`, when what still hangs is detached (rule S13).
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable, iscoroutine, iscoroutinefunction, unwrap
from typing import TYPE_CHECKING

import trio

from .actor import Actor
from .deferred import is_same
from .hold import Hold
from .in_hand import give_back_stashed
from .reasons import Exit, Reason, is_abnormal, plain
from .turn import is_cancelled

if TYPE_CHECKING:
    from .incarnation import Incarnation
    from .messages import Message

GRACE = 1.0
"""Seconds that a killed incarnation has to end before it is a zombie."""


def end(life: Incarnation, reason: Reason) -> None:
    """Wind down from outside its own task; at once, where nothing has to be waited for."""
    if life.is_over or life.is_winding_down:
        return
    runs_on_stop = life.is_started and not life.killed and type(life.actor).on_stop is not Actor.on_stop
    if life.running_tasks or life.cell.children or (runs_on_stop and _is_async(life.actor.on_stop)):
        end_in_its_task(life, reason)
        return
    life.is_winding_down = True
    life.cell.ready = None
    if runs_on_stop:
        try:
            closing = life.context.run(life.actor.on_stop, reason)
        except BaseException as error:
            reason = plain(error)
        else:
            if isawaitable(closing):
                life.is_winding_down = False
                life.closing = closing
                end_in_its_task(life, reason)
                return
    over(life, reason)
    if life.scope is not None:
        life.scope.cancel()  # its parked task has nothing left to do


def end_in_its_task(life: Incarnation, reason: Reason) -> None:
    """Something has to be waited for."""
    if life.is_spawned:
        life.fail(reason)
    else:
        life.spawn(last=reason)


async def wind_down(life: Incarnation, reason: Reason) -> Reason:
    """Cancel and join the background tasks, then `on_stop`; the reason, or the error of `on_stop` (rule S11)."""
    life.is_winding_down = True
    life.cell.ready = None
    if not life.is_started:
        life.failure = reason
    runs_on_stop = life.is_started and type(life.actor).on_stop is not Actor.on_stop
    if life.killed or reason is Exit.KILLED:
        drop(life.closing)
        return Exit.KILLED
    if not (life.running_tasks or runs_on_stop):
        return reason
    if is_abnormal(reason):
        life.bound(life.cell.spec.shutdown_time, life.kill)
    try:
        with trio.CancelScope() as life.scope:
            if life.made is not None:
                life.made.cancel_tasks()
                await life.made.join_tasks()
            if runs_on_stop:
                result = life.actor.on_stop(reason) if life.closing is None else life.closing
                if isawaitable(result):
                    await result
    except BaseException as error:
        if not life.killed and not is_cancelled():
            return plain(error)
        return Exit.KILLED
    return Exit.KILLED if life.killed else reason


async def join_below(life: Incarnation) -> None:
    """Nothing of it outlives it. Bounded: what hangs is detached by the timer that its own kill has set."""
    children = list((life.cell.children or {}).values())
    if not (life.running_tasks or children):
        return
    life.bound(None, None)
    with trio.CancelScope(shield=True):
        for child in children:
            child.kill()
        for child in children:
            await child.join()
        if life.running_tasks:
            life.belongings.cancel_tasks()
            life.bound(GRACE, lambda: detach(life))
            await life.belongings.join_tasks()


def over(life: Incarnation, reason: Reason) -> None:
    """Everything of it has ended: let go of what it held, tell the parent, then the caller in hand."""
    if life.is_over:
        return
    life.is_over = True
    if not life.is_started and life.failure is None:
        life.failure = reason
    cell, message = life.cell, life.current
    life.bound(None, None)
    lost = give_again(life)
    give_back_stashed(life)  # among what is given again, if anything is
    if life.begun is not None:
        drop(life.begun[1])
    cell.exited(life, reason, attended=life.is_attended or not life.is_started)
    if life.made is not None:
        life.made.release(life, reason)
    if message is not None and (message[3] is None or not message[3].settled):
        cell.lose(message, reason)
    for each in lost:
        cell.lose(each, reason)
    for event in (life.ended, life.up, life.resting):
        if event is not None:
            event.set()
    if life.is_started:
        life.failure = None  # whoever still holds a dead context must not keep its traceback alive (rule X3)


def give_again(life: Incarnation) -> list[Message]:
    """Let what it was to answer later be given again, where its cell's recovery says so; the rest."""
    cell, again, lost = life.cell, [], []
    deferred, life.deferred = life.deferred or {}, None
    for each in deferred:
        if not each.is_open or (life.current is not None and is_same(each.message, life.current)):
            continue
        history = None
        if cell.recovery is not None:
            moved_on = each.has_seen_another_answered
            history = cell.recovery.gives_again(life, each.message[0], each.history, moved_on=moved_on)
        if history is None:
            lost.append(each.message)
        else:
            again.append(Hold(cell, each.message, place=each.place, history=history, key=each.key).after(0))
    cell.gate.put(*again)
    return lost


def detach(life: Incarnation) -> None:
    """Killed, and still not over: a zombie (rule S13)."""
    if not life.is_over:
        life.cell.system.zombie(life.cell, life.number)
        over(life, Exit.KILLED)


def drop(awaitable: object) -> None:
    """Nobody will await it."""
    if iscoroutine(awaitable):
        awaitable.close()


def _is_async(function: Callable[..., object]) -> bool:
    return iscoroutinefunction(unwrap(function))
