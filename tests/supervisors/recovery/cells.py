"""What is to come of one way into a row of the recovery matrix, step by step.

A `Cell` is an error that is classified so, and where it is raised. Its steps say what the policy names, what else the
tree tells of, what the actor does, what the sender gets, and how long that takes. matrix_cells.py has one and more for
each row, and test_matrix_through_a_tree.py plays them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from ukemi import RECOVERY, Policy, Row
from ukemi.supervisors.recovery import GENERAL, MATRIX

ROWS = {row.name: row for row in (*MATRIX, *GENERAL)}
CRASH = "ActorCrashed, of the error"
ERROR = "the error itself"
TIMEOUT = "CallTimeout"


@attrs.frozen(kw_only=True)
class Step:
    """The child fails so many times in a row; what comes of it."""

    gets: str
    """What the sender of the message gets: CRASH, ERROR, TIMEOUT, or an answer."""
    tells: str
    """The events, in order: `first` and `then` are the row's actions, with the attempt."""
    does: str
    """What the actor logs: its methods, +NAME at a start, -NAME at an end."""
    state: str = "running"
    """Of the child, then; and the fallback that runs in its place."""
    fails: int = 1
    waits: float = 0.0
    """Seconds after which the sender knows, but for the jitter."""
    settles: float = 0.0
    """Seconds from then on until all is as it says here, but for the jitter."""
    takes: float = 0.0
    """Seconds that the handler takes."""
    rests: float = 0.0
    """Seconds until the next step."""


@attrs.frozen(kw_only=True)
class Back:
    """The way back: what happens by itself in this time after the last step."""

    after: float
    tells: str
    does: str
    state: str = "running"


@attrs.frozen(kw_only=True)
class Cell:
    """One way into a row."""

    row: str
    case: str
    errors: tuple[Callable[[], Exception], ...]
    steps: tuple[Step, ...]
    back: Back | None = None
    in_a: Literal["message", "task", "start"] = "message"
    method: str = "once"
    fallback: str | None = None
    options: dict[str, Any] = attrs.field(factory=dict)
    policy: Policy = RECOVERY
    max_restarts: int = 1000

    @property
    def id(self) -> str:
        row = ROWS[self.row]
        first = row.first if row.tries in (0, 1) or row.then is None else f"{row.first} x{row.tries}"
        then = f", then {row.then}" if row.then is not None else ""
        return f"{self.row}: {first}{then} - {self.case}"


def row_of(cell: Cell) -> Row:
    return ROWS[cell.row]


# --- steps that several cells share


def restarts(n: int, what: str = "first", **more: Any) -> Step:
    """The child is restarted at once."""
    return Step(gets=CRASH, tells=f"{what} {n}, ChildRestarted", does="once, -own, +own", **more)


def resumes(n: int, *others: str, **more: Any) -> Step:
    """The caller gets the error, the actor goes on."""
    return Step(gets=ERROR, tells=", ".join((*others, f"first {n}")), does="once", **more)


def falls_back(to: str, tells: str) -> Step:
    """The message is lost, and a fallback takes the child's place."""
    return Step(
        gets=CRASH, tells=f"{tells}, ChildRestarted, FellBack {to}", does=f"once, -own, +{to}", state=f"degraded: {to}"
    )


def back_from(fallback: str) -> Back:
    """The child is started beside its fallback after a second, and takes over."""
    return Back(after=1.2, tells="FellBack None", does=f"+own, -{fallback}")


def retried(n: int, method: str) -> str:
    return ", ".join([method] * (n + 1))


def tries(n: int) -> str:
    return ", ".join(f"first {k}" for k in range(1, n + 1))
