"""What runs in a watcher's place: it is quiet, or looks; whatever is asked of it holds for the watcher, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ukemi import Feature, Runtime, child, supervisor
from ukemi.actors.watcher import Changed, PollingWatcher, QuietWatcher, Watcher, Watches

from .disk import check, listing
from .watching import Ear, Watching, watching


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def paths_attended(it: Watching) -> list[str]:
    """The paths of the watches of which the system tells."""
    watcher = it.ref.cell.incarnation.actor
    return [watch.path for watch in watcher._attended]


async def test_while_it_is_turned_off_nothing_is_told_and_afterwards_everything(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    (tmp_path / "gone").write_text("1")
    (tmp_path / "old").mkdir()
    async with watching(fallback=QuietWatcher, feature=Feature("file_watching")) as it:
        features = it.runtime.features
        await it.add(tmp_path, True)
        before = listing(str(tmp_path))
        features.degrade("file_watching", "manual")
        await trio.sleep(1)
        assert it.runtime.tree().find("/app/watcher").fallback == "fallback"
        (tmp_path / "gone").unlink()
        (tmp_path / "old").rename(tmp_path / "moved")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "a").write_text("1")
        await trio.sleep(300)
        assert it.heard == []
        features.lift("file_watching", "manual")
        await trio.sleep(11)
        assert it.runtime.tree().find("/app/watcher").fallback is None
        check(before, await it.told(), listing(str(tmp_path)))
        (tmp_path / "new" / "a").write_text("12")
        assert await it.brief(tmp_path) == ["modified new/a"]


async def test_what_is_watched_while_it_is_turned_off_is_told_from_then_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with watching(fallback=QuietWatcher, feature=Feature("file_watching")) as it:
        it.runtime.features.degrade("file_watching", "manual")
        await trio.sleep(1)
        (tmp_path / "before").touch()
        kept, dropped = await it.add(tmp_path), await it.add(tmp_path)
        (tmp_path / "after").touch()
        await it.ref.call(Watcher.remove, dropped)
        it.runtime.features.lift("file_watching", "manual")
        await trio.sleep(11)
        assert [event.watch for event in it.heard] == [kept]
        assert await it.brief(tmp_path) == ["created after"]


@pytest.mark.parametrize("kind", [QuietWatcher, PollingWatcher])
async def test_what_another_adds_and_removes_the_watcher_follows_at_once(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    """As happens between the start of a watcher and its taking over from what has run in its place."""
    watches, heard = Watches(), list[Changed]()
    children = [
        child("watcher", lambda: Watcher(watches, health_every=1e6)),
        child("other", lambda: kind(watches)),
        child("ear", lambda: Ear(heard)),
    ]
    async with Runtime(supervisor("app", *children)) as runtime:
        it = Watching(runtime, runtime.ref("watcher"), watches, heard)
        other = runtime.ref("other")
        first = await other.call(Watcher.add, str(tmp_path))
        await trio.sleep(0.01)
        assert paths_attended(it) == [str(tmp_path)]
        (tmp_path / "a").touch()
        assert await it.brief(tmp_path) == ["created a"]
        (tmp_path / "sub").mkdir()
        second = await it.add(tmp_path / "sub")
        await other.call(Watcher.forget, [first, "no such watch"])
        await trio.sleep(0.01)
        assert paths_attended(it) == [str(tmp_path / "sub")]
        await other.call(Watcher.remove, second)
        await trio.sleep(0.01)
        assert paths_attended(it) == []


async def test_a_watch_may_have_an_id_of_its_askers_own_and_asking_again_changes_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    (tmp_path / "other").mkdir()
    async with watching() as it:

        async def add(path: Path, watch: str) -> str:
            return await it.ref.call(Watcher.add, str(path), False, "utf-8", watch)

        assert await add(tmp_path, "w1") == "w1"
        (tmp_path / "a").touch()
        assert await add(tmp_path, "w1") == "w1"
        assert await it.brief(tmp_path) == ["created a"]
        with pytest.raises(ValueError, match="watch='w1' is the id of another watch"):
            await add(tmp_path / "other", "w1")
        assert await it.add(tmp_path) == "w2"
        await it.ref.call(Watcher.forget, ["w1", "w2", "w3"])
        assert await it.ref.call(Watcher.watches) == ()


async def test_a_polling_watcher_that_is_not_on_looks_once_it_is(tmp_path: Path, autojump_clock: MockClock) -> None:
    on = [True]

    class Switched(PollingWatcher):
        def _is_on(self) -> bool:
            return on[0]

    async with watching(Switched) as it:
        await it.add(tmp_path)
        on[0] = False
        (tmp_path / "a").touch()
        await trio.sleep(60)
        assert it.heard == []
        on[0] = True
        await trio.sleep(5)
        assert await it.brief(tmp_path) == ["created a"]
