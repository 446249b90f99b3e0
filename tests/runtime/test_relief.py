"""Rows of relief: what is refused when they are made, and which are due when."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi import Actor, SpecError
from ukemi.actors.resources import Band, Resource
from ukemi.runtime.relief import Course, Row, announce, check_rows, lower_quality, tell, throttle, when


class Cache(Actor):
    def resize(self, factor: float) -> None: ...
    def clear(self) -> None: ...
    def _hidden(self) -> None: ...


HALVE = when("moderate", tell("cache", Cache.resize, 0.5), back=tell("cache", Cache.resize, 2.0), times=3)
CLEAR = when("high", tell("cache", Cache.clear), times=None)
LOWER = when("high", lower_quality())
SLOW = when("critical", throttle("work", rate=5))
SPARE = when("high", announce("spare"))


class Walk:
    """A course, told a band every five seconds."""

    def __init__(self, *rows: Row, seconds: float = 5.0) -> None:
        self.course = Course(rows)
        self.seconds = seconds
        self.now = 0.0

    def __call__(self, *bands: str) -> list[list[str]]:
        """What is due at each, without what only makes sure."""
        found = []
        for band in map(Band, bands):
            self.now += self.seconds
            found.append([self.text(due) for due in self.course.due(lambda row, now=band: now, self.now)])
        return found

    @staticmethod
    def text(due: Any) -> str:
        mark = "<" if due.is_back else "=" if due.is_again else ">"
        return f"{mark}{due.row.back if due.is_back and due.row.back is not None else due.row.do}"


def test_rows_say_what_they_do() -> None:
    assert [str(row) for row in (HALVE, CLEAR, LOWER, SLOW, SPARE)] == [
        "at moderate: cache.resize(0.5)",
        "at high: cache.clear()",
        "at high: quality down 1",
        "at critical: work at 5 messages/s",
        "at high: announce spare",
    ]


@pytest.mark.parametrize("topic", ["", 7, None])
def test_what_is_no_topic_is_refused(topic: Any) -> None:
    with pytest.raises(SpecError, match="must be a topic's name"):
        announce(topic)


def test_a_row_is_done_at_each_measurement_up_to_its_times_and_taken_back_as_often() -> None:
    halve, double = ">cache.resize(0.5)", "<cache.resize(2.0)"
    walk = Walk(HALVE)
    assert walk("normal", *["moderate"] * 5) == [[], [halve], [halve], [halve], [], []]
    assert walk(*["normal"] * 4) == [[double], [double], [double], []]
    assert walk.course.is_over


def test_a_row_that_comes_to_hold_again_on_the_way_back_goes_on_from_there() -> None:
    halve, double = ">cache.resize(0.5)", "<cache.resize(2.0)"
    walk = Walk(HALVE)
    walk("moderate", "moderate", "moderate")
    assert walk("normal", "high", "high", "normal") == [[double], [halve], [], [double]]


def test_a_worse_band_does_what_the_better_ones_do_too() -> None:
    walk = Walk(HALVE, CLEAR, LOWER, SLOW)
    assert walk("critical") == [[">cache.resize(0.5)", ">cache.clear()", ">quality down 1", ">work at 5 messages/s"]]
    assert walk.course.in_force == (HALVE, CLEAR, LOWER, SLOW)


def test_a_row_without_a_number_of_times_is_done_as_long_as_it_holds() -> None:
    walk = Walk(CLEAR)
    assert walk("high", "critical", "high", "moderate", "high") == [*[[">cache.clear()"]] * 3, [], [">cache.clear()"]]


def test_a_row_with_no_way_back_may_be_done_anew_each_time_that_it_comes_to_hold() -> None:
    walk = Walk(LOWER)
    assert walk("high", "high", "moderate", "high") == [[">quality down 1"], [], [], [">quality down 1"]]


def test_a_throttle_is_made_sure_of_as_long_as_it_holds_and_lifted_once() -> None:
    work = "work at 5 messages/s"
    walk = Walk(SLOW)
    assert walk("critical", "critical", "high", "high") == [[f">{work}"], [f"={work}"], [f"<{work}"], []]


def test_every_spaces_it_on_both_ways() -> None:
    row = when("moderate", tell("cache", "resize", 0.5), back=tell("cache", "resize", 2.0), times=2, every=10)
    halve, double = ">cache.resize(0.5)", "<cache.resize(2.0)"
    walk = Walk(row)
    assert walk("high", "high", "high", "normal", "normal", "normal", "normal") == [
        [halve],
        [],
        [halve],
        [],
        [double],
        [],
        [double],
    ]


def test_what_has_failed_is_due_again_at_the_next_measurement() -> None:
    row = when("moderate", tell("cache", "resize", 0.5), back=tell("cache", "resize", 2.0), every=1000)
    course = Course([row])
    (due,) = course.due(lambda row: Band.HIGH, 0)
    course.failed(due)
    assert course.is_over
    (again,) = course.due(lambda row: Band.HIGH, 5)
    assert again == due
    assert course.due(lambda row: Band.NORMAL, 10) == []
    (back,) = course.due(lambda row: Band.NORMAL, 1005)
    course.failed(back)
    assert course.due(lambda row: Band.NORMAL, 1010) == [back]


def test_what_is_still_under_way_is_left_alone() -> None:
    course = Course([HALVE, CLEAR])
    assert [due.index for due in course.due(lambda row: Band.HIGH, 0, under_way={0})] == [1]
    assert course.in_force == (CLEAR,)


def test_throttles_can_be_let_go_apart() -> None:
    walk = Walk(HALVE, SLOW)
    walk("critical")
    assert walk.course.let_go() == [SLOW.do]
    assert walk.course.let_go() == []
    assert walk.course.in_force == (HALVE,)


@given(st.lists(st.sampled_from(list(Band)), max_size=60), st.integers(1, 4))
def test_whatever_comes_it_goes_all_the_way_back(bands: list[Band], times: int) -> None:
    walk = Walk(
        when("moderate", tell("a", "x", 1), back=tell("a", "y", 1), times=times),
        when("high", tell("a", "x", 2), back=tell("a", "y", 2), times=times, every=12),
        CLEAR,
        LOWER,
        SLOW,
    )
    texts = [text for due in walk(*bands, *[Band.NORMAL] * 40) for text in due]
    for row in (1, 2):
        assert texts.count(f">a.x({row})") == texts.count(f"<a.y({row})")
    assert texts.count(">work at 5 messages/s") == texts.count("<work at 5 messages/s")
    assert walk.course.is_over


@given(st.lists(st.tuples(st.sampled_from(list(Band)), st.booleans()), max_size=60), st.integers(1, 4))
def test_whatever_fails_it_is_taken_back_as_often_as_it_was_done(steps: list[tuple[Band, bool]], times: int) -> None:
    course = Course([when("moderate", tell("a", "x"), back=tell("a", "y"), times=times)])
    done = 0
    for now, (band, fails) in enumerate([*steps, *[(Band.NORMAL, False)] * 5]):
        for due in course.due(lambda row, now=band: now, now):
            if fails:
                course.failed(due)
            else:
                done += -1 if due.is_back else 1
        assert 0 <= done <= times
        assert course.is_over is (done == 0)
    assert done == 0


# --- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: when("normal", LOWER.do), "at normal nothing is to be done"),
        (lambda: when("awful", LOWER.do), "when\\('awful', …\\): the band must be moderate, high or critical"),
        (lambda: when("high", "clear"), "do='clear' must be made by"),  # type: ignore[arg-type]
        (lambda: when("high", LOWER.do, back=tell("a", "b")), "only a tell has a way back"),
        (lambda: when("high", tell("a", "b"), back=lower_quality()), "back=.* must be made by tell"),  # type: ignore[arg-type]
        (lambda: when("high", tell("a", "b"), times=0), "times=0 must be"),
        (lambda: when("high", tell("a", "b"), times=True), "times=True must be"),
        (lambda: when("high", tell("a", "b"), back=tell("a", "c"), times=None), "None where it has no `back`"),
        (lambda: when("high", tell("a", "b"), every=-1), "every=-1 must be"),
        (lambda: when("high", tell("a", "b"), every=float("nan")), "every=nan must be"),
        (lambda: when("high", tell("a", "b"), of="memory"), r"such as \['memory'\]"),
        (lambda: when("high", tell("a", "b"), of=["time"]), "they are memory, cpu, files, processes"),
        (lambda: tell("", "clear"), "must be a name or a path"),
        (lambda: tell("../", "clear"), "must be a name or a path"),
        (lambda: tell("cache", Cache._hidden), "must be a message"),
        (lambda: tell("cache", "on_stop"), "must be a message"),
        (lambda: tell("cache", "resize to"), "must be a message"),
        (lambda: tell("cache", Cache.resize, factor=0.5), "factor must be given by position"),
        (lambda: lower_quality(0), "levels=0 must be"),
        (lambda: lower_quality(4), "levels=4 must be"),
        (lambda: throttle("work", 0), "rate=0 must be"),
        (lambda: throttle("work", float("inf")), "rate=inf must be"),
        (lambda: throttle(7, 1.0), "not 7"),  # type: ignore[arg-type]
        (lambda: check_rows([LOWER, "x"]), "'x' must be made by when"),  # type: ignore[list-item]
    ],
)
def test_what_can_not_be_right_is_refused_when_it_is_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_resources_and_bands_may_be_given_as_such() -> None:
    row = when(Band.HIGH, tell("a", "b"), of=[Resource.MEMORY, "files"])
    assert (row.at, row.of) == (Band.HIGH, (Resource.MEMORY, Resource.FILES))
