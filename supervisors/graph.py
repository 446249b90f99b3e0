"""Dependency order: pure functions on names.

`depends_on` maps a name to the names that it needs. All results keep the declared order wherever the dependencies
leave a choice, so that a tree starts the same way every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

Graph: TypeAlias = Mapping[str, Sequence[str]]


def find_cycle(depends_on: Graph) -> list[str] | None:
    """The names along some cycle, the first repeated at the end; None if there is none."""
    done: set[str] = set()
    for root in depends_on:
        trail: list[str] = []
        branches = [iter((root,))]
        while branches:
            name = next(branches[-1], None)
            if name is None:
                branches.pop()
                if trail:
                    done.add(trail.pop())
            elif name in trail:
                return [*trail[trail.index(name) :], name]
            elif name not in done:
                trail.append(name)
                branches.append(iter(depends_on.get(name, ())))
    return None


def start_order(names: Sequence[str], depends_on: Graph) -> list[str]:
    """The names, each after all that it depends on, else in the given order. There must be no cycle."""
    order: dict[str, None] = {}
    known = set(names)

    def add(root: str) -> None:
        stack = [root]
        while stack:
            missing = [n for n in depends_on.get(stack[-1], ()) if n in known and n not in order]
            if missing:
                stack.append(missing[0])
            else:
                order.setdefault(stack.pop())

    for name in names:
        add(name)
    return list(order)


def dependents(roots: Iterable[str], order: Sequence[str], depends_on: Graph) -> list[str]:
    """All that directly or indirectly depends on a root, without the roots; `order` is a start order."""
    roots = set(roots)
    reached = set(roots)
    for name in order:
        if not reached.isdisjoint(depends_on.get(name, ())):
            reached.add(name)
    return [name for name in order if name in reached and name not in roots]


def reverse(depends_on: Graph) -> dict[str, list[str]]:
    """Who directly depends on each name; names that the graph only mentions are left out."""
    needed_by: dict[str, list[str]] = {name: [] for name in depends_on}
    for name, needed in depends_on.items():
        for n in needed:
            if n in needed_by:
                needed_by[n].append(name)
    return needed_by
