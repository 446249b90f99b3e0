"""`Ref`: how everybody else talks to an actor.

A Ref is a path and a uid. It stays good across restarts of its actor, and of its parent where the actor is declared;
deleting the actor's spec ends the uid for ever (rule R1). Nothing here tells the caller which incarnation answers, or
that the actor shares its process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from sys import _getframe, exception
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, overload

from trio.lowlevel import (
    checkpoint,
    current_task,
    enable_ki_protection,
    wait_task_rescheduled,
)

from .deadlines import set_deadline
from .errors import ActorStopped, CallTimeout, MailboxFull, UkemiError
from .handling import TURNS_PER_SECOND
from .incarnation import Incarnation
from .inline import run_inline
from .messages import Call
from .reasons import Exit
from .turn import current
from .waiting import check_cycle

if TYPE_CHECKING:
    from .cell import Cell
    from .place import Stats
    from .protocol import Method, MethodKey
    from .system import System

A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")

_DEEP = 150
"""Frames on the stack above which a call is not run in its caller's turn, whose depth the callee must not meet."""


class Ref(Generic[A_co]):
    """A reference to an actor of class `A`. Made by the runtime; equal if they name the same actor."""

    __slots__ = ("_cell", "_timeout")

    encodes: ClassVar[bool] = False
    """Whether messages are encoded on their way (rule X5)."""

    def __init__(self, cell: Cell, timeout: float | None) -> None:
        self._cell = cell
        self._timeout = timeout

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._cell.name

    @property
    def path(self) -> str:
        """Where the actor is in the tree."""
        return self._cell.path

    @property
    def uid(self) -> int:
        """Which of all actors that ever had this path it is."""
        return self._cell.uid

    @property
    def cell(self) -> Cell:
        """For the runtime's own use."""
        return self._cell

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(self._cell.uid)

    def __repr__(self) -> str:
        return f"<Ref {self._cell.path}>"

    def stats(self) -> Stats:
        """The actor's mailbox, state and counts, as of now."""
        return self._cell.stats()

    def within(self, seconds: float | None) -> Ref[A_co]:
        """The same Ref with another deadline for its calls, in seconds from each call; None for no deadline."""
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"within takes seconds from 0 up, or None for no deadline, not {seconds!r}")
        return type(self)(self._cell, inf if seconds is None else float(seconds))

    # --- messages

    @staticmethod
    def travel(system: System, known: Method, event: Any) -> Any:
        """A published event, as it reaches a subscriber's method."""
        return event

    @overload
    async def call(
        self, method: Callable[Concatenate[A_co, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def call(self, method: Callable[Concatenate[A_co, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    @enable_ki_protection
    async def call(self, method: MethodKey, /, *args: Any, **kwargs: Any) -> Any:
        """Send a message and wait for the reply; what the handler returns, or the error it rejects with.

        Ends with the reply, ActorCrashed, ActorStopped, CallTimeout, or CalledItself; never hangs. Wrong arguments are
        a TypeError here. Cancelled before the actor took the message, it never runs; after that, it runs to its end
        and the reply is dropped.

        A cancellation point always; a schedule point where it has to wait, and once in a while where not: a sync
        method of an idle actor is run in the caller's turn.
        """
        cell = self._cell
        known = cell.methods[method]
        life = cell.ready
        if life is not None and known.is_sync and life.runs_inline and exception() is None and self._may_run_now():
            system = cell.system
            if system.turns_left <= 0:
                await checkpoint()
                system.renew_turns()
                if cell.ready is not life or not life.runs_inline:
                    return await self._reply(self._ask(known, args, kwargs))
            # trio's own checkpoint_if_cancelled() without its coroutine, which would cost a tenth of the call
            elif current_task()._cancel_status.effectively_cancelled:
                await checkpoint()
            clock = system.clock
            begun = clock()
            result = run_inline(life, known, args, kwargs, self._timeout)
            system.turns_left -= 1 + (clock() - begun) * TURNS_PER_SECOND
            if type(result) is not Call:
                return result
            me = current.get(None)
            if not result.deadline:
                set_deadline(result, self._timeout, me)
            if type(me) is Incarnation and not result.settled:
                result.caller = me
                me.waits.append(cell)
            return await self._reply(result)
        return await self._reply(self._ask(known, args, kwargs))

    def _may_run_now(self) -> bool:
        """Whether the caller's stack is shallow, and the time that it has for this call is not over."""
        try:
            _getframe(_DEEP)
        except ValueError:
            me = current.get(None)
            if type(me) is Incarnation and me.current is not None:
                asked = me.current[3]
                return self._timeout != 0 and (asked is None or not asked.settled)
            return self._timeout != 0
        return False

    def _ask(self, known: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Queue the message, and wake the actor; or what can be said at once."""
        cell = self._cell
        if kwargs or not known.fewest <= len(args) <= known.most:
            known.check(args, kwargs)
        call = Call(cell, known.name)
        mailbox = cell.mailbox
        is_probe = False
        if mailbox.is_closed:
            is_probe = cell.gate.lets_in()
            if not is_probe:
                call.fail(cell.gate.refusal())
                return call
        life = cell.incarnation
        if known.at_once and life is not None and hasattr(life, "actor"):  # while it starts, too
            call.reply(known.function(life.actor, *args, **kwargs))
            return call
        me = current.get(None)
        set_deadline(call, self._timeout, me)
        if call.seconds <= 0:
            call.fail(lambda: CallTimeout(cell.path, call.method, max(call.seconds, 0.0), began=False))
            return call
        if type(me) is Incarnation:
            check_cycle(me.cell, cell)
            call.caller = me
            me.waits.append(cell)
        if is_probe:
            mailbox.put_probe((known.name, args, kwargs, call))
        else:
            mailbox.put_call((known.name, args, kwargs, call), call)
        life = cell.ready
        if life is not None:
            cell.ready = None
            life.wake()
        return call

    async def _reply(self, call: Call) -> Any:
        """Wait for it, or for its deadline. A checkpoint."""
        if call.settled:
            await checkpoint()
        else:
            call.task = current_task()
            timers = call.cell.system.timers
            timers.watch(call)
            try:
                await wait_task_rescheduled(call.abort)
            finally:
                timers.release(call)
                if call.caller is not None:
                    call.caller.waits.remove(call.cell)
        if call.error is not None:
            raise call.error()
        return call.value

    @overload
    def cast(self, method: Callable[Concatenate[A_co, P], Any], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    def cast(self, method: str, /, *args: Any, **kwargs: Any) -> None: ...
    @enable_ki_protection
    def cast(self, method: MethodKey, /, *args: Any, **kwargs: Any) -> None:
        """Send a message and go on. Never waits: MailboxFull if there is no room, ActorStopped if nobody is there."""
        cell = self._cell
        if cell.system.thread != get_ident():
            raise UkemiError(f"cast to {cell.path} from another thread; use trio.from_thread.run_sync(ref.cast, …)")
        life = cell.ready
        known = self._known(method, args, kwargs)
        mailbox = cell.mailbox
        queue = mailbox.queue
        if len(queue) >= mailbox.room:
            if not mailbox.is_closed:
                raise MailboxFull(cell.path, mailbox.bound)
            if not cell.gate.lets_in():
                cell.gate.turn_away(known.name)
                return
        queue.append((known.name, args, kwargs, None))
        if life is not None:
            cell.ready = None
            life.wake()

    @overload
    async def send(self, method: Callable[Concatenate[A_co, P], Any], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    async def send(self, method: str, /, *args: Any, **kwargs: Any) -> None: ...
    @enable_ki_protection
    async def send(self, method: MethodKey, /, *args: Any, **kwargs: Any) -> None:
        """Like `cast`, but wait for room, keeping one's place. A checkpoint; cancelled, nothing was sent."""
        cell = self._cell
        mailbox = cell.mailbox
        await checkpoint()
        if not mailbox.is_full or mailbox.is_closed:
            self.cast(method, *args, **kwargs)
            return
        known = self._known(method, args, kwargs)
        if not await mailbox.put_waiting((known.name, args, kwargs, None)).wait():
            cell.gate.turn_away(known.name)

    def _known(self, method: MethodKey, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Method:
        known = self._cell.methods[method]
        if kwargs or not known.fewest <= len(args) <= known.most:
            known.check(args, kwargs)
        return known

    # --- its life

    @enable_ki_protection
    async def stop(self, *, drain: bool = False) -> None:
        """Ask this incarnation to end normally, after the message in hand or (`drain`) all that wait; wait for it.

        A permanent child is then started again (OTP): to stop a child for good, ask its supervisor (`stop_child`).
        """
        life = self._cell.incarnation
        await checkpoint()
        if life is None:
            raise ActorStopped(self.path, "is restarting" if self._cell.state == "restarting" else "is not running")
        me = current.get(None)
        if type(me) is Incarnation:
            check_cycle(me.cell, self._cell)
        life.request_stop(Exit.NORMAL, drain=drain)
        await life.join()

    @enable_ki_protection
    def kill(self) -> None:
        """End this incarnation, and everything below it, without `on_stop`; an abnormal exit. Does not wait."""
        if not self._cell.system.is_here:
            raise UkemiError(f"kill {self.path} from another thread: use trio.from_thread.run_sync(ref.kill)")
        self._cell.kill()
