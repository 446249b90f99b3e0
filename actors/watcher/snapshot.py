"""What a watcher knows of the disk: a tree of entries for each watch, and which of them to look at again.

A watch outlives the actor that keeps it (`Watches`), and so does its snapshot: whoever goes on compares it with the
disk, and tells what has changed meanwhile. A node keeps its identity when it is moved, so its path is not stored.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import attrs
import trio

from .changes import Change

Identity: TypeAlias = tuple[int, int, int]
"""Device, inode and kind of file: what stays the same when an entry is moved."""


class Found(NamedTuple):
    """An entry as it is on disk."""

    identity: Identity
    content: tuple[int, ...]
    """What a change of the entry changes, and moving it does not. Of a folder, not what is in it."""
    changed: int
    """When it was last changed in any way, moved included (ctime); 0 for a folder."""
    written: int
    """mtime."""

    @classmethod
    def of(cls, status: os.stat_result) -> Found:
        """From what stat says."""
        kind = stat.S_IFMT(status.st_mode)
        rights = (status.st_mode, status.st_uid, status.st_gid)
        identity = (status.st_dev, status.st_ino, kind)
        if kind == stat.S_IFDIR:
            return cls(identity, rights, 0, status.st_mtime_ns)
        return cls(identity, (*rights, status.st_size, status.st_mtime_ns), status.st_ctime_ns, status.st_mtime_ns)

    @property
    def is_folder(self) -> bool:
        """Whether it can hold others."""
        return self.identity[2] == stat.S_IFDIR


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

    def look_at_node(self, node: Node) -> None:
        """Have an entry looked at by its name."""
        if node.parent is not None:
            self.look(node.parent, node.name)


@attrs.define(eq=False)
class Watches:
    """All watches, shared by the watcher, its next incarnations, and whatever takes its place."""

    by_id: dict[str, Watch] = attrs.field(factory=dict)
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    """Held by who changes a snapshot."""
    news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    """Where to wait until a watch is added or removed."""
    last: int = 0

    def new_id(self) -> str:
        """An id that no watch had before."""
        self.last += 1
        while f"w{self.last}" in self.by_id:
            self.last += 1
        return f"w{self.last}"
