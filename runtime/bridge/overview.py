"""How the bridge does, as its clients see it: the `runtime/` methods, and what is told to all of them.

Names are camelCase on the wire, and times seconds: how long ago something was, since nobody knows a client's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ...actors.cell import Cell
from ...actors.ipc.jsonrpc import Code, RpcError
from ...supervisors.alerts import AlertRaised, last_alerts
from ...supervisors.degradation import Degradation, FeatureDegraded, FeatureRestored
from ...supervisors.feature_states import FeatureState
from ...supervisors.quality import FULL, QualityState
from ..metrics import Metrics, OperationStats
from ..nodes import Node, node_of
from .methods import Nothing, method

if TYPE_CHECKING:
    from .session import ClientSession

OF_LATE = 300.0
"""Seconds for which an alert counts in `runtime/health`."""
UP = ("running", "starting")
"""The states of what needs no attention."""


# --- the methods


@method("runtime/ping", Nothing, only_reads=True)
def ping(session: ClientSession, _: Nothing) -> dict[str, Any]:
    """Nothing but an answer, to see whether and how soon there is one."""
    return {}


@method("runtime/tree", Nothing, only_reads=True)
def tree(session: ClientSession, _: Nothing) -> dict[str, Any]:
    """The running tree, as of now."""
    return attrs.asdict(_tree_of(session))


@method("runtime/features", Nothing, only_reads=True)
def features(session: ClientSession, _: Nothing) -> dict[str, Any]:
    """Each feature, in dependency order, and the quality level."""
    degradation, now = Degradation.of(session.system), session.system.now()
    return {
        "features": [_feature_data(state, now) for state in degradation.states()],
        "quality": _quality_data(degradation.quality, now),
    }


@attrs.frozen
class OneOperation:
    """Of `runtime/metrics`: an operation's name, or none for all."""

    operation: str | None = None


@method("runtime/metrics", OneOperation, only_reads=True)
def metrics(session: ClientSession, asked: OneOperation) -> dict[str, Any]:
    """How often operations were carried out, how often they failed, and how long they took."""
    known = Metrics.of(session.system)
    if asked.operation is None:
        return {"operations": [_operation_data(stats) for stats in known.snapshot()]}
    stats = known.stats(asked.operation)
    if stats is None:
        those = ", ".join(known.operations) or "none"
        said = f"no operation {asked.operation!r} was recorded; those that were: {those}"
        raise RpcError(Code.INVALID_PARAMS, said)
    return {"operations": [_operation_data(stats)]}


@method("runtime/health", Nothing, only_reads=True)
def health(session: ClientSession, _: Nothing) -> dict[str, Any]:
    """How well all is, in one number, and what is not."""
    system, now, nodes = session.system, session.system.now(), list(_tree_of(session).walk())
    degradation = Degradation.of(system)
    states, down = degradation.states(), [node for node in nodes if node.state not in UP]
    alerts = [alert for alert in last_alerts(system) if now - alert.time <= OF_LATE]
    return {
        "score": overall_score(states, components=len(nodes), down=len(down)),
        "features": [_feature_data(state, now) for state in states],
        "quality": _quality_data(degradation.quality, now),
        "alerts": [{**alert_data(alert), "ago": now - alert.time} for alert in alerts],
        "down": [{"component": node.path, "state": node.state, "fallback": node.fallback} for node in down],
    }


def overall_score(states: list[FeatureState], *, components: int, down: int) -> float:
    """From 0.0 (nothing works) to 1.0 (all is well): what is left of the features, times what runs of the components.

    A feature that is degraded counts nothing, any other as much as its score, or whole where nobody gives it one.
    """
    left = [0.0 if state.degraded else 1.0 if state.score is None else state.score for state in states]
    of_features = sum(left) / len(left) if left else 1.0
    return of_features * (1 - down / components if components else 1.0)


# --- what all clients are told


def alert_data(alert: AlertRaised) -> dict[str, Any]:
    """What `runtime/alert` says."""
    message = alert.message.encode("utf-8", "backslashreplace").decode()  # it may come from anywhere
    return {"severity": alert.severity, "component": alert.path, "message": message}


def change_data(event: FeatureDegraded | FeatureRestored) -> dict[str, Any]:
    """What `runtime/feature` says."""
    return {"feature": event.feature, "state": _state(isinstance(event, FeatureDegraded)), "because": event.because}


# --- helpers


def _tree_of(session: ClientSession) -> Node:
    root: Cell = session.ctx.find("/" + session.ctx.path.split("/")[1]).cell
    return node_of(root)


def _state(degraded: bool) -> str:
    return "degraded" if degraded else "whole"


def _feature_data(state: FeatureState, now: float) -> dict[str, Any]:
    return {
        "feature": state.feature,
        "state": _state(state.degraded),
        "score": state.score,
        "threshold": state.threshold,
        "reasons": list(state.reasons),
        "becauseOf": state.because_of,
        "fallback": state.fallback,
        "seconds": now - state.since,
    }


def _quality_data(quality: QualityState, now: float) -> dict[str, Any]:
    return {
        "level": quality.level,
        "of": FULL,
        "turnedOff": list(quality.turned_off),
        "pinned": quality.pinned,
        "pressure": quality.pressure,
        "risesIn": None if quality.rises_at is None else max(0.0, quality.rises_at - now),
    }


def _operation_data(stats: OperationStats) -> dict[str, Any]:
    return attrs.asdict(stats)
