"""The debug commands about what keeps a runtime going in spite of failures: features, the quality level, circuits."""

from __future__ import annotations

import math
from typing import Any, Literal

import attrs
import trio
from loguru import logger

from ...actors.shorten import short
from ...supervisors.circuit import CircuitInfo
from ...supervisors.feature_states import FeatureState
from ...supervisors.quality import FULL, QualityState
from ...supervisors.supervisor import Supervisor
from .declaring import ActorName, BadCommand, Commands
from .session import Session

MENDING = Commands()


@attrs.frozen
class FeatureRow:
    """What `features` tells of each."""

    state: FeatureState
    seconds: float
    """For which it has been in this state."""


@attrs.frozen
class QualityRow:
    """What `quality` tells."""

    level: int
    of: int
    turned_off: tuple[str, ...]
    pinned: bool
    pressure: float | None
    rises_in: float | None
    """Seconds until the next level up, if it stays quiet."""


@MENDING.declare(shown="features")
async def features(session: Session) -> list[FeatureRow]:
    """The features, in dependency order: which are degraded, for how long, and why."""
    now = trio.current_time()
    return [FeatureRow(state, now - state.since) for state in session.runtime.features.states()]


@MENDING.declare(shown="fields")
async def quality(session: Session, level: Literal["0", "1", "2", "3", "auto"] | None = None) -> QualityRow:
    """The quality level and what it turns off; or hold it at one, until `quality auto` lets it go by what happens."""
    degradation = session.runtime.features
    if level is not None:
        degradation.set_quality(None if level == "auto" else int(level))
        logger.bind(actor=session.path).info("the quality level is now {} ({})", degradation.quality.level, level)
    return _quality_row(degradation.quality)


@MENDING.declare(shown="fields")
async def circuit(
    session: Session, actor: ActorName, switch: Literal["open", "close"] | None = None, seconds: Any = None
) -> CircuitInfo:
    """An actor's circuit; or open it, for SECONDS or until it is closed, or close it and start the actor.

    While it is open the actor is down, and its callers are told so at once.
    """
    cell = session.cell(actor)
    if seconds is not None and switch != "open":
        raise BadCommand(f"circuit: seconds={short(seconds)} goes with `open` only")
    if switch is not None:
        supervisor = session.supervisor_of(cell, "circuit")
        if switch == "open":
            await supervisor.call(Supervisor.open_circuit, cell.name, _seconds(seconds))
        else:
            await supervisor.call(Supervisor.close_circuit, cell.name)
    child = session.child_info(cell)
    if child is None or child.circuit is None:
        raise BadCommand(f"circuit: {cell.path} has none; `circuit {actor} open` makes one")
    return child.circuit


# --- helpers


def _quality_row(state: QualityState) -> QualityRow:
    rises_in = None if state.rises_at is None else max(0.0, state.rises_at - trio.current_time())
    return QualityRow(state.level, FULL, state.turned_off, state.pinned, state.pressure, rises_in)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BadCommand(f"circuit: seconds={short(value)} must be a finite number above 0; without it there is no end")
    return float(value)
