"""When a feature is degraded and when restored, case by case. `test_features_against_the_model` has the rest."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from ukemi import ComponentNotFound, SpecError
from ukemi.supervisors.feature_states import FAILURE, MANUAL, QUALITY, Change, Features
from ukemi.supervisors.features import Feature

CHAIN = [Feature("page", depends_on=["search"]), Feature("search", depends_on=["index"]), Feature("index")]


def declared(*features: Feature) -> Features:
    """These features, all of them whole."""
    states = Features()
    assert states.declare(features, now=0.0) == []
    return states


def told(changes: list[Change]) -> list[str]:
    return [f"{'-' if change.degraded else '+'}{change.feature}" for change in changes]


def degraded(states: Features) -> list[str]:
    return [state.feature for state in states.states() if state.degraded]


def test_a_score_below_the_threshold_degrades_it_once() -> None:
    states = declared(Feature("index"))
    assert states.report("index", 0.5, "disk", now=1.0) == []
    assert told(states.report("index", 0.4, "disk", now=2.0)) == ["-index"]
    assert states.report("index", 0.1, "disk", now=3.0) == []
    assert states.state_of("index").since == 2.0


def test_the_worst_of_its_sources_is_its_score() -> None:
    states = declared(Feature("index"))
    states.report("index", 0.9, "disk", now=0.0)
    states.report("index", 0.7, "memory", now=0.0)
    assert states.state_of("index").score == 0.7
    states.report("index", 0.95, "memory", now=0.0)
    assert states.state_of("index").score == 0.9


def test_a_feature_that_nobody_scores_is_whole() -> None:
    states = declared(Feature("index", threshold=1.0))
    assert states.state_of("index").score is None
    assert degraded(states) == []


def test_it_is_restored_after_ten_seconds_of_a_score_well_above_the_threshold() -> None:
    states = declared(Feature("index"))
    states.report("index", 0.4, "disk", now=0.0)
    assert states.next_due is None
    states.report("index", 0.61, "disk", now=5.0)
    assert states.next_due == 15.0
    assert states.tick(14.9) == []
    assert told(states.tick(15.0)) == ["+index"]
    assert states.next_due is None


@pytest.mark.parametrize("dip", [0.6, 0.5, 0.0])
def test_a_score_that_falls_back_meanwhile_begins_the_wait_anew(dip: float) -> None:
    states = declared(Feature("index"))
    states.report("index", 0.4, "disk", now=0.0)
    states.report("index", 0.9, "disk", now=1.0)
    states.report("index", dip, "disk", now=10.0)
    assert states.next_due is None
    assert states.tick(11.0) == []
    states.report("index", 0.9, "disk", now=12.0)
    states.report("index", 0.8, "disk", now=15.0)
    assert states.next_due == 22.0, "it was well all the time"


def test_a_score_that_flutters_about_the_threshold_changes_nothing() -> None:
    states = declared(Feature("index"))
    states.report("index", 0.49, "disk", now=0.0)
    for second in range(1, 1000):
        assert states.report("index", 0.49 if second % 2 else 0.7, "disk", now=float(second)) == []


def test_a_bad_score_in_the_moment_of_restoring_comes_first() -> None:
    states = declared(Feature("index"))
    states.report("index", 0.4, "disk", now=0.0)
    states.report("index", 0.9, "disk", now=0.0)
    assert states.report("index", 0.4, "disk", now=10.0) == []
    assert degraded(states) == ["index"]


def test_another_source_that_is_ill_holds_it_down() -> None:
    states = declared(Feature("index"))
    states.report("index", 0.1, "disk", now=0.0)
    states.report("index", 0.2, "memory", now=0.0)
    states.report("index", 1.0, "disk", now=1.0)
    assert states.next_due is None
    states.report("index", 1.0, "memory", now=2.0)
    assert states.next_due == 12.0


def test_a_source_that_ends_no_longer_counts() -> None:
    states = declared(Feature("index"))
    states.report("index", 0.1, "disk", now=0.0)
    assert states.report("index", None, "disk", now=1.0) == []
    assert states.state_of("index").score is None
    assert told(states.tick(11.0)) == ["+index"], "with no source left, nothing speaks against it"
    assert states.report("index", None, "who?", now=12.0) == []


def test_a_feature_without_a_hold_time_is_restored_by_the_report_itself() -> None:
    states = declared(Feature("index", hold=0.0))
    states.report("index", 0.1, "disk", now=0.0)
    assert told(states.report("index", 0.7, "disk", now=0.0)) == ["+index"]


def test_what_depends_on_it_goes_down_after_it_and_comes_back_after_it() -> None:
    states = declared(*CHAIN)
    changes = states.degrade("index", FAILURE, now=1.0, path="/app/db")
    assert told(changes) == ["-index", "-search", "-page"]
    assert [(change.because, change.because_of) for change in changes] == [
        ("failure", None),
        ("index is degraded", "index"),
        ("search is degraded", "search"),
    ]
    assert {change.path for change in changes} == {"/app/db"}
    changes = states.lift("index", FAILURE, now=2.0)
    assert told(changes) == ["+index", "+search", "+page"]
    assert [change.because for change in changes] == [
        "failure is over",
        "index is no longer degraded",
        "search is no longer degraded",
    ]


def test_what_has_a_reason_of_its_own_stays_down_when_its_dependency_is_restored() -> None:
    states = declared(*CHAIN)
    states.degrade("search", MANUAL, now=1.0)
    assert told(states.degrade("index", FAILURE, now=2.0)) == ["-index"]
    assert told(states.lift("index", FAILURE, now=3.0)) == ["+index"]
    assert told(states.lift("search", MANUAL, now=4.0)) == ["+search", "+page"]


def test_a_feature_with_two_reasons_needs_both_lifted() -> None:
    states = declared(Feature("index"))
    assert told(states.degrade("index", FAILURE, now=0.0)) == ["-index"]
    assert states.degrade("index", MANUAL, now=0.0) == []
    assert states.state_of("index").reasons == ("failure", "manual")
    assert states.lift("index", FAILURE, now=1.0) == []
    assert told(states.lift("index", MANUAL, now=1.0)) == ["+index"]
    assert states.lift("index", MANUAL, now=1.0) == []


def test_a_component_lifts_only_what_it_has_given() -> None:
    states = declared(Feature("index"))
    states.degrade("index", FAILURE, now=0.0, path="/app/a")
    states.degrade("index", FAILURE, now=0.0, path="/app/b")
    assert states.lift("index", FAILURE, now=1.0, path="/app/c") == []
    assert states.lift("index", FAILURE, now=1.0, path="/app/a") == []
    assert told(states.lift("index", FAILURE, now=1.0, path="/app/b")) == ["+index"]


def test_lifting_without_a_component_lifts_what_all_have_given() -> None:
    states = declared(Feature("index"))
    states.degrade("index", FAILURE, now=0.0, path="/app/a")
    states.degrade("index", FAILURE, now=0.0, path="/app/b")
    assert told(states.lift("index", FAILURE, now=1.0)) == ["+index"]


def test_marking_gives_a_reason_to_the_named_and_takes_it_from_the_others() -> None:
    states = declared(*CHAIN, Feature("colours"))
    assert told(states.mark(QUALITY, ["search", "unknown"], now=0.0)) == ["-search", "-page"]
    assert told(states.mark(QUALITY, ["search", "colours"], now=0.0)) == ["-colours"]
    assert told(states.mark(QUALITY, ["colours"], now=0.0)) == ["+search", "+page"]
    assert told(states.mark(QUALITY, [], now=0.0)) == ["+colours"]


def test_a_state_tells_all_that_there_is_to_know() -> None:
    states = declared(*CHAIN[:2], Feature("index", 0.8, fallback="slow search"))
    states.report("index", 0.5, "disk", now=3.0)
    index, search, _ = states.states()
    assert (index.feature, index.degraded, index.score, index.threshold) == ("index", True, 0.5, 0.8)
    assert (index.reasons, index.because_of, index.fallback, index.since) == (("health",), None, "slow search", 3.0)
    assert (search.reasons, search.because_of, search.degraded) == ((), "index", True)


def test_a_feature_that_is_declared_later_is_degraded_at_once_if_its_dependency_is() -> None:
    states = declared(Feature("index"))
    states.degrade("index", FAILURE, now=0.0)
    assert told(states.declare([*CHAIN[:2], Feature("colours")], now=1.0)) == ["-search", "-page"]


def test_a_dependency_that_is_still_to_come_counts_as_whole() -> None:
    states = Features()
    assert states.declare(CHAIN[:2], now=0.0, whole=False) == []
    assert degraded(states) == []
    states.declare(CHAIN[2:], now=1.0)
    assert told(states.degrade("index", FAILURE, now=2.0)) == ["-index", "-search", "-page"]


def test_a_feature_is_there_until_all_that_have_declared_it_have_withdrawn_it() -> None:
    states = declared(Feature("shell"))
    assert states.declare([Feature("shell")], now=0.0) == []
    states.degrade("shell", FAILURE, now=0.0)
    states.withdraw(["shell"], now=1.0)
    assert degraded(states) == ["shell"]
    states.withdraw(["shell"], now=2.0)
    assert "shell" not in states
    states.declare([Feature("shell")], now=3.0)
    assert degraded(states) == [], "it begins anew"


def test_each_mention_of_a_name_withdraws_it_once() -> None:
    states = declared(Feature("shell"), Feature("index"))
    states.declare([Feature("shell")], now=0.0)
    states.withdraw(["shell", "shell", "index", "index"], now=1.0)
    assert list(states) == []


def test_what_depended_on_a_withdrawn_feature_is_restored() -> None:
    states = declared(*CHAIN)
    states.degrade("index", FAILURE, now=0.0)
    changes = states.withdraw(["index"], now=1.0)
    assert told(changes) == ["+search", "+page"]
    assert changes[0].because == "index is no longer degraded"


def test_withdrawing_one_that_was_about_to_be_restored_leaves_nothing_due() -> None:
    states = declared(Feature("index"))
    states.report("index", 0.1, "disk", now=0.0)
    states.report("index", 1.0, "disk", now=0.0)
    states.withdraw(["index"], now=1.0)
    assert states.next_due is None
    assert states.tick(99.0) == []


@pytest.mark.parametrize(
    ("features", "why"),
    [
        ([Feature("new"), Feature("index", 0.9)], "feature 'index' is declared as .* already"),
        ([Feature("new"), Feature("x", depends_on=["y"])], "depends_on='y' must be a feature that is declared"),
        ([Feature("new"), Feature("new", 0.9)], "two features are named 'new'"),
        ([Feature("new"), "other"], "'other' is no feature"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_of_it_is_declared(features: Any, why: str) -> None:
    states = declared(*CHAIN)
    with pytest.raises(SpecError, match=why):
        states.declare(features, now=1.0)
    assert list(states) == ["index", "search", "page"]


def test_a_cycle_that_closes_later_is_refused() -> None:
    states = Features()
    states.declare([Feature("a", depends_on=["b"])], now=0.0, whole=False)
    with pytest.raises(SpecError, match="feature cycle: a -> b -> a"):
        states.declare([Feature("b", depends_on=["a"])], now=0.0, whole=False)
    assert list(states) == ["a"]


@pytest.mark.parametrize("name", ["colours", ""])
def test_an_unknown_name_is_named_with_those_that_there_are(name: str) -> None:
    states = declared(*CHAIN)
    asked: list[Any] = [
        lambda: states.report(name, 0.5, "disk", now=0.0),
        lambda: states.degrade(name, MANUAL, now=0.0),
        lambda: states.lift(name, MANUAL, now=0.0),
        lambda: states.withdraw(["page", name], now=0.0),
        lambda: states.state_of(name),
    ]
    for ask in asked:
        with pytest.raises(ComponentNotFound, match=f"not found: {name}; the features are: index, search, page$"):
            ask()
    assert "page" in states


@pytest.mark.parametrize("score", [-0.01, 1.01, math.nan, math.inf, "0.5", True])
def test_a_score_that_is_none_is_refused_and_changes_nothing(score: Any) -> None:
    states = declared(Feature("index"))
    states.report("index", 0.9, "disk", now=0.0)
    with pytest.raises(ValueError, match=re.escape(f"{score!r} (of 'index')")):
        states.report("index", score, "disk", now=1.0)
    assert states.state_of("index").score == 0.9


@pytest.mark.parametrize("reason", ["health", "", None, "a\nb"])
def test_a_reason_is_text_and_bad_health_is_given_by_scores_only(reason: Any) -> None:
    states = declared(Feature("index"))
    for change in (states.degrade, states.lift):
        with pytest.raises(ValueError, match=repr(reason).replace("\\", "\\\\")):
            change("index", reason, 0.0)
    assert degraded(states) == []


def test_a_chain_of_thousands_does_not_exhaust_the_stack() -> None:
    count = 3000
    states = declared(*(Feature(str(n), depends_on=[str(n - 1)] if n else []) for n in range(count)))
    assert told(states.degrade("0", FAILURE, now=0.0)) == [f"-{n}" for n in range(count)]
    assert told(states.lift("0", FAILURE, now=0.0)) == [f"+{n}" for n in range(count)]


def test_several_may_declare_the_same_at_once_and_each_withdraws_it() -> None:
    states = declared(Feature("new"), Feature("new"))
    states.withdraw(["new"], 0.0)
    assert list(states) == ["new"]
    states.withdraw(["new"], 0.0)
    assert list(states) == []
