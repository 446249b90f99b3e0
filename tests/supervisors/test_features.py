"""What may be declared as a feature, and which features fit together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi import SpecError
from ukemi.supervisors.features import Feature, check_features

from .test_graph import Edges, acyclic_graphs, graphs


def features(edges: Edges) -> list[Feature]:
    return [Feature(name, depends_on=needed) for name, needed in edges.items()]


def names(checked: Iterable[Feature]) -> list[str]:
    return [feature.name for feature in checked]


def test_a_feature_needs_no_more_than_a_name() -> None:
    feature = Feature("search")
    assert (feature.threshold, feature.depends_on, feature.fallback, feature.hold) == (0.5, (), None, 10.0)
    assert feature == Feature("search")
    with pytest.raises(AttributeError):
        feature.threshold = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("threshold", -0.1),
        ("threshold", 1.1),
        ("threshold", float("nan")),
        ("threshold", "0.5"),
        ("threshold", True),
        ("threshold", None),
        ("depends_on", "index"),
        ("depends_on", 7),
        ("depends_on", None),
        ("fallback", ""),
        ("fallback", 3),
        ("fallback", "two\nlines"),
        ("hold", -1.0),
        ("hold", float("inf")),
        ("hold", float("nan")),
        ("hold", None),
    ],
)
def test_a_wrong_value_is_a_spec_error_that_names_the_feature_the_option_and_the_value(
    option: str, value: object
) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(SpecError, match=re.escape(f"feature 'search': {option}={value!r} must be ")):
        Feature("search", **options)


@pytest.mark.parametrize("needed", ["", "a\tb", 7, None, "search"])
def test_a_wrong_dependency_is_named(needed: Any) -> None:
    with pytest.raises(SpecError, match=re.escape(f"feature 'search': depends_on={needed!r} must be ")):
        Feature("search", depends_on=["index", needed])


@pytest.mark.parametrize("name", ["", "a\nb", None, 7])
def test_a_name_is_printable_text(name: Any) -> None:
    with pytest.raises(SpecError, match=re.escape(f"a feature's name is printable text, not {name!r}")):
        Feature(name)


@pytest.mark.parametrize(
    ("threshold", "score", "is_ill", "is_well"),
    [
        (0.5, 0.49, True, False),
        (0.5, 0.5, False, False),
        (0.5, 0.6, False, False),
        (0.5, 0.61, False, True),
        (0.9, 0.95, False, False),
        (0.9, 1.0, False, True),
        (1.0, 0.99, True, False),
        (1.0, 1.0, False, True),
        (0.0, 0.0, False, False),
        (0.0, 0.01, False, True),
        (0.5, None, False, True),
    ],
)
def test_it_is_ill_below_its_threshold_and_well_above_a_fifth_more_or_at_one(
    threshold: float, score: float | None, is_ill: bool, is_well: bool
) -> None:
    feature = Feature("search", threshold)
    assert (feature.is_ill_at(score), feature.is_well_at(score)) == (is_ill, is_well)


@given(st.floats(0, 1), st.floats(0, 1))
def test_no_score_is_both_ill_and_well(threshold: float, score: float) -> None:
    feature = Feature("search", threshold)
    assert not (feature.is_ill_at(score) and feature.is_well_at(score))
    assert feature.is_well_at(1.0), "a score of 1 is always enough"


@given(acyclic_graphs())
def test_features_that_fit_come_in_dependency_order(edges: Edges) -> None:
    order = names(check_features(features(edges)))
    assert sorted(order) == sorted(edges)
    for name, needed in edges.items():
        assert all(order.index(n) < order.index(name) for n in needed)


@given(graphs())
def test_a_cycle_is_refused_and_named(edges: Edges) -> None:
    edges = {name: [n for n in needed if n != name] for name, needed in edges.items()}
    try:
        check_features(features(edges))
    except SpecError as error:
        first, *rest = str(error).removeprefix("feature cycle: ").split(" -> ")
        assert rest[-1] == first
        assert all(needed in edges[name] for name, needed in zip([first, *rest], rest, strict=False))
    else:
        assert all(name not in below(edges, name) for name in edges)


def below(edges: Edges, name: str) -> set[str]:
    found: set[str] = set()
    while new := {n for other in found | {name} for n in edges[other]} - found:
        found |= new
    return found


def test_a_cycle_of_two_is_said_in_a_line() -> None:
    with pytest.raises(SpecError, match=r"^feature cycle: a -> b -> a$"):
        check_features([Feature("a", depends_on=["b"]), Feature("b", depends_on=["a"])])


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(SpecError, match="two features are named 'a'"):
        check_features([Feature("a"), Feature("b"), Feature("a", 0.9)])


def test_an_unknown_dependency_is_refused_naming_those_that_there_are() -> None:
    with pytest.raises(SpecError, match=re.escape("feature 'b': depends_on='x' must be") + ".*'a', 'b'"):
        check_features([Feature("a"), Feature("b", depends_on=["a", "x"])])


def test_a_part_of_a_tree_may_depend_on_what_is_elsewhere() -> None:
    part = [Feature("b", depends_on=["a", "x"]), Feature("a", depends_on=["y"])]
    assert names(check_features(part, whole=False)) == ["a", "b"]


def test_a_part_of_a_tree_may_have_no_cycle_either() -> None:
    with pytest.raises(SpecError, match="feature cycle: a -> b -> a"):
        check_features([Feature("a", depends_on=["b", "x"]), Feature("b", depends_on=["a"])], whole=False)


def test_what_is_no_feature_is_refused() -> None:
    with pytest.raises(SpecError, match="'search' is no feature; make it with Feature"):
        check_features(["search"])  # type: ignore[list-item]
