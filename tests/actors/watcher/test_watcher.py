"""What a watcher tells of real files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ukemi import ActorCrashed
from ukemi.actors.watcher import Change, ChangeKind, NoSuchWatch, PollingWatcher, Watcher

from .disk import check, listing
from .watching import brief, watching

CREATED, MODIFIED, DELETED, MOVED = ChangeKind.CREATED, ChangeKind.MODIFIED, ChangeKind.DELETED, ChangeKind.MOVED


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture(params=[Watcher, PollingWatcher])
def kind(request: pytest.FixtureRequest) -> type[Watcher] | type[PollingWatcher]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A polling watcher looks within the time that all tests wait."""
    monkeypatch.setattr("tests.actors.watcher.watching.QUIET", 5.0)


async def test_created_modified_moved_and_deleted(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    async with watching(kind) as it:
        watch = await it.add(tmp_path)
        (tmp_path / "a").write_text("1")
        assert await it.told() == [Change(f"{tmp_path}/a", CREATED)]
        (tmp_path / "a").write_text("12")
        assert await it.told(watch) == [Change(f"{tmp_path}/a", MODIFIED)]
        (tmp_path / "a").rename(tmp_path / "b")
        assert await it.told() == [Change(f"{tmp_path}/b", MOVED, f"{tmp_path}/a")]
        (tmp_path / "b").chmod(0o600)
        assert await it.told() == [Change(f"{tmp_path}/b", MODIFIED)]
        (tmp_path / "b").unlink()
        assert await it.told() == [Change(f"{tmp_path}/b", DELETED)]
        assert await it.told() == []


async def test_reading_and_opening_is_no_change(tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock) -> None:
    (tmp_path / "a").write_text("1")
    async with watching(kind) as it:
        await it.add(tmp_path, True)
        (tmp_path / "a").read_text()
        (tmp_path / "a").open("a").close()
        os.listdir(tmp_path)
        assert await it.told() == []


async def test_only_what_is_directly_in_a_folder_unless_it_is_recursive(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    (tmp_path / "sub").mkdir()
    async with watching(kind) as it:
        shallow, deep = await it.add(tmp_path), await it.add(tmp_path, True)
        (tmp_path / "sub" / "a").write_text("1")
        heard = await it.told()
        assert heard == [Change(f"{tmp_path}/sub/a", CREATED)]
        (tmp_path / "new" / "er").mkdir(parents=True)
        await trio.sleep(5)
        by_watch = {
            watch: [c.path for e in it.heard if e.watch == watch for c in e.changes] for watch in (shallow, deep)
        }
        assert by_watch == {shallow: [f"{tmp_path}/new"], deep: [f"{tmp_path}/new", f"{tmp_path}/new/er"]}


async def test_a_file_may_be_watched_and_be_replaced(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("1")
    async with watching(kind) as it:
        await it.add(file)
        other.write_text("of no interest")
        assert await it.told() == []
        file.write_text("2!")
        assert await it.brief(tmp_path) == ["modified file"]
        other.rename(file)
        assert await it.brief(tmp_path) == ["modified file"]
        with file.open("a") as writer:
            writer.write("more")
        assert await it.brief(tmp_path) == ["modified file"]
        file.unlink()
        assert await it.brief(tmp_path) == ["deleted file"]
        file.mkdir()
        assert await it.brief(tmp_path) == ["created file"]
        (file / "inside").write_text("1")
        assert await it.brief(tmp_path) == ["created file/inside"]
        (file / "inside").unlink()
        file.rmdir()
        file.write_text("3")
        await it.told()
        file.write_text("4!")
        assert await it.brief(tmp_path) == ["modified file"]


async def test_what_leads_to_a_root_may_be_deleted_moved_and_made_again(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    root = tmp_path / "way" / "to" / "root"
    root.mkdir(parents=True)
    (root / "a").write_text("1")
    async with watching(kind) as it:
        await it.add(root, True)
        (tmp_path / "way").rename(tmp_path / "away")
        assert await it.brief(root) == ["deleted a", "deleted ."]
        root.mkdir(parents=True)
        (root / "b").write_text("1")
        assert await it.brief(root) == ["created .", "created b"]
        (root / "b").write_text("12")
        assert await it.brief(root) == ["modified b"]
        (root / "b").unlink()
        root.rmdir()
        assert await it.brief(root) == ["deleted b", "deleted ."]
        root.parent.rmdir()
        assert await it.told() == []
        (tmp_path / "away" / "to").rename(tmp_path / "way" / "to")
        assert await it.brief(root) == ["created .", "created a"]
        (root / "sub").mkdir()
        (root / "sub" / "c").write_text("1")
        assert await it.brief(root) == ["created sub", "created sub/c"]


async def test_a_root_that_is_made_again_at_once_is_watched(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    async with watching(kind) as it:
        await it.add(root, True)
        for n in range(20):
            before = listing(str(root))
            (root / "sub").rmdir()
            root.rmdir()
            root.mkdir()
            (root / "sub").mkdir()
            (root / f"{n}").write_text("1")
            changes = await it.told()
            check(before, changes, listing(str(root)))
            (root / "sub" / "deep").write_text("1")
            assert await it.brief(root) == ["created sub/deep"]
            (root / "sub" / "deep").unlink()
            (root / f"{n}").unlink()
            await it.told()


async def test_a_folder_that_is_made_again_at_once_is_watched_whatever_its_inode(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    sub = tmp_path / "sub"
    sub.mkdir()
    async with watching(kind) as it:
        await it.add(tmp_path, True)
        sub.rmdir()
        sub.mkdir()  # many filesystems give it the inode that has just become free
        (sub / "a").write_text("1")
        assert (await it.brief(tmp_path))[-1] == "created sub/a"
        (sub / "b").write_text("1")
        assert await it.brief(tmp_path) == ["created sub/b"]


async def test_a_folder_moves_with_all_that_is_in_it(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    async with watching(kind) as it:
        await it.add(tmp_path, True)
        (tmp_path / "a").rename(tmp_path / "x")
        assert await it.brief(tmp_path) == ["moved a to x"]
        (tmp_path / "x" / "b" / "c" / "file").write_text("1")
        assert await it.brief(tmp_path) == ["created x/b/c/file"]
        before = listing(str(tmp_path))
        (tmp_path / "x" / "b").rename(tmp_path / "b")
        (tmp_path / "x").rename(tmp_path / "b" / "c" / "x")
        changes = await it.told()
        check(before, changes, listing(str(tmp_path)))
        if kind is Watcher:  # without events, a folder of another time is another folder
            assert [brief(each, str(tmp_path)) for each in changes] == ["moved x/b to b", "moved x to b/c/x"]
        (tmp_path / "b" / "c" / "x" / "y").write_text("1")
        assert await it.brief(tmp_path) == ["created b/c/x/y"]


async def test_what_leaves_the_tree_is_deleted_and_what_comes_back_is_created(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a").mkdir(parents=True)
    (root / "a" / "file").write_text("1")
    outside.mkdir()
    async with watching(kind) as it:
        await it.add(root, True)
        (root / "a").rename(outside / "a")
        assert await it.brief(root) == ["deleted a/file", "deleted a"]
        (outside / "a" / "unseen").write_text("1")
        assert await it.told() == []
        (outside / "a").rename(root / "b")
        assert sorted(await it.brief(root)) == ["created b", "created b/file", "created b/unseen"]


async def test_folders_made_one_in_the_other_lose_nothing(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    async with watching(kind) as it:
        await it.add(tmp_path, True)
        before = listing(str(tmp_path))
        script = "import os\nfor n in range(200):\n os.makedirs(f'a{n}/b/c/d')\n open(f'a{n}/b/c/d/file', 'w').close()"
        await trio.run_process([sys.executable, "-c", script], cwd=tmp_path)
        check(before, await it.told(), listing(str(tmp_path)))


async def test_names_that_are_not_utf8(tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    async with watching(kind) as it:
        await it.add(tmp_path)
        os.close(os.open(name, os.O_CREAT))
        (change,) = await it.told()
        assert (change.kind, change.encoding, os.fsencode(change.file)) == (CREATED, "base64", name)
        os.rename(name, tmp_path / "plain")
        (change,) = await it.told()
        assert (change.kind, change.encoding) == (MOVED, "base64")
        assert (change.file, os.fsencode(change.source_file or "")) == (f"{tmp_path}/plain", name)
        os.mkdir(name)
        await it.told()
        watch = await it.ref.call(Watcher.add, (await _base64(name)), True, "base64")
        (info,) = [each for each in await it.ref.call(Watcher.watches) if each.watch == watch]
        assert (info.encoding, info.path) == ("base64", await _base64(name))


async def _base64(path: bytes) -> str:
    import base64

    return base64.b64encode(path).decode()


async def test_links_are_entries_and_are_not_followed_below_the_root(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    target, root = tmp_path / "target", tmp_path / "root"
    target.mkdir()
    root.symlink_to(target)
    async with watching(kind) as it:
        await it.add(root, True)
        (root / "loop").symlink_to(target)
        assert await it.brief(root) == ["created loop"]
        (target / "a").write_text("1")
        assert await it.brief(root) == ["created a"]
        (root / "loop").unlink()
        (root / "loop").symlink_to("nowhere")
        assert await it.brief(root) == ["modified loop"]
        root.unlink()
        assert sorted(await it.brief(root)) == ["deleted .", "deleted a", "deleted loop"]
        (target / "b").write_text("1")
        root.symlink_to(target)
        assert sorted(await it.brief(root)) == ["created .", "created a", "created b", "created loop"]


async def test_many_changes_of_a_file_are_told_once_at_a_time(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with watching() as it:
        await it.add(tmp_path)
        for n in range(500):
            (tmp_path / "a").write_text(str(n))
            (tmp_path / f"passing {n}").write_text("")
            (tmp_path / f"passing {n}").unlink()
        assert await it.brief(tmp_path) == ["created a"]


async def test_a_write_that_changes_neither_size_nor_time_is_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    os.utime(file, ns=(10**18, 10**18))
    async with watching() as it:
        await it.add(tmp_path)
        file.write_text("2")
        os.utime(file, ns=(10**18, 10**18))
        assert await it.brief(tmp_path) == ["modified a"]


async def test_removing_a_watch_ends_it_and_no_other(
    tmp_path: Path, kind: type[Watcher], autojump_clock: MockClock
) -> None:
    async with watching(kind) as it:
        first, second = await it.add(tmp_path, True), await it.add(tmp_path, True)
        await it.ref.call(Watcher.remove, first)
        (tmp_path / "a").write_text("1")
        await trio.sleep(5)
        assert [event.watch for event in it.heard] == [second]
        await it.ref.call(Watcher.remove, second)
        (tmp_path / "b").write_text("1")
        await trio.sleep(5)
        assert len(it.heard) == 1
        with pytest.raises(NoSuchWatch, match="there is no watch 'w1'"):
            await it.ref.call(Watcher.remove, first)


@pytest.mark.parametrize(
    ("path", "encoding", "error"),
    [
        ("{tmp}/missing", "utf-8", FileNotFoundError),
        ("", "utf-8", ValueError),
        ("a\0b", "utf-8", ValueError),
        ("{tmp}", "latin-1", ValueError),
        ("{tmp}!", "base64", ValueError),
        ("{tmp}/" + "x" * 300, "utf-8", OSError),
    ],
)
async def test_what_cant_be_watched_is_refused(
    tmp_path: Path, path: str, encoding: str, error: type[Exception]
) -> None:
    async with watching() as it:
        with pytest.raises(error) as caught:
            await it.ref.call(Watcher.add, path.format(tmp=tmp_path), False, encoding)
        assert not isinstance(caught.value, ActorCrashed)
        assert await it.ref.call(Watcher.watches) == ()


async def test_thousands_of_changes_arrive_in_messages_of_bounded_size(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with watching() as it:
        await it.add(tmp_path, True)
        (tmp_path / "big").mkdir()
        for n in range(5_000):
            (tmp_path / "big" / f"{n}").touch()
        await trio.sleep(5)
        assert max(len(event.changes) for event in it.heard) <= 1_000
        assert len(await it.told()) == 5_001


async def test_it_stops_at_once_in_the_middle_of_a_storm(tmp_path: Path) -> None:
    script = "import itertools\nfor n in itertools.count(): open(str(n % 1000), 'w').close()"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.run_process, [sys.executable, "-c", script], cwd=tmp_path))
        async with watching() as it:
            await it.add(tmp_path, True)
            with trio.fail_after(30):
                while not it.heard:
                    await trio.sleep(0.01)
            with trio.fail_after(2):
                await it.runtime.stop()
        nursery.cancel_scope.cancel()
