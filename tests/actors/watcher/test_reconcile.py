"""Reconciliation against the naive reference: two listings of the disk, and the changes carried out on the first."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ukemi.actors.watcher import Change, ChangeKind, Watches
from ukemi.actors.watcher.inotify import Inotify
from ukemi.actors.watcher.portable import Portable
from ukemi.actors.watcher.reconcile import Reconciliation
from ukemi.actors.watcher.snapshot import Watch
from ukemi.actors.watcher.sources import Source

from .disk import check, listing

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["write", "append", "mkdir", "remove", "chmod", "link", "make again"]), PATHS, PATHS),
    st.tuples(st.sampled_from(["move", "move", "leave", "come back"]), PATHS, PATHS),
)
LOOK = st.tuples(st.sampled_from(["look", "look", "overflow", "part of it"]), st.just(""), st.just(""))


def do(step: str, root: Path, one: Path, other: Path) -> None:
    """Carry out one step; one that can't be is none."""
    with contextlib.suppress(OSError, shutil.Error):
        match step:
            case "write":
                one.write_bytes(os.urandom(8))
            case "append":
                with one.open("ab") as file:
                    file.write(b"x")
            case "mkdir":
                one.mkdir()
            case "remove":
                shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
            case "chmod":
                one.chmod(0o700 if one.stat().st_mode & 0o77 else 0o755)
            case "link":
                one.symlink_to(other)
            case "make again":
                one.rmdir()
                one.mkdir()
                (one / "new").write_bytes(b"new")
            case "move":
                one.rename(other)
            case "leave":
                one.rename(root.parent / f"outside {one.name}")
            case "come back":
                (root.parent / f"outside {one.name}").rename(other)


def looked(watch: Watch, source: Source | None) -> list[Change]:
    """Passes over a watch until nothing is to be looked at any more."""
    for _ in range(100):
        while source is not None and source.drain():
            pass
        if not watch.is_dirty:
            told, watch.told = watch.told, []
            return told
        for _ in Reconciliation(watch, source).steps():
            pass
    raise AssertionError("it never ends")


@pytest.mark.parametrize("told_by", ["inotify", "nobody"])
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.one_of(STEPS, STEPS, STEPS, LOOK), max_size=40))
async def test_the_changes_make_what_is_there_of_what_was_there(
    told_by: str, steps: list[tuple[str, str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        source = Inotify() if told_by == "inotify" else None
        try:
            watch = Watch("w", str(root), True)
            looked(watch, source)
            before = listing(str(root))
            for step, one, other in [*steps, ("look", "", "")]:
                if step == "part of it" and source is not None:
                    source.drain()  # what comes later is told together with it, or not
                    for _ in Reconciliation(watch, source).steps():
                        pass
                elif step in ("look", "overflow", "part of it"):
                    if step == "overflow" and source is not None:
                        while source.drain():
                            watch.looks.clear()
                            watch.moved.clear()
                        source._overflown()
                    if source is None:
                        watch.everything = True
                    changes, after = looked(watch, source), listing(str(root))
                    check(before, changes, after)
                    before = after
                else:
                    do(step, root, root / one, root / other)
        finally:
            if source is not None:
                source.close()


async def test_swaps_circles_and_chains_of_moves(tmp_path: Path) -> None:
    root = tmp_path / "root"
    source = Inotify()
    root.mkdir()
    watch = Watch("w", str(root), True)
    for name in "abc":
        (root / name).mkdir()
        (root / name / name).write_text(name)
    (root / "log").write_text("0")
    looked(watch, source)

    def moves(*names: str) -> list[Change]:
        before = listing(str(root))
        for one, other in zip(names[::2], names[1::2], strict=True):
            (root / one).rename(root / other)
        changes = looked(watch, source)
        check(before, changes, listing(str(root)))
        return changes

    moves("a", "t", "b", "a", "t", "b")
    moves("a", "t", "b", "a", "c", "b", "t", "c")
    moves("a/b", "t", "a", "t/a") if (root / "a" / "b").exists() else moves("a", "b/a")
    assert [each.kind for each in moves("log", "log.1")] == [ChangeKind.MOVED]
    for n in range(300, 1, -1):
        (root / f"log.{n}").write_text(str(n))
    looked(watch, source)
    before = listing(str(root))
    for n in range(300, 0, -1):
        (root / f"log.{n}").rename(root / f"log.{n + 1}")
    (root / "log").write_text("new")
    changes = looked(watch, source)
    check(before, changes, listing(str(root)))
    assert {each.kind for each in changes[:-1]} == {ChangeKind.MOVED, ChangeKind.CREATED} or len(changes) == 301
    source.close()


async def test_an_inode_that_is_used_again_is_no_move(tmp_path: Path) -> None:
    watch = Watch("w", str(tmp_path), True)
    source = Inotify()
    (tmp_path / "old").write_text("old content")
    looked(watch, source)
    (tmp_path / "old").unlink()
    (tmp_path / "new").write_text("new")
    changes = looked(watch, source)
    assert sorted(each.kind for each in changes) == [ChangeKind.CREATED, ChangeKind.DELETED]
    source.close()


async def test_another_systems_notifications_only_say_where_to_look(tmp_path: Path) -> None:
    source = Portable()
    try:
        watch = Watches().by_id.setdefault("w", Watch("w", str(tmp_path), True))
        looked(watch, source)
        before, told = listing(str(tmp_path)), []
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "file").write_text("1")
        (tmp_path / "b").write_text("1")
        (tmp_path / "b").rename(tmp_path / "c")
        with trio.fail_after(10):
            while {change.path for change in told} != {f"{tmp_path}/{name}" for name in ("a", "a/file", "c")}:
                await source.wait()
                told += looked(watch, source)
        check(before, told, listing(str(tmp_path)))
        source.release(watch)
    finally:
        source.close()
