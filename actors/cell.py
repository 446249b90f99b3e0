"""The cell: what stays when an actor crashes.

A cell has the actor's path, its mailbox and its Ref; the actor itself lives in an `Incarnation`, of which a cell has at
most one at a time. When one ends, the cell tells its parent and keeps the mail; the parent starts the next one, or
closes the cell. Cells form the tree: killing one kills those below it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import trio

from .errors import ActorCrashed, ActorStopped
from .gate import Gate
from .incarnation import Incarnation
from .mailbox import Mailbox
from .messages import Call, ChildExit, Down, Message
from .place import CellState, Parent, Startable, Stats
from .protocol import Unstarted
from .reasons import Exit, Reason, describe, is_abnormal
from .waiting import refuse_cycles

if TYPE_CHECKING:
    from .actor import Actor
    from .context import Monitor
    from .protocol import Methods
    from .recovery import Recovery
    from .ref import Ref
    from .system import System

_uids = count(1)
_UNSTARTED = Unstarted()


class Cell:
    """One place in the tree. Only its parent starts, closes and retires it."""

    __slots__ = (
        "__weakref__",
        "children",
        "crashes",
        "factory",
        "gate",
        "held_up_by",
        "incarnation",
        "last_crash",
        "last_exit",
        "mailbox",
        "methods",
        "name",
        "number",
        "parent",
        "path",
        "ready",
        "recovery",
        "spec",
        "standby",
        "state",
        "system",
        "traced",
        "uid",
        "watchers",
    )

    def __init__(self, system: System, spec: Startable, parent: Parent) -> None:
        self.system = system
        self.spec = spec
        self.factory = spec.factory
        """Makes the actor: the spec's, or a fallback."""
        self.parent = parent
        self.name = spec.name
        self.path = f"{parent.path}/{spec.name}"
        self.uid = next(_uids)
        self.mailbox = Mailbox(spec.mailbox)
        self.ready: Incarnation | None = None
        """The incarnation, while it is idle: it has to be woken, or runs a sync method in its caller's turn (I1)."""
        self.incarnation: Incarnation | None = None
        self.methods: Methods = _UNSTARTED
        """Of the present or last incarnation."""
        self.held_up_by: tuple[Cell, ...] = ()
        """Those that have to end before its next incarnation begins."""
        self.gate = Gate(self)
        """What stands before the mailbox."""
        self.recovery: Recovery | None = None
        """What is done about failures, if not OTP's restart."""
        self.number = 0
        self.crashes = 0
        self.state: CellState = "stopped"
        self.standby: Cell | None = None
        """Where a successor is, or is being started."""
        self.traced = 0
        """How many trace it; each message is then an event."""
        self.last_crash: str | None = None
        """Why an incarnation last failed."""
        self.last_exit: ChildExit | None = None
        """How the last incarnation ended, until it was told."""
        self.children: dict[str, Cell] | None = None
        self.watchers: dict[Monitor, None] | None = None
        self._join_registry()

    def _join_registry(self) -> None:
        self.system.registry.add(self)

    @property
    def ref(self) -> Ref[Any]:
        """A new Ref of this cell; all are equal."""
        return self.system.ref_class(self, None)

    # --- the parent's side

    def child(self, spec: Startable) -> Cell:
        """The cell below this one for a spec: the one that is there already (rule R1), or a new one."""
        if self.children is None:
            self.children = {}
        cell = self.children.get(spec.name)
        if cell is None:
            cell = self.children[spec.name] = Cell(self.system, spec, self)
        cell.spec = spec
        cell.factory = spec.factory
        return cell

    async def start(self) -> None:
        """Run a new incarnation: its factory, then `on_start`. Raises what they raise, or StartTimeout.

        Not a checkpoint where nothing in it has to wait. Cancelled, it kills what it had begun to start.
        """
        assert self.incarnation is None, f"{self.path} is running already"
        self.announce(final=False)
        self.held_up_by = ()
        self.number += 1
        self.state = "starting"
        self.gate.open()
        incarnation = self.incarnation = Incarnation(self, self.number)
        try:
            await incarnation.start()
        except trio.Cancelled:
            incarnation.kill()
            raise

    def ask_to_stop(self, *, at_once: bool = False) -> None:
        """Ask it to end within its shutdown time, or kill it. Its parent is not told: it is the parent who asks."""
        if self.incarnation is not None:
            self.incarnation.is_attended = True
            if at_once:
                self.incarnation.kill()
            else:
                self.incarnation.request_stop(Exit.SHUTDOWN)

    async def stop(self, *, at_once: bool = False) -> None:
        """`ask_to_stop`, and wait until it is over. Not a checkpoint where nothing has to wait."""
        self.ask_to_stop(at_once=at_once)
        await self.join()

    async def join(self) -> None:
        """Wait until no incarnation is running, nor a successor."""
        if self.incarnation is not None:
            await self.incarnation.join()
        if self.standby is not None and self.standby.incarnation is not None:
            await self.standby.incarnation.join()

    def kill(self) -> None:
        """End it at once, and everything below it."""
        for cell in (self, self.standby):
            if cell is not None and cell.incarnation is not None:
                cell.incarnation.kill()

    def hold_up(self, others: tuple[Cell, ...]) -> None:
        """Its next incarnation has to wait until these have ended; or, given none, no more.

        A call from one of them that waits in its mailbox could never be answered, and fails at once.
        """
        self.held_up_by = others
        refuse_cycles(self)

    def await_restart(self) -> None:
        """It is down and will be started again: the mail waits."""
        self.state = "restarting"
        self.gate.open()
        self.announce(final=False)

    def close(self, why: str = "is not running", *, shut_off_by: str | None = None) -> None:
        """It is down and stays down until its parent says otherwise: whoever waits is told (rules R3, R7, S12).

        `shut_off_by` is the path of a supervisor whose circuit is open: then that is what they are told.
        """
        self.state = "stopped"
        self.gate.close(why, shut_off_by)
        self.announce(final=True)
        for child in (self.children or {}).values():
            child.close(why, shut_off_by=shut_off_by)

    def shut_off(self) -> None:
        """It is down for a time, with its circuit open, and so is all that is below it."""
        self.state = "open"
        self.gate.open_circuit()
        self.announce(final=False)
        for child in (self.children or {}).values():
            child.close("is down with its supervisor", shut_off_by=self.path)

    def retire(self) -> None:
        """This cell will never run again; a later one of the same name is another (rule R1)."""
        for child in list((self.children or {}).values()):
            child.retire()
        self.close("was deleted")
        self.system.registry.remove(self)
        siblings = getattr(self.parent, "children", None)
        if siblings is not None and siblings.get(self.name) is self:
            del siblings[self.name]

    # --- a successor (rule S15)

    async def prepare(self, factory: Callable[[], Actor]) -> None:
        """Start another incarnation beside the present one, which goes on; it waits as `standby`.

        Raises what its start raises; then, and when cancelled, nothing is left of it. It ends with `dismiss`.
        """
        assert self.standby is None, f"{self.path} has a successor already"
        standby = self.standby = _Standby(self, factory)
        try:
            await standby.start()
        except BaseException:
            with trio.CancelScope(shield=True):  # bounded: it has failed, or was killed
                await standby.join()
            self.standby = None
            raise

    async def dismiss(self) -> None:
        """End what was prepared. Cancelled, it is killed, and nothing is left of it either."""
        standby = self.standby
        if standby is None:
            return
        try:
            await standby.stop()
        except BaseException:
            standby.kill()
            with trio.CancelScope(shield=True):  # bounded, since it was killed
                await standby.join()
            raise
        finally:
            if self.standby is standby:
                self.standby = None  # not before: until then, whoever kills this place kills that too

    @property
    def is_fit(self) -> bool:
        """Whether its actor is up and not about to end."""
        life = self.incarnation
        return life is not None and life.is_started and not life.is_ending and life.failure is None

    @property
    def owes_answers(self) -> bool:
        """Whether its actor has deferred calls that would be lost with it."""
        life, recovery = self.incarnation, self.recovery
        return life is not None and any(
            each.is_open and (recovery is None or recovery.gives_again(life, each.message[0]) is None)
            for each in life.deferred or ()
        )

    async def make_room(self, is_wanted: Callable[[], bool]) -> bool:
        """End the present incarnation for what was prepared, between two messages; the mail waits.

        False, and it goes on, if that is not wanted any more by then, or it is suspended, or ends of itself. So it does
        where this is cancelled.
        """
        life = self.incarnation
        if life is None:
            return True
        if life.suspended:
            return False
        try:
            await life.rest()
            is_about_to_end = life.is_ending or life.failure is not None or life.stop_request is not None
            if is_about_to_end or life.suspended or not is_wanted():
                return False
            self.ask_to_stop()
            await life.join()
            return True
        finally:
            life.go_on()

    def take_over(self) -> bool:
        """Let what was prepared take the free place, and the mail. False if it has ended meanwhile."""
        assert self.incarnation is None, f"{self.path} is running still"
        standby, self.standby = self.standby, None
        life = standby.incarnation if standby is not None else None
        if standby is None or life is None or not standby.is_fit:
            return False
        self.announce(final=False)
        standby.incarnation = standby.ready = None
        self.factory, self.number, self.state = standby.factory, standby.number, "running"
        self.incarnation, self.methods = life, life.methods
        self.gate.open()
        self.mailbox.take_from(standby.mailbox)
        life.move_to(self)
        return True

    # --- what is not in the mailbox

    def give_up(self, call: Call) -> None:
        """The time of a call that had begun is over; with a recovery, so is its handler (`Cancel`)."""
        self.gate.let_go(call)
        if self.recovery is not None and self.incarnation is not None:
            self.incarnation.give_up(call)

    def look(self) -> None:
        """Let its actor look at what is not in the mailbox."""
        if self.incarnation is not None and not self.incarnation.is_over:
            self.incarnation.look()

    def announce(self, *, final: bool) -> None:
        """Tell those who watched the last incarnation, once (rule R6), and forget how it ended (rule X3)."""
        watchers, exit = self.watchers, self.last_exit
        self.last_exit = None
        if watchers and exit is not None and self.incarnation is None:
            self.watchers = None
            down = Down(self.ref, exit.incarnation, exit.reason, final)
            for monitor in watchers:
                monitor.deliver(down)

    # --- for whoever looks at it

    def trace(self, on: bool) -> None:
        """Make an event of each message, in this and later incarnations, until as many have said off as on."""
        self.traced += 1 if on else -1
        if self.incarnation is not None:
            self.incarnation.choose_path()

    def suspend(self, on: bool) -> None:
        """Let its present incarnation take no message, or take them again; the mail waits. Raises ActorStopped."""
        if self.incarnation is None:
            raise ActorStopped(self.path, self.gate.why_closed if self.state == "stopped" else "is not running")
        self.incarnation.suspend(on)

    # --- the incarnation's side

    def child_exited(self, exit: ChildExit) -> None:
        """Pass a child's exit on to the actor; without one, nobody will start that child again."""
        if self.incarnation is not None and not self.incarnation.is_over:
            self.incarnation.post(exit)
        else:
            exit.cell.close()

    def exited(self, incarnation: Incarnation, reason: Reason, *, attended: bool) -> None:
        """An incarnation is over."""
        self.ready = self.incarnation = None
        abnormal = is_abnormal(reason)
        self.crashes += abnormal
        self.state = "restarting"
        order = incarnation.order
        if order is None and abnormal and not attended and self.recovery is not None:
            order = self.recovery.ended(incarnation, reason)
        self.last_exit = exit = ChildExit(self, incarnation.number, reason, trio.current_time(), order)
        self.system.exited(self, incarnation, reason)
        refuse_cycles(self)
        if not attended:
            self.parent.child_exited(exit)

    def lose(self, message: Message, reason: Reason) -> None:
        """The message in hand died with its incarnation (rule R4)."""
        name, _, _, call = message
        if call is None:
            self.system.dead_letter(self.path, name, f"lost in a crash: {describe(reason)}")
        elif is_abnormal(reason):
            call.fail(lambda: ActorCrashed(self.path, call.method, reason))
        else:
            call.fail(lambda: ActorStopped(self.path, "stopped before it answered"))

    # --- the callers' side

    def stats(self) -> Stats:
        """See `Stats`."""
        now = self.incarnation
        return Stats(
            path=self.path,
            state="suspended" if now is not None and now.suspended else self.state,
            incarnation=self.number,
            waiting=len(self.mailbox) + len(self.gate.held()),
            bound=self.mailbox.bound,
            senders=len(self.mailbox.waiting or ()) - self.mailbox.gone,
            handled=now.handled if now is not None else 0,
            crashes=self.crashes,
            tasks=now.running_tasks if now is not None else 0,
        )


class _Standby(Cell):
    """Where a successor is started and waits: it has the path and the Ref of the cell that it is to take over."""

    __slots__ = ("_place",)

    def __init__(self, place: Cell, factory: Callable[[], Actor]) -> None:
        super().__init__(place.system, place.spec, place.parent)
        self._place = place
        self.factory = factory
        self.number = place.number

    def _join_registry(self) -> None:
        """Nobody is to find it."""

    @property
    def ref(self) -> Ref[Any]:
        """Of the place that it will have."""
        return self._place.ref
