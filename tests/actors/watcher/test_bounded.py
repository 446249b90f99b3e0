"""However much is watched, each step of looking at it is small, and all of them together are no more than it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio

from ukemi import ResourceExhausted
from ukemi.actors.watcher import PollingWatcher, Watcher, Watches, keeper
from ukemi.actors.watcher.inotify import Inotify
from ukemi.actors.watcher.looking import SLICE, names_in
from ukemi.actors.watcher.reconcile import Reconciliation
from ukemi.actors.watcher.snapshot import Watch

from ...expecting import PATIENCE
from .disk import carried_out, listing
from .watching import watching

MANY = 3_000
LARGEST_STEP = 9_000
"""Calls of functions in one step."""
FOR_EACH = 120
"""Calls of functions for each entry."""


class Calls:
    """Counts all calls of functions."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> Calls:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, _: Any, event: str, __: Any) -> None:
        self.number += event in ("call", "c_call")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a large one in it."""
    (tmp_path / "root" / "large").mkdir(parents=True)
    for n in range(MANY):
        (tmp_path / "root" / "large" / f"{n}").touch()
    return tmp_path / "root"


def passed(watch: Watch, source: Inotify | None) -> int:
    """Passes until all is known; fails where a step, or all of them, did too much; the steps."""
    steps = calls = 0
    while True:
        while source is not None and source.drain():
            pass
        if not watch.is_dirty:
            break
        one = Reconciliation(watch, source).steps()
        is_over = False
        while not is_over:
            with Calls() as made:
                is_over = next(one, one) is one
            steps, calls = steps + 1, calls + made.number
            assert made.number < LARGEST_STEP
    assert calls < FOR_EACH * MANY
    return steps


def move_out(root: Path) -> None:
    """All that is in a folder is moved, and then the folder removed."""
    (root / "other").mkdir()
    for name in os.listdir(root / "large"):
        (root / "large" / name).rename(root / "other" / name)
    (root / "large").rmdir()


def move_away(root: Path) -> None:
    (root / "large").rename(root.parent / "away")


def remove(root: Path) -> None:
    shutil.rmtree(root / "large")


def write_to_each(root: Path) -> None:
    for path in (root / "large").iterdir():
        path.write_text("1")


@pytest.mark.parametrize("told_by", ["inotify", "nobody"])
@pytest.mark.parametrize("change", [move_out, move_away, remove, write_to_each])
async def test_much_that_changes_is_found_in_small_steps(
    root: Path, told_by: str, change: Callable[[Path], None]
) -> None:
    source = Inotify() if told_by == "inotify" else None
    try:
        watch = Watch("w", str(root), True)
        assert passed(watch, source) > MANY / 100
        assert watch.entries == MANY + 2
        before = listing(str(root))
        watch.told.clear()
        change(root)
        watch.everything = watch.everything or source is None
        assert passed(watch, source) > MANY / 100
        after = listing(str(root))
        assert carried_out(before, watch.told) == set(after)
        assert watch.entries == len(after)
    finally:
        if source is not None:
            source.close()


def test_a_large_folder_is_listed_slice_by_slice(root: Path) -> None:
    slices = list(names_in(str(root / "large"), far=False))
    assert len(slices) == MANY // SLICE


def test_a_far_folder_is_listed_by_a_job(root: Path) -> None:
    steps = names_in(str(root), far=True)
    job = next(steps)
    assert job is not None
    with pytest.raises(StopIteration) as over:
        steps.send(job())
    assert over.value.value == {"large": None}


async def test_it_is_let_go_of_bit_by_bit(root: Path) -> None:
    async with watching() as it:
        watch = await it.add(root, recursive=True)
        (node,) = (it.watches.by_id[watch].root or pytest.fail("it is not there")).children_now()
        await it.ref.call(Watcher.remove, watch)
        assert node.children is not None
        assert it.watches.entries == 0
        with trio.fail_after(PATIENCE):
            while node.children is not None:
                await trio.lowlevel.checkpoint()


# --- bounds


async def test_all_watches_together_have_a_bound(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "MOST_IN_ALL", MANY + 1_000)
    async with watching() as it:
        first = await it.add(root / "large")
        with pytest.raises(ResourceExhausted, match="entries of all that is watched") as caught:
            await it.add(root / "large")
        assert caught.value.limit == MANY + 1_000
        assert it.watches.entries == MANY + 1
        await it.add(root)
        await it.ref.call(Watcher.remove, first)
        await it.add(root / "large")
        assert it.watches.entries == MANY + 3
        assert it.ref.cell.number == 1


# --- whose time it takes


class Endless(Reconciliation):
    """A pass over a large folder does not come to its end."""

    begun: ClassVar[set[str]] = set()
    paths: ClassVar[set[str]] = set()

    def steps(self) -> Iterator[Any]:
        while self.watch.path in self.paths:
            self.begun.add(self.watch.path)
            yield None
        yield from super().steps()


@pytest.mark.parametrize(
    "kind", [lambda watches: Watcher(watches, health_every=0.05), lambda watches: PollingWatcher(watches, 0.05)]
)
async def test_while_much_is_looked_at_other_watches_are_told_of_added_and_removed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[Watches], Watcher]
) -> None:
    monkeypatch.setattr(keeper, "Reconciliation", Endless)
    monkeypatch.setattr(Endless, "paths", set())
    monkeypatch.setattr(Endless, "begun", set())
    (tmp_path / "few").mkdir()
    (tmp_path / "more").mkdir()
    async with watching(kind) as it:
        few = await it.add(tmp_path / "few")
        large = await it.add(root / "large")
        Endless.paths.add(str(root / "large"))
        with trio.fail_after(PATIENCE):
            while not Endless.begun:
                await trio.lowlevel.checkpoint()
            more = await it.add(tmp_path / "more")
            (tmp_path / "more" / "a").touch()
            if kind(Watches()).__class__ is Watcher:
                (tmp_path / "few" / "a").touch()
                while {event.watch for event in it.heard} != {few, more}:
                    await trio.lowlevel.checkpoint()
            await it.ref.call(Watcher.remove, few)
            await it.ref.call(Watcher.remove, large)
        assert [info.watch for info in await it.ref.call(Watcher.watches)] == [more]
        assert it.ref.cell.number == 1
