"""Failure rates and the other sources of a child's health."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi import SpecError
from ukemi.supervisors.feature_states import Features
from ukemi.supervisors.features import Feature
from ukemi.supervisors.vitals import FailureRate, Vitals


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 12), st.data())
def test_the_rate_is_that_of_the_last_operations_once_there_are_enough(
    outcomes: list[bool], window: int, data: st.DataObject
) -> None:
    least = data.draw(st.integers(1, window))
    rate = FailureRate(window, least)
    for count, ok in enumerate(outcomes, 1):
        rate.record(ok)
        last = outcomes[:count][-window:]
        assert len(rate) == len(last)
        if len(last) < least:
            assert rate.rate is rate.score is None
        else:
            assert rate.rate == last.count(False) / len(last)
            assert rate.score == pytest.approx(last.count(True) / len(last))


def test_one_first_failure_says_nothing() -> None:
    rate = FailureRate()
    rate.record(False)
    assert rate.score is None
    for _ in range(18):
        rate.record(True)
    assert rate.score is None
    rate.record(True)
    assert rate.score == 0.95


def test_a_rate_that_is_reset_knows_nothing() -> None:
    rate = FailureRate(window=3, least=2)
    for _ in range(5):
        rate.record(False)
    rate.reset()
    assert (len(rate), rate.score) == (0, None)
    rate.record(True)
    rate.record(True)
    assert rate.score == 1.0


def test_it_takes_no_more_room_however_many_operations_there_were() -> None:
    rate = FailureRate()
    before = sum(sys.getsizeof(getattr(rate, slot)) for slot in FailureRate.__slots__)
    for n in range(10_000):
        rate.record(n % 3 > 0)
    after = sum(sys.getsizeof(getattr(rate, slot)) for slot in FailureRate.__slots__)
    assert after - before < 100
    assert after < 400


@pytest.mark.parametrize(
    ("option", "value"),
    [("window", 0), ("window", 1.5), ("window", True), ("least", 0), ("least", 101), ("least", None)],
)
def test_a_wrong_window_is_a_spec_error_that_names_it(option: str, value: Any) -> None:
    with pytest.raises(SpecError, match=re.escape(f"FailureRate: {option}={value!r} must be")):
        FailureRate(**{option: value})


class Told:
    """What was reported, in order."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, float | None, str, str]] = []

    def report(self, feature: str, score: float | None, source: str, path: str = "") -> None:
        self.reports.append((feature, score, source, path))

    def take(self) -> list[tuple[str, float | None]]:
        """The new ones: the source's kind and the score."""
        taken, self.reports = self.reports, []
        assert {(feature, path) for feature, _, _, path in taken} <= {("search", "/app/db")}
        assert all(source.endswith(" of /app/db") for _, _, source, _ in taken)
        return [(source.removesuffix(" of /app/db"), score) for _, score, source, _ in taken]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def vitals(told: Told) -> Vitals:
    return Vitals(told.report, "search", "/app/db", FailureRate(window=10, least=4))


def test_a_failure_rate_is_reported_when_it_changes_and_only_then(vitals: Vitals, told: Told) -> None:
    for _ in range(3):
        vitals.operation(ok=True)
    assert told.take() == []
    for _ in range(5):
        vitals.operation(ok=True)
    assert told.take() == [("failure rate", 1.0)]
    vitals.operation(ok=False)
    vitals.operation(ok=False)
    assert told.take() == [("failure rate", pytest.approx(8 / 9)), ("failure rate", 0.8)]


def test_handlers_that_hang_in_a_row_leave_nothing_of_the_score(vitals: Vitals, told: Told) -> None:
    for score in (2 / 3, 1 / 3, 0.0):
        vitals.hung()
        assert told.take() == [("hung handlers", pytest.approx(score))]
    vitals.hung()
    assert told.take() == [("hung handlers", 0.0), ("failure rate", 0.0)], "each is a failed operation, too"


def test_a_message_that_is_handled_ends_the_row(vitals: Vitals, told: Told) -> None:
    vitals.hung()
    vitals.hung()
    vitals.operation(ok=False)
    told.take()
    vitals.operation(ok=True)
    assert told.take() == [("hung handlers", 1.0), ("failure rate", 0.25)]
    vitals.hung()
    assert told.take()[0] == ("hung handlers", pytest.approx(2 / 3))


def test_the_health_hook_is_reported_when_it_says_something_else(vitals: Vitals, told: Told) -> None:
    for score in (0.9, 0.9, 0.3, None, None):
        vitals.health(score)
    assert told.take() == [("health()", 0.9), ("health()", 0.3), ("health()", None)]


def test_beginning_anew_ends_all_sources(vitals: Vitals, told: Told) -> None:
    vitals.health(0.9)
    for _ in range(4):
        vitals.hung()
    told.take()
    vitals.reset()
    assert sorted(told.take()) == [("failure rate", None), ("health()", None), ("hung handlers", None)]
    vitals.hung()
    assert told.take() == [("hung handlers", pytest.approx(2 / 3))]
    vitals.reset()
    assert told.take() == [("hung handlers", None)]


def test_the_score_is_the_worst_that_any_source_says(vitals: Vitals) -> None:
    assert vitals.score is None
    vitals.health(0.9)
    vitals.hung()
    assert vitals.score == pytest.approx(2 / 3)
    vitals.operation(ok=True)
    assert vitals.score == 0.9
    vitals.reset()
    assert vitals.score is None


def test_what_is_reset_by_its_own_report_knows_nothing() -> None:
    told: list[float | None] = []

    def report(feature: str, score: float | None, source: str, path: str = "") -> None:
        told.append(score)
        if score == 0.1:
            vitals.reset()

    vitals = Vitals(report, "search", "/app/db")
    vitals.health(0.1)
    assert (told, vitals.score) == ([0.1, None], None)
    vitals.health(0.1)
    assert told == [0.1, None, 0.1, None], "it is told again"


def test_a_hook_that_says_nonsense_is_refused_each_time_and_leaves_the_last_score() -> None:
    states = Features()
    states.declare([Feature("search")], now=0.0)

    def report(feature: str, score: float | None, source: str, path: str = "") -> None:
        states.report(feature, score, source, 0.0, path)

    vitals = Vitals(report, "search", "/app/db")
    vitals.health(0.8)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a health score is a number from 0.0 .*, not 7 "):
            vitals.health(7)
    assert states.state_of("search").score == vitals.score == 0.8


def test_two_children_of_one_feature_are_two_sources() -> None:
    states = Features()
    states.declare([Feature("search")], now=0.0)

    def report(feature: str, score: float | None, source: str, path: str = "") -> None:
        states.report(feature, score, source, 0.0, path)

    one, other = (Vitals(report, "search", path) for path in ("/app/a", "/app/b"))
    one.health(0.2)
    other.health(0.9)
    assert states.state_of("search").score == 0.2
    one.reset()
    assert states.state_of("search").score == 0.9
