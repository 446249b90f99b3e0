"""What is on disk, and what changes make of what was there: the naive reference that a watcher is held against."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

import attrs

from ukemi.actors.watcher import Change, ChangeKind


@attrs.frozen
class Entry:
    """What tells an entry from another."""

    inode: int
    mode: int
    content: bytes | str | None
    """None for a folder."""


def listing(path: str, *, recursive: bool = True) -> dict[str, Entry]:
    """All that is at a path and below it."""
    found: dict[str, Entry] = {}
    left = [path]
    while left:
        at = left.pop()
        try:
            status = os.stat(at, follow_symlinks=at == path)
        except FileNotFoundError:
            continue
        content: bytes | str | None = None
        if stat.S_ISREG(status.st_mode):
            with open(at, "rb") as file:
                content = file.read()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(at)
        elif at == path or recursive:
            left += [os.path.join(at, name) for name in os.listdir(at)]
        found[at] = Entry(status.st_ino, status.st_mode, content)
    return found


def carried_out(before: Iterable[str], changes: Iterable[Change]) -> set[str]:
    """The paths that are there after the changes, each of which has to make sense at its turn."""
    there = set(before)
    for change in changes:
        path, source = change.file, change.source_file
        folder = os.path.dirname(path)
        match change.kind:
            case ChangeKind.CREATED:
                assert path not in there, change
                assert folder in there or not any(each.startswith(f"{folder}/") for each in there), change
                there.add(path)
            case ChangeKind.MODIFIED:
                assert path in there, change
            case ChangeKind.DELETED:
                assert path in there, change
                assert not any(each.startswith(f"{path}/") for each in there), change
                there.remove(path)
            case ChangeKind.MOVED:
                assert source is not None
                assert source in there, change
                assert not any(each.startswith(f"{path}/") for each in there), change
                moved = {each for each in there if each == source or each.startswith(f"{source}/")}
                there = (there - moved) | {path + each[len(source) :] for each in moved}
    return there


def check(before: dict[str, Entry], changes: list[Change], after: dict[str, Entry]) -> None:
    """Hold changes against what was there before and what is there now: nothing lost, nothing invented."""
    assert carried_out(before, changes) == set(after)
    origin = {path: path for path in before}
    named: set[str] = set()
    for change in changes:
        path, source = change.file, change.source_file
        if source is None:
            named.add(path)
            if change.kind is not ChangeKind.MODIFIED:
                origin.pop(path, None)
            continue
        named = {_moved(each, source, path) for each in named}
        origin = {_moved(each, source, path): was for each, was in origin.items() if each != path}
    for path, entry in after.items():
        if path not in named:
            assert path in origin, path
            assert before[origin[path]].content == entry.content, path
            assert before[origin[path]].mode == entry.mode, path


def _moved(path: str, source: str, target: str) -> str:
    return target + path[len(source) :] if path == source or path.startswith(f"{source}/") else path
