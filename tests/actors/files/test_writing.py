"""Writes: as a whole or not at all, with nothing left behind, and what the file was like stays."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ukemi.actors.files import FileRead, FileState, FileStore
from ukemi.actors.files.writing import NotWantedAnyMore, sweep, write_file

from .stores import as_nobody, in_the_past, limited, runtime_of, store_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def write(state: FileState, path: Path | str, data: str = "new", encoding: str = "utf-8") -> None:
    """Through a store."""
    async with runtime_of(state) as runtime:
        await store_of(runtime).call("write", str(path), data, encoding)


def left_behind(state: FileState, folder: Path) -> list[str]:
    return [*(name for name in os.listdir(folder) if ".ukemi" in name), *os.listdir(state.records)]


async def test_what_was_written_is_read(state: FileState, folder: Path) -> None:
    path = str(folder / "a")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        for data, encoding in (("é\n", "utf-8"), ("", "utf-8"), ("//4=", "base64"), ("x" * 3_000_000, "utf-8")):
            await store.call("write", path, data, encoding)
            content = await store.call(FileStore.read, path)
            assert (content.data, content.encoding) == (data, encoding)
    assert left_behind(state, folder) == []


async def test_bytes_that_are_text_are_read_as_text(state: FileState, folder: Path) -> None:
    await write(state, folder / "a", "dGV4dA==", "base64")
    assert (folder / "a").read_text() == "text"


async def test_what_is_no_data_changes_nothing(state: FileState, folder: Path) -> None:
    in_the_past(folder / "a")
    with pytest.raises(ValueError, match="base64"):
        await write(state, folder / "a", "=", "base64")
    assert (folder / "a").read_text() == "old"
    assert left_behind(state, folder) == []


async def test_what_is_too_large_is_not_written(tmp_path: Path, folder: Path) -> None:
    state = FileState(tmp_path / "records", most_bytes=10)
    with pytest.raises(OSError, match="File too large: it has 11 bytes or more, at most 10 can be"):
        await write(state, folder / "a", "x" * 11)
    assert os.listdir(folder) == []


def test_the_data_is_on_the_disk_before_it_has_the_name_and_the_name_before_its_writer_is_told(
    state: FileState, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def watched(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> object:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            done.append(f"{name} folder" if is_folder else name)
            return real(*args, **kwargs)

        return call

    for name in ("symlink", "write", "fsync", "rename"):
        monkeypatch.setattr(os, name, watched(name))
    sweep(state.records)
    write_file(str(folder / "a"), b"new", state.records, lambda: True)
    assert done == ["symlink", "write", "fsync", "rename", "fsync folder"]


# --- what stays


def test_a_new_file_has_the_mode_that_any_new_file_has(state: FileState, folder: Path) -> None:
    sweep(state.records)
    before = os.umask(0o027)
    try:
        write_file(str(folder / "a"), b"new", state.records, lambda: True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(folder / "a").st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o664])
async def test_the_mode_stays(state: FileState, folder: Path, mode: int) -> None:
    in_the_past(folder / "a")
    (folder / "a").chmod(mode)
    await write(state, folder / "a")
    assert stat.S_IMODE(os.stat(folder / "a").st_mode) == mode


@needs_root
async def test_the_owner_stays(state: FileState, folder: Path) -> None:
    in_the_past(folder / "a")
    os.chown(folder / "a", 1234, 5678)
    (folder / "a").chmod(0o4755)
    await write(state, folder / "a")
    status = os.stat(folder / "a")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 5678, 0o4755)


async def test_the_users_attributes_stay(state: FileState, folder: Path) -> None:
    in_the_past(folder / "a")
    try:
        os.setxattr(folder / "a", "user.note", b"mine")
    except OSError:
        pytest.skip("this file system keeps no attributes")
    await write(state, folder / "a")
    assert os.getxattr(folder / "a", "user.note") == b"mine"


@pytest.mark.parametrize("there", [True, False])
async def test_a_link_stays_a_link_and_what_it_leads_to_is_written(state: FileState, folder: Path, there: bool) -> None:
    (folder / "elsewhere").mkdir()
    target = folder / "elsewhere" / "target"
    if there:
        in_the_past(target)
    (folder / "middle").symlink_to("elsewhere/target")
    (folder / "a").symlink_to("middle")
    await write(state, folder / "a")
    assert (folder / "a").is_symlink()
    assert (folder / "middle").is_symlink()
    assert target.read_text() == "new"
    assert os.listdir(folder / "elsewhere") == ["target"]


async def test_another_name_of_the_old_file_keeps_the_old_contents(state: FileState, folder: Path) -> None:
    in_the_past(folder / "a")
    os.link(folder / "a", folder / "b")
    await write(state, folder / "a")
    assert (folder / "b").read_text() == "old"


async def test_a_name_as_long_as_names_can_be_is_written(state: FileState, folder: Path) -> None:
    path = folder / ("x" * 255)
    await write(state, path)
    assert path.read_text() == "new"


# --- what can't be written


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("folder", IsADirectoryError),
        ("folder/", IsADirectoryError),
        ("new/", IsADirectoryError),
        ("nowhere/a", FileNotFoundError),
        ("file/a", NotADirectoryError),
        ("fifo", PermissionError),
        ("loop", OSError),
        ("x" * 256, OSError),
    ],
)
async def test_what_can_not_be_written_is_said_to_its_writer(
    state: FileState, folder: Path, name: str, error: type[OSError]
) -> None:
    (folder / "folder").mkdir()
    (folder / "file").write_text("old")
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    before = sorted(os.listdir(folder))
    async with runtime_of(state, None) as runtime:
        with pytest.raises(error) as caught:
            await store_of(runtime).call("write", f"{folder}/{name}", "new")
        assert caught.value.filename == f"{folder}/{name}"
        assert runtime.ref("worker-1").stats().crashes == 0
    assert sorted(os.listdir(folder)) == before
    assert left_behind(state, folder) == []


@contextmanager
def nobodys_folder() -> Iterator[Path]:
    folder = Path("/tmp") / f"ukemi-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "a").write_text("old")
        (folder / "records").mkdir()
        for each in (folder, folder / "a", folder / "records"):
            if os.geteuid() == 0:
                os.chown(each, 65534, 65534)
        yield folder
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["a", "."])
def test_what_may_not_be_written_is_said_so_and_stays(what: str) -> None:
    with nobodys_folder() as folder:
        path, records = folder / "a", folder / "records"
        (folder / what).chmod(0o500)
        with as_nobody(), pytest.raises(PermissionError) as caught:
            write_file(str(path), b"new", records, lambda: True)
        assert caught.value.filename == str(path)
        assert path.read_text() == "old"
        assert os.listdir(records) == []


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 64 KiB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_leaves_the_old_contents(state: FileState, tmp_path: Path) -> None:
    small = tmp_path / "small"
    with small_disk(small):
        path = in_the_past(small / "a")
        async with runtime_of(state) as runtime:
            store = store_of(runtime)
            with pytest.raises(OSError, match="No space left") as caught:
                await store.call("write", path, "x" * 200_000)
            assert caught.value.errno == errno.ENOSPC
            assert (await store.call(FileStore.read, path)).data == "old"
            await store.call("write", path, "short")
            assert runtime.ref("worker-1").stats().crashes == 0
        assert os.listdir(small) == ["a"]
        assert (small / "a").read_text() == "short"


async def test_a_limit_on_the_size_of_files_leaves_the_old_contents(state: FileState, folder: Path) -> None:
    in_the_past(folder / "a")
    with limited(resource.RLIMIT_FSIZE, 1_000_000), pytest.raises(OSError, match="File too large"):
        await write(state, folder / "a", "x" * 2_000_000)
    assert (folder / "a").read_text() == "old"
    assert left_behind(state, folder) == []


def test_a_write_that_nobody_wants_any_more_leaves_the_old_contents(state: FileState, folder: Path) -> None:
    path = in_the_past(folder / "a")
    sweep(state.records)
    with pytest.raises(NotWantedAnyMore):
        write_file(path, b"new", state.records, lambda: False)
    assert (folder / "a").read_text() == "old"
    assert left_behind(state, folder) == []


async def test_a_reader_beside_sees_only_whole_contents(state: FileState, folder: Path) -> None:
    path = folder / "a"
    path.write_text("0" * 100_000)
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            data = path.read_text()
            seen.add(data[0] if len(data) == 100_000 and len(set(data)) == 1 else "torn")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        async with runtime_of(state) as runtime:
            for n in range(100):
                await store_of(runtime).call("write", str(path), str(n % 10) * 100_000)
    finally:
        done.set()
        reader.join()
    assert "torn" not in seen
    assert len(seen) > 1


# --- a process that is killed

WRITER = """
import os, signal, sys
from pathlib import Path
from ukemi.actors.files import writing

path, records = sys.argv[1], Path(sys.argv[2])
CALLS = ("symlink", "open", "write", "fsync", "fchmod", "fstat", "rename", "unlink", "close", "stat", "access")

def killed_before(last):
    left = last
    def counted(function):
        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        if line.strip() != "-":
            killed_before(int(line))
            writing._EFFECTIVE = False
            writing.write_file(path, b"new" * 500_000, records, lambda: True)
            os._exit(0)
        n = 0
        while True:
            n += 1
            writing.write_file(path, (b"a", b"b")[n % 2] * 500_000, records, lambda: True)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@contextmanager
def writer(path: Path, records: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that starts others, which write until they are killed."""
    command = [sys.executable, "-c", WRITER, str(path), str(records)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_process_killed_between_any_two_system_calls_leaves_all_or_nothing(state: FileState, folder: Path) -> None:
    path = folder / "a"
    path.write_text("old")
    sweep(state.records)
    seen, left = [], 0
    with writer(path, state.records) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for last in range(200):
            process.stdin.write(f"{last}\n")
            process.stdin.flush()
            process.stdout.readline()
            code = int(process.stdout.readline())
            data = path.read_text()
            assert data in ("old", "new" * 500_000)
            seen.append(data[:3])
            left += len(left_behind(state, folder)) > 0
            assert sweep(state.records) == []
            assert left_behind(state, folder) == []
            assert os.listdir(folder) == ["a"]
            if code == 0:
                break
            path.write_text("old")
    assert code == 0
    assert seen[0] == "old"
    assert seen[-1] == "new"
    assert seen == sorted(seen, reverse=True), "once it is new, it stays so"
    assert left > 5


def test_a_process_killed_at_any_moment_leaves_all_or_nothing(state: FileState, folder: Path) -> None:
    path = folder / "a"
    path.write_text("a" * 500_000)
    sweep(state.records)
    seed = random.randrange(2**32)
    source = random.Random(seed)
    with writer(path, state.records) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(60):
            process.stdin.write("-\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            threading.Event().wait(source.uniform(0.001, 0.03))
            os.kill(child, 9)
            assert process.stdout.readline() == "-9\n"
            data = path.read_text()
            assert data in ("a" * 500_000, "b" * 500_000), f"seed {seed}"
            assert sweep(state.records) == []
            assert os.listdir(folder) == ["a"], f"seed {seed}"


async def test_what_a_killed_process_left_is_gone_when_the_next_one_has_started(state: FileState, folder: Path) -> None:
    sweep(state.records)
    token = "0123456789abcdef"
    (folder / f".ukemi-{token}.tmp").write_text("half")
    (state.records / token).symlink_to(folder / f".ukemi-{token}.tmp")
    async with runtime_of(state):
        assert os.listdir(folder) == []
        assert os.listdir(state.records) == []


def test_a_sweep_removes_nothing_but_what_is_its_own(state: FileState, folder: Path) -> None:
    sweep(state.records)
    in_the_past(folder / "precious")
    (state.records / "link").symlink_to(folder / "precious")
    (state.records / "note").write_text("by somebody else")
    assert sweep(state.records) == []
    assert os.listdir(folder) == ["precious"]
    assert os.listdir(state.records) == ["note"]


def test_what_can_not_be_swept_is_told_of_and_tried_again(state: FileState, folder: Path) -> None:
    sweep(state.records)
    name = ".ukemi-0123456789abcdef.tmp"
    (folder / name).mkdir()  # can't be unlinked, not even by root
    (state.records / "x").symlink_to(folder / name)
    (error,) = sweep(state.records)
    assert isinstance(error, OSError)
    assert os.listdir(state.records) == ["x"]
    (folder / name).rmdir()
    assert sweep(state.records) == []


async def test_a_restarted_store_leaves_alone_what_is_being_written(state: FileState, folder: Path) -> None:
    async with runtime_of(state) as runtime:
        token = "0123456789abcdef"
        (folder / f".ukemi-{token}.tmp").write_text("being written")
        (state.records / token).symlink_to(folder / f".ukemi-{token}.tmp")
        runtime.ref("files").kill()
        assert await store_of(runtime).call("stats")
        assert len(left_behind(state, folder)) == 2


async def test_what_was_written_is_what_is_remembered(state: FileState, folder: Path) -> None:
    path = in_the_past(folder / "a")
    async with runtime_of(state) as runtime:
        await store_of(runtime).call(FileStore.read, path)
        await store_of(runtime).call("write", path, "new")
    assert state.cache.last_known(path) == FileRead("new", cached=True, stale=True)


async def test_records_whose_folder_was_removed_are_kept_again(state: FileState, folder: Path) -> None:
    async with runtime_of(state) as runtime:
        state.records.rmdir()
        await store_of(runtime).call("write", str(folder / "a"), "new")
    assert (folder / "a").read_text() == "new"
    assert left_behind(state, folder) == []
