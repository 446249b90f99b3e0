"""Who is restarted when something fails: pure functions, as OTP's `supervisor` and rules S4 and S5 have them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

from ..actors.reasons import Reason, is_abnormal
from .graph import Graph, dependents

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one", "dependents"]
RestartType: TypeAlias = Literal["permanent", "transient", "temporary"]
GivesWay: TypeAlias = Literal["at once", "on restart"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]


def is_restarted(restart: RestartType, reason: Reason) -> bool:
    """Whether a child that has ended of itself is started again."""
    return restart == "permanent" or (restart == "transient" and is_abnormal(reason))


def restart_group(strategy: Strategy, failed: str, order: Sequence[str], depends_on: Graph) -> list[str]:
    """What is stopped (in reverse) and started again (in this order) when `failed` has failed."""
    match strategy:
        case "one_for_one":
            return [failed]
        case "one_for_all":
            return list(order)
        case "rest_for_one":
            return list(order[order.index(failed) :])
        case "dependents":
            return [failed, *dependents([failed], order, depends_on)]


def restart_roots(strategy: Strategy, failed: Collection[str], order: Sequence[str], depends_on: Graph) -> list[str]:
    """Which of several failures count: those that are not restarted with an earlier one anyway (rule S5)."""
    roots: list[str] = []
    covered: set[str] = set()
    for name in order if strategy != "one_for_one" else failed:
        if name in failed and name not in covered:
            roots.append(name)
            covered.update(restart_group(strategy, name, order, depends_on))
    return roots


def triggers_shutdown(auto_shutdown: AutoShutdown, restart: RestartType, reason: Reason, others_running: bool) -> bool:
    """Whether the end of a significant child, of itself and for good, ends its supervisor.

    `others_running` says whether another significant child still runs.
    """
    if auto_shutdown == "never" or (restart == "transient" and is_abnormal(reason)):
        return False
    return auto_shutdown == "any_significant" or not others_running
