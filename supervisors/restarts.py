"""`Restarts`: what a supervisor does about a failure: the action that its policy names, and above all a restart.

Who is restarted, when, and whether once too often is decided by pure functions (`strategy`, `intensity`, `backoff`,
`graph`); this carries it out. It never sleeps: a restart that has to wait is a timer of the supervisor's own, so that
it serves other requests meanwhile.
"""

from __future__ import annotations

from itertools import takewhile

import trio

from ..actors.messages import ChildTells
from ..actors.reasons import describe
from .alerts import raise_alert
from .backoff import START_BACKOFF
from .detours import Detours
from .errors import SupervisorGaveUp
from .events import Exhausted, GaveUp, RestartDelayed
from .intensity import RestartWindow
from .record import Child
from .recovery.actions import Action, Alert, CircuitBreak, Degrade, Escalate, Fallback, Restart, Stop
from .recovery.failure import Severity
from .spec import SupervisorSpec
from .strategy import restart_group


class Restarts(Detours):
    """See the module."""

    def __init__(self, spec: SupervisorSpec) -> None:
        super().__init__(spec)
        self._window = RestartWindow(spec.max_restarts, spec.within)

    # --- what is done about a failure

    async def _act_on(self, child: Child) -> None:
        """Carry out the action on the end of a child, which is down and would be started again."""
        action, child.action = child.action, None
        match action:
            case Fallback() if self._fall_back(child, action.handler or action.like):
                await self._stop_group(child.spec.name)
            case Degrade() if not self._degrade(child, action):
                await self._stop_group(child.spec.name)
            case CircuitBreak():
                await self._open_circuit(child)
            case Alert():
                await self._put_down(child)
            case Stop() | Escalate():
                self._end_more(child, action)
                await self._put_down(child)
            case Restart():
                child.backoff = action.backoff
                await self._restart(child)
            case _:
                await self._restart(child)

    def _do_beside(self, child: Child) -> None:
        """A child that is not started again has ended: what of the action is about others."""
        action, child.action = child.action, None
        if isinstance(action, Stop | Escalate):
            self._end_more(child, action)
        elif isinstance(action, Degrade) and (action.levels or action.feature is not None):
            self._degrade_other(child, action)

    def _end_more(self, child: Child, action: Action) -> None:
        if isinstance(action, Escalate):
            self._give_up(child, "its policy escalates")
        elif action == Stop(runtime=True) and (stop_runtime := self._cell.system.stop_runtime) is not None:
            self._alert(child, f"the runtime stops, in order: {describe(child.reason)}")
            stop_runtime()

    async def _stop_targets(self, failed: dict[str, None]) -> list[Child]:
        """Let what the actions name (`Restart(target)`) be restarted with what failed, if it runs; those beside it.

        They spend no window and wait for no policy: that is for what failed, even where they have it in their group.
        """
        targets: list[Child] = []
        for name in failed:
            action = self._children[name].action
            target = action.target if isinstance(action, Restart) else None
            sibling = self._children.get(target or "")
            if target is None or target in failed or target == self._children[name].cell.path:
                continue
            cell = self._cell.system.registry.get(target) if sibling is None else None
            if cell is not None and cell.parent is self._cell:
                sibling = self._children.get(cell.name)
            if sibling is not None:
                if sibling.state == "running":
                    await self._restart_too(sibling, self._children[name])
                    targets.append(sibling)
            elif cell is not None:
                life = getattr(cell.parent, "incarnation", None)
                if life is not None:
                    life.post(ChildTells(cell, Restart(), None))
        return targets

    async def _restart_too(self, child: Child, because: Child) -> None:
        """Stop a child, to be started again as if it had failed."""
        child.failed_at, child.reason = because.failed_at, because.reason
        child.is_free = child is not because  # one failure spends the window once
        await self._stop_group(child.spec.name)
        self._await_start(child)

    async def _restart(self, child: Child) -> None:
        """Restart a child that is down, and its group: at once, or after its backoff."""
        name = child.spec.name
        if (child.spec.backoff or child.backoff) is None:
            if await self._counts(child):
                await self._stop_group(name)
        else:
            delay = await self._next_delay(child)
            if delay is not None:
                await self._stop_group(name)
                self._retry_after(child, delay)

    async def _counts(self, child: Child) -> bool:
        """This restart of a child takes place now. False, or giving up, if it is one too many."""
        if child.is_free or not self._window.add(trio.current_time(), child.spec.name):
            return True
        await self._exhausted(child, f"more than {self._spec.max_restarts} restarts within {self._spec.within:.6g} s")
        return False

    async def _next_delay(self, child: Child) -> float | None:
        """How long to wait before a child's next try; None, or giving up, if there is none."""
        backoff = child.spec.backoff or child.backoff or START_BACKOFF
        if backoff.max_attempts is not None and child.tries + 1 >= backoff.max_attempts:
            await self._exhausted(child, f"{backoff.max_attempts} tries in a row did not help (max_attempts)")
            return None
        delay = backoff.delay(child.tries, self.ctx.random)
        child.tries += 1
        return delay

    async def _exhausted(self, child: Child, why: str) -> None:
        """A child's restarts are spent (rule S9): what it is declared to do then. Gives up if that is to escalate."""
        action = child.spec.on_exhausted
        if isinstance(action, Escalate):
            self._give_up(child, why)
        self._window.forget(child.spec.name)
        child.tries = 0
        self._emit(Exhausted(path=child.cell.path, action=str(action), why=why))
        self._alert(child, f"the restarts of {child.spec.name} are spent: {why}; now {action}")
        if isinstance(action, Degrade):
            if self._degrade(child, action):  # what it degrades is not itself: it goes on, but not at once
                child.is_free = True
                self._try_again_slowly(child)
            await self._stop_group(child.spec.name)
        else:
            child.action = action
            await self._act_on(child)

    # --- restarting

    def _retry_after(self, child: Child, delay: float) -> None:
        child.hold()
        child.retry = self.ctx.after(delay, self._retry, child.spec.name)
        self._emit(
            RestartDelayed(path=child.cell.path, delay=delay, attempt=child.tries, reason=describe(child.reason))
        )

    async def _retry(self, name: str) -> None:
        """A restart has come due. (A timer that was called off never gets here.)"""
        child = self._children[name]
        child.hold()
        self._await_start(child)
        if await self._counts(child):
            await self._stop_group(name)
        await self._start_due()

    async def _stop_group(self, name: str) -> None:
        """Stop all that is to be started again with a child, which is down. Temporary ones are dropped."""
        root = self._children[name]
        for other in await self._take_group_down(root):
            if other.spec.restart == "temporary":
                self._remove(other)
                continue
            other.returns = 0  # why it fell back may have gone with what it depends on
            if self._missing(other.spec, but_due=True) is None:
                self._await_start(other)
            elif other.does_without or other.is_held:
                self._settle(other)
            if other.state == "restarting" and other.failed_at is None:
                other.failed_at, other.reason = root.failed_at, root.reason

    async def _take_group_down(self, root: Child) -> list[Child]:
        """Stop a child and, first, all that is restarted with it; those, in start order.

        What is down with its circuit open is left so. A call between them could never be answered, and fails at once.
        """
        group = restart_group(self._spec.strategy, root.spec.name, self._order, self._depends_on)
        if len(group) == 1 and root.state != "running":
            return []
        others = [self._children[name] for name in group if name != root.spec.name]
        others = [other for other in others if other.state != "open"]
        cells = tuple(other.cell for other in others)
        for cell in (root.cell, *cells):
            cell.hold_up(cells)
        stopped = {child.spec.name for child in (root, *others) if child is not root or child.state == "running"}
        await self._stop([name for name in group if name in stopped])
        for cell in (root.cell, *cells):
            cell.hold_up(())
        return others

    async def _start_due(self) -> None:
        """Start what waits for it, each after what it depends on. What fails is tried again later."""
        while not self._life.stop_request and (due := self._due()):
            errors = await self._run_group(due, self._start_again)
            if self._life.stop_request:
                return
            for name, error in errors.items():
                await self._start_again_later(self._children[name], error)

    async def _start_again_later(self, child: Child, error: BaseException) -> None:
        """A restart's start has failed."""
        child.reason = error
        self._await_start(child)
        if child.is_degraded_and_down:
            self._try_again_slowly(child)
            return
        order = child.guard.start_failed(error) if child.guard is not None else None
        action = order.action if order is not None else None
        child.is_free = child.is_free or (order is not None and order.is_bounded)
        if isinstance(action, Degrade) and self._is_of_others(child, action):  # tried again, but not at once
            self._degrade_other(child, action)
            action = None
        if action is not None and not isinstance(action, Restart):
            child.action = action
            await self._act_on(child)
            return
        child.backoff = action.backoff if isinstance(action, Restart) else None
        delay = await self._next_delay(child)
        if delay is not None:
            self._retry_after(child, delay)

    def _due(self) -> list[str]:
        self._waiting = {name: child for name, child in self._waiting.items() if child.is_due}
        return self._startable() if self._waiting else []

    def _startable(self) -> list[str]:
        """Those of the waiting children that can be started now, in order.

        Under one_for_all none can while one of them has to wait for its time, since its restart is that of all; under
        rest_for_one, while one before it does. Else only the dependencies decide.
        """
        due: dict[str, None] = {}
        if self._spec.strategy == "one_for_all" and any(child.is_delayed for child in self._children.values()):
            return []
        in_order = self._spec.strategy in ("one_for_all", "rest_for_one")
        for name, child in self._children.items():
            needed = () if child.does_without else child.spec.depends_on
            if child.is_due and all(n in due or self._children[n].is_met for n in needed):
                due[name] = None
            elif in_order and child.state == "restarting":
                break
        return list(due)

    def _has_to_wait(self, child: Child) -> bool:
        """Whether a child that is down can't be started yet, for the same reasons."""
        if self._spec.strategy in ("one_for_all", "rest_for_one"):
            before = takewhile(lambda other: other is not child, self._children.values())
            if any(other.state == "restarting" for other in before):
                return True
        return not child.does_without and self._missing(child.spec) is not None

    def _alert(self, child: Child, said: str) -> None:
        """Tell the user that a restart was not enough."""
        system = self._cell.system
        raise_alert(system, path=child.cell.path, severity=Severity.CRITICAL, message=said, kind="exhausted")

    def _give_up(self, child: Child, why: str) -> None:
        self._emit(GaveUp(path=self.ctx.path, child=child.cell.path, reason=describe(child.reason)))
        self._alert(child, f"{self.ctx.name} gave up on {child.spec.name}: {why}")
        raise SupervisorGaveUp(self.ctx.path, child.cell.path, why, child.reason)
