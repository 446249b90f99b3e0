"""The circuit's rules, one by one, with the time passed in."""

from __future__ import annotations

import math

import cattrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ukemi.supervisors.circuit import Circuit, CircuitInfo
from ukemi.supervisors.recovery.actions import CircuitBreak


def circuit(**settings: float) -> Circuit:
    return Circuit(CircuitBreak(**settings), "api")  # type: ignore[arg-type]


def admitted(it: Circuit, now: float = 0.0) -> int:
    token = it.admit(now)
    assert token is not None
    return token


def fail(it: Circuit, times: int = 1, now: float = 0.0) -> bool:
    return [it.failed(admitted(it, now), now, "no") for _ in range(times)][-1]


def test_it_opens_at_the_fifth_failure_in_a_row_and_not_before() -> None:
    it = circuit()
    assert not fail(it, 4)
    assert it.admit(0.0) is not None
    assert fail(it)
    assert it.state == "open"
    assert it.admit(0.0) is None


def test_any_success_ends_the_row() -> None:
    it = circuit(failures=3)
    for _ in range(10):
        assert not fail(it, 2)
        it.succeeded(admitted(it), 0.0)
        assert it.failures == 0
    assert it.opened == 0


def test_it_stays_open_for_its_time_and_then_lets_one_probe_through() -> None:
    it = circuit(duration=30.0)
    fail(it, 5, now=10.0)
    assert it.open_until == 40.0
    assert it.admit(39.9) is None
    assert it.admit(40.0) is not None
    assert [it.admit(now) for now in (40.0, 41.0, 1000.0)] == [None, None, None]


@given(opened_at=st.floats(0.0, 1e9), duration=st.floats(1e-3, 1e6), waited=st.floats(0.0, 0.999))
@example(opened_at=0.5, duration=2.6, waited=0.1)  # 0.76 + (3.1 - 0.76) is less than 3.1
def test_whoever_waits_as_long_as_it_says_is_not_too_early(opened_at: float, duration: float, waited: float) -> None:
    """Whatever is lost in rounding."""
    it = circuit(failures=1, duration=duration)
    fail(it, now=opened_at)
    asked_at = opened_at + duration * waited
    left = it.info(asked_at).seconds_left
    assert left is not None
    assert it.admit(asked_at + left) is not None


def test_a_good_probe_closes_it_and_failures_count_from_zero_again() -> None:
    it = circuit(failures=3, duration=1.0)
    fail(it, 3)
    assert it.succeeded(admitted(it, 1.0), 1.0)
    assert it.state == "closed"
    assert not fail(it, 2, now=1.0)
    assert fail(it, now=1.0)


def test_as_many_good_probes_as_asked_for_close_it_one_after_the_other() -> None:
    it = circuit(failures=1, duration=1.0, successes=3)
    fail(it)
    for closed in (False, False, True):
        token = admitted(it, 1.0)
        assert it.admit(1.0) is None, "two probes at once"
        assert it.succeeded(token, 1.0) is closed
    assert it.state == "closed"


def test_good_probes_of_an_earlier_time_half_open_do_not_count() -> None:
    it = circuit(failures=1, duration=1.0, successes=2, growth=1.0)
    fail(it)
    it.succeeded(admitted(it, 1.0), 1.0)
    fail(it, now=1.0)
    assert not it.succeeded(admitted(it, 2.0), 2.0)
    assert it.succeeded(admitted(it, 2.0), 2.0)


def test_a_probe_that_fails_opens_it_again_for_longer_up_to_the_longest() -> None:
    it = circuit(failures=2, duration=10.0, growth=2.0, longest=50.0)
    fail(it, 2)
    now, times = 0.0, []
    for _ in range(5):
        assert it.open_until is not None
        times.append(it.open_until - now)
        now = it.open_until
        assert fail(it, now=now), "one failed probe is enough"
    assert times == [10.0, 20.0, 40.0, 50.0, 50.0]


def test_closing_takes_the_growth_back() -> None:
    it = circuit(failures=1, duration=10.0)
    fail(it)
    fail(it, now=10.0)
    assert it.open_until == 30.0
    it.succeeded(admitted(it, 30.0), 30.0)
    fail(it, now=30.0)
    assert it.open_until == 40.0


def test_a_duration_above_the_longest_is_kept_and_does_not_grow() -> None:
    it = circuit(failures=1, duration=600.0, longest=300.0)
    fail(it)
    assert it.open_until == 600.0
    fail(it, now=600.0)
    assert it.open_until == 1200.0


def test_growth_without_end_does_not_overflow() -> None:
    it = circuit(failures=1, duration=1.0, growth=1e200, longest=5.0)
    now = 0.0
    for _ in range(10):
        fail(it, now=now)
        assert it.open_until is not None
        now = it.open_until
    assert now == 1.0 + 9 * 5.0


@pytest.mark.parametrize("how", ["well", "badly"])
def test_what_began_before_it_opened_changes_nothing_however_it_ends(how: str) -> None:
    it = circuit(failures=1, duration=10.0, successes=2)
    late = [admitted(it) for _ in range(4)]

    def answer(now: float) -> None:
        before = it.info(now)
        changed = it.succeeded(late.pop(), now) if how == "well" else it.failed(late.pop(), now, "late")
        assert not changed
        assert it.info(now) == before

    fail(it)
    answer(1.0)  # while it is open
    answer(10.0)  # when the time is up
    probe = admitted(it, 10.0)
    answer(10.0)  # beside a probe
    assert it.admit(10.0) is None, "the late answer made room for a second probe"
    it.succeeded(probe, 10.0)
    it.succeeded(admitted(it, 10.0), 10.0)
    answer(10.0)  # when it is closed again


def test_a_probe_counts_once() -> None:
    it = circuit(failures=1, duration=1.0, successes=2)
    fail(it)
    probe = admitted(it, 1.0)
    it.succeeded(probe, 1.0)
    assert not it.succeeded(probe, 1.0)
    assert not it.failed(probe, 1.0)
    assert it.state == "half-open"


def test_a_probe_that_is_given_up_makes_room_for_another_and_counts_for_nothing() -> None:
    it = circuit(failures=1, duration=1.0)
    fail(it)
    first = admitted(it, 1.0)
    it.abandoned(first)
    second = admitted(it, 1.0)
    assert not it.succeeded(first, 1.0), "it was given up"
    it.abandoned(first)
    assert it.admit(1.0) is None, "giving up the first made room beside the second"
    assert it.succeeded(second, 1.0)


def test_giving_up_a_call_while_closed_neither_adds_to_the_row_nor_ends_it() -> None:
    it = circuit(failures=2)
    fail(it)
    beside = admitted(it)
    it.abandoned(admitted(it))
    assert it.failures == 1
    assert it.failed(beside, 0.0), "what ran beside it counts as before"


def test_tripping_opens_at_once_and_counts_as_a_failure() -> None:
    it = circuit(duration=30.0)
    late = admitted(it)
    assert it.trip(5.0, "burnt out")
    assert (it.state, it.open_until, it.failures, it.last_failure) == ("open", 35.0, 1, "burnt out")
    assert not it.succeeded(late, 6.0)


def test_tripping_what_is_open_changes_nothing_and_a_half_open_one_is_open_for_longer() -> None:
    it = circuit(duration=30.0)
    it.trip(0.0)
    assert not it.trip(10.0)
    assert it.open_until == 30.0
    admitted(it, 30.0)
    assert it.trip(31.0)
    assert it.open_until == 91.0
    assert it.trip(91.0), "its time was up, though nobody had asked yet"
    assert it.open_until == 91.0 + 120.0


def test_forced_open_it_waits_for_a_hand() -> None:
    it = circuit()
    it.force_open(0.0)
    assert it.open_until == math.inf
    assert it.admit(1e9) is None
    assert not it.trip(1e9)
    it.force_closed(1e9)
    assert it.admit(1e9) is not None


def test_forced_open_for_a_time_it_is_probed_after_it_and_that_made_nothing_longer() -> None:
    it = circuit(failures=1, duration=10.0)
    it.force_open(0.0, seconds=5.0)
    assert it.admit(4.75) is None
    assert it.info(4.75).forced
    assert not it.info(5.0).forced
    fail(it, now=5.0)
    assert it.open_until == 15.0


@pytest.mark.parametrize("seconds", [0, -1.0, math.inf, math.nan])
def test_a_time_that_is_none_is_refused_by_name(seconds: float) -> None:
    it = circuit()
    with pytest.raises(ValueError, match=rf"seconds={seconds!r} must be a finite number above 0"):
        it.force_open(0.0, seconds)
    assert it.state == "closed"


def test_forced_closed_it_is_as_new_and_what_is_under_way_does_not_count() -> None:
    it = circuit(failures=2, duration=10.0)
    fail(it)
    late = admitted(it)
    it.force_closed(1.0)
    assert not it.failed(late, 2.0)
    assert not fail(it, now=2.0)
    assert fail(it, now=2.0)
    it.force_closed(3.0)
    assert fail(it, 2, now=3.0)
    assert it.open_until == 13.0


def test_each_change_of_state_begins_a_generation() -> None:
    it = circuit(failures=1, duration=1.0)
    seen = [it.info(0.0).generation]
    fail(it)
    seen.append(it.info(0.0).generation)
    seen.append(it.info(1.0).generation)
    probe = admitted(it, 1.0)
    assert it.info(1.0).generation == seen[-1] == probe
    it.succeeded(probe, 1.0)
    seen.append(it.info(1.0).generation)
    assert seen == sorted(set(seen))


def test_it_tells_what_it_is_and_how_it_came_to_that() -> None:
    it = circuit(failures=2, duration=10.0)
    assert it.info(0.0) == CircuitInfo(
        name="api",
        state="closed",
        since=None,
        seconds_left=0.0,
        forced=False,
        failures=0,
        opened=0,
        generation=1,
        last_failure="",
    )
    it.failed(admitted(it), 0.0, "first")
    it.failed(admitted(it), 1.0, "second")
    info = it.info(4.0)
    assert (info.state, info.since, info.seconds_left, info.failures) == ("open", 1.0, 7.0, 2)
    assert (info.opened, info.last_failure) == (1, "second")
    info = it.info(12.0)
    assert (info.state, info.since, info.seconds_left) == ("half-open", 11.0, 0.0), "whether or not anybody has called"
    admitted(it, 13.0)
    assert it.info(13.0).since == 11.0, "not when the first call came"
    it.force_open(20.0)
    info = it.info(21.0)
    assert (info.state, info.since, info.seconds_left, info.forced, info.opened) == ("open", 20.0, None, True, 2)


def test_what_it_tells_is_plain_data() -> None:
    it = circuit()
    for now, step in ((0.0, it.trip), (40.0, it.force_open), (50.0, it.force_closed)):
        step(now)
        info = it.info(now)
        assert cattrs.structure(cattrs.unstructure(info), CircuitInfo) == info


def test_asking_changes_nothing() -> None:
    it = circuit(failures=1, duration=1.0)
    fail(it)
    for _ in range(3):
        assert it.info(2.0) == it.info(2.0)
        assert it.state_at(2.0) == "half-open"
    assert it.state == "open"
    assert it.admit(2.0) is not None
