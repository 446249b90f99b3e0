"""`Runtime`: one running tree, inside any trio program.

The tree runs in a task of its own, shielded: whatever happens to the body of `async with`, an exception, a
cancellation or Ctrl-C, the tree is stopped in order, each child within its shutdown time. The body, in turn, is only
cancelled when the tree gives up (rule X4).

Beside the application's tree, a runtime may run *services* (debug server, error reports), a tree of their own under
`/ukemi`: they are supervised like anything else.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import attrs
import trio

from ..actors.actor import Actor
from ..actors.cell import Cell
from ..actors.errors import ActorStopped, SpecError, UkemiError
from ..actors.events import EventLog
from ..actors.messages import ChildExit
from ..actors.reasons import describe, is_abnormal, plain
from ..actors.ref import Ref
from ..actors.registry import SERVICES
from ..actors.system import System
from ..actors.timeouts import Timeouts
from ..actors.wire import WireRef
from ..supervisors.degradation import Degradation
from ..supervisors.names import check_whole
from ..supervisors.spec import ChildSpec
from ..supervisors.tree import supervisor
from .metrics import Metrics
from .nodes import Node, node_of
from .reports import Errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

A = TypeVar("A", bound=Actor)


@attrs.frozen
class _Outside:
    """The parent of the two roots."""

    runtime: Runtime
    path: str = ""

    def child_exited(self, exit: ChildExit) -> None:
        self.runtime._root_exited(exit)


class Runtime:
    """Runs a tree: `async with Runtime(tree) as runtime: …`.

    - `call_timeout`: seconds that a call may take by default; `timeouts`: by its message's name, and of what else an
      application bounds with `runtime.timeouts.limit(…)`.
    - `seed`: of the one source of randomness (rule D1).
    - `encode_messages`: encode and decode every message, as if it travelled (rule X5); for tests. None: as the
      environment variable UKEMI_ENCODE_MESSAGES says.
    - `services`: makes the children of the services' tree, which may know the runtime.

    Entering waits until the tree is up; it raises StartFailed, which names the child, if it can't be started. Leaving
    stops the tree. A tree that gives up cancels the body and ends the block with SupervisorGaveUp, a plain exception.
    """

    def __init__(
        self,
        tree: ChildSpec,
        *,
        call_timeout: float = 30.0,
        timeouts: Mapping[str, float] | None = None,
        seed: int | None = None,
        encode_messages: bool | None = None,
        services: Callable[[Runtime], Sequence[ChildSpec]] | None = None,
    ) -> None:
        if not isinstance(tree, ChildSpec) or tree.tree is None:
            raise SpecError(f"a Runtime runs a supervisor(…), not {tree!r}")
        if tree.name == SERVICES:
            raise SpecError(f"the tree can't be named {SERVICES!r}, which is the name of the runtime's own services")
        check_whole(tree)
        self.spec = tree
        self.system = System(seed=seed, timeouts=Timeouts(call_timeout, timeouts))
        self.system.stop_runtime = self.ask_to_stop
        if encode_messages is None:
            encode_messages = os.environ.get("UKEMI_ENCODE_MESSAGES", "") not in ("", "0")
        if encode_messages:
            self.system.ref_class = WireRef
        self._services = supervisor(SERVICES, *services(self), strategy="dependents") if services is not None else None
        self._roots: list[Cell] = []
        self._up = trio.Event()
        self._stopping = trio.Event()
        self._tree_ended = trio.Event()
        self._done = trio.Event()
        self._error: BaseException | None = None
        self._body: trio.CancelScope | None = None
        self._running: AbstractAsyncContextManager[None] | None = None

    # --- as a context

    async def __aenter__(self) -> Self:
        if self._running is not None:
            raise UkemiError("this Runtime has run already; make a new one")
        self._running = self._run()
        try:
            await self._running.__aenter__()
        except BaseExceptionGroup as group:
            raise _own_layer_off(group) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._running is not None
        try:
            return await self._running.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            raise _own_layer_off(group) from None

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        try:
            async with trio.open_nursery() as nursery:
                self._body = nursery.cancel_scope
                nursery.start_soon(self._run_tree)
                try:
                    await self._up.wait()
                    if self._error is None:
                        yield
                finally:
                    self._stopping.set()
                    with trio.CancelScope(shield=True):
                        await self._done.wait()
        finally:
            if self._error is not None:
                raise self._error

    async def _run_tree(self) -> None:
        with trio.CancelScope(shield=True):
            try:
                async with self.system.open():
                    await self._start_and_stop()
            except BaseException as error:
                self._fail(plain(error))
            finally:
                self._up.set()
                self._tree_ended.set()
                self._done.set()

    async def _start_and_stop(self) -> None:
        for spec in (self._services, self.spec):
            if spec is not None:
                self._roots.append(Cell(self.system, spec, _Outside(self)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_when_asked)
            for root in self._roots:
                try:
                    if not self._stopping.is_set():
                        await root.start()
                except BaseException as error:  # what is up already is stopped in order
                    self._stopping.set()
                    self._fail(plain(error))
            if self._stopping.is_set():
                self._fail(ActorStopped(f"/{self.spec.name}", "was stopped while it started"))
            self._up.set()

    async def _stop_when_asked(self) -> None:
        await self._stopping.wait()
        for root in reversed(self._roots):
            await root.stop()
            root.retire()
        self._tree_ended.set()

    def _root_exited(self, exit: ChildExit) -> None:
        """A root has ended of itself: normally, or having given up. The services' end is not the application's."""
        if self._services is not None and exit.cell is self._roots[0]:
            exit.cell.close()
            return
        if is_abnormal(exit.reason):
            gave_up = isinstance(exit.reason, BaseException)
            self._fail(exit.reason if gave_up else UkemiError(f"{exit.cell.path}: {describe(exit.reason)}"))
        self._stopping.set()

    def _fail(self, error: Any) -> None:
        if self._error is None:
            self._error = error
            if self._body is not None:
                self._body.cancel()

    # --- what one does with it

    @property
    def events(self) -> EventLog:
        """What happened, and what happens: iterate it, or `async with runtime.events.follow() as channel`."""
        return self.system.events

    @property
    def timeouts(self) -> Timeouts:
        """How long operations may take; can be overridden while it runs."""
        return self.system.timeouts

    @property
    def errors(self) -> Errors:
        """The last errors, and how often there were which, where an ErrorReporter is among the services."""
        return Errors.of(self.system)

    @property
    def metrics(self) -> Metrics:
        """What is recorded of operations."""
        return Metrics.of(self.system)

    @property
    def features(self) -> Degradation:
        """The features and the quality level: what is degraded and why, and where an application reports its scores."""
        return Degradation.of(self.system)

    @overload
    def ref(self, name_or_path: str, type: type[A]) -> Ref[A]: ...
    @overload
    def ref(self, name_or_path: str) -> Ref[Any]: ...
    def ref(self, name_or_path: str, type: type[Any] | None = None) -> Ref[Any]:
        """The Ref of an actor by its path or unique name; `type` is for the type checker, and checked here.

        Raises ComponentNotFound, AmbiguousName (which lists the paths), or TypeError if it is of another class.
        """
        return self.system.find(name_or_path, type)

    def tree(self) -> Node:
        """The running tree, as of now."""
        return node_of(self._root)

    @property
    def _root(self) -> Cell:
        if not self._roots:
            raise UkemiError("the Runtime is not running; enter it with `async with`")
        return self._roots[-1]

    @property
    def is_stopping(self) -> bool:
        """Whether it has been asked to stop, or has given up."""
        return self._stopping.is_set()

    def ask_to_stop(self) -> None:
        """Begin to stop in order; does not wait."""
        self._stopping.set()

    async def stop(self) -> None:
        """Stop the tree in order and wait for it. Does not cancel the body (rule X4). Harmless when repeated."""
        self._stopping.set()
        await self._tree_ended.wait()

    async def wait(self) -> None:
        """Wait until the tree has ended, whoever ended it."""
        await self._tree_ended.wait()


def _own_layer_off(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What the body or the tree raised, without the group that the runtime's own nursery makes of it."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group
