"""What a cell knows of its spec and its parent, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from .actor import Actor
    from .messages import ChildExit

CellState: TypeAlias = Literal["starting", "running", "suspended", "stopping", "restarting", "stopped", "open"]


class Startable(Protocol):
    """What a cell needs to know of a child's spec. Times in seconds, None for no limit."""

    @property
    def name(self) -> str:
        """The last part of the path."""

    @property
    def factory(self) -> Callable[[], Actor]:
        """Makes the actor, anew for each incarnation."""

    @property
    def mailbox(self) -> int:
        """How many messages may wait."""

    @property
    def shutdown_time(self) -> float | None:
        """How long it may take to end, before it is killed."""

    @property
    def start_timeout(self) -> float | None:
        """How long `on_start` may take."""

    @property
    def handler_timeout(self) -> float | None:
        """How long a handler may take."""


class Parent(Protocol):
    """Who is told of a cell's exits."""

    @property
    def path(self) -> str:
        """The first part of the cell's path."""

    def child_exited(self, exit: ChildExit) -> None:
        """An incarnation of a child has ended, and nobody had asked it to."""


@attrs.frozen
class Stats:
    """What `Ref.stats()` tells."""

    path: str
    state: CellState
    incarnation: int
    """How many incarnations there were."""
    waiting: int
    """Messages in the mailbox, stashed ones too."""
    bound: int
    """How many may wait."""
    senders: int
    """Sends and calls that wait for room."""
    handled: int
    """Messages that the present incarnation has finished."""
    crashes: int
    """Abnormal exits of all incarnations."""
    tasks: int
    """Background tasks of the present incarnation."""
