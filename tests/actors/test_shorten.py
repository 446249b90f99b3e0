"""Values as short text: whatever they are, it is short, soon there, and raises nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.shorten import LONGEST, LOOKED_AT, short


class Counted:
    """Counts how often its repr was asked for."""

    asked = 0

    def __repr__(self) -> str:
        Counted.asked += 1
        return "it"


class Bad:
    def __repr__(self) -> str:
        raise KeyError


leaves = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(), inner, max_size=5)
        | st.tuples(inner, inner)
        | st.frozensets(leaves)
        | st.sets(leaves)
    ),
)


@given(values, st.integers(10, 500))
def test_any_value_is_short(value: Any, longest: int) -> None:
    assert len(short(value, longest)) <= longest


@pytest.mark.parametrize(
    "value", [7, "text", b"bytes", [1, (2,)], {"a": {"b": [None]}}, {1}, frozenset({1}), set(), {}]
)
def test_a_small_value_is_its_repr(value: Any) -> None:
    assert short(value) == repr(value)


def test_a_repr_that_raises_is_named() -> None:
    assert short(Bad()).startswith("<Bad instance at ")
    assert short([7, Bad()]).startswith("[7, <Bad instance at ")


def nested(make: Any) -> Any:
    value: Any = Counted()
    for _ in range(5):
        value = make(value)
    return value


@pytest.mark.parametrize("make", [lambda inner: [inner] * 20, lambda inner: dict.fromkeys(range(20), inner)])
def test_what_would_be_cut_off_is_not_looked_at(make: Any) -> None:
    Counted.asked = 0
    assert len(short(nested(make))) <= LONGEST
    assert Counted.asked <= LOOKED_AT


class Unsortable(int):
    """Can be told from others, and not be put in order."""

    def __lt__(self, other: object) -> bool:
        raise AssertionError("it was sorted")


def test_what_is_big_is_not_sorted() -> None:
    many = [Unsortable(n) for n in range(100)]
    for value in (dict.fromkeys(many), set(many), frozenset(many)):
        assert short(value).count(",") == 20
        assert "..." in short(value)
