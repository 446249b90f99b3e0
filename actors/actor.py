"""`Actor`, the class that applications derive from."""

from __future__ import annotations

from inspect import iscoroutinefunction, unwrap
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import UkemiError
from .protocol import Methods

if TYPE_CHECKING:
    from .context import Context
    from .messages import ChildExit, ChildTells, Down
    from .reasons import Reason


class _Unbound:
    """Stands in for `ctx` until the actor is started."""

    def __get__(self, actor: object, owner: type) -> Any:
        raise UkemiError(f"{owner.__qualname__}.ctx is there from on_start on, and only while a runtime runs the actor")


class Actor:
    """A part of a program that handles one message at a time and may fail alone.

    Every public method is a message (rule M1): `ref.call(Counter.add, 2)`. It may be sync or async; a sync one should
    be quick, since it runs without a pause. What the runtime offers is on `self.ctx`, from `on_start` on. Whatever a
    handler raises ends this incarnation, and the supervisor decides what next; `raise Reject(error)` only answers.

    Each hook but the last may be sync or async:

    - `on_start()`: before the first message; the parent waits for it. An exception is a failed start.
    - `on_stop(reason)`: last of all, after the background tasks have ended; after a crash too, not after a kill.
    - `on_down(down)`: something that `ctx.monitor` watches has ended.
    - `health()`: a score from 0.0 (useless) to 1.0 (well), told at once.
    """

    if TYPE_CHECKING:
        ctx: Context
    else:
        ctx = _Unbound()

    _ukemi_methods: ClassVar[Methods]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "ctx" in vars(cls):
            raise TypeError(f"{cls.__qualname__} defines 'ctx', which is where the runtime's offers are; rename it")
        if iscoroutinefunction(unwrap(cls.health)):
            raise TypeError(f"{cls.__qualname__}.health is async; it tells at once how the actor does: make it a def")
        cls._ukemi_methods = Methods(cls, _RESERVED)

    def on_start(self) -> Any:
        """Get ready. Sync or async."""

    def on_stop(self, reason: Reason) -> Any:
        """Put things away. Sync or async; bounded by the child's shutdown time."""

    def on_down(self, down: Down) -> Any:
        """Something that `ctx.monitor` watches has ended. Sync or async."""

    def health(self) -> float:
        """How well this actor does: a score from 0.0 to 1.0."""
        return 1.0

    def _stop_asked(self) -> None:
        """It is to stop after the message in hand. Only supervisors may need to hasten that."""

    def _child_exited(self, exit: ChildExit) -> Any:
        """A child of this actor has ended. Only supervisors have children."""

    def _child_tells(self, told: ChildTells) -> Any:
        """A child that goes on has an action for its supervisor to carry out."""


_RESERVED = frozenset(vars(Actor))
Actor._ukemi_methods = Methods(Actor, _RESERVED)
