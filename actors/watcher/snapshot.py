"""What a watcher knows of the disk: a tree of entries for each watch, and which of them to look at again.

A watch outlives the actor that keeps it (`Watches`), and so does its snapshot: whoever goes on compares it with the
disk, and tells what has changed meanwhile. A node keeps its identity when it is moved, so its path is not stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeAlias

import attrs
import trio

from .changes import Change
from .found import Found, Identity
from .looking import Place

MOST_THREADS = 64
"""Threads that look at what may be far, those included that are not answered and that nobody waits for any more."""
AT_ONCE = 1_000
"""Nodes that are taken apart between two pauses."""


class Node:
    """One entry of a snapshot. Above the root of a watch is a node that stands for the folder in which that is."""

    __slots__ = ("children", "found", "is_dead", "name", "parent", "watch")

    def __init__(self, watch: Watch, parent: Node | None, name: str, found: Found | None) -> None:
        self.watch = watch
        self.parent = parent
        self.name = name
        """The last part of the path; of the topmost node, a whole path."""
        self.found = found
        self.children: dict[str, Node] | None = None
        """By name; None for what is no folder, or one that is not looked into."""
        self.is_dead = False
        """Whether it is in no snapshot any more."""

    @property
    def is_top(self) -> bool:
        """Whether it stands for the folder in which the root of its watch is."""
        return self.parent is None

    @property
    def is_root(self) -> bool:
        """Whether it is what is watched."""
        return self.parent is not None and self.parent.parent is None

    @property
    def path(self) -> str:
        """Where it is, by what is known."""
        parts = []
        node: Node | None = self
        while node is not None:
            parts.append(node.name)
            node = node.parent
        return os.path.join(*reversed(parts))

    @property
    def depth(self) -> int:
        """How many nodes are above it."""
        depth, node = 0, self.parent
        while node is not None:
            depth, node = depth + 1, node.parent
        return depth

    def is_within(self, other: Node) -> bool:
        """Whether it is that node, or below it."""
        node: Node | None = self
        while node is not None:
            if node is other:
                return True
            node = node.parent
        return False

    def subtree(self) -> Iterator[Node]:
        """Itself and all below it, each behind what is above it."""
        left = [self]
        while left:
            node = left.pop()
            yield node
            if node.children:
                left.extend(node.children.values())

    def innermost_first(self) -> Iterator[Node]:
        """The same, each before what is above it; whoever is given one may remove it."""
        way = [(self, iter(self.children_now()))]
        while way:
            node, left = way[-1]
            below = next(left, None)
            if below is None:
                way.pop()
                yield node
            elif below.children:
                way.append((below, iter(below.children_now())))
            else:
                yield below

    def children_now(self) -> tuple[Node, ...]:
        """Those that there are, whatever becomes of them."""
        return tuple(self.children.values()) if self.children else ()


Look: TypeAlias = tuple[Node, str]
"""A name in a folder that is to be looked at."""


@attrs.define(eq=False)
class Watch:
    """One watched path, what is known of it, and what is not yet dealt with."""

    id: str
    path: str
    """Absolute."""
    recursive: bool
    top: Node = attrs.field(init=False)
    looks: dict[Look, bool] = attrs.field(init=False, factory=dict)
    """What is to be looked at again, and whether it is known to have been written to."""
    moved: set[Identity] = attrs.field(init=False, factory=set)
    """What is known to have been moved away from where it was, and not dealt with."""
    everything: bool = attrs.field(init=False, default=False)
    """Whether all of it is to be looked at again."""
    adrift: bool = attrs.field(init=False, default=True)
    """Whether one of the folders that lead to it may be another than before."""
    blind: dict[Node, None] = attrs.field(init=False, factory=dict)
    """Folders that are to be looked into, and can't be, or not any more: such as those without the right to read."""
    told: list[Change] = attrs.field(init=False, factory=list)
    """Found, in the snapshot, and not yet published."""
    entries: int = attrs.field(init=False, default=0)
    """How many are in the snapshot."""
    counted: int = attrs.field(init=False, default=0)
    """How many of them are in the sum of all watches."""
    place: Place | None = attrs.field(init=False, default=None)
    """Where its path leads to, as far as that is known."""
    hold: trio.Semaphore = attrs.field(init=False, factory=lambda: trio.Semaphore(1))
    """Had by the pass that changes the snapshot, from its beginning to its end, whichever task takes it on."""

    def __attrs_post_init__(self) -> None:
        folder, _ = os.path.split(self.path)
        self.top = Node(self, None, folder, None)
        self.top.children = {}

    @property
    def root_name(self) -> str:
        """The last part of its path."""
        return os.path.basename(self.path)

    @property
    def root(self) -> Node | None:
        """What is there; None if nothing is."""
        assert self.top.children is not None
        return self.top.children.get(self.root_name)

    @property
    def is_dirty(self) -> bool:
        """Whether something is to be looked at."""
        return bool(self.looks) or self.everything or self.adrift

    def look(self, folder: Node, name: str, *, written: bool = False) -> None:
        """Have a name looked at."""
        if not folder.is_dead:
            key = (folder, name)
            self.looks[key] = self.looks.get(key, False) or written

    async def forget_all(self) -> None:
        """Take the snapshot apart, by and by: left to the garbage collector, much of it would hold up the loop."""
        for n, node in enumerate(self.top.innermost_first(), 1):
            node.parent, node.children, node.is_dead = None, None, True
            if n % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def look_at_node(self, node: Node) -> None:
        """Have an entry looked at by its name."""
        if node.parent is not None:
            self.look(node.parent, node.name)


@attrs.define(eq=False)
class Watches:
    """All watches, shared by the watcher, its next incarnations, and whatever takes its place."""

    by_id: dict[str, Watch] = attrs.field(factory=dict)
    entries: int = 0
    """In all of them, and in those that are being added."""
    turn: trio.Lock = attrs.field(factory=trio.Lock)
    """Held for each step of looking: however many watches are looked at, the loop turns after each step."""
    threads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(MOST_THREADS))
    """For what may be far."""
    news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    """Where to wait until a watch is added or removed."""
    last: int = 0

    def new_id(self) -> str:
        """An id that no watch had before."""
        self.last += 1
        while f"w{self.last}" in self.by_id:
            self.last += 1
        return f"w{self.last}"

    def count(self, watch: Watch, entries: int | None = None) -> None:
        """Keep the sum: what has come to a watch, or gone from it; 0 entries of one that is gone itself."""
        now = watch.entries if entries is None else entries
        self.entries += now - watch.counted
        watch.counted = now
