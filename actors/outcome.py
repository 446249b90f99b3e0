"""What becomes of a message that has failed: its sender's error, what its cell's recovery says, or a crash."""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import trio

from .deferred import take_back
from .errors import Reject, UnknownMethod
from .hold import Hold
from .in_hand import key_of
from .messages import ON_DOWN, Message
from .reasons import describe, plain
from .recovery import Answer, AnswerBy, Crash, Repeat, Verdict
from .turn import is_cancelled

if TYPE_CHECKING:
    from .incarnation import Incarnation

GIVEN_UP = object()
"""The result of a handler that was given up."""


async def until_given_up(life: Incarnation, result: Awaitable[Any]) -> Any:
    """Await it until it is done, or its caller's time is over (`Cancel`)."""
    with trio.CancelScope() as life.turn:
        try:
            return await result
        finally:
            life.turn = None
    return GIVEN_UP


def try_answer(life: Incarnation, message: Message, error: BaseException) -> bool:
    """Tell whoever sent the message of an error that is theirs (rule M6). False for one that is not."""
    answer = answer_to(life, message, error)
    if answer is None:
        return False
    tell(life, message, answer, "rejected")
    if life.cell.recovery is not None and life.cell.recovery.watches:
        life.cell.recovery.succeeded()
    return True


def tell(life: Incarnation, message: Message, error: BaseException, how: str) -> None:
    """Tell a caller of an error; a cast becomes a dead letter."""
    name, _, _, call = message
    if call is not None:
        call.fail(lambda: error)
    else:
        life.cell.system.dead_letter(life.cell.path, name, f"{how}: {describe(error)}")


def answer_to(life: Incarnation, message: Message, error: BaseException) -> Exception | None:
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


async def try_recover(life: Incarnation, message: Message, error: BaseException) -> bool:
    """Do as the cell's recovery says; whether the incarnation goes on."""
    recovery = life.cell.recovery
    if recovery is None or life.answers_for is not None or not isinstance(error, Exception):
        return False  # no policy answers a caller with a Cancelled or a Ctrl-C (rules X1, X2)
    if life.killed or life.failure is not None or is_cancelled():
        return False
    verdict = recovery.message_failed(life, life.current and message, plain(error), life.history)
    if isinstance(verdict, AnswerBy):
        await answer_otherwise(life, message, plain(error), verdict.method)
        return True
    return carry_out(life, message, plain(error), verdict)


def carry_out(life: Incarnation, message: Message, error: BaseException, verdict: Verdict) -> bool:
    """A verdict that takes no waiting; whether the incarnation goes on."""
    match verdict:
        case Answer():
            tell(life, message, error, "failed")
        case Repeat():
            if not hold_back(life, message, verdict):
                tell(life, message, error, "failed")
        case Crash(order=order, keep=keep):
            life.order = order
            if keep and life.current is not None and hold_back(life, message, verdict):
                life.current = None
            return False
        case _:
            raise AssertionError(verdict)
    return True


def hold_back(life: Incarnation, message: Message, verdict: Repeat | Crash) -> bool:
    """Keep a message for another try, before all that waits, in its place among others that will be given again.

    A timer's message is not kept where others are (False): it comes again anyway, while those still wait.
    """
    gate = life.cell.gate
    if life.is_tick and gate.is_holding:
        return False
    take_back(life, message)
    place, key = life.place or gate.next_place(), key_of(life, message)
    hold = Hold(life.cell, message, place=place, history=verdict.history, key=key)
    if isinstance(verdict, Repeat) and verdict.until_up is not None:
        hold.until_up(verdict.until_up, verdict.delay, verdict.at_most)
    else:
        hold.after(verdict.delay)
    gate.put(hold)
    if isinstance(verdict, Repeat):
        life.look()  # a crash is for the next incarnation: this one is not to look at it
    return True


async def answer_otherwise(life: Incarnation, message: Message, error: BaseException, method: str) -> None:
    """Let another method answer. What it raises is a crash; a rejection is an answer."""
    _, args, kwargs, call = message
    other = (method, args, kwargs, call)
    life.answers_for, life.claimed = error, None
    take_back(life, message)
    try:
        result = life.methods.own_method(method).function(life.actor, *args, **kwargs)
        if isawaitable(result):
            result = await until_given_up(life, result)
    except BaseException as second:
        if second.__context__ is None:
            second.__context__ = error
        if not try_answer(life, other, second):
            raise
    else:
        if call is not None and call is not life.claimed:
            call.reply(result)
