"""Who is restarted when something fails: the pure decisions."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.reasons import Exit, Reason, Shutdown, is_abnormal
from ukemi.supervisors.strategy import (
    AutoShutdown,
    RestartType,
    Strategy,
    is_restarted,
    restart_group,
    restart_roots,
    triggers_shutdown,
)

NORMAL: list[Reason] = [Exit.NORMAL, Exit.SHUTDOWN, Shutdown("done")]
ABNORMAL: list[Reason] = [Exit.KILLED, ValueError("x"), KeyboardInterrupt(), BaseExceptionGroup("two", [ValueError()])]

strategies = st.sampled_from(get_args(Strategy))
reasons = st.sampled_from(NORMAL + ABNORMAL)


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    """Names in start order, and who needs whom."""
    order = list("abcdef"[: draw(st.integers(1, 6))])
    needs = {n: draw(st.lists(st.sampled_from(order[:i]), unique=True)) if i else [] for i, n in enumerate(order)}
    return order, needs


def needs_any(name: str, roots: set[str], needs: dict[str, list[str]]) -> bool:
    return any(n in roots or needs_any(n, roots, needs) for n in needs[name])


@pytest.mark.parametrize("reason", NORMAL)
@pytest.mark.rule("S4")
def test_normal_shutdown_and_shutdown_with_a_detail_are_normal_class_exits(reason: Reason) -> None:
    assert not is_abnormal(reason)


@pytest.mark.parametrize("reason", ABNORMAL)
def test_everything_else_is_abnormal(reason: Reason) -> None:
    assert is_abnormal(reason)


@given(reasons)
@pytest.mark.rule("S4")
def test_permanent_is_always_restarted_transient_after_abnormal_exits_temporary_never(reason: Reason) -> None:
    assert is_restarted("permanent", reason)
    assert is_restarted("transient", reason) == (reason in ABNORMAL)
    assert not is_restarted("temporary", reason)


@given(strategies, trees(), st.data())
@pytest.mark.rule("S4")
def test_a_restart_group_is_what_the_strategy_says(strategy: Strategy, tree, data: st.DataObject) -> None:
    order, needs = tree
    failed = data.draw(st.sampled_from(order))
    expected = {
        "one_for_one": [failed],
        "one_for_all": order,
        "rest_for_one": [name for name in order if order.index(name) >= order.index(failed)],
        "dependents": [name for name in order if name == failed or needs_any(name, {failed}, needs)],
    }
    assert restart_group(strategy, failed, order, needs) == expected[strategy]


@given(strategies, trees(), st.data())
@pytest.mark.rule("S5")
def test_what_is_restarted_with_an_earlier_failure_does_not_count_again(strategy, tree, data: st.DataObject) -> None:
    order, needs = tree
    failed = data.draw(st.lists(st.sampled_from(order), unique=True))
    roots = restart_roots(strategy, failed, order, needs)
    assert set(roots) <= set(failed)
    restarted = {name for root in roots for name in restart_group(strategy, root, order, needs)}
    assert set(failed) <= restarted
    for root in roots:
        others = set(roots) - {root}
        assert all(root not in restart_group(strategy, other, order, needs) for other in others)


@given(st.sampled_from(["transient", "temporary"]), reasons, st.booleans())
def test_under_never_nothing_triggers_a_shutdown(restart: RestartType, reason: Reason, others: bool) -> None:
    assert not triggers_shutdown("never", restart, reason, others)


@given(st.sampled_from(["any_significant", "all_significant"]), reasons, st.booleans())
def test_a_significant_temporary_child_triggers_on_any_exit_a_transient_one_on_a_normal_one(
    auto_shutdown: AutoShutdown, reason: Reason, others_running: bool
) -> None:
    is_enough = auto_shutdown == "any_significant" or not others_running
    assert triggers_shutdown(auto_shutdown, "temporary", reason, others_running) == is_enough
    assert triggers_shutdown(auto_shutdown, "transient", reason, others_running) == (is_enough and reason in NORMAL)
