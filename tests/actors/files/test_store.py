"""The store: order, files that don't wait for each other, and what its tree does when a disk fails."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import RECOVERY, ActorCrashed, ResourceExhausted, Runtime, child, supervisor
from ukemi.actors.errors import HandlerTimeout
from ukemi.actors.events import ActorStarted
from ukemi.actors.files import FileCache, FileRead, FileState, FileStore
from ukemi.actors.files.names import in_base64
from ukemi.actors.files.store import MOST_WAITING
from ukemi.actors.files.worker import LARGE
from ukemi.actors.resources import Found, Resource, ResourceMonitor, Source
from ukemi.actors.resources.pressure import reading_of
from ukemi.actors.resources.sources import USED_MEMORY
from ukemi.runtime.bridge.files import HUNG, WORKERS, files_spec
from ukemi.supervisors import AlertRaised, Recovered

from ...expecting import expecting
from .stores import Disk, in_place, in_the_past, runtime_of, settle, store_of, until

STALE = FileRead("old", cached=True, stale=True)


def busy() -> OSError:
    return OSError(errno.EBUSY, "busy")


def actions(runtime: Runtime) -> list[str]:
    """What was done about failures."""
    return [event.action.partition("(")[0] for event in runtime.events.of(Recovered)]


async def crashes(runtime: Runtime) -> int:
    """Of all workers."""
    await wait_all_tasks_blocked()
    return sum(runtime.ref(f"worker-{n}").stats().crashes for n in range(1, WORKERS + 1))


@pytest.fixture
def quiet(state: FileState) -> FileState:
    """A state whose store does all in the loop, so that the clock may jump."""
    return attrs.evolve(state, run_in_thread=in_place)


# --- order


async def test_of_one_path_everything_is_done_in_the_order_in_which_it_was_asked(
    state: FileState, folder: Path
) -> None:
    path = str(folder / "a")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        for n in range(50):
            store.cast("write", path, str(n))
        assert (await store.call(FileStore.read, path)).data == "49"
        for n in range(50, 60):
            store.cast("write", path, str(n))
            assert (await store.call(FileStore.read, path)).data == str(n)


async def test_readers_see_each_write_that_they_follow_and_none_that_they_precede(
    state: FileState, folder: Path, disk: Disk
) -> None:
    path = in_the_past(folder / "a", "0")
    seen: dict[int, str] = {}
    async with runtime_of(state) as runtime:
        store = store_of(runtime)

        async def read(n: int) -> None:
            seen[n] = (await store.call(FileStore.read, path)).data

        async with trio.open_nursery() as nursery:
            with disk.hung(path):
                for n in range(20):
                    nursery.start_soon(read, n)
                    await wait_all_tasks_blocked()
                    store.cast("write", path, str(n + 1))
    assert seen == {n: str(n) for n in range(20)}


async def test_files_do_not_wait_for_each_other(state: FileState, folder: Path, disk: Disk) -> None:
    slow = [in_the_past(folder / f"slow-{n}") for n in range(WORKERS - 1)]
    quick = in_the_past(folder / "quick")
    async with runtime_of(state) as runtime, trio.open_nursery() as nursery:
        store = store_of(runtime)
        with disk.hung(slow[0]) as event:
            for path in slow:
                disk.hangs[path] = event
                nursery.start_soon(store.call, FileStore.read, path)
            await until(lambda: len(disk.calls) == len(slow))
            assert (await store.call(FileStore.read, quick)).data == "old"
            await store.call("write", quick, "new")
            assert (await store.call(FileStore.read, quick)).data == "new"
            assert (await store.call(FileStore.stats)).waiting == len(slow)
    assert state.threads.borrowed_tokens == 0


async def test_what_is_cached_waits_for_nobody(state: FileState, folder: Path, disk: Disk) -> None:
    known = in_the_past(folder / "known")
    slow = [in_the_past(folder / f"slow-{n}") for n in range(2 * WORKERS)]
    async with runtime_of(state) as runtime, trio.open_nursery() as nursery:
        store = store_of(runtime)
        await store.call(FileStore.read, known)
        with disk.hung(slow[0]) as event:
            for path in slow:
                disk.hangs[path] = event
                nursery.start_soon(store.call, FileStore.read, path)
            await until(lambda: len(disk.calls) == 1 + WORKERS)
            assert (await store.call(FileStore.read, known)).cached
    assert {path for _, path in disk.calls} == {known, *slow}


async def test_many_readers_of_a_file_that_is_not_known_read_it_once(
    state: FileState, folder: Path, disk: Disk
) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(state) as runtime, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(store_of(runtime).call, FileStore.read, path)
    stats = state.cache.stats()
    assert (stats.misses, stats.hits) == (1, 19)


async def test_what_would_wait_too_long_is_refused(state: FileState, folder: Path, disk: Disk) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        with disk.hung(path):
            for _ in range(MOST_WAITING):
                store.cast(FileStore.read, path)
            with pytest.raises(ResourceExhausted) as caught:
                await store.call(FileStore.read, path)
            assert (caught.value.limit, caught.value.current) == (MOST_WAITING, MOST_WAITING)
        assert (await store.call(FileStore.stats)).waiting <= MOST_WAITING
        await until(lambda: state.cache.stats().hits == MOST_WAITING - 1)
        assert (await store.call(FileStore.read, path)).cached


async def test_a_caller_that_goes_away_leaves_things_whole(state: FileState, folder: Path, disk: Disk) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        with disk.hung(path):
            with trio.move_on_after(0.01):
                await store.call("write", path, "new")
        assert (await store.call(FileStore.read, path)).data == "new"
        assert (await store.call(FileStore.stats)).waiting == 0
    assert os.listdir(folder) == ["a"]
    assert os.listdir(state.records) == []


# --- what the tree does


async def test_a_file_that_is_busy_is_tried_again_and_later_each_time(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path = in_the_past(folder / "a")
    disk.fail("read", busy(), busy(), busy())
    async with runtime_of(quiet) as runtime:
        assert await store_of(runtime).call(FileStore.read, path) == FileRead("old")
        assert actions(runtime) == ["Retry", "Retry", "Retry"]
        assert 0.7 <= trio.current_time() <= 0.7 * 1.1 + 0.001, "0.1, 0.2 and 0.4 s, and up to a tenth more"


async def test_a_read_that_was_interrupted_is_tried_again_at_once(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path = in_the_past(folder / "a")
    disk.fail("read", *[InterruptedError(errno.EINTR, "interrupted") for _ in range(3)])
    async with runtime_of(quiet) as runtime:
        assert await store_of(runtime).call(FileStore.read, path) == FileRead("old")
        assert actions(runtime) == ["Retry", "Retry", "Retry"]
        assert trio.current_time() == 0


async def test_what_can_not_be_read_after_all_tries_is_answered_from_the_cache_and_says_so(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(quiet) as runtime:
        store = store_of(runtime)
        await store.call(FileStore.read, path)
        (folder / "a").write_text("new")
        disk.fail("read", *[busy() for _ in range(4)])
        assert await store.call(FileStore.read, path) == STALE
        assert actions(runtime) == ["Retry", "Retry", "Retry", "Fallback"]
        assert await store.call(FileStore.read, path) == FileRead("new")
        assert await crashes(runtime) == 0
        assert (await store.call(FileStore.stats)).cache.stale == 1


async def test_an_error_that_does_not_pass_is_answered_from_the_cache_at_once(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(quiet) as runtime:
        await store_of(runtime).call(FileStore.read, path)
        (folder / "a").write_text("new")
        disk.fail("read", OSError(errno.ESTALE, "stale handle"))
        assert await store_of(runtime).call(FileStore.read, path) == STALE
        assert trio.current_time() == 0


@pytest.mark.parametrize("what", ["read", "write"])
async def test_where_nothing_is_cached_the_error_itself_is_the_answer(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock, what: str
) -> None:
    path = in_the_past(folder / "a")
    disk.fail(what, *[busy() for _ in range(4)])
    async with runtime_of(quiet) as runtime:
        with pytest.raises(OSError, match="busy"):
            await store_of(runtime).call(what, path, *["new"] * (what == "write"))
        assert await crashes(runtime) == 0
        assert (folder / "a").read_text() == "old"


async def test_a_write_that_was_given_again_is_done_once(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path = str(folder / "a")
    disk.fail("write", busy(), busy())
    async with runtime_of(quiet) as runtime:
        store = store_of(runtime)
        store.cast("write", path, "first")
        store.cast("write", path, "second")
        assert (await store.call(FileStore.read, path)).data == "second"
        assert [what for what, _ in disk.calls] == ["write"] * 4 + ["read"]


async def test_a_disk_that_fails_is_an_alert_and_no_stale_answer(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(quiet) as runtime:
        await store_of(runtime).call(FileStore.read, path)
        (folder / "a").write_text("new")
        disk.fail("read", OSError(errno.EIO, "bad block"))
        with pytest.raises(OSError, match="bad block"):
            await store_of(runtime).call(FileStore.read, path)
        (alert,) = runtime.events.of(AlertRaised)
        assert "bad block" in alert.message
        assert await crashes(runtime) == 0


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "no memory")])
async def test_where_memory_is_missing_the_cache_answers_for_the_last_time_and_is_freed(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock, error: Exception
) -> None:
    path, other = in_the_past(folder / "a"), in_the_past(folder / "b")
    async with runtime_of(quiet) as runtime:
        store = store_of(runtime)
        for each in (path, other):
            await store.call(FileStore.read, each)
        (folder / "a").write_text("new")
        disk.fail("read", error)
        assert await store.call(FileStore.read, path) == STALE
        assert (await store.call(FileStore.stats)).cache.entries == 0


async def test_where_memory_is_missing_for_a_write_it_is_tried_with_what_the_cache_has_freed(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path, other = in_the_past(folder / "a"), in_the_past(folder / "b")
    async with runtime_of(quiet) as runtime:
        store = store_of(runtime)
        await store.call(FileStore.read, other)
        disk.fail("write", MemoryError())
        await store.call("write", path, "new")
        assert quiet.cache.last_known(other) is None
        assert (folder / "a").read_text() == "new"


async def test_a_file_whose_name_is_no_text_is_answered_from_the_cache_like_any_other(
    state: FileState, folder: Path, disk: Disk
) -> None:
    path = in_the_past(folder / os.fsdecode(b"\xff"))
    name = in_base64(path)
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        assert (await store.call(FileStore.read, name, "base64")).data == "old"
        disk.fail("read", OSError(errno.EINVAL, "Invalid argument"))
        os.utime(path)
        assert (await store.call(FileStore.read, name, "base64")).stale
        await store.call(FileStore.write, name, "new", "utf-8", "base64")
        assert (await store.call(FileStore.read, name, "base64")).data == "new"


async def test_a_file_that_is_gone_is_not_answered_from_the_cache(
    quiet: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(quiet) as runtime:
        store = store_of(runtime)
        await store.call(FileStore.read, path)
        (folder / "a").unlink()
        with pytest.raises(FileNotFoundError):
            await store.call(FileStore.read, path)
        disk.fail("read", *[busy() for _ in range(4)])
        with pytest.raises(OSError, match="busy"):
            await store.call(FileStore.read, path)


async def test_a_name_that_something_is_mounted_on_is_busy(
    quiet: FileState, folder: Path, autojump_clock: MockClock
) -> None:
    path, other = in_the_past(folder / "a"), in_the_past(folder / "b")
    if (await trio.run_process(["mount", "--bind", other, path], capture_stderr=True, check=False)).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        async with runtime_of(quiet) as runtime:
            with pytest.raises(OSError, match="busy"):
                await store_of(runtime).call("write", path, "new")
            assert actions(runtime) == ["Retry", "Retry", "Retry", "Fallback"]
    finally:
        await trio.to_thread.run_sync(subprocess.check_call, ["umount", path])
    assert sorted(os.listdir(folder)) == ["a", "b"]
    assert os.listdir(quiet.records) == []


# --- a disk that does not answer


async def test_a_read_that_hangs_costs_its_worker_a_restart_and_nobody_else_anything(
    state: FileState, folder: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    path, other = in_the_past(folder / "a"), in_the_past(folder / "b")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        with disk.hung(path):
            with pytest.raises(ActorCrashed) as caught:
                await store.call(FileStore.read, path)
            assert isinstance(caught.value.__cause__, HandlerTimeout)
            assert trio.current_time() == HUNG
            assert (await store.call(FileStore.stats)).threads == 1
            assert await crashes(runtime) == 1
            autojump_clock.autojump_threshold = 1.0
            assert (await store.call(FileStore.read, other)).data == "old"
        assert (await store.call(FileStore.read, path)).data == "old"
        await until(lambda: state.threads.borrowed_tokens == 0)


async def test_a_write_that_hung_does_nothing_once_it_was_given_up_and_later_ones_wait_for_it(
    state: FileState, folder: Path, disk: Disk, mock_clock: MockClock
) -> None:
    path = in_the_past(folder / "a")
    ended: list[str] = []
    async with runtime_of(state) as runtime, trio.open_nursery() as nursery:

        async def write(data: str) -> None:
            try:
                await store_of(runtime).call("write", path, data)
                ended.append(data)
            except ActorCrashed as error:
                ended.append(type(error.__cause__).__name__)

        with disk.hung(path):
            nursery.start_soon(write, "first")
            await until(lambda: disk.calls)
            mock_clock.jump(HUNG)
            await until(lambda: ended)
            assert ended == ["HandlerTimeout"]
            nursery.start_soon(write, "second")
            await until(lambda: actions(runtime)[-1:] == ["Retry"])
            assert state.writing == {path}
        await until(lambda: not state.writing)
        assert (folder / "a").read_text() == "old"
        mock_clock.jump(1.0)
        await until(lambda: len(ended) == 2)
        assert (folder / "a").read_text() == ended[1] == "second"
    assert os.listdir(folder) == ["a"]
    assert os.listdir(state.records) == []


async def test_when_all_threads_hang_what_was_read_before_is_still_answered(
    folder: Path, tmp_path: Path, disk: Disk, autojump_clock: MockClock
) -> None:
    state = FileState(tmp_path / "records", threads=trio.CapacityLimiter(1))
    path, known = in_the_past(folder / "a"), in_the_past(folder / "b")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        autojump_clock.autojump_threshold = 1.0
        await store.call(FileStore.read, known)
        (folder / "b").write_text("new")
        autojump_clock.autojump_threshold = 0.0
        with disk.hung(path):
            with pytest.raises(ActorCrashed):
                await store.call(FileStore.read, path)
            assert await store.call(FileStore.read, known) == STALE
            with pytest.raises(TimeoutError, match="has not answered 1 threads"):
                await store.call(FileStore.read, path)


# --- the cache


async def test_the_cache_outlives_the_actors(state: FileState, folder: Path) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        await store.call(FileStore.read, path)
        for name in ("worker-1", "files"):
            runtime.ref(name).kill()
        assert (await store.call(FileStore.read, path)).cached


async def test_the_cache_is_resized_and_cleared_by_message(tmp_path: Path, folder: Path) -> None:
    state = FileState(tmp_path / "records", FileCache(100_000, 30_000))
    path = in_the_past(folder / "a", "x" * 10_000)
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        await store.call(FileStore.read, path)
        assert (await store.call(FileStore.stats)).cache.entries == 1
        assert (await store.call(FileStore.resize, 0.5)).bound == 50_000
        assert (await store.call(FileStore.resize, 0.5)).bound == 30_000
        with pytest.raises(ValueError, match="fraction=-1"):
            await store.call(FileStore.resize, -1.0)
        assert (await store.call(FileStore.clear)).entries == 0
        assert not (await store.call(FileStore.read, path)).cached
        assert (await store.call(FileStore.resize, 10.0)).bound == 100_000


async def test_what_was_written_in_place_by_others_is_seen_while_the_store_writes_elsewhere(
    state: FileState, folder: Path
) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        assert (await store.call(FileStore.read, path)).data == "old"
        (folder / "link").symlink_to("a")
        await store.call("write", str(folder / "link"), "new")
        assert (await store.call(FileStore.read, path)).data == "new"
        settle()
        assert (await store.call(FileStore.read, str(folder / "link"))).data == "new"


# --- what is large


async def test_what_is_large_is_read_and_written_only_where_there_is_room_for_it(
    state: FileState, folder: Path
) -> None:
    small, large = in_the_past(folder / "small", "x" * LARGE), in_the_past(folder / "large", "x" * (LARGE + 1))
    room = [10 * LARGE]
    reading = Source("memory", Resource.MEMORY, USED_MEMORY, lambda: reading_of(100, 100 + room[0]))
    monitor = child("resources", lambda: ResourceMonitor(find=lambda: Found((reading,), {})))
    spec = files_spec(attrs.evolve(state, monitor="../../resources"), policy=RECOVERY)
    async with Runtime(supervisor("app", monitor, spec)) as runtime:
        store = store_of(runtime)
        assert len((await store.call(FileStore.read, large)).data) == LARGE + 1
        await store.call(FileStore.clear)
        room[0] = 3 * LARGE
        for asked in ((FileStore.read, large), (FileStore.write, large, "y" * (LARGE + 1))):
            with pytest.raises(ResourceExhausted) as caught:
                await store.call(*asked)
            assert (caught.value.resource, caught.value.limit) == ("memory", 100 + room[0])
        assert len((await store.call(FileStore.read, small)).data) == LARGE
        await store.call(FileStore.write, small, "short")
        assert await crashes(runtime) == 0
        assert runtime.events.of(Recovered) == []
        room[0] = 10 * LARGE
        assert (await store.call(FileStore.read, large)).data[:2] == "xx"


# --- the store itself


async def test_what_was_asked_of_a_store_that_ends_is_done_by_the_next_one_in_order(
    state: FileState, folder: Path, disk: Disk
) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        answers: list[str] = []

        async def write(data: str) -> None:
            await store.call(FileStore.write, path, data)
            answers.append(data)

        async with trio.open_nursery() as nursery:
            with disk.hung(path):
                for data in ("first", "second"):
                    nursery.start_soon(write, data)
                    await wait_all_tasks_blocked()
                await until(lambda: disk.calls)
                async with expecting(runtime, ActorStarted, "/storage/files"):
                    store.kill()
        assert answers == ["first", "second"]
        assert (await store.call(FileStore.read, path)).data == "second"
        assert store.cell.number == 2
