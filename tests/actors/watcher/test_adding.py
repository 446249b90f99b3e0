"""Adding a watch takes its time where there is much below the path; it holds up nobody, and can be given up."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ukemi import RECOVERY, ResourceExhausted
from ukemi.actors.events import ActorStarted
from ukemi.actors.watcher import NoSuchWatch, PollingWatcher, Watcher, Watches, keeper
from ukemi.actors.watcher.inotify import Inotify

from ...expecting import PATIENCE, expecting
from .watching import Watching, watching


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder with so much in it that looking at it takes many pauses."""
    many = tmp_path / "many"
    for n in range(50):
        (many / f"{n}").mkdir(parents=True)
        for m in range(100):
            (many / f"{n}" / f"{m}").touch()
    return many


@pytest.fixture
def few(tmp_path: Path) -> Path:
    few = tmp_path / "few"
    few.mkdir()
    return few


async def adds(it: Watching, path: Path, watch: str, done: list[str]) -> None:
    """Add a watch, and note that."""
    done.append(await it.ref.call(Watcher.add, str(path), True, "utf-8", watch))


async def begun(it: Watching) -> None:
    """Wait until a watch is being added."""
    with trio.fail_after(PATIENCE):
        while not it.ref.cell.incarnation.actor._adding:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("kind", [Watcher, PollingWatcher])
async def test_what_is_added_with_little_in_it_waits_for_nothing_with_much(
    few: Path, many: Path, kind: type[Watcher]
) -> None:
    async with watching(kind) as it:
        done: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(adds, it, many, "much", done)
            await begun(it)
            await adds(it, few, "little", done)
            assert done == ["little"]
            assert [info.watch for info in await it.ref.call(Watcher.watches)] == ["little"]
        assert done == ["little", "much"]


async def test_changes_are_told_while_another_watch_is_added(few: Path, many: Path) -> None:
    async with watching() as it:
        first = await it.add(few)
        done: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(adds, it, many, "much", done)
            await begun(it)
            (few / "a").touch()
            with trio.fail_after(PATIENCE):
                while not it.heard:
                    await trio.lowlevel.checkpoint()
            assert (it.heard[0].watch, done) == (first, [])


@pytest.mark.parametrize("message", ["remove", "forget"])
async def test_a_watch_that_is_being_added_can_be_given_up(few: Path, many: Path, message: str) -> None:
    async with watching() as it:
        failed: list[Exception] = []

        async def add() -> None:
            try:
                await it.ref.call(Watcher.add, str(many), True, "utf-8", "much")
            except NoSuchWatch as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(add)
            await begun(it)
            await it.ref.call(message, "much" if message == "remove" else ["much"])
        assert [str(error) for error in failed] == ["there is no watch 'much'"]
        assert await it.ref.call(Watcher.watches) == ()
        await it.add(few)
        assert it.ref.cell.number == 1


async def test_an_id_that_is_being_added_is_no_other_watchs(few: Path, many: Path) -> None:
    async with watching() as it:
        done: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(adds, it, many, "w1", done)
            await begun(it)
            with pytest.raises(ValueError, match="watch='w1' is the id of another watch"):
                await adds(it, few, "w1", done)
            assert await it.add(few) == "w2"


async def test_a_watch_that_is_being_added_when_the_watcher_ends_is_added_by_the_next_one(
    few: Path, many: Path
) -> None:
    async with watching(policy=RECOVERY) as it:
        done: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(adds, it, many, "much", done)
            await begun(it)
            async with expecting(it.runtime, ActorStarted, it.ref.path):
                it.ref.kill()
        assert done == ["much"]
        (many / "0" / "new").touch()
        with trio.fail_after(PATIENCE):
            while not it.heard:
                await trio.lowlevel.checkpoint()
        assert it.heard[0].changes[0].path == str(many / "0" / "new")


async def test_what_has_too_much_below_it_is_refused_and_harms_nobody(
    few: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "MOST_ENTRIES", 1_000)
    async with watching() as it:
        await it.add(few)
        with pytest.raises(ResourceExhausted, match=f"entries below {many}") as caught:
            await it.add(many, recursive=True)
        assert caught.value.limit == 1_000 < caught.value.current < 2_000
        assert it.ref.cell.number == 1
        with trio.fail_after(PATIENCE):
            while len(it.ref.cell.incarnation.actor._source._wds) != 1:  # what was watched of it is let go of
                await trio.lowlevel.checkpoint()
        assert it.watches.entries == 1


class Dull(Inotify):
    """Never says that there is something to be told; it does tell what is asked of it."""

    async def wait(self) -> None:
        await trio.sleep_forever()


async def test_what_was_taken_from_the_source_while_adding_is_told_however_late_the_next_event_is(
    few: Path, many: Path
) -> None:
    async with watching(lambda watches: Watcher(watches, source=Dull)) as it:
        await it.add(few)
        (few / "a").touch()
        await it.add(many, recursive=True)
        with trio.fail_after(PATIENCE):
            while not it.heard:
                await trio.lowlevel.checkpoint()
        assert it.heard[0].changes[0].path == str(few / "a")


async def test_looking_takes_no_more_than_a_tenth_of_the_time(few: Path, autojump_clock: MockClock) -> None:
    looks: list[float] = []

    class Slow(PollingWatcher):
        def __init__(self, watches: Watches) -> None:
            super().__init__(watches, interval=2.0)

        async def _look_at_everything(self) -> list:  # type: ignore[type-arg]
            looks.append(trio.current_time())
            await trio.sleep(1.0)
            return await super()._look_at_everything()

    async with watching(Slow) as it:
        await it.add(few)
        await trio.sleep(40)
    pauses = [second - first for first, second in itertools.pairwise(looks)]
    assert len(pauses) >= 3
    assert all(pause == pytest.approx(11.0) for pause in pauses)
