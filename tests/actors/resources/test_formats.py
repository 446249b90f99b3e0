"""What the kernel writes is read as it means it; anything else is an error that quotes it."""

import ast
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.resources.formats import (
    SHOWN,
    Mount,
    cpus_of,
    parse_count,
    parse_cpu_max,
    parse_limit,
    parse_memberships,
    parse_mounts,
    parse_psi,
    parse_table,
    parse_threads,
)

from . import systems


def test_stalls_are_those_of_the_last_ten_seconds() -> None:
    assert parse_psi(systems.PSI.format(some="50.83")) == {"some": 50.83, "full": 0.0}


def test_an_old_kernel_tells_of_the_cpu_without_full_stalls() -> None:
    assert parse_psi("some avg10=0.42 avg60=0.18 avg300=0.05 total=241594082\n") == {"some": 0.42}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("max\n", None),
        ("-1\n", None),
        (systems.V1_NO_LIMIT, None),
        ("9223372036854710272\n", None),  # where pages have 64 KB
        ("536870912\n", 536870912),
        ("0\n", 0),
    ],
)
def test_a_limit_that_is_none_is_none(text: str, limit: int | None) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize(("text", "cpus"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("1000 100000\n", 0.01)])
def test_a_cpu_quota_is_a_number_of_cpus(text: str, cpus: float | None) -> None:
    assert parse_cpu_max(text) == cpus


def test_a_quota_in_a_period_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="period of 0"):
        cpus_of(50_000, 0)


def test_a_table_has_a_number_for_each_name() -> None:
    table = parse_table(systems.MEMORY_STAT_V1.format(inactive_file=77))
    assert (table["rss"], table["total_inactive_file"]) == (1818624, 77)


def test_the_threads_of_the_system_are_the_second_number() -> None:
    assert parse_threads("1.78 2.14 1.80 3/105 29433\n") == 105


def test_each_hierarchy_has_its_own_path() -> None:
    found = parse_memberships("4:memory:/a:b/c\n8:cpu,cpuacct:/\n1:name=systemd:/x y\n0::/z\n")
    assert [(sorted(each.controllers), each.path) for each in found] == [
        (["memory"], "/a:b/c"),
        (["cpu", "cpuacct"], "/"),
        (["name=systemd"], "/x y"),
        ([], "/z"),
    ]


def test_only_cgroup_mounts_count_and_their_names_are_unescaped() -> None:
    line = "29 22 0:26 /a\\040b /mnt/my\\040cgroups rw master:1 propagate_from:2 - cgroup2 cgroup2 rw\n"
    assert parse_mounts(f"{systems.V2_MOUNTS}{line}")[1:] == [Mount(True, frozenset(), "/a b", "/mnt/my cgroups")]


PARSERS: list[Callable[[str], object]] = [
    parse_psi,
    parse_count,
    parse_limit,
    parse_table,
    parse_cpu_max,
    parse_threads,
    parse_memberships,
    parse_mounts,
]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@pytest.mark.parametrize("text", ["garbage", "1 2 3\n", "\x00\x01", "-5", "nan nan", "１２", "some avg10=1e400", ":::"])
def test_garbage_is_an_error_that_quotes_it(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        parse(text)
    quoted, _, _ = str(caught.value).partition(" must be")
    assert ast.literal_eval(quoted) in text


@given(st.sampled_from(PARSERS), st.text() | st.text("0123456789 max/:,-.\n"))
def test_no_text_makes_them_fail_otherwise(parse: Callable[[str], object], text: str) -> None:
    error = None
    try:
        parse(text)
    except ValueError as raised:
        error = raised
    assert len(str(error)) < 10 * SHOWN + 200
