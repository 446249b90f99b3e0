"""What an incarnation made, and what ends with it (rule R5): background tasks, timers, monitors, links, subscriptions.

Most actors have none of it, so it is made when first needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import enable_ki_protection

from .events import BackgroundFailed
from .reasons import Reason, describe, is_abnormal, plain
from .turn import Background, current, is_cancelled

if TYPE_CHECKING:
    from .context import Monitor, Periodic
    from .incarnation import Incarnation


class Belongings:
    """All that one incarnation has to let go of."""

    __slots__ = ("_idle", "links", "monitors", "subscriptions", "tasks", "timers")

    def __init__(self) -> None:
        self.tasks: dict[trio.CancelScope, None] = {}
        self.timers: dict[Periodic, None] = {}
        self.monitors: dict[Monitor, None] = {}
        self.links: dict[Incarnation, None] = {}
        self.subscriptions: dict[str, None] = {}
        self._idle: trio.Event | None = None

    # --- background tasks

    def start_task(
        self, life: Incarnation, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> trio.CancelScope:
        """Run a task that belongs to the incarnation; if it raises, the incarnation fails of it."""
        scope = trio.CancelScope()
        self.tasks[scope] = None
        name = f"{life.cell.path}:{getattr(function, '__qualname__', function)}"
        life.cell.system.nursery.start_soon(self._run_task, life, scope, function, args, name=name)
        return scope

    @enable_ki_protection
    async def _run_task(
        self,
        life: Incarnation,
        scope: trio.CancelScope,
        function: Callable[..., Awaitable[object]],
        args: tuple[Any, ...],
    ) -> None:
        current.set(Background(life))
        try:
            with scope:
                await function(*args)
        except BaseException as error:
            if is_cancelled():  # with the whole runtime
                pass
            elif life.is_ending:
                failed = BackgroundFailed(path=life.cell.path, reason=describe(plain(error)))
                life.cell.system.events.emit(failed)
            else:
                life.fail(plain(error))
        finally:
            del self.tasks[scope]
            if not self.tasks and self._idle is not None:
                self._idle.set()

    def cancel_tasks(self) -> None:
        """Ask every task to end."""
        for scope in self.tasks:
            scope.cancel()

    async def join_tasks(self) -> None:
        """Wait until no task runs."""
        while self.tasks:
            self._idle = trio.Event()
            await self._idle.wait()

    # --- the rest

    def release(self, life: Incarnation, reason: Reason) -> None:
        """Let go of everything but the tasks, which have ended. An abnormal end crosses the links (OTP)."""
        for timer in list(self.timers):
            timer.cancel()
        for topic in self.subscriptions:
            life.cell.system.topics.unsubscribe(topic, life)
        for monitor in list(self.monitors):
            monitor.cancel()
        for other in self.links:
            other.belongings.links.pop(life, None)
        if self.links and is_abnormal(reason):
            life.cell.system.fail_linked(self.links, reason)
