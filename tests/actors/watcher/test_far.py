"""Watches of a place for which somebody else answers, or does not: they hold up nobody but themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from ukemi.actors.events import ActorStarted
from ukemi.actors.watcher import NoSuchWatch, PollingWatcher, Watcher, Watches
from ukemi.actors.watcher.reconcile import Reconciliation
from ukemi.actors.watcher.snapshot import Watch

from ...expecting import PATIENCE, expecting
from ...far import FarFolder, far_folder
from .watching import Watching, watching


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarFolder]:
    with far_folder(tmp_path / "far", monkeypatch) as far:
        yield far


@pytest.fixture
def near(tmp_path: Path) -> Path:
    near = tmp_path / "near"
    near.mkdir()
    return near


async def is_asked(far: FarFolder) -> None:
    """Wait until somebody waits for the server."""
    await trio.to_thread.run_sync(far.wait_until_asked)


async def hears(it: Watching, path: Path) -> None:
    """Wait until it is told that something was created."""
    with trio.fail_after(PATIENCE):
        while not any(change.path == str(path) for event in it.heard for change in event.changes):
            await trio.lowlevel.checkpoint()


def often(watches: Watches) -> Watcher:
    return Watcher(watches, health_every=0.05)


def polling(watches: Watches) -> PollingWatcher:
    return PollingWatcher(watches, interval=0.05)


@pytest.mark.parametrize("kind", [often, polling])
async def test_a_watched_server_that_hangs_holds_up_no_other_watch(far: FarFolder, near: Path, kind: type) -> None:
    async with watching(kind, max_restarts=0) as it:
        await it.add(far.path, recursive=True)
        await it.add(near)
        far.hang()
        await is_asked(far)
        (near / "a").touch()
        await hears(it, near / "a")
        (near / "below").mkdir()
        await it.add(near / "below")
        (near / "below" / "b").touch()
        await hears(it, near / "below" / "b")


async def test_a_watcher_starts_again_while_a_watched_server_hangs(far: FarFolder, near: Path) -> None:
    async with watching(often) as it:
        await it.add(far.path)
        await it.add(near)
        far.hang()
        await is_asked(far)
        async with expecting(it.runtime, ActorStarted, it.ref.path):
            it.ref.kill()
        (near / "a").touch()
        await hears(it, near / "a")
        assert it.ref.cell.number == 2


async def test_the_watch_of_a_server_that_hangs_can_be_removed(far: FarFolder, near: Path) -> None:
    async with watching(often) as it:
        watch = await it.add(far.path)
        far.hang()
        await is_asked(far)
        await it.ref.call(Watcher.remove, watch)
        assert await it.ref.call(Watcher.watches) == ()
        assert it.ref.cell.number == 1


async def test_what_a_server_that_hangs_holds_up_in_being_added_can_be_given_up(far: FarFolder, near: Path) -> None:
    async with watching() as it:
        far.hang()
        async with trio.open_nursery() as nursery:

            async def add() -> None:
                with pytest.raises(NoSuchWatch):
                    await it.ref.call(Watcher.add, str(far.path), False, "utf-8", "far")

            nursery.start_soon(add)
            await is_asked(far)
            await it.add(near)
            (near / "a").touch()
            await hears(it, near / "a")
            await it.ref.call(Watcher.forget, ["far"])


async def test_a_server_that_is_gone_is_no_failure_of_the_watcher(far: FarFolder, near: Path) -> None:
    async with watching(often, max_restarts=0) as it:
        watch = await it.add(far.path)
        await it.add(near)
        far.hang()
        await is_asked(far)
        far.abort()
        with trio.fail_after(PATIENCE):
            while not any(info.unreadable for info in await it.ref.call(Watcher.watches) if info.watch == watch):
                await trio.lowlevel.checkpoint()
        (near / "a").touch()
        await hears(it, near / "a")


def jobs_of(watch: Watch) -> Iterator[None]:
    """One pass; a pause before each of its jobs is done."""
    steps = Reconciliation(watch, None).steps()
    job = next(steps, None)
    with suppress(StopIteration):
        while True:
            yield
            job = steps.send(job() if job is not None else None)


def test_a_way_that_changes_while_a_server_is_asked_where_it_leads_is_followed_again(far: FarFolder) -> None:
    watch = Watch("w", str(far.path), False)
    while watch.is_dirty:
        for _ in jobs_of(watch):
            pass
    watch.everything = True
    one = jobs_of(watch)
    next(one)
    watch.adrift = True
    for _ in one:
        pass
    assert watch.adrift


async def test_what_is_mounted_below_what_is_near_is_asked_in_a_thread(far: FarFolder, near: Path) -> None:
    async with watching(often, max_restarts=0) as it:
        await it.add(far.path.parent, recursive=True)
        other = await it.add(near)
        far.hang()
        await is_asked(far)
        (near / "a").touch()
        with trio.fail_after(PATIENCE):
            while not any(event.watch == other for event in it.heard):
                await trio.lowlevel.checkpoint()
