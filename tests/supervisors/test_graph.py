"""Dependency order, against naive references."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.supervisors.graph import dependents, find_cycle, start_order

Edges = dict[str, list[str]]
NAMES = "abcdefgh"


@st.composite
def graphs(draw: st.DrawFn) -> Edges:
    """Any graph on a few names, cycles and self-loops included."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return {name: draw(st.lists(st.sampled_from(names), unique=True)) for name in names}


@st.composite
def acyclic_graphs(draw: st.DrawFn) -> Edges:
    """A graph whose edges all go from later to earlier names of some hidden order, declared in another order."""
    hidden = draw(st.permutations(NAMES[: draw(st.integers(0, len(NAMES)))]))
    edges = {
        name: draw(st.lists(st.sampled_from(hidden[:i]), unique=True)) if i else [] for i, name in enumerate(hidden)
    }
    return {name: edges[name] for name in draw(st.permutations(hidden))}


def reachable(edges: Edges, start: str) -> set[str]:
    """All that a name needs, directly or not (itself only if it is on a cycle)."""
    found: set[str] = set()
    while new := {n for name in found | {start} for n in edges.get(name, ())} - found:
        found |= new
    return found


@given(graphs())
def test_a_cycle_is_found_exactly_if_some_name_needs_itself(edges: Edges) -> None:
    has_cycle = any(name in reachable(edges, name) for name in edges)
    assert (find_cycle(edges) is not None) == has_cycle


@given(graphs())
def test_a_found_cycle_is_one(edges: Edges) -> None:
    cycle = find_cycle(edges)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1 >= 1
        assert all(needed in edges[name] for name, needed in pairwise(cycle))


@given(acyclic_graphs())
@pytest.mark.rule("S1")
def test_each_name_comes_once_and_after_all_that_it_depends_on(edges: Edges) -> None:
    order = start_order(list(edges), edges)
    assert sorted(order) == sorted(edges)
    for name, needed in edges.items():
        assert all(order.index(n) < order.index(name) for n in needed)


def naive_order(names: list[str], edges: Edges) -> list[str]:
    """Go through the declared names; before each, what it needs, in the order in which it names them."""
    order: list[str] = []

    def visit(name: str) -> None:
        for needed in edges.get(name, ()):
            if needed in names:
                visit(needed)
        if name not in order:
            order.append(name)

    for name in names:
        visit(name)
    return order


@given(acyclic_graphs())
def test_the_start_order_keeps_the_declared_order_where_it_can(edges: Edges) -> None:
    names = list(edges)
    assert start_order(names, edges) == naive_order(names, edges)


@given(acyclic_graphs())
def test_an_order_that_fits_is_not_changed(edges: Edges) -> None:
    order = start_order(list(edges), edges)
    assert start_order(order, edges) == order


@given(acyclic_graphs(), st.data())
def test_names_that_are_not_asked_for_are_left_out_of_the_order(edges: Edges, data: st.DataObject) -> None:
    some = [name for name in edges if data.draw(st.booleans())]
    order = start_order(some, edges)
    assert sorted(order) == sorted(some)
    for name in some:
        assert all(order.index(n) < order.index(name) for n in edges[name] if n in some)


@given(acyclic_graphs(), st.data())
@pytest.mark.rule("S4")
def test_dependents_are_all_that_directly_or_indirectly_need_a_root_in_start_order(
    edges: Edges, data: st.DataObject
) -> None:
    order = start_order(list(edges), edges)
    roots = [name for name in order if data.draw(st.booleans())]
    expected = [name for name in order if name not in roots and reachable(edges, name) & set(roots)]
    assert dependents(roots, order, edges) == expected


def test_a_chain_of_thousands_does_not_exhaust_the_stack() -> None:
    edges = {str(i): [str(i + 1)] for i in range(5000)} | {"5000": []}
    assert find_cycle(edges) is None
    assert start_order(list(edges), edges) == [str(i) for i in range(5000, -1, -1)]
    assert find_cycle({**edges, "5000": ["0"]}) is not None
