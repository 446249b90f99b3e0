"""The dynamic supervisor: children of any number that come and go at run time (Elixir's `DynamicSupervisor`).

Its children know no order and no dependencies: each is restarted alone, and at the end all are asked to stop at once.
A child that has ended for good is forgotten; one that was stopped by `stop_child` can be revived, and does not count
against `max_children`. What it costs to start, restart or stop one does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import trio

from ..actors.errors import Reject, ResourceExhausted, SpecError
from ..actors.protocol import local
from ..actors.ref import Ref
from .record import Child
from .spec import ChildSpec, DynamicSupervisorSpec, SupervisorSpec
from .supervisor import Supervisor


class DynamicSupervisor(Supervisor):
    """Runs a `DynamicSupervisorSpec`. Made by `dynamic_supervisor(…)`."""

    def __init__(self, spec: DynamicSupervisorSpec) -> None:
        super().__init__(SupervisorSpec(spec.name, (), "one_for_one", spec.max_restarts, spec.within, "never"))
        self._max_children = spec.max_children

    def _check_new(self, spec: ChildSpec) -> None:
        if spec.depends_on:
            raise SpecError(f"{spec.name!r}: depends_on={spec.depends_on!r} must be empty under a dynamic supervisor")
        if spec.significant:
            raise SpecError(f"{spec.name!r}: significant=True must be False under a dynamic supervisor")
        self._check_names(spec)
        self._check_room()

    @local
    async def restart_child(self, name: str) -> Ref[Any]:
        """See `Supervisor.restart_child`. Raises ResourceExhausted if there is no room for one more."""
        if self._child(name).state == "stopped":
            self._check_room()
        return await super().restart_child(name)

    def _check_room(self) -> None:
        if len(self._children) < self._max_children:
            return
        running = sum(child.state != "stopped" for child in self._children.values())
        if running >= self._max_children:
            raise Reject(ResourceExhausted(f"children of {self.ctx.path}", int(self._max_children), running))

    def _startable(self) -> list[str]:
        return list(self._waiting)

    @property
    def _order(self) -> Sequence[str]:
        return ()

    @property
    def _depends_on(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    def _finish(self, child: Child) -> None:
        self._remove(child)

    async def _stop(self, names: Iterable[str]) -> None:
        """Ask all at once; each has its own shutdown time from now."""
        children = [self._children[name] for name in names]
        for child in children:
            child.hold()
            child.stay()
            child.went_down(trio.current_time())
            child.cell.ask_to_stop(at_once=child.spec.shutdown == "kill")
            if child.cell.standby is not None:
                child.cell.standby.ask_to_stop()
        with self._waiting_for([child.cell for child in children]):
            for child in children:
                await child.cell.dismiss()
                await child.cell.join()
                child.state = "stopped"

    def _release_held(self) -> None:
        """Nothing depends on anything here."""

    def _has_to_wait(self, child: Child) -> bool:
        return False
