"""What a debug command works on: the runtime, and what one client has switched on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from ...actors.cell import Cell
from ...actors.events import Event, Traced
from ...actors.ref import Ref
from ...actors.wire import Codec
from ...supervisors.supervisor import ChildInfo, Supervisor
from ..runtime import Runtime
from .declaring import BadCommand, converter


@attrs.define(eq=False)
class Session:
    """One client's session; use as a context, which ends what the client has switched on.

    `path` is that of the actor which serves the client; `tell` sends it an event, and must neither wait nor raise.
    """

    runtime: Runtime
    path: str
    tell: Callable[[dict[str, Any]], None]
    allow_eval: bool = False
    namespace: dict[str, Any] = attrs.field(factory=dict)
    """The variables of what the client evaluates."""
    traced: dict[str, Cell] = attrs.field(factory=dict)
    """What the client traces, by path."""
    _end_listening: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._end_listening = self.runtime.events.listen(self._pass_on)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._end_listening is not None:
            self._end_listening()
        for path in list(self.traced):
            self.trace(self.traced[path], False)

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, Traced) and event.path in self.traced:
            self.tell(event_data(event))

    def trace(self, cell: Cell, on: bool) -> None:
        """Have the client told of each message of an actor, or no more. Harmless when repeated."""
        if on and cell.path not in self.traced:
            self.traced[cell.path] = cell
            cell.trace(True)
        elif not on and cell.path in self.traced:
            self.traced.pop(cell.path).trace(False)

    def cell(self, name_or_path: str) -> Cell:
        """The cell of an actor; ComponentNotFound or AmbiguousName otherwise."""
        return self.runtime.ref(name_or_path).cell

    def supervisor_of(self, cell: Cell, purpose: str) -> Ref[Supervisor]:
        """Who administers the actor. BadCommand for a root, and for what this very connection depends on."""
        if not isinstance(cell.parent, Cell):
            raise BadCommand(f"{purpose}: {cell.path} is the root of its tree; nobody could start it again")
        if f"{self.path}/".startswith(f"{cell.path}/"):
            raise BadCommand(f"{purpose}: {cell.path} carries this connection; choose another actor")
        return cell.parent.ref

    def child_info(self, cell: Cell) -> ChildInfo | None:
        """What the actor's supervisor says of it; None for a root, or while the supervisor is down."""
        parent = cell.parent if isinstance(cell.parent, Cell) else None
        supervisor = getattr(parent.incarnation, "actor", None) if parent is not None else None
        infos: Iterable[ChildInfo] = supervisor.children() if isinstance(supervisor, Supervisor) else ()
        return next((info for info in infos if info.name == cell.name), None)

    def arguments(self, cell: Cell, method: str, data: Iterable[Any]) -> tuple[Any, ...]:
        """A message's arguments from plain data; UnknownMethod, TypeError or UkemiError say what doesn't fit."""
        known = cell.methods[method]
        args = tuple(data)
        known.check(args, {})
        return Codec(known).decode(args, self.runtime.system)


def event_data(event: Event) -> dict[str, Any]:
    """An event as plain data: its `kind`, how many seconds `ago` it was, and its own fields (a `kind` as `sort`)."""
    fields = {"sort" if key == "kind" else key: value for key, value in converter.unstructure(event).items()}
    del fields["time"]
    return {"kind": type(event).__name__, "ago": max(0.0, trio.current_time() - event.time), **fields}
