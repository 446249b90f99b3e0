"""Who waits for whom: calls that could never be answered fail at once, naming the cycle (rule M4).

An actor waits for those that its message in hand has called, and a supervisor for the child that it starts or stops.
A cell that is down waits too: its next incarnation comes only once others, which are stopped before it, have ended
(`Cell.held_up_by`); what is below those has to end as well; and once its supervisor has done what it is at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from .errors import CalledItself

if TYPE_CHECKING:
    from .cell import Cell


def check_cycle(caller: Cell, callee: Cell) -> None:
    """Raise CalledItself if a call would close a cycle of waiting actors."""
    chain = _chain(callee, caller)
    if chain is not None:
        raise CalledItself([caller.path, *chain])


def refuse_cycles(cell: Cell) -> None:
    """Fail the calls to a cell, in hand or queued, whose callers it has begun to wait for."""
    life = cell.incarnation
    if life is None and not cell.held_up_by and _supervisor_of(cell) is None:
        return
    in_hand = life.current[3] if life is not None and life.current is not None else None
    held = (message[3] for message in cell.gate.held() if message[3] is not None)
    for call in (*held, *cell.mailbox.calls(), *([in_hand] if in_hand is not None else [])):
        chain = _chain(cell, call.caller.cell) if call.caller is not None else None
        if chain is not None:
            if not call.taken:
                cell.mailbox.withdraw(call)
            call.fail(partial(CalledItself, [chain[-1], *chain]))


def _chain(cell: Cell, target: Cell) -> list[str] | None:
    """The paths along a chain of waiting actors from one cell to another, both included."""
    seen: dict[Cell, None] = {}
    chains = [(cell, [cell.path])]
    while chains:
        last, chain = chains.pop()
        if last is target:
            return chain
        if last not in seen:
            seen[last] = None
            chains.extend((awaited, [*chain, awaited.path]) for awaited in _awaited_by(last))
    return None


def _awaited_by(cell: Cell) -> Iterator[Cell]:
    if cell.incarnation is not None:
        yield from cell.incarnation.waits
        return
    for other in cell.held_up_by:
        yield from _with_all_below(other)
    parent = _supervisor_of(cell)
    if parent is not None and cell.state == "restarting":  # which starts it once it has done what it is at
        yield parent


def _supervisor_of(cell: Cell) -> Cell | None:
    """Who starts it, if that is an actor in the middle of something."""
    life = getattr(cell.parent, "incarnation", None)
    return life.cell if life is not None and life.waits else None


def _with_all_below(cell: Cell) -> Iterator[Cell]:
    yield cell
    for child in (cell.children or {}).values():
        yield from _with_all_below(child)
