"""From a snapshot to what is on disk now: finds the changes, tells them in order, and keeps the snapshot in step.

The snapshot is edited change by change, and each is told as it is made: so the changes, carried out in order on what
was there before, give what is there now. First every name that is to be looked at is (`_examine`); what is gone stays
where it was for the time being, what is new is noted. Then each new entry gets its place (`_place`): one that is gone
elsewhere has been moved, any other was created. What is then still gone was deleted.

A name that changes while all this goes on is marked again by the source, and looked at in the next pass. Each step
handles a bounded number of entries, and all steps together take time in proportion to what is looked at.
"""

from __future__ import annotations

import os
from functools import partial

from .changes import Change, ChangeKind
from .found import Found
from .looking import (
    SLICE,
    Steps,
    asked,
    find_place,
    is_denied,
    is_gone,
    look_at_each,
    look_at_path,
    names_in,
    place_of,
)
from .moves import Moves, New
from .snapshot import Look, Node, Watch
from .sources import Source

STEP = 64
"""Entries looked at between two pauses."""


class Reconciliation:
    """One pass over one watch. `steps()` does it, with pauses; between them the snapshot is whole and true to `told`.

    With `tells=False` nothing is told: for a watch that nobody knows of yet. `surprises` are names that have come or
    gone in folders that were attended to, and that nobody had told of.
    """

    def __init__(self, watch: Watch, source: Source | None, *, tells: bool = True) -> None:
        self.surprises: list[Look] = []
        self.watch = watch
        self._source = source
        self._tells = tells
        self._into: list[Node] = []
        """Folders that are to be looked into."""
        self._todo: list[tuple[Node, list[str]]] = []
        """Names in a folder that are to be looked at; the last ones first."""
        self._moves = Moves()
        self._fresh: set[Node] = set()
        """Folders that were not attended to before."""
        self._count = 0

    def steps(self) -> Steps[None]:
        """Do it. Raises OSError for what is neither gone nor denied, and what the source raises."""
        watch = self.watch
        is_adrift, self._all = watch.adrift, watch.everything or watch.adrift
        self._moves.known, self._looks = watch.moved, watch.looks
        watch.moved, watch.looks, watch.everything, watch.adrift = set(), {}, False, False
        yield from self._take_bearings(is_adrift=is_adrift)
        kind = _kind(watch.root)
        yield from self._gather_looks()
        moves = self._moves
        while self._into or self._todo or moves.new:
            if moves.gone_lately:
                yield from self._note_gone(moves.gone_lately.pop())
            elif self._into:
                yield from self._look_into(self._into.pop())
            elif self._todo and (self._tells or not moves.new):
                yield from self._look_at_some()
            else:
                for look in moves.next_to_place():
                    yield from self._place(moves.new.pop(look))
                    yield from self._pause()
        for node in list(moves.gone):
            if not node.is_dead:
                yield from self._delete(node)
        if _kind(watch.root) != kind:
            watch.adrift = True  # a file is watched in another way than a folder

    def _take_bearings(self, *, is_adrift: bool) -> Steps[None]:
        """Find out where the path leads to, and have the source tell when that changes."""
        watch = self.watch
        if watch.place is None or self._all:
            watch.place = yield from find_place(watch.path)
        else:
            watch.place = place_of(watch.path, watch.place.real)
        self._place_on_disk = watch.place
        if is_adrift and self._source is not None:
            yield from self._source.anchor(watch)

    def _gather_looks(self) -> Steps[None]:
        """By their folders, the topmost first."""
        watch = self.watch
        self._written = set()
        by_folder: dict[Node, list[str]] = {}
        for n, ((folder, name), is_written) in enumerate(self._looks.items(), 1):
            by_folder.setdefault(folder, []).append(name)
            if is_written:
                self._written.add((folder, name))
            if n % SLICE == 0:
                yield None
        if self._all and (watch.top, watch.root_name) not in self._looks:
            by_folder.setdefault(watch.top, []).append(watch.root_name)
        for names in by_folder.values():
            names.reverse()
        self._todo = sorted(by_folder.items(), key=lambda each: -each[0].depth)

    def _pause(self) -> Steps[None]:
        self._count += 1
        if self._count % STEP == 0:
            yield None

    # --- look

    def _look_at_some(self) -> Steps[None]:
        """At the next names of the folder in hand."""
        folder, left = self._todo[-1]
        names = left[: -STEP - 1 : -1]
        del left[-STEP:]
        if not left:
            self._todo.pop()
        if folder.is_dead or folder.children is None:
            return
        gone_with = self._moves.gone_with(folder)
        if gone_with is not None:
            self._moves.wait_for(gone_with, folder, names)
            return
        above = folder.path
        paths = [os.path.join(above, name) for name in names]
        far = self._is_far(folder) or not self._place_on_disk.far_within.isdisjoint(paths)
        seen = yield from asked(partial(look_at_each, paths, follow=folder.is_top, far=far), far=far)
        for name, found in zip(names, seen, strict=True):
            if isinstance(found, OSError):
                self._can_not_see(folder, name)
            else:
                self._examine(folder, name, found)
        self._count += len(names)
        if self._count % STEP < len(names):
            yield None

    def _is_far(self, folder: Node) -> bool:
        """Whether what is in a folder may be another machine's."""
        place = self._place_on_disk
        return place.is_far or (
            bool(place.far_devices) and folder.found is not None and folder.found.device in place.far_devices
        )

    def _can_not_see(self, folder: Node, name: str) -> None:
        """Nothing can be said of it: what was known stays, and a folder is looked into again once it is seen."""
        known = (folder.children or {}).get(name)
        if known is not None and _has_content(known) and _is_looked_into(known):
            self.watch.blind[known] = None

    def _examine(self, folder: Node, name: str, found: Found | None) -> None:
        assert folder.children is not None
        known = folder.children.get(name)
        if known is not None and found is not None and known.found and known.found.identity == found.identity:
            self._keep(known, found)
            return
        if known is not None:
            self._moves.is_gone(known)
        if found is not None:
            self._moves.is_new(New(folder, name, found))
        was_attended = not folder.is_top and folder not in self._fresh
        if (known or found) and was_attended and (folder, name) not in self._looks:
            self.surprises.append((folder, name))

    def _keep(self, node: Node, found: Found) -> None:
        """It is where it was."""
        before, node.found = node.found, found
        assert before is not None
        is_changed = found != before and (
            found.content != before.content
            or (found.changed != before.changed and found.identity not in self._moves.known)
        )
        if self._is_written(node) or is_changed:
            self._tell(ChangeKind.MODIFIED, node)
        self._look_into_again(node)

    def _is_written(self, node: Node) -> bool:
        """Whether it is known to have been written to, and not yet told."""
        if not self._written:
            return False
        assert node.parent is not None
        look = (node.parent, node.name)
        if look not in self._written:
            return False
        self._written.discard(look)
        return node.found is not None and not node.found.is_folder

    def _look_into_again(self, node: Node) -> None:
        is_blind = node in self.watch.blind
        if is_blind:
            self._fresh.add(node)
        if (is_blind or self._all) and _has_content(node) and _is_looked_into(node):
            self._into.append(node)

    def _look_into(self, node: Node) -> Steps[None]:
        """Have all that is in a folder, or was, looked at. It is attended to first, so that nothing slips through."""
        if node.is_dead:
            return
        gone_with = self._moves.gone_with(node)
        if gone_with is not None:
            self.watch.blind[node] = None
            assert node.parent is not None
            self._moves.wait_for(gone_with, node.parent, [node.name])
            return
        path, far = node.path, self._is_far(node)
        try:
            if self._source is not None:
                yield from self._source.attend(node, far=far)
            names = yield from names_in(path, far=far)
            found = yield from asked(partial(look_at_path, path, follow=node.is_root), far=far)
        except OSError as error:
            if is_denied(error, far=far):
                self.watch.blind[node] = None
                return
            if not is_gone(error):
                raise
            found = None
        if found is None or node.found is None or found.identity != node.found.identity:
            # Another has taken its place in this moment.
            self.watch.look_at_node(node)
            self.watch.blind[node] = None
            if node.children is None:
                node.children = {}
            return
        self.watch.blind.pop(node, None)
        if node.children is None:
            node.children = {}
        for n, name in enumerate(tuple(node.children), 1):
            names[name] = None
            if n % SLICE == 0:
                yield None
        if names:
            # Few are told in order of their names; to sort many would hold up the loop.
            self._todo.append((node, sorted(names, reverse=True) if len(names) <= SLICE else list(names)))
        yield from self._pause()

    def _note_gone(self, node: Node) -> Steps[None]:
        """From now on what was in it is recognized where it is found."""
        for each in node.subtree():
            self._moves.can_be_found(each)
            yield from self._pause()

    # --- give each its place

    def _place(self, new: New) -> Steps[None]:
        if new.folder.is_dead or new.folder.children is None:
            return
        gone_with = self._moves.gone_with(new.folder)
        if gone_with is not None:
            self._moves.wait_for(gone_with, new.folder, [new.name])
            return
        node, occupant = self._moves.source_of(new), new.folder.children.get(new.name)
        if occupant is not None and occupant is node:
            yield from self._is_back(occupant)
            self._keep(occupant, new.found)
            return
        if occupant is not None:
            if node is None and not _has_content(occupant) and not new.found.is_folder:
                yield from self._replace(occupant, new)
                return
            yield from self._delete(occupant, quietly=node is not None and not _has_content(occupant))
            if node is not None and node.is_dead:
                node = None
        if node is not None:
            yield from self._move(node, new)
        else:
            self._create(new)

    def _create(self, new: New) -> None:
        assert new.folder.children is not None
        node = Node(self.watch, new.folder, new.name, new.found)
        new.folder.children[new.name] = node
        self.watch.entries += 1
        self._tell(ChangeKind.CREATED, node)
        if new.found.is_folder and _is_looked_into(node):
            self._fresh.add(node)
            self._into.append(node)

    def _replace(self, node: Node, new: New) -> Steps[None]:
        yield from self._is_back(node)
        node.found = new.found
        self._tell(ChangeKind.MODIFIED, node)

    def _move(self, node: Node, new: New) -> Steps[None]:
        source, parent, gone_with = node.path, node.parent, self._moves.gone_with(node)
        assert parent is not None
        assert parent.children is not None
        assert new.folder.children is not None
        assert node.found is not None
        del parent.children[node.name]
        node.parent, node.name = new.folder, new.name
        new.folder.children[new.name] = node
        before, node.found = node.found, new.found
        self._tell(ChangeKind.MOVED, node, source)
        if new.found.content != before.content or self._is_written(node):
            self._tell(ChangeKind.MODIFIED, node)
        yield from self._is_back(node, gone_with)
        self._look_into_again(node)

    def _is_back(self, node: Node, gone_with: Node | None = None) -> Steps[None]:
        """It is not gone after all, as was what had taken it along: what is in it can be looked at."""
        if gone_with is None or gone_with is node:
            self._todo.extend(self._moves.gone.pop(node, {}).items())
            return
        waiting = self._moves.gone.get(gone_with)
        if not waiting or node.children is None:
            return
        for each in node.subtree():
            if each in waiting:
                self._todo.append((each, waiting.pop(each)))
            yield from self._pause()

    def _delete(self, node: Node, *, quietly: bool = False) -> Steps[None]:
        """It is gone, and all that was in it; the innermost is told first."""
        self._moves.gone.pop(node, None)
        for each in node.innermost_first():
            if self._source is not None and each.children is not None:
                self._source.forget(each)
            if not quietly:
                self._tell(ChangeKind.DELETED, each)
            self.watch.blind.pop(each, None)
            self.watch.entries -= 1
            each.is_dead = True
            assert each.parent is not None
            assert each.parent.children is not None
            del each.parent.children[each.name]
            if not quietly:  # else it is at once replaced
                yield from self._pause()

    def _tell(self, kind: ChangeKind, node: Node, source: str | None = None) -> None:
        if self._tells:
            self.watch.told.append(Change.of(kind, node.path, source))


def _is_looked_into(node: Node) -> bool:
    """Whether what is in a folder is watched, too."""
    return node.is_root or node.watch.recursive


def _has_content(node: Node) -> bool:
    return node.found is not None and node.found.is_folder


def _kind(node: Node | None) -> int:
    """What stands at the root of a watch."""
    return 0 if node is None or node.found is None else 1 + node.found.is_folder
