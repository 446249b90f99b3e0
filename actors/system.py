"""What the actors of one runtime share: its nursery, clock, names, topics, events, randomness, and its counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from .events import ActorExited, DeadLetter, EventLog, Zombie
from .handling import BATCH
from .reasons import Reason, describe, is_abnormal
from .ref import Ref
from .registry import Registry
from .timeouts import Timeouts
from .timers import Timers
from .topics import Topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .cell import Cell
    from .incarnation import Incarnation
    from .messages import Message

T = TypeVar("T")

DEAD_LETTERS = "ukemi.dead-letters"
"""The topic of `DeadLetter` events."""


@attrs.frozen(eq=False)
class Crash:
    """A crash with the exception itself, for whoever reports it; not to be kept."""

    path: str
    incarnation: int
    method: str | None
    error: BaseException
    state: Any
    """The actor."""
    recent: tuple[Message, ...] = ()
    """The last messages that it took, oldest first, where the system lets actors remember them."""


class System:
    """One per runtime. `open()` runs what it needs; nothing of it works outside."""

    def __init__(self, *, seed: int | None = None, timeouts: Timeouts | None = None) -> None:
        self.random = Random(seed)
        self.timeouts = timeouts or Timeouts()
        self.timers = Timers()
        self.registry = Registry()
        self.topics = Topics(self)
        self.events = EventLog()
        self.ref_class: type[Ref[Any]] = Ref
        self._crash_listeners: dict[Callable[[Crash], None], None] = {}
        self.zombies = 0
        self.remembers = 0
        """How many of its last messages each actor remembers, for a crash dump."""
        self._only: dict[type, Any] = {}
        self.stop_runtime: Callable[[], None] | None = None
        """Stops the whole runtime in order."""
        self._failing: deque[tuple[Incarnation, Reason]] = deque()
        self.now = trio.current_time
        """Seconds on trio's clock."""
        self.clock = perf_counter
        """How long a turn takes, in seconds; only differences mean something."""
        self._keys = count(1)
        self.thread = 0
        self.token: trio.lowlevel.TrioToken | None = None
        self.turns_left: float = BATCH
        """How many calls may still run in their callers' turns before the loop turns; long ones count for more."""
        self.nursery: trio.Nursery

    @asynccontextmanager
    async def open(self) -> AsyncIterator[System]:
        """Run the timers, and a nursery for the actors' tasks. Leaving it cancels whatever still runs."""
        self.thread, self.token = get_ident(), trio.lowlevel.current_trio_token()
        self.now = trio.lowlevel.current_clock().current_time
        self.clock = _stopwatch()
        async with trio.open_nursery() as self.nursery:
            self.nursery.start_soon(self.timers.run)
            self.timeouts.timers = self.timers
            try:
                yield self
            finally:
                self.timeouts.timers = None
                self.nursery.cancel_scope.cancel()

    def only(self, cls: type[T], make: Callable[[], T]) -> T:
        """The one of a class that all who ask share in this runtime; made when it is first asked for."""
        found: T | None = self._only.get(cls)
        if found is None:
            found = self._only[cls] = make()
        return found

    @property
    def is_here(self) -> bool:
        """Whether this is the thread in which the actors run."""
        return self.thread == get_ident()

    def run_here(self, function: Callable[[T], object], argument: T) -> None:
        """Call `function(argument)` in the actors' thread: at once, or soon. Nothing, where trio's run is over."""
        try:
            if self.is_here:
                function(argument)
            elif self.token is not None:
                self.token.run_sync_soon(function, argument)
        except RuntimeError:  # nobody waits any more: RunFinishedError is one, too
            pass

    def next_key(self) -> str:
        """A name that no message had before."""
        return f"m{next(self._keys)}"

    def renew_turns(self) -> None:
        """The loop has turned."""
        self.turns_left = BATCH

    def find(self, name_or_path: str, kind: type[Any] | None = None) -> Ref[Any]:
        """The Ref of the actor with this path or unique name; TypeError if it runs and is not of that class."""
        cell = self.registry.find(name_or_path)
        actor = getattr(cell.incarnation, "actor", None)
        if kind is not None and actor is not None and not isinstance(actor, kind):
            raise TypeError(f"{cell.path} is a {type(actor).__qualname__}, not a {kind.__qualname__}")
        return cell.ref

    def exited(self, cell: Cell, incarnation: Incarnation, reason: Reason) -> None:
        """Tell of an incarnation's end."""
        abnormal, text = is_abnormal(reason), describe(reason)
        self.events.emit(ActorExited(path=cell.path, incarnation=incarnation.number, reason=text, abnormal=abnormal))
        if abnormal:
            cell.last_crash = text
        if self._crash_listeners and isinstance(reason, BaseException):
            method = incarnation.current[0] if incarnation.current is not None else None
            actor = getattr(incarnation, "actor", None)
            recent = incarnation.last_messages
            crash = Crash(cell.path, incarnation.number, method, reason, actor, recent)
            for listener in list(self._crash_listeners):
                listener(crash)

    def listen_to_crashes(self, listener: Callable[[Crash], None]) -> Callable[[], None]:
        """Call `listener` with each crash to come, at once; it must be quick and not raise. The result ends it."""
        self._crash_listeners[listener] = None
        return lambda: self._crash_listeners.pop(listener, None)

    def dead_letter(self, path: str, method: str, why: str) -> None:
        """A message could not be delivered."""
        letter = DeadLetter(path=path, method=method, why=why)
        self.events.emit(letter)
        if not why.startswith(f"published on {DEAD_LETTERS!r}"):
            self.topics.publish(DEAD_LETTERS, letter)

    def fail_linked(self, links: Iterable[Incarnation], reason: Reason) -> None:
        """Fail these, and in turn what is linked to them; a long chain does not deepen the stack."""
        is_first = not self._failing
        self._failing.extend((life, reason) for life in links)
        try:
            while is_first and self._failing:
                life, why = self._failing[0]
                life.fail(why)
                self._failing.popleft()
        except BaseException:
            self._failing.clear()
            raise

    def zombie(self, cell: Cell, incarnation: int) -> None:
        """A killed incarnation did not end."""
        self.zombies += 1
        self.events.emit(Zombie(path=cell.path, incarnation=incarnation))


def _stopwatch() -> Callable[[], float]:
    """The quickest clock; or trio's, where that is not the real one, so that a run repeats (rule D1)."""
    is_real = type(trio.lowlevel.current_clock()).__name__ == "SystemClock"
    return perf_counter if is_real else trio.current_time
