"""A running tree as plain data, for `Runtime.tree()`, `ukemi tree` and the bridge's `runtime/tree`."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ..actors.cell import Cell
from ..supervisors.circuit import CircuitInfo
from ..supervisors.spec import ChildSpec, SupervisorSpec
from ..supervisors.supervisor import ChildInfo, Supervisor


@attrs.frozen
class Node:
    """One actor and what is below it."""

    name: str
    path: str
    kind: str
    """The actor's class."""
    state: str
    restarts: int
    incarnation: int
    waiting: int
    """Messages in its mailbox."""
    depends_on: tuple[str, ...] = ()
    strategy: str | None = None
    """Of a supervisor."""
    fallback: str | None = None
    """The fallback that runs in its place."""
    circuit: CircuitInfo | None = None
    """Its circuit, if it has one."""
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This node and all below it, top down."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name_or_path: str) -> Node:
        """The first node of this name or path."""
        for node in self.walk():
            if name_or_path in (node.name, node.path):
                return node
        raise LookupError(f"no {name_or_path!r} in the tree of {self.path}")


def node_of(cell: Cell, info: ChildInfo | None = None) -> Node:
    """The tree below a cell, as of now."""
    stats = cell.stats()
    actor = getattr(cell.incarnation, "actor", None)
    infos = {each.name: each for each in actor.children()} if isinstance(actor, Supervisor) else {}
    below = cell.children or {}
    names = [*infos, *(name for name in below if name not in infos)]
    spec = cell.spec
    tree = spec.tree if isinstance(spec, ChildSpec) else None
    return Node(
        name=cell.name,
        path=cell.path,
        kind=type(actor).__name__ if actor is not None else "-",
        state=info.state if info is not None else stats.state,
        restarts=info.restarts if info is not None else max(0, stats.incarnation - 1),
        incarnation=stats.incarnation,
        waiting=stats.waiting,
        depends_on=spec.depends_on if isinstance(spec, ChildSpec) else (),
        strategy=tree.strategy if isinstance(tree, SupervisorSpec) else "dynamic" if tree is not None else None,
        fallback=info.fallback if info is not None else None,
        circuit=info.circuit if info is not None else None,
        children=tuple(node_of(below[name], infos.get(name)) for name in names if name in below),
    )
