"""From a snapshot to what is on disk now: finds the changes, tells them in order, and keeps the snapshot in step.

The snapshot is edited change by change, and each is told as it is made: so the changes, carried out in order on what
was there before, give what is there now. First every name that is to be looked at is (`_examine`); what is gone stays
where it was for the time being, what is new is noted. Then each new entry gets its place (`_place`): one that is gone
elsewhere has been moved, any other was created. What is then still gone was deleted.

A name that changes while all this goes on is marked again by the source, and looked at in the next pass.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import attrs

from .changes import Change, ChangeKind
from .snapshot import Found, Identity, Look, Node, Watch
from .sources import Source

STEP = 64
"""Entries looked at between two pauses."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE)
_DENIED = (errno.EACCES, errno.EPERM)


@attrs.frozen
class _New:
    """An entry that is on disk and not in the snapshot."""

    folder: Node
    name: str
    found: Found


class Reconciliation:
    """One pass over one watch. `steps()` does it, with pauses; between them the snapshot is whole and true to `told`.

    `surprises` are names that have come or gone in folders that were attended to, and that nobody had told of.
    """

    def __init__(self, watch: Watch, source: Source | None) -> None:
        self.surprises: list[Look] = []
        self._watch = watch
        self._source = source
        self._todo: list[Look] = []
        self._gone: dict[Node, list[Look]] = {}
        """The topmost of what is gone, each with what is to be looked at once it is found elsewhere."""
        self._gone_by_identity: dict[Identity, Node] = {}
        self._new: dict[Look, _New] = {}
        self._new_by_identity: dict[Identity, Look] = {}
        self._fresh: set[Node] = set()
        """Folders that were not attended to before."""
        self._count = 0
        self.created = 0
        """Entries that were not known before."""

    def steps(self) -> Iterator[None]:
        """Do it. Raises OSError for what is neither gone nor denied, and what the source raises."""
        watch = self._watch
        self._all = watch.everything or watch.adrift
        if watch.adrift and self._source is not None:
            self._source.anchor(watch)
        self._moved, self._looks = watch.moved, watch.looks
        watch.moved, watch.looks, watch.everything, watch.adrift = set(), {}, False, False
        self._written = {look for look, written in self._looks.items() if written}
        self._todo = list(self._looks)
        if self._all:
            self._todo.append((watch.top, watch.root_name))
        kind = _kind(watch.root)
        self._todo.sort(key=lambda each: -each[0].depth)
        while self._todo or self._new:
            while self._todo:
                self._examine(*self._todo.pop())
                yield from self._pause()
            while self._new and not self._todo:
                for look in self._chain(next(iter(self._new))):
                    self._place(self._new.pop(look))
                    yield from self._pause()
        for node in list(self._gone):
            if not node.is_dead:
                self._delete(node)
                yield from self._pause()
        if _kind(watch.root) != kind:
            watch.adrift = True  # a file is watched in another way than a folder

    def _pause(self) -> Iterator[None]:
        self._count += 1
        if self._count % STEP == 0:
            yield

    # --- look

    def _examine(self, folder: Node, name: str) -> None:
        if folder.is_dead or folder.children is None:
            return
        gone_with = self._gone_with(folder)
        if gone_with is not None:
            self._gone[gone_with].append((folder, name))
            return
        known = folder.children.get(name)
        try:
            found = _look_at(folder, name)
        except OSError as error:
            if error.errno not in _DENIED:
                raise
            return  # nothing can be said of it
        if known is not None and found is not None and known.found and known.found.identity == found.identity:
            self._keep(known, found)
            return
        if known is not None:
            self._is_gone(known)
        if found is not None:
            self._is_new(_New(folder, name, found))
        was_attended = not folder.is_top and folder not in self._fresh
        if (known or found) and was_attended and (folder, name) not in self._looks:
            self.surprises.append((folder, name))

    def _gone_with(self, node: Node) -> Node | None:
        """What is gone and has taken this along."""
        if not self._gone:
            return None
        above: Node | None = node
        while above is not None:
            if above in self._gone:
                return above
            above = above.parent
        return None

    def _keep(self, node: Node, found: Found) -> None:
        """It is where it was."""
        before, node.found = node.found, found
        assert before is not None
        is_changed = found.changed != before.changed and found.identity not in self._moved
        if found.content != before.content or is_changed or self._is_written(node):
            self._tell(ChangeKind.MODIFIED, node.path)
        self._look_into_again(node)

    def _is_written(self, node: Node) -> bool:
        """Whether it is known to have been written to, and not yet told."""
        assert node.parent is not None
        look = (node.parent, node.name)
        if look not in self._written:
            return False
        self._written.discard(look)
        return node.found is not None and not node.found.is_folder

    def _look_into_again(self, node: Node) -> None:
        is_blind = node in self._watch.blind
        if is_blind:
            self._fresh.add(node)
        if _has_content(node) and _is_looked_into(node) and (is_blind or self._all):
            self._look_into(node)

    def _look_into(self, node: Node) -> None:
        """Have all that is in a folder, or was, looked at. It is attended to first, so that nothing slips through."""
        path = node.path
        try:
            if self._source is not None:
                self._source.attend(node)
            names = os.listdir(path)
            found = _look_at_path(path, follow=node.is_root)
        except OSError as error:
            if error.errno in _DENIED:
                self._watch.blind[node] = None
                return
            if error.errno not in _GONE:
                raise
            found = None
        if found is None or node.found is None or found.identity != node.found.identity:
            # Another has taken its place in this moment.
            self._watch.look_at_node(node)
            self._watch.blind[node] = None
            if node.children is None:
                node.children = {}
            return
        self._watch.blind.pop(node, None)
        if node.children is None:
            node.children = {}
        self._todo.extend((node, name) for name in sorted({*names, *node.children}, reverse=True))

    def _is_gone(self, node: Node) -> None:
        self._gone[node] = []
        for each in node.subtree():
            if each.found is not None:
                self._gone_by_identity[each.found.identity] = each

    def _is_new(self, new: _New) -> None:
        look = (new.folder, new.name)
        self._new[look] = new
        self._new_by_identity.setdefault(new.found.identity, look)

    # --- give each its place

    def _chain(self, look: Look) -> list[Look]:
        """The new entry, behind those that first have to take away what is in its place; a circle is cut."""
        chain = {look: None}
        while True:
            folder, name = look
            occupant = (folder.children or {}).get(name)
            if occupant is None or occupant.found is None:
                break
            claim = self._new_by_identity.get(occupant.found.identity)
            if claim is None or claim not in self._new or claim in chain:
                break
            if self._moved_to(self._new[claim]) is not occupant:
                break
            look = claim
            chain[look] = None
        return list(chain)[::-1]

    def _moved_to(self, new: _New) -> Node | None:
        """What has been moved to this place, of what is gone.

        An inode's number may have passed to another, so it has to be known that it was moved, or to be unchanged.
        """
        node = self._gone_by_identity.get(new.found.identity)
        if node is None or node.is_dead or node.found is None or self._gone_with(node) is None:
            return None
        if new.folder.is_within(node):
            return None
        is_same = node.found.written == new.found.written and node.found.content == new.found.content
        return node if is_same or node.found.identity in self._moved else None

    def _place(self, new: _New) -> None:
        if new.folder.is_dead or new.folder.children is None:
            return
        gone_with = self._gone_with(new.folder)
        if gone_with is not None:
            self._gone[gone_with].append((new.folder, new.name))
            return
        node, occupant = self._moved_to(new), new.folder.children.get(new.name)
        if occupant is not None and occupant is node:
            self._is_back(occupant)
            self._keep(occupant, new.found)
            return
        if occupant is not None:
            if node is None and not _has_content(occupant) and not new.found.is_folder:
                self._replace(occupant, new)
                return
            self._delete(occupant, quietly=node is not None and not _has_content(occupant))
            if node is not None and node.is_dead:
                node = None
        if node is not None:
            self._move(node, new)
        else:
            self._create(new)

    def _create(self, new: _New) -> None:
        assert new.folder.children is not None
        node = Node(self._watch, new.folder, new.name, new.found)
        new.folder.children[new.name] = node
        self.created += 1
        self._tell(ChangeKind.CREATED, node.path)
        if new.found.is_folder and _is_looked_into(node):
            self._fresh.add(node)
            self._look_into(node)

    def _replace(self, node: Node, new: _New) -> None:
        self._is_back(node)
        node.found = new.found
        self._tell(ChangeKind.MODIFIED, node.path)

    def _move(self, node: Node, new: _New) -> None:
        source, parent, gone_with = node.path, node.parent, self._gone_with(node)
        assert parent is not None
        assert parent.children is not None
        assert new.folder.children is not None
        assert node.found is not None
        del parent.children[node.name]
        node.parent, node.name = new.folder, new.name
        new.folder.children[new.name] = node
        before, node.found = node.found, new.found
        self._tell(ChangeKind.MOVED, node.path, source)
        if new.found.content != before.content or self._is_written(node):
            self._tell(ChangeKind.MODIFIED, node.path)
        self._is_back(node, gone_with)
        self._look_into_again(node)

    def _is_back(self, node: Node, gone_with: Node | None = None) -> None:
        """It is not gone after all, as was what had taken it along: what is in it can be looked at."""
        gone_with = gone_with or node
        waiting = self._gone.pop(gone_with, [])
        if gone_with is not node:
            self._gone[gone_with] = [look for look in waiting if not look[0].is_within(node)]
            waiting = [look for look in waiting if look[0].is_within(node)]
        self._todo.extend(waiting)

    def _delete(self, node: Node, *, quietly: bool = False) -> None:
        """It is gone, and all that was in it; the innermost is told first."""
        self._gone.pop(node, None)
        assert node.parent is not None
        assert node.parent.children is not None
        for each in reversed(list(node.subtree())):
            if self._source is not None and each.children is not None:
                self._source.forget(each)
            if not quietly:
                self._tell(ChangeKind.DELETED, each.path)
            self._watch.blind.pop(each, None)
            each.is_dead = True
        del node.parent.children[node.name]

    def _tell(self, kind: ChangeKind, path: str, source: str | None = None) -> None:
        self._watch.told.append(Change.of(kind, path, source))


def _look_at(folder: Node, name: str) -> Found | None:
    """An entry as it is on disk; None if it is not there. A link is not followed, unless it is what is watched."""
    return _look_at_path(os.path.join(folder.path, name), follow=folder.is_top)


def _look_at_path(path: str, *, follow: bool) -> Found | None:
    try:
        return Found.of(os.stat(path, follow_symlinks=follow))
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _is_looked_into(node: Node) -> bool:
    """Whether what is in a folder is watched, too."""
    return node.is_root or node.watch.recursive


def _has_content(node: Node) -> bool:
    return node.found is not None and node.found.is_folder


def _kind(node: Node | None) -> int:
    """What stands at the root of a watch."""
    return 0 if node is None or node.found is None else 1 + node.found.is_folder
