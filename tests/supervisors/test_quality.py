"""The quality level: down when told, up by itself, one at a time."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ukemi import SpecError
from ukemi.supervisors.quality import Quality


def lowered(levels: int) -> Quality:
    """Lowered by so many levels at second 0."""
    quality = Quality()
    quality.lower(0.0, levels)
    return quality


@pytest.mark.parametrize(
    ("level", "off"),
    [
        (3, set()),
        (2, {"decorations"}),
        (1, {"decorations", "shell_integration"}),
        (0, {"decorations", "shell_integration", "file_watching"}),
    ],
)
def test_each_level_turns_off_what_the_spec_says(level: int, off: set[str]) -> None:
    quality = Quality()
    quality.pin(level)
    assert set(quality.turned_off) == off


def test_it_begins_at_full_functionality_and_nothing_is_due() -> None:
    quality = Quality()
    assert (quality.level, quality.next_due) == (3, None)
    assert quality.state.pressure is None


def test_it_goes_down_by_as_many_levels_as_are_said_and_no_further_than_to_the_least() -> None:
    quality = Quality()
    for levels, level in ((1, 2), (2, 0), (3, 0)):
        quality.lower(0.0, levels)
        assert quality.level == level


def test_it_comes_up_one_level_at_a_time_after_thirty_seconds_of_quiet_each() -> None:
    quality = lowered(3)
    for due, level in ((30.0, 1), (60.0, 2), (90.0, 3)):
        assert quality.next_due == due
        quality.tick(due - 0.1)
        assert quality.level == level - 1
        quality.tick(due)
        assert quality.level == level
    assert quality.next_due is None


def test_a_tick_that_comes_late_brings_it_up_by_one_level_all_the_same() -> None:
    quality = lowered(3)
    quality.tick(1000.0)
    assert (quality.level, quality.next_due) == (1, 1030.0)


def test_lowering_it_again_begins_the_quiet_time_anew_at_the_least_level_too() -> None:
    quality = lowered(3)
    quality.lower(20.0)
    assert quality.next_due == 50.0
    quality.tick(49.0)
    assert quality.level == 0


def test_lowering_it_in_the_moment_of_rising_comes_first() -> None:
    quality = lowered(1)
    quality.lower(30.0)
    quality.tick(30.0)
    assert (quality.level, quality.next_due) == (1, 60.0)


def test_it_does_not_rise_while_the_pressure_is_not_low() -> None:
    quality = lowered(1)
    quality.pressure(30.1, 5.0)
    assert quality.next_due is None
    quality.tick(500.0)
    assert quality.level == 2
    quality.pressure(30, 500.0)
    assert quality.next_due == 530.0
    quality.pressure(0, 520.0)
    assert quality.next_due == 530.0, "it was low all the time"


def test_a_pressure_that_nobody_measures_any_more_holds_nothing_down() -> None:
    quality = lowered(1)
    quality.pressure(100, 0.0)
    quality.pressure(None, 7.0)
    assert quality.next_due == 37.0


def test_a_high_pressure_alone_lowers_nothing() -> None:
    quality = Quality()
    quality.pressure(100, 0.0)
    assert quality.level == 3
    quality.pressure(0, 1.0)
    assert quality.next_due is None


def test_a_level_that_is_pinned_holds_whatever_happens() -> None:
    quality = lowered(2)
    quality.pin(3)
    quality.lower(10.0)
    quality.tick(40.0)
    assert (quality.level, quality.state.pinned) == (3, True)
    quality.release()
    assert (quality.level, quality.state.pinned) == (1, False), "what has happened meanwhile counts"
    assert quality.state.rises_at == 70.0


def test_a_tree_may_have_its_own_table() -> None:
    quality = Quality((["images", "sound"], ["images", "sound"], ["images"], []), quiet=1.0)
    quality.lower(0.0)
    assert quality.turned_off == ("images",)
    assert quality.next_due == 1.0


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ((), "for each level, 0 to 3"),
        (((), (), (), (), ()), "for each level, 0 to 3"),
        ((("a",), "a", (), ()), "level 1 turns off 'a', which must be a list"),
        ((("a", 7), ("a",), (), ()), r"level 0 turns off \('a', 7\), which must be a list of features' names"),
        ((("a",), ("b",), (), ()), "level 0 must turn off 'b' too, as level 1 does"),
    ],
)
def test_a_wrong_table_is_a_spec_error_that_names_the_level(table: Any, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        Quality(table)


@pytest.mark.parametrize("quiet", [0, -1.0, float("inf"), float("nan"), None, True])
def test_a_wrong_quiet_time_is_a_spec_error_that_names_it(quiet: Any) -> None:
    with pytest.raises(SpecError, match=re.escape(f"quiet={quiet!r}")):
        Quality(quiet=quiet)


@pytest.mark.parametrize("levels", [0, 4, -1, 1.0, True, None])
def test_it_is_lowered_by_one_to_three_levels(levels: Any) -> None:
    quality = Quality()
    with pytest.raises(ValueError, match=re.escape(f"levels={levels!r}")):
        quality.lower(0.0, levels)
    assert quality.level == 3


@pytest.mark.parametrize("level", [-1, 4, 2.0, False, None])
def test_it_is_pinned_to_a_level_that_there_is(level: Any) -> None:
    quality = Quality()
    with pytest.raises(ValueError, match=re.escape(f"level={level!r}")):
        quality.pin(level)
    assert not quality.state.pinned


@pytest.mark.parametrize("pressure", [-0.1, 100.1, float("nan"), "30", True])
def test_a_pressure_that_is_none_is_refused(pressure: Any) -> None:
    quality = lowered(1)
    with pytest.raises(ValueError, match=re.escape(repr(pressure))):
        quality.pressure(pressure, 10.0)
    assert (quality.next_due, quality.state.pressure) == (30.0, None)


class AgainstTheModel(RuleBasedStateMachine):
    """The level, worked out from all that has happened: a rise after each full quiet time since the last trouble."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.quality = Quality(quiet=4.0)
        self.level = 3
        self.quiet_since: float | None = 0.0
        self.pinned: int | None = None

    @rule(levels=st.integers(1, 3))
    def lower(self, levels: int) -> None:
        self.quality.lower(self.now, levels)
        self.level = max(0, self.level - levels)
        if self.quiet_since is not None:
            self.quiet_since = self.now

    @rule(value=st.sampled_from([None, 0, 30, 31, 100]))
    def press(self, value: float | None) -> None:
        self.quality.pressure(value, self.now)
        if value is not None and value > 30:
            self.quiet_since = None
        elif self.quiet_since is None:
            self.quiet_since = self.now

    @rule(level=st.none() | st.integers(0, 3))
    def pin(self, level: int | None) -> None:
        self.pinned = level
        if level is None:
            self.quality.release()
        else:
            self.quality.pin(level)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.5, 4.0, 9.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.quality.next_due) is not None and due <= end:
            self.quality.tick(due)
        self.now = end
        while self.level < 3 and self.quiet_since is not None and self.quiet_since + 4.0 <= end:
            self.quiet_since += 4.0
            self.level += 1

    @invariant()
    def check(self) -> None:
        assert self.quality.level == (self.level if self.pinned is None else self.pinned)
        due = self.quality.next_due
        assert (due is not None) == (self.level < 3 and self.quiet_since is not None)
        assert due is None or self.now < due <= self.now + 4.0


TestQualityAgainstTheModel = AgainstTheModel.TestCase
TestQualityAgainstTheModel.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
