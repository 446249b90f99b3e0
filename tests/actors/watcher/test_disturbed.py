"""A watcher under storms, kills, limits and faults: nothing is lost, nothing is invented, and the tree recovers it."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from loguru import logger
from trio.testing import MockClock

from ukemi import Backoff, Fallback, ResourceExhausted
from ukemi.actors.events import ActorExited
from ukemi.actors.files.mounts import Mounts
from ukemi.actors.watcher import PollingWatcher, Watcher, WatcherUnhealthy, watcher
from ukemi.actors.watcher.inotify import Inotify
from ukemi.actors.watcher.reconcile import Reconciliation
from ukemi.actors.watcher.snapshot import Watch
from ukemi.supervisors import ChildRestarted, FellBack
from ukemi.supervisors.recovery import RECOVERY, Row

from ...expecting import PATIENCE, expecting
from .disk import check, listing
from .watching import Watching, watching

HERE = Path(__file__).parent
LOOK_INSTEAD = RECOVERY.replacing(Row("Resource", "Critical", Fallback()), name="watcher")


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def overflows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each overflow of the kernel's queue."""
    seen: list[str] = []
    overflown = Inotify._overflown

    def note(self: Inotify) -> None:
        seen.append("overflow")
        overflown(self)

    monkeypatch.setattr(Inotify, "_overflown", note)
    return seen


def source_of(it: Watching) -> Inotify:
    """The source of the present incarnation."""
    source = it.ref.cell.incarnation.actor._source  # type: ignore[union-attr]
    assert isinstance(source, Inotify)
    return source


async def test_nothing_is_lost_when_the_kernels_queue_overflows(
    tmp_path: Path, autojump_clock: MockClock, overflows: list[str]
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").write_text("1")
    async with watching() as it:
        await it.add(tmp_path, True)
        before = listing(str(tmp_path))
        for n in range(20_000):
            (tmp_path / f"{n}").touch()
        (tmp_path / "late" / "deep").mkdir(parents=True)
        (tmp_path / "late" / "deep" / "file").write_text("1")
        (tmp_path / "old" / "file").rename(tmp_path / "late" / "moved")
        shutil.rmtree(tmp_path / "old")
        (tmp_path / "old").mkdir()  # perhaps with the same inode, and watched no more
        changes = await it.told()
        assert overflows
        check(before, changes, listing(str(tmp_path)))
        for folder in ("late/deep", "old"):
            (tmp_path / folder / "after").write_text("1")
            assert await it.brief(tmp_path) == [f"created {folder}/after"]


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_with_kills_in_its_middle_loses_nothing_and_invents_nothing(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "root"
    root.mkdir()
    async with watching() as it:
        await it.add(root, True)
        before = listing(str(root))
        command = [sys.executable, str(HERE / "storm.py"), str(root), str(seed), "8000"]
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                storm = await nursery.start(trio.run_process, command)
                for _ in range(8):
                    await trio.sleep(0.05)
                    async with expecting(it.runtime, ChildRestarted, it.ref.path):
                        it.ref.kill()
                await storm.wait()
            await trio.sleep(0.5)
            check(before, await it.told(), listing(str(root)))
        assert it.heard == []


async def test_what_changes_while_the_watcher_is_down_is_told_when_it_is_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    (tmp_path / "gone").write_text("1")
    (tmp_path / "old").mkdir()
    async with watching(backoff=Backoff(initial=60.0, maximum=60.0)) as it:
        watch = await it.add(tmp_path, True)
        before = listing(str(tmp_path))
        it.ref.kill()
        await trio.sleep(10)
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "file").write_text("1")
        (tmp_path / "gone").unlink()
        (tmp_path / "old").rename(tmp_path / "moved")
        await trio.sleep(10)
        assert it.heard == []
        await trio.sleep(100)
        check(before, await it.told(watch), listing(str(tmp_path)))
        (tmp_path / "new" / "file").write_text("12")
        assert await it.brief(tmp_path) == ["modified new/file"]


async def test_what_was_found_and_not_yet_told_is_told_by_the_next_incarnation(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Watcher._publish
    async with watching() as it:
        await it.add(tmp_path, True)
        monkeypatch.setattr(Watcher, "_publish", lambda *_: (_ for _ in ()).throw(RuntimeError("just then")))
        async with expecting(it.runtime, ActorExited, it.ref.path):
            (tmp_path / "a").write_text("1")
        monkeypatch.setattr(Watcher, "_publish", publish)
        assert await it.brief(tmp_path) == ["created a"]


async def test_a_watcher_that_hears_nothing_any_more_is_made_anew_by_the_tree(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="WARNING")
    try:
        async with watching() as it:
            await it.add(tmp_path, True)
            deaf = Inotify()
            os.dup2(deaf.fd, source_of(it).fd)
            deaf.close()
            ends: list[ActorExited] = []
            it.runtime.events.listen(lambda event: ends.append(event) if isinstance(event, ActorExited) else None)
            (tmp_path / "a").write_text("1")
            await trio.sleep(20)
            assert it.heard == []
            await trio.sleep(15)
            assert [each.reason.partition(":")[0] for each in ends] == [WatcherUnhealthy.__name__]
            assert "Watcher unhealthy, recreating..." in said
            assert await it.brief(tmp_path) == ["created a"]
            (tmp_path / "b").write_text("1")
            assert await it.brief(tmp_path) == ["created b"]
    finally:
        logger.remove(sink)


async def test_what_another_machine_changes_is_found_and_is_no_ill_health(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "mounts_now", lambda: Mounts(frozenset(), frozenset(), ("/",)))
    async with watching() as it:
        await it.add(tmp_path, True)
        deaf = Inotify()
        os.dup2(deaf.fd, source_of(it).fd)  # as if it were on a server: nothing is told
        deaf.close()
        (tmp_path / "a").write_text("1")
        await trio.sleep(35)
        assert await it.brief(tmp_path) == ["created a"]
        assert it.ref.cell.number == 1


@pytest.mark.parametrize("how", ["closed", "another"])
async def test_a_descriptor_that_somebody_has_closed_is_noticed(
    tmp_path: Path, autojump_clock: MockClock, how: str
) -> None:
    async with watching() as it:
        await it.add(tmp_path, True)
        fd = source_of(it).fd
        async with expecting(it.runtime, ChildRestarted, it.ref.path):
            os.close(fd)
            if how == "another":
                other = os.open("/dev/null", os.O_RDONLY)
                assert other == fd
            (tmp_path / "a").write_text("1")
            await trio.sleep(31)
        if how == "another":
            os.fstat(other)  # it was not closed for its owner
            os.close(other)
        assert await it.brief(tmp_path) == ["created a"]


async def test_a_watcher_that_is_well_stays(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with watching(max_restarts=0) as it:
        await it.add(tmp_path, True)
        for n in range(5):
            (tmp_path / f"{n}" / "sub").mkdir(parents=True)
            await trio.sleep(30.01)
            (tmp_path / f"{n}" / "sub").rmdir()
        changes = await it.told()
        assert len(changes) == 15, "two created and one deleted each time"
        assert it.ref.cell.number == 1


async def test_a_storm_is_no_ill_health(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "storm.py"), str(tmp_path), "1", "8000"]
    async with watching(lambda watches: Watcher(watches, health_every=0.02), max_restarts=0) as it:
        await it.add(tmp_path, True)
        before = listing(str(tmp_path))
        with trio.fail_after(PATIENCE):
            await trio.run_process(command)
        check(before, await it.told(), listing(str(tmp_path)))


# --- limits


async def test_no_room_for_one_more_watch_is_a_resource_exhausted(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = Inotify()
    monkeypatch.setattr(source._inotify, "add_watch", full)
    with pytest.raises(ResourceExhausted, match="inotify watches") as caught:
        for _ in Reconciliation(Watch("w", str(tmp_path), True), source).steps():
            pass
    assert caught.value.limit == int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    source.close()


LIMITED = """
import sys
from pathlib import Path
Path("/proc/sys/user/max_inotify_watches").write_text("40")
import trio
from tests.actors.watcher import test_disturbed
from trio.testing import MockClock
trio.run(test_disturbed.at_the_limit, Path(sys.argv[1]), clock=MockClock(autojump_threshold=0))
"""


async def at_the_limit(folder: Path) -> None:
    """In a user namespace that may watch forty folders: the polling watcher takes over, and gives way again."""
    few, many = folder / "few", folder / "many"
    few.mkdir()
    for n in range(100):
        (many / f"{n}").mkdir(parents=True)
    async with watching(
        fallback=lambda watches: PollingWatcher(watches, 0.2), policy=LOOK_INSTEAD, max_restarts=0
    ) as it:
        swaps: list[str | None] = []
        it.runtime.events.listen(lambda event: swaps.append(event.fallback) if isinstance(event, FellBack) else None)
        first = await it.add(few, True)
        (few / "a").touch()
        second = await it.add(many, True)  # does not fail, though it is answered by another
        assert swaps == ["fallback"]
        for n in range(100):
            (many / f"{n}" / "file").touch()
        (few / "b").touch()
        assert len(await it.told()) == 102
        await trio.sleep(200)  # ways back that fail
        (many / "99" / "file").unlink()
        assert await it.brief(folder) == ["deleted many/99/file"]
        Path("/proc/sys/user/max_inotify_watches").write_text("1000")
        await trio.sleep(61)
        assert swaps == ["fallback", None]
        assert source_of(it).fd > 0
        (many / "99" / "file").touch()
        assert await it.brief(folder) == ["created many/99/file"]
        assert [each.watch for each in await it.ref.call(Watcher.watches)] == [first, second]


def test_a_reached_limit_is_met_by_looking_instead_and_left_again(tmp_path: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", LIMITED, str(tmp_path)]
    can = subprocess.run([*command[:3], "sh", "-c", "echo 9 > /proc/sys/user/max_inotify_watches"], check=False)
    if can.returncode:
        pytest.skip("this system allows no user namespaces, in which the limit could be lowered")
    done = subprocess.run(
        command, cwd=HERE.parents[2], capture_output=True, text=True, timeout=4 * PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr


# --- folders that can't be read


@pytest.fixture
def nobody() -> Iterator[None]:
    """Without the rights of root, as far as files go; those of the user else."""
    libc = ctypes.CDLL(None)
    if os.getuid() == 0:
        libc.setfsuid(65534)
    yield
    libc.setfsuid(os.getuid())


async def test_an_unreadable_folder_is_an_entry_until_it_can_be_read(
    tmp_path: Path, autojump_clock: MockClock, nobody: None
) -> None:
    libc = ctypes.CDLL(None)
    libc.setfsuid(os.getuid())
    root = tmp_path / "root"
    closed = root / "closed"
    closed.mkdir(parents=True)
    (closed / "inside").write_text("1")
    for folder in (tmp_path.parents[1], tmp_path.parent, tmp_path, root):
        folder.chmod(0o755)
    if os.getuid() == 0:
        for path in (root, closed, closed / "inside"):
            os.chown(path, 65534, 65534)
        closed.chmod(0)
        libc.setfsuid(65534)
    else:
        closed.chmod(0)
    async with watching(max_restarts=0) as it:
        watch = await it.add(root, True)
        (info,) = await it.ref.call(Watcher.watches)
        assert (info.watch, info.unreadable) == (watch, (str(closed),))
        closed.chmod(0o755)
        assert await it.brief(root) == ["modified closed", "created closed/inside"]
        (closed / "more").write_text("1")
        assert await it.brief(root) == ["created closed/more"]
        (info,) = await it.ref.call(Watcher.watches)
        assert info.unreadable == ()
        closed.chmod(0)
        assert await it.brief(root) == ["modified closed"]
        await trio.sleep(31)
        assert await it.told() == []
        closed.chmod(0o755)
        assert await it.brief(root) == ["modified closed"]
