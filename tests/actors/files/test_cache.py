"""The cache: bounded, the least used goes first, and never trusted further than a stat carries."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.files.cache import PER_ENTRY, FileCache, Found
from ukemi.actors.files.content import FileRead
from ukemi.actors.files.reading import COARSE_TICK, TICK, is_settled, read_file

from .stores import in_the_past

FOUND = Found(FileRead("x"), (0, 0, 0, 0, 0), is_settled=True, is_near=True)


def found(path: str) -> Found:
    result = read_file(path, 10_000)
    assert result is not None
    return result


def test_what_the_file_holds_is_known_until_it_changes(folder: Path) -> None:
    cache = FileCache()
    path = in_the_past(folder / "a")
    cache.put(path, found(path))
    assert cache.fresh(path) == FileRead("old", cached=True)
    Path(path).write_text("new")
    assert cache.fresh(path) is None
    assert cache.last_known(path) == FileRead("old", cached=True, stale=True)


def test_a_change_that_hides_its_time_is_seen(folder: Path) -> None:
    cache = FileCache()
    path = in_the_past(folder / "a")
    cache.put(path, found(path))
    before = os.stat(path)
    Path(path).write_text("new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.fresh(path) is None


def test_another_file_under_the_name_is_seen(folder: Path) -> None:
    cache = FileCache()
    path, other = in_the_past(folder / "a"), in_the_past(folder / "b")
    cache.put(path, found(path))
    os.rename(other, path)
    assert cache.fresh(path) is None
    os.unlink(path)
    assert cache.fresh(path) is None


def test_what_was_read_within_a_tick_of_its_last_change_is_not_trusted(folder: Path) -> None:
    cache = FileCache()
    path = str(folder / "a")
    Path(path).write_text("x")
    cache.put(path, found(path))
    assert cache.fresh(path) is None
    assert cache.signature(path) is None
    assert cache.last_known(path) is not None


@pytest.mark.parametrize(("changed", "tick"), [(10**18 + 1, TICK), (10**18, COARSE_TICK)])
def test_a_file_system_that_knows_only_seconds_is_given_longer(changed: int, tick: int, folder: Path) -> None:
    path = in_the_past(folder / "a")
    real = os.stat(path)

    @attrs.frozen
    class Status:
        st_mtime_ns: int = changed
        st_ctime_ns: int = changed

    assert real.st_mtime_ns
    assert not is_settled(Status(), changed + tick)  # type: ignore[arg-type]
    assert is_settled(Status(), changed + tick + 1)  # type: ignore[arg-type]


def test_what_is_far_is_not_asked_for_in_the_loop(folder: Path) -> None:
    cache = FileCache()
    path = in_the_past(folder / "a")
    cache.put(path, attrs.evolve(found(path), is_near=False))
    assert cache.fresh(path) is None
    assert cache.signature(path) is not None


def test_what_was_used_least_goes_first() -> None:
    cache = FileCache(8 * (PER_ENTRY + 200), 0)
    for name in "abcdefgh":
        cache.put(name, FOUND)
    room = cache.stats().entries
    cache.confirmed("a")
    for n in range(room - 1):
        cache.put(f"more {n}", FOUND)
    assert cache.last_known("a") is not None
    assert cache.last_known("b") is None
    assert cache.stats().evicted > 0


def test_what_would_take_most_of_the_room_is_not_kept_nor_is_what_it_replaces() -> None:
    cache = FileCache(100_000, 0)
    cache.put("a", FOUND)
    cache.put("a", attrs.evolve(FOUND, content=FileRead("x" * 50_000)))
    assert cache.last_known("a") is None
    assert cache.stats().size == 0


def test_it_shrinks_to_its_floor_and_grows_to_its_capacity() -> None:
    cache = FileCache(100_000, 20_000)
    bounds = []
    for fraction in (0.5, 0.5, 0.5, 2.0, 2.0, 2.0, 1e300):
        cache.resize(fraction)
        bounds.append(cache.stats().bound)
    assert bounds == [50_000, 25_000, 20_000, 40_000, 80_000, 100_000, 100_000]


@pytest.mark.parametrize("fraction", [0, -1, float("nan"), float("inf"), True, "0.5"])
def test_what_is_no_fraction_is_said_so(fraction: object) -> None:
    cache = FileCache()
    with pytest.raises(ValueError, match="must be a finite number above 0"):
        cache.resize(fraction)  # type: ignore[arg-type]
    assert cache.stats().bound == cache.stats().capacity


def test_a_floor_above_the_capacity_is_said_so() -> None:
    with pytest.raises(ValueError, match="floor=2"):
        FileCache(1, 2)


OPERATIONS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcdef"), st.integers(0, 6_000)),
    st.tuples(st.sampled_from(["confirmed", "last_known", "discard"]), st.sampled_from("abcdef"), st.just(0)),
    st.tuples(st.just("resize"), st.sampled_from([0.1, 0.5, 0.9, 2.0, 10.0]), st.just(0)),
    st.tuples(st.just("clear"), st.none(), st.just(0)),
)


@given(st.lists(OPERATIONS))
def test_whatever_is_done_it_stays_within_its_bound_and_knows_only_what_was_put_last(operations: list[tuple]) -> None:  # type: ignore[type-arg]
    cache, put = FileCache(20_000, 5_000), {}
    for what, key, size in operations:
        match what:
            case "put":
                content = FileRead(key * size)
                cache.put(key, attrs.evolve(FOUND, content=content))
                put[key] = content.data
            case "discard":
                cache.discard(key)
                put.pop(key, None)
            case "clear":
                cache.clear()
                put.clear()
            case "resize":
                cache.resize(key)
            case _:
                known = getattr(cache, what)(key)
                assert known is None or known.data == put[key]
        stats = cache.stats()
        known_data = [known.data for key in "abcdef" if (known := cache.last_known(key)) is not None]
        assert len(known_data) == stats.entries
        assert sum(map(len, known_data)) <= stats.size <= stats.bound <= stats.capacity
