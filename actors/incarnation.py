"""One life of an actor, from its factory to its end.

An incarnation has a task of its own only once something in it has to wait: an async handler, a cast, a timer. Until
then its turns run in the task of whoever gives it one. Its task first handles signals (a lane of their own: never
bounded, never dropped), then the mailbox, in batches, and parks when there is nothing to do.

It ends for one of three reasons. *Stop*: after the message in hand, `on_stop` runs. *Failure*: whatever runs is
cancelled, `on_stop` runs. *Kill*: whatever runs is cancelled, and that is all. Everything that it made ends with it
(rule R5); then its parent is told; then the caller of the message in hand (rule I3: nobody learns of a crash before
the supervisor).
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import attrs
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, enable_ki_protection, reschedule

from . import ending
from .actor import Actor
from .belongings import Belongings
from .context import Context
from .ending import GRACE, drop
from .errors import ActorStopped, Ignore, SpecError, StartTimeout
from .events import ActorStarted
from .handling import handle_all
from .messages import Call, ChildExit, Down, Message, Notice, Signal
from .reasons import Exit, Reason, plain
from .recent import Recent
from .turn import current, is_cancelled

if TYPE_CHECKING:
    from .cell import Cell
    from .deferred import Deferred
    from .hold import Hold
    from .protocol import Methods
    from .timers import Timer


@attrs.frozen
class StopRequest:
    """Asked to end, after what waits (`drain`) or after the message in hand."""

    reason: Reason
    drain: bool


class Incarnation:
    """See the module. Made and ended by its cell only."""

    __slots__ = (
        "_bound_timer",
        "actor",
        "answered",
        "answers_for",
        "attention",
        "begun",
        "cell",
        "claimed",
        "closing",
        "context",
        "current",
        "deferred",
        "ended",
        "failure",
        "handled",
        "handler_timeout",
        "history",
        "is_attended",
        "is_careful",
        "is_inline",
        "is_over",
        "is_spawned",
        "is_started",
        "is_tick",
        "is_winding_down",
        "keyed",
        "killed",
        "lane",
        "made",
        "methods",
        "number",
        "order",
        "parked",
        "place",
        "recent",
        "resting",
        "runs_inline",
        "scope",
        "stashed",
        "stop_request",
        "suspended",
        "task",
        "turn",
        "up",
        "waits",
    )

    actor: Actor
    methods: Methods

    def __init__(self, cell: Cell, number: int) -> None:
        self.cell = cell
        self.number = number
        self.context = contextvars.copy_context()
        self.context.run(current.set, self)
        self.order: Any = None
        """What the supervisor is to do about its end."""
        self.answered = 0
        """How many of the messages that it was to answer later have their answers."""
        self.answers_for: BaseException | None = None
        """The failure in whose place the method in hand answers."""
        self.attention = False
        """Something other than the queue wants a look."""
        self.begun: tuple[Message, Awaitable[object]] | None = None
        """A message whose handler has returned, in its caller's turn, something that is still to be awaited."""
        self.claimed: Call | None = None
        """The call in hand, once its handler has said that it will not answer by returning."""
        self.current: Message | None = None
        """The message in hand."""
        self.deferred: dict[Deferred, None] | None = None
        """The messages that it will answer later, in order."""
        self.failure: Reason | None = None
        self.handled = 0
        self.handler_timeout = cell.spec.handler_timeout
        self.history: Any = None
        """What the recovery remembers of the tries of the message in hand."""
        self.is_attended = False
        """Somebody waits for its end, so that the parent need not be told."""
        self.is_inline = False
        """A handler, or a sync `on_start`, runs in its caller's turn."""
        self.is_over = False
        self.is_spawned = False
        """It has a task of its own, or soon will."""
        self.is_started = False
        self.is_tick = False
        """The message in hand is a timer's."""
        self.is_winding_down = False
        self.keyed: tuple[Message, str] | None = None
        """A cast that has asked for its name, and that."""
        self.killed = False
        self.lane: deque[Signal] | None = None
        self.parked: Task | None = None
        self.place: int | None = None
        """That of the message in hand, which was in hand before (`Gate.next_place`)."""
        remembers = cell.system.remembers
        self.recent = Recent(remembers) if remembers else None
        """The last messages, for a crash dump."""
        self.choose_path()
        self.resting: trio.Event | None = None
        """While it is to take no message, since another may take its place: set once it has none in hand."""
        self.stashed: list[Hold] | None = None
        self.stop_request: StopRequest | None = None
        self.suspended = False
        self.task: Task | None = None
        self.turn: trio.CancelScope | None = None
        """Around the handler in hand, where it can be given up alone."""
        self.waits: list[Cell] = []
        """Whom the message in hand waits for."""
        self.made: Belongings | None = None
        self._bound_timer: Timer | None = None
        """Kills it, or detaches it, when its present phase takes too long."""
        self.closing: Awaitable[object] | None = None
        """What a sync `on_stop` returned, to be awaited."""
        self.ended: trio.Event | None = None
        self.scope: trio.CancelScope | None = None
        """Around what its own task does now: its work, then its winding down."""
        self.up: trio.Event | None = None

    def choose_path(self) -> None:
        """How carefully its messages have to be handled."""
        is_watched = self.handler_timeout is not None or self.cell.traced > 0 or self.cell.gate.pace is not None
        self.is_careful = is_watched or self.cell.recovery is not None
        self.runs_inline = not is_watched and self.cell.gate.circuit is None
        """Whether a sync message may be handled in its caller's turn, when it is idle."""

    @property
    def belongings(self) -> Belongings:
        """What it made and has to let go of."""
        if self.made is None:
            self.made = Belongings()
        return self.made

    @property
    def is_ending(self) -> bool:
        """Whether nothing new may begin in it."""
        return self.is_over or self.is_winding_down or self.killed

    @property
    def running_tasks(self) -> int:
        """How many background tasks there are."""
        return len(self.made.tasks) if self.made is not None else 0

    @property
    def last_messages(self) -> tuple[Message, ...]:
        """What it handled last, oldest first, where the runtime remembers that; the one in hand whole."""
        return self.recent.with_in_hand(self.current) if self.recent is not None else ()

    # --- the beginning

    async def start(self) -> None:
        """Run the factory and `on_start`; raise what they raise. Not a checkpoint if `on_start` is sync."""
        try:
            opening = self._open()
        except BaseException as error:
            self.failure = plain(error)
            self.end(Exit.NORMAL if isinstance(error, Ignore) else self.failure)
        else:
            if self.killed or self.failure is not None:  # in its own sync on_start
                drop(opening)
                self.end(Exit.KILLED if self.failure is None else self.failure)
            elif opening is None:
                self._is_up()
                return
            else:
                timeout = self.cell.spec.start_timeout
                if timeout is not None:
                    self.bound(timeout, lambda: self.fail(StartTimeout(self.cell.path, timeout)))
                self.spawn(opening=opening)
        if not (self.is_over or self.is_started):
            self.up = trio.Event()
            await self.up.wait()
        if self.is_over and not self.is_started:
            if isinstance(self.failure, BaseException):
                raise self.failure
            raise ActorStopped(self.cell.path, "was stopped while it started")

    def _open(self) -> Awaitable[object] | None:
        self.is_inline = True
        try:
            return self.context.run(self._construct)
        finally:
            self.is_inline = False

    def _construct(self) -> Awaitable[object] | None:
        actor: object = self.cell.factory()
        if not isinstance(actor, Actor):
            drop(actor)  # of an async factory
            raise SpecError(f"the factory of {self.cell.path} returned {actor!r}; it must return an Actor")
        self.actor = actor
        self.methods = self.cell.methods = actor._ukemi_methods
        actor.ctx = Context(self)
        if type(actor).on_start is Actor.on_start:
            return None
        opening = actor.on_start()
        return opening if isawaitable(opening) else None

    def _is_up(self) -> None:
        self.bound(None, None)
        self.is_started = True
        cell = self.cell
        if self.stop_request is None:
            cell.state = "running"
        cell.system.events.emit(ActorStarted(path=cell.path, incarnation=self.number))
        if cell.gate.hold is not None:
            self.attention = True
        if cell.mailbox.queue or self.attention:
            self.wake()
        elif self.task is None:
            self.be_ready()
        if self.up is not None:
            self.up.set()

    def be_ready(self) -> None:
        """Idle: the next message has to wake it, or may be handled in its caller's turn (rule I1)."""
        if not self.attention:
            self.cell.ready = self

    # --- being told something

    def wake(self) -> None:
        """There is something to do."""
        task = self.parked
        if task is not None:
            self.parked = None
            reschedule(task)
        elif not self.is_spawned and self.is_started and not (self.is_inline or self.is_ending):
            self.spawn()

    def unpark(self, _: RaiseCancelT) -> Abort:
        """Its parked task is cancelled."""
        self.parked = None
        return Abort.SUCCEEDED

    def post(self, signal: Signal) -> None:
        """Put a signal into the lane of its own (rule M8)."""
        if self.is_over:
            return
        if self.lane is None:
            self.lane = deque()
        self.lane.append(signal)
        self.look()

    def notify(self, down: Down) -> None:
        """Put a Down behind what is in the mailbox, where its sender's messages are; never dropped either."""
        self.cell.mailbox.put_notice(Notice(self, down))
        self.cell.ready = None
        self.wake()

    def look(self) -> None:
        """Something other than the queue wants a look."""
        self.attention = True
        self.cell.ready = None
        self.wake()

    def take_exits(self) -> list[ChildExit]:
        """The exits of children that wait in the lane, in order (rule S5)."""
        exits = [signal for signal in self.lane or () if isinstance(signal, ChildExit)]
        if exits and self.lane is not None:
            self.lane = deque(signal for signal in self.lane if not isinstance(signal, ChildExit))
        return exits

    def request_stop(self, reason: Reason, *, drain: bool = False, hasten: bool = True) -> None:
        """End after the message in hand, or after what waits; within the child's shutdown time.

        `hasten` gives up a start that is under way.
        """
        if self.is_ending or self.stop_request is not None:
            return
        self.stop_request = StopRequest(reason, drain)
        self.cell.state = "stopping"
        self.bound(self.cell.spec.shutdown_time, self.kill)
        if not self.is_started:
            self.attention = True
            if self.is_spawned and hasten:
                self.fail(reason)
        elif not self.is_spawned and not self.is_inline and not (drain and self.cell.mailbox.queue):
            self.end(reason)
        else:
            self.look()
            self.actor._stop_asked()

    def fail(self, reason: Reason) -> None:
        """End as crashed, whatever it is doing."""
        if self.is_ending or self.failure is not None:
            return
        self.failure = reason
        self.attention = True
        self.cell.ready = None
        if self.scope is not None:
            self.bound(self.cell.spec.shutdown_time, self.kill)
            self.scope.cancel()
        elif self.is_started and not self.is_inline:
            self.end(reason)

    def kill(self) -> None:
        """End without any further ado, and everything below. What does not end within the grace time is detached."""
        if self.is_over or self.killed:
            return
        self.killed = self.attention = True
        self.cell.ready = None
        for child in list((self.cell.children or {}).values()):
            child.kill()
        if self.made is not None:
            self.made.cancel_tasks()
        self.bound(GRACE, lambda: ending.detach(self))
        if self.scope is not None:
            self.scope.cancel()
        elif not self.is_inline:
            self.end(Exit.KILLED)

    def give_up(self, call: Call) -> None:
        """Nobody waits for this call any more: cancel its handler, if it is in hand."""
        if self.turn is not None and self.current is not None and self.current[3] is call:
            self.turn.cancel()

    def move_to(self, cell: Cell) -> None:
        """Go on in another cell, with its mail (rule S15)."""
        self.cell = cell
        self.choose_path()
        self.look()

    def suspend(self, on: bool) -> None:
        """Take no message until resumed; stop and kill still work."""
        self.suspended = on
        self.look()

    async def rest(self) -> None:
        """Let it take no message until it is told to `go_on`; wait until it has none in hand, or is over."""
        self.resting = trio.Event()
        self.look()
        if self.current is not None and not self.is_over:
            await self.resting.wait()

    def go_on(self) -> None:
        """It need not rest any more."""
        self.resting = None
        if not self.is_over:
            self.look()

    async def join(self) -> None:
        """Wait until it is over."""
        if not self.is_over:
            if self.ended is None:
                self.ended = trio.Event()
            await self.ended.wait()

    # --- its own task

    def spawn(self, *, opening: Awaitable[object] | None = None, last: Reason | None = None) -> None:
        """Give it a task of its own: to go on from an async `on_start`, or only to end."""
        self.cell.ready = None
        self.is_spawned = True
        self.scope = trio.CancelScope()
        if self.killed:
            self.scope.cancel()
        self.context.run(self.cell.system.nursery.start_soon, self._main, opening, last)

    @enable_ki_protection
    async def _main(self, opening: Awaitable[object] | None, last: Reason | None) -> None:
        """Its own task: from `opening` (an async `on_start`) on, or only its end, of `last`."""
        self.task = current_task()
        self.context = self.task.context
        reason = await self._work(opening) if last is None else last
        if not self.is_over:
            reason = await ending.wind_down(self, reason)
            await ending.join_below(self)
            ending.over(self, reason)

    async def _work(self, opening: Awaitable[object] | None) -> Reason:
        assert self.scope is not None
        try:
            with self.scope:
                if opening is not None:
                    await opening
                    self._is_up()
                return await handle_all(self)
        except BaseException as error:  # outside the scope, so that a Cancelled here is the runtime's or forged
            if not self.killed and self.failure is None:
                return Exit.KILLED if is_cancelled() else plain(error)
        return self.failure if self.failure is not None and not self.killed else Exit.KILLED

    # --- the end

    def end(self, reason: Reason) -> None:
        """Wind down from outside its own task; at once, where nothing has to be waited for."""
        ending.end(self, reason)

    def bound(self, seconds: float | None, then: Callable[[], object] | None) -> None:
        """From now on, call `then` after some time; replaces the last bound."""
        if self._bound_timer is not None:
            self._bound_timer.cancel()
            self._bound_timer = None
        if seconds is not None and then is not None:
            self._bound_timer = self.cell.system.timers.at(trio.current_time() + seconds, then)
