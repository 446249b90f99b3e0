"""Counting errors by key and by minute, in bounded room."""

import tracemalloc
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ukemi.runtime.aggregation import KEYS, MINUTES, RATE, RATE_OF_ALL, ErrorAggregate, Tallies

times = st.lists(st.floats(0.0, 3 * 3600.0), min_size=1, max_size=200).map(sorted)


def of(tallies: Tallies, now: float) -> list[ErrorAggregate]:
    return tallies.aggregates(now, lambda time: f"{time:.3f}")


@given(times, st.floats(0.0, 2 * 3600.0))
def test_each_minute_of_the_last_hour_has_its_own_count(seen: list[float], later: float) -> None:
    tallies = Tallies()
    for time in seen:
        tallies.count(("/a", "E"), time)
    now = seen[-1] + later
    minute = int(now // 60)
    expected = Counter(int(time // 60) for time in seen)
    (each,) = of(tallies, now)
    assert each.by_minute == tuple(expected[minute - ago] for ago in reversed(range(MINUTES)))
    assert (each.count, each.first_seen, each.last_seen) == (len(seen), f"{seen[0]:.3f}", f"{seen[-1]:.3f}")


def test_looking_in_between_changes_nothing() -> None:
    looked, unlooked = Tallies(), Tallies()
    for time in range(0, 7200, 7):
        looked.count(("/a", "E"), time)
        unlooked.count(("/a", "E"), time)
        of(looked, time)
    assert of(looked, 7200) == of(unlooked, 7200)


def test_the_key_that_was_seen_longest_ago_makes_room() -> None:
    tallies = Tallies()
    for n in range(KEYS):
        tallies.count((f"/{n}", "E"), n)
    tallies.count(("/0", "E"), KEYS)
    tallies.count(("/new", "E"), KEYS)
    paths = [each.path for each in of(tallies, KEYS)]
    assert (len(paths), tallies.forgotten) == (KEYS, 1)
    assert "/1" not in paths
    assert paths[-2:] == ["/0", "/new"]


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.0, 4.0)), max_size=400))
def test_no_second_has_more_reports_than_it_may_and_what_is_held_back_is_counted(done: list[tuple[int, float]]) -> None:
    tallies = Tallies()
    reported: Counter[tuple[int, int]] = Counter()
    for key, time in sorted(done, key=lambda each: each[1]):
        if tallies.may_report(tallies.count((f"/{key}", "E"), time), time):
            reported[key, int(time)] += 1
    assert all(count <= RATE for count in reported.values())
    by_second: Counter[int] = Counter()
    for (_, second), count in reported.items():
        by_second[second] += count
    assert all(count <= RATE_OF_ALL for count in by_second.values())
    for each in of(tallies, 4.0):
        key = int(each.path[1:])
        assert each.count == each.held_back + sum(count for (k, _), count in reported.items() if k == key)


def test_what_turns_out_to_be_counted_elsewhere_is_taken_back() -> None:
    tallies = Tallies()
    for _ in range(2):
        tally = tallies.count(("/a", "E"), 1.0)
        tally.handled += 1
    tallies.take_back(tally)
    (each,) = of(tallies, 1.0)
    assert (each.count, each.handled, sum(each.by_minute)) == (1, 1, 1)
    tallies.take_back(tally)
    assert of(tallies, 1.0) == []


def test_the_memory_of_many_keys_is_bounded() -> None:
    tallies = Tallies()
    names = [(f"/app/actor-{n}", f"Error{n}") for n in range(10 * KEYS)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n, key in enumerate(names):
        tallies.may_report(tallies.count(key, n), n)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used < KEYS * 900
