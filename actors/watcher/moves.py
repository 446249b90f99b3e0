"""What a pass has found to be gone, what it has found to be new, and which of these are one entry that was moved."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from .found import Found, Identity
from .snapshot import Look, Node


@attrs.frozen
class New:
    """An entry that is on disk and not in the snapshot."""

    folder: Node
    name: str
    found: Found


@attrs.define(eq=False)
class Moves:
    """Of one pass. What is gone stays in the snapshot until it has been found elsewhere, or is known to be deleted."""

    gone: dict[Node, dict[Node, list[str]]] = attrs.field(factory=dict)
    """The topmost of what is gone, each with what is to be looked at once it is found elsewhere."""
    gone_lately: list[Node] = attrs.field(factory=list)
    """Those of them that can't be found elsewhere yet: `can_be_found` is to be called for all that is in them."""
    new: OrderedDict[Look, New] = attrs.field(factory=OrderedDict)
    """What has no place yet."""
    known: set[Identity] = attrs.field(factory=set)
    """What the source says has been moved."""
    _gone_by_identity: dict[Identity, Node] = attrs.field(init=False, factory=dict)
    _new_by_identity: dict[Identity, Look] = attrs.field(init=False, factory=dict)

    def is_gone(self, node: Node) -> None:
        """It is not where it was."""
        self.gone[node] = {}
        self.gone_lately.append(node)

    def can_be_found(self, node: Node) -> None:
        """From now on this is recognized where it is found; it is gone, or was in what is gone."""
        if node.found is not None:
            self._gone_by_identity[node.found.identity] = node

    def is_new(self, new: New) -> None:
        """There is something where nothing was, or something else."""
        look = (new.folder, new.name)
        self.new[look] = new
        self._new_by_identity.setdefault(new.found.identity, look)

    def gone_with(self, node: Node) -> Node | None:
        """What is gone and has taken this along; itself, if it is one of the topmost."""
        if not self.gone:
            return None
        above: Node | None = node
        while above is not None:
            if above in self.gone:
                return above
            above = above.parent
        return None

    def wait_for(self, gone: Node, folder: Node, names: list[str]) -> None:
        """Look at these names in a folder once what has taken it along is found."""
        self.gone[gone].setdefault(folder, []).extend(names)

    def next_to_place(self) -> list[Look]:
        """The first new entry, behind those that first have to take away what is in its place; a circle is cut."""
        look = next(iter(self.new))
        chain = {look: None}
        while True:
            folder, name = look
            occupant = (folder.children or {}).get(name)
            if occupant is None or occupant.found is None:
                break
            claim = self._new_by_identity.get(occupant.found.identity)
            if claim is None or claim not in self.new or claim in chain:
                break
            if self.source_of(self.new[claim]) is not occupant:
                break
            look = claim
            chain[look] = None
        return list(chain)[::-1]

    def source_of(self, new: New) -> Node | None:
        """What has been moved to this place, of what is gone.

        An inode's number may have passed to another, so it has to be known that it was moved, or to be unchanged.
        """
        node = self._gone_by_identity.get(new.found.identity)
        if node is None or node.is_dead or node.found is None or self.gone_with(node) is None:
            return None
        if new.folder.is_within(node):
            return None
        is_same = node.found.written == new.found.written and node.found.content == new.found.content
        return node if is_same or node.found.identity in self.known else None
