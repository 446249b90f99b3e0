"""The restart window, against a naive list of every restart there ever was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.supervisors.intensity import RestartWindow

# Multiples of a quarter, so that sums and differences are exact and the inclusive border is really met.
quarters = st.integers(0, 40).map(lambda n: n / 4)


@given(gaps=st.lists(quarters), max_restarts=st.integers(0, 6), within=st.integers(1, 40).map(lambda n: n / 4))
@pytest.mark.rule("S4", "S6")
def test_it_is_spent_when_more_restarts_than_allowed_lie_within_the_period(
    gaps: list[float], max_restarts: int, within: float
) -> None:
    window = RestartWindow(max_restarts, within)
    every: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        every.append(now)
        assert window.add(now) == (sum(now - stamp <= within for stamp in every) > max_restarts)
        assert len(window) <= max_restarts + 1


def test_intensity_one_tolerates_one_restart_and_none_tolerates_none() -> None:
    for second, spent in ((5.0, True), (5.25, False)):
        window = RestartWindow(1, 5.0)
        assert not window.add(0.0)
        assert window.add(second) is spent, "a stamp as old as the period still counts"
    assert RestartWindow(0, 5.0).add(0.0)


def test_the_stamps_stay_few_however_many_restarts_there_were() -> None:
    window = RestartWindow(3, 5.0)
    for _ in range(10_000):
        window.add(1.0)
    assert len(window) == 4
