"""`Actor.ctx`: what the runtime offers to an actor, apart from its own names.

A context belongs to one incarnation. Once that is over, what is asked of it does nothing; what it would have sent is
a dead letter (rule R5).
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple

import trio

from .errors import ActorStopped
from .in_hand import defer, message_key, stash, unstash
from .messages import Down, Tick
from .reasons import Exit, Reason

if TYPE_CHECKING:
    from .actor import Actor
    from .cell import Cell
    from .deferred import Reply
    from .incarnation import Incarnation
    from .ref import Ref
    from .timers import Timer

A = TypeVar("A", bound="Actor")
P = ParamSpec("P")
PosArgs = TypeVarTuple("PosArgs")


class Context:
    """What one incarnation of an actor may ask for. None of it blocks."""

    __slots__ = ("_incarnation",)

    def __init__(self, incarnation: Incarnation) -> None:
        self._incarnation = incarnation

    @property
    def ref(self) -> Ref[Any]:
        """The actor's own Ref."""
        return self._incarnation.cell.ref

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._incarnation.cell.name

    @property
    def path(self) -> str:
        """Where the actor is in the tree, such as `/bridge/terminals/t1`."""
        return self._incarnation.cell.path

    @property
    def incarnation(self) -> int:
        """1 for the first, and one more with each restart."""
        return self._incarnation.number

    @property
    def failure(self) -> BaseException | None:
        """In a method that answers in place of one that failed (`@falls_back_to`): why it did."""
        return self._incarnation.answers_for

    @property
    def log(self) -> Any:
        """A logger that adds the path (loguru's, bound)."""
        from loguru import logger

        return logger.bind(actor=self.path)

    @property
    def random(self) -> Any:
        """The runtime's seeded source of randomness (rule D1)."""
        return self._incarnation.cell.system.random

    def find(self, name_or_path: str, type: type[A] | None = None) -> Ref[A]:
        """The Ref of another actor; `type` is for the type checker, and checked if the actor runs.

        Raises ComponentNotFound if there is none, AmbiguousName if there are several, TypeError if it is another.

        A path may be relative to this actor: `../name` is the sibling of that name, `./name` a child.
        """
        if name_or_path.startswith(("../", "./")):
            name_or_path = posixpath.normpath(f"{self.path}/{name_or_path}")
        return self._incarnation.cell.system.find(name_or_path, type)

    def start_task(self, function: Callable[[*PosArgs], Awaitable[object]], *args: *PosArgs) -> trio.CancelScope:
        """Run `function(*args)` as a task of this incarnation; cancelling the scope ends just that task.

        If it raises, the actor crashes of it. It is cancelled and joined when the incarnation ends.
        """
        life = self._incarnation
        if life.is_ending:
            raise ActorStopped(self.path, "is ending; it can't start a task")
        return life.belongings.start_task(life, function, args)

    def after(self, seconds: float, method: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Periodic:
        """Send this actor `method` once, after a time. The method may be private. The result cancels."""
        return self._timer(seconds, None, method, args, kwargs)

    def every(self, seconds: float, method: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Periodic:
        """Send this actor `method` every so often, first after `seconds`; at most one tick waits at any time."""
        if not seconds > 0:
            raise ValueError(f"every takes a time above 0 seconds, not {seconds!r}")
        return self._timer(seconds, seconds, method, args, kwargs)

    def _timer(
        self, delay: float, period: float | None, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Periodic:
        if not 0 <= delay < math.inf:
            raise ValueError(f"a timer takes a finite time of at least 0 seconds, not {delay!r}")
        life = self._incarnation
        known = life.methods.own_method(method)
        known.check(args, kwargs)
        timer = Periodic(life, period, Tick(known.name, args, kwargs, None))
        if life.is_over:
            life.cell.system.dead_letter(self.path, known.name, "a timer of an incarnation that is over")
        else:
            timer.arm(trio.current_time() + delay)
        return timer

    def limit(self, operation: str) -> AbstractContextManager[None]:
        """Bound a block by the time that this operation may take (the runtime's timeouts): OperationTimeout past it.

        That time is a default, which the recovery policy may lengthen (`Extend`) before the block is cancelled.
        """
        recovery = self._incarnation.cell.recovery
        more_time = recovery.more_time if recovery is not None else None
        return self._incarnation.cell.system.timeouts.limit(operation, on_expiry=more_time)

    @property
    def message_key(self) -> str:
        """Names the message in hand: the same one whenever it is given again, and never another in this runtime.

        So whoever carries it out elsewhere can tell a second time from a second message. Outside a handler it is an
        error.
        """
        return message_key(self._incarnation)

    def defer(self) -> Reply:
        """Answer the call in hand later, through the result; what the handler returns is then ignored.

        For a cast, the answer goes nowhere. Outside a handler it is an error. Where this incarnation fails before, the
        caller is told; or the message is given again, if its method is `@retryable` and the actor has a policy that
        retries.
        """
        return defer(self._incarnation)

    def stash(self) -> None:
        """Put the message in hand aside, until `unstash` or the end of this incarnation.

        It is not in hand any more: it is not lost in a crash, and can't be deferred. It keeps its place in the
        mailbox's bound.
        """
        stash(self._incarnation)

    def unstash(self) -> None:
        """Put all that was stashed back to the front of the mailbox, in order."""
        unstash(self._incarnation)

    def monitor(self, ref: Ref[Any]) -> Monitor:
        """Have `on_down` called, once, when the present incarnation of `ref` ends (at once if there is none)."""
        monitor = Monitor(self._incarnation, ref.cell)
        cell = ref.cell
        if self._incarnation.is_over:
            return monitor
        if cell.incarnation is None:
            final = cell.state == "stopped"
            monitor.deliver(Down(ref, cell.number, Exit.NOPROC, final))
        else:
            if cell.watchers is None:
                cell.watchers = {}
            cell.watchers[monitor] = None
        return monitor

    def link(self, ref: Ref[Any]) -> None:
        """Share the fate of the present incarnation of `ref`: when one ends abnormally, so does the other (OTP)."""
        mine, other = self._incarnation, ref.cell.incarnation
        if mine.is_over or other is mine:
            return
        if other is None:
            mine.fail(ActorStopped(ref.path, "was to be linked, but is not running"))
            return
        mine.belongings.links[other] = None
        other.belongings.links[mine] = None

    def unlink(self, ref: Ref[Any]) -> None:
        """Take back `link`."""
        mine = self._incarnation
        for other in list(mine.belongings.links):
            if other.cell is ref.cell:
                mine.belongings.links.pop(other, None)
                other.belongings.links.pop(mine, None)

    def publish(self, topic: str, event: Any) -> int:
        """Cast the event to all who subscribed to the topic; how many it reached."""
        life = self._incarnation
        if life.is_over:
            life.cell.system.dead_letter(self.path, topic, "published by an incarnation that is over")
            return 0
        return life.cell.system.topics.publish(topic, event)

    def subscribe(self, topic: str, method: Callable[[Any], object]) -> None:
        """Have each of the topic's events sent to `method` of this actor. Ends with the incarnation."""
        life = self._incarnation
        known = life.methods.own_method(method)
        known.check((None,), {})
        if not life.is_over:
            life.belongings.subscriptions[topic] = None
            life.cell.system.topics.subscribe(topic, life, known.name)

    def unsubscribe(self, topic: str) -> None:
        """Take back `subscribe`."""
        self._incarnation.belongings.subscriptions.pop(topic, None)
        self._incarnation.cell.system.topics.unsubscribe(topic, self._incarnation)

    def stop(self, reason: Reason = Exit.NORMAL, *, drain: bool = False) -> None:
        """End after the message in hand, or (`drain`) after all that wait. An exception as reason is a crash.

        In `on_start`: the start succeeds first.
        """
        self._incarnation.request_stop(reason, drain=drain, hasten=False)


class Periodic:
    """A timer of an actor's own, once or every `period` seconds."""

    __slots__ = ("_life", "_period", "_tick", "_timer", "_waits")

    def __init__(self, life: Incarnation, period: float | None, tick: Tick) -> None:
        self._life = life
        self._period = period
        self._tick = Tick(tick.method, tick.args, tick.kwargs, self)
        self._timer: Timer | None = None
        self._waits = False

    def arm(self, deadline: float) -> None:
        """Come due at that time."""
        self._timer = self._life.cell.system.timers.at(deadline, self._due)
        self._life.belongings.timers[self] = None

    def _due(self) -> None:
        assert self._timer is not None
        deadline = self._timer.deadline
        if self._period is None:
            self.cancel(keep_tick=True)
        else:
            late = trio.current_time() - deadline
            self.arm(deadline + self._period * (1 + late // self._period))
        if not self._waits:
            self._waits = True
            self._life.post(self._tick)

    def taken(self) -> bool:
        """Its tick was taken from the lane; whether it still counts."""
        waits, self._waits = self._waits, False
        return waits

    def cancel(self, *, keep_tick: bool = False) -> None:
        """No tick any more, not even one that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._life.belongings.timers.pop(self, None)
        if not keep_tick:
            self._waits = False


class Monitor:
    """A watch on one incarnation of another actor; yields one `Down`, then it is over."""

    __slots__ = ("_cell", "_life")

    def __init__(self, life: Incarnation, cell: Cell) -> None:
        self._life = life
        self._cell = cell
        life.belongings.monitors[self] = None

    def deliver(self, down: Down) -> None:
        """The watched incarnation has ended."""
        if self in self._life.belongings.monitors:
            del self._life.belongings.monitors[self]
            self._life.notify(down)

    def cancel(self) -> None:
        """Watch no more."""
        self._life.belongings.monitors.pop(self, None)
        if self._cell.watchers is not None:
            self._cell.watchers.pop(self, None)
