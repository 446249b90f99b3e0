"""What is read of what there can be under a name, both at once and in a thread."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ukemi import Reject
from ukemi.actors.files import FileRead, FileState, FileStore, writing
from ukemi.actors.files.at_once import MOST, look_up_at_once, read_at_once
from ukemi.actors.files.reading import read_file
from ukemi.actors.files.writing import write_file

from .stores import as_nobody, in_the_past, limited, runtime_of, store_of

LIMIT = 100_000


async def read(state: FileState, path: Path | str) -> FileRead:
    """What a store says."""
    async with runtime_of(state) as runtime:
        return await store_of(runtime).call(FileStore.read, str(path))


def can_read_at_once(folder: Path) -> bool:
    path = folder / "probe"
    path.write_text("x")
    read_file(str(path), 10)  # so that the mounts are known
    return read_at_once(str(path)) is not None


@pytest.mark.parametrize(
    "data", [b"", b"text\r\n", "\ufeffé€😀\0".encode(), b"\xff\xfe", b"x" * 65_536, b"y" * 3_000_000]
)
async def test_a_file_is_read_as_it_is(state: FileState, folder: Path, data: bytes) -> None:
    path = in_the_past(folder / "a", data)
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        first, second = [await store.call(FileStore.read, path) for _ in range(2)]
    assert (first.cached, second.cached, first.stale, second.stale) == (False, True, False, False)
    assert (second.data, second.encoding) == (first.data, first.encoding)
    if first.encoding == "utf-8":
        assert first.data.encode() == data


async def test_every_change_is_seen_however_soon_it_follows(state: FileState, folder: Path) -> None:
    path = folder / "a"
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        for n in range(300):
            path.write_text(f"{n:5}")  # in place, of the same size
            assert (await store.call(FileStore.read, str(path))).data == f"{n:5}"


def test_both_ways_of_reading_find_the_same(folder: Path) -> None:
    if not can_read_at_once(folder):
        pytest.skip("this kernel or file system doesn't read at once")
    for data in (b"", b"x", b"\xff" * 4096, b"x" * MOST):
        path = in_the_past(folder / "a", data)
        assert read_at_once(path) == read_file(path, MOST)


def test_nothing_large_is_read_at_once(folder: Path) -> None:
    can_read_at_once(folder)
    assert read_at_once(in_the_past(folder / "a", b"x" * (MOST + 1))) is None
    assert read_at_once(in_the_past(folder / "b", b"xx"), 1) is None


def kind_of_file_system(path: str) -> str:
    device = os.stat(path).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return next(fields[fields.index("-") + 1] for fields in lines if fields[2] == name)


def test_what_is_not_in_the_kernels_memory_is_not_read_at_once(folder: Path) -> None:
    path = in_the_past(folder / "a", b"x" * 65_536)
    if not can_read_at_once(folder) or kind_of_file_system(path) not in ("ext4", "xfs", "btrfs"):
        pytest.skip("this file system has no disk")
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    assert read_at_once(path) is None
    assert read_file(path, LIMIT) is not None
    assert read_at_once(path) is not None


def test_a_name_that_the_kernel_would_have_to_ask_for_is_not_looked_up_at_once(folder: Path) -> None:
    if not can_read_at_once(folder):
        pytest.skip("this kernel doesn't read at once")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = f"/proc/{process.pid}/comm"  # nobody has asked for it yet
        assert look_up_at_once(name) is None
        os.stat(name)
        place = look_up_at_once(name)
        assert place is not None
        os.close(place)
        process.kill()


def make_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)


def make_loop(path: str) -> None:
    os.symlink(path, path)


WRONG: dict[str, tuple[Callable[[str], object], type[OSError], str]] = {
    "nothing": (lambda _: None, FileNotFoundError, "No such file"),
    "a dangling link": (lambda path: os.symlink("nowhere", path), FileNotFoundError, "No such file"),
    "a loop of links": (make_loop, OSError, "Too many levels of symbolic links"),
    "a folder": (os.mkdir, IsADirectoryError, "it is a folder, not a file"),
    "a FIFO": (os.mkfifo, PermissionError, "it is a FIFO, not a file"),
    "a socket": (make_socket, PermissionError, "it is a socket, not a file"),
    "a device": (lambda path: os.symlink("/dev/null", path), PermissionError, "it is a device, not a file"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_no_file_is_said_to_its_reader_and_harms_nobody(
    state: FileState, folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.chdir(folder)  # a socket's name has to be short
    make, kind, said = WRONG[what]
    make("it")
    async with runtime_of(state, None) as runtime:  # under any policy
        store = store_of(runtime)
        for _ in range(3):
            with pytest.raises(kind, match=said) as caught:
                await store.call(FileStore.read, str(folder / "it"))
            assert caught.value.filename == str(folder / "it")
        assert runtime.ref("worker-1").stats().crashes == 0


async def test_a_name_that_is_too_long_is_said_so(state: FileState, folder: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        await read(state, folder / ("x" * 256))


async def test_a_file_is_no_folder(state: FileState, folder: Path) -> None:
    with pytest.raises(NotADirectoryError):
        await read(state, in_the_past(folder / "a") + "/b")
    with pytest.raises(NotADirectoryError):
        await read(state, str(folder / "a") + "/")


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"])
async def test_what_can_be_no_name_is_said_so(state: FileState, path: str) -> None:
    with pytest.raises(ValueError, match="name of a file"):
        async with runtime_of(state) as runtime:
            actor: FileStore = store_of(runtime).cell.incarnation.actor  # type: ignore[union-attr, assignment]
            try:
                actor.read(path)  # half a surrogate pair can't travel in a message
            except Reject as rejected:
                raise rejected.error from None


async def test_a_relative_path_is_relative_to_this_process(
    state: FileState, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    in_the_past(folder / "é")
    assert (await read(state, "é")).data == "old"


async def test_what_may_not_be_read_is_said_so_though_it_was_read_before(state: FileState) -> None:
    path = Path("/tmp") / f"ukemi-test-{os.getpid()}"
    try:
        in_the_past(path)
        async with runtime_of(state) as runtime:
            store = store_of(runtime)
            for _ in range(2):
                assert (await store.call(FileStore.read, str(path))).data == "old"
            path.chmod(0)
            with as_nobody(), pytest.raises(PermissionError):
                await store.call(FileStore.read, str(path))
    finally:
        path.unlink(missing_ok=True)


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, folder: Path) -> None:
    state = FileState(tmp_path / "records", most_bytes=1_000)
    path = folder / "a"
    path.write_bytes(b"x" * 1_000)
    assert len((await read(state, path)).data) == 1_000
    os.truncate(path, 10**12)
    with pytest.raises(OSError, match="File too large: it has 1000000000000 bytes or more, at most 1000") as caught:
        await read(state, path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))


async def test_a_file_that_does_not_say_its_size_is_read_to_its_end_and_no_further(
    tmp_path: Path, state: FileState
) -> None:
    assert (await read(state, "/proc/version")).data == Path("/proc/version").read_text()
    assert os.stat("/proc/version").st_size == 0
    small = FileState(tmp_path / "records", most_bytes=10)
    with pytest.raises(OSError, match="File too large"):
        await read(small, "/proc/version")


async def test_what_the_kernel_does_not_give_of_its_own_files_is_the_callers_matter(state: FileState) -> None:
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        with pytest.raises(PermissionError, match="the kernel makes it up, and says: Input/output error"):
            await store.call(FileStore.read, "/proc/self/mem")
        assert runtime.ref("worker-1").stats().crashes == 0


@pytest.mark.parametrize("number", [errno.EIO, errno.EAGAIN, errno.EINVAL, errno.ESRCH, errno.EROFS])
@pytest.mark.parametrize("function", ["read", "write"])
def test_any_error_of_the_kernels_own_files_is_the_callers_matter_and_of_no_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, function: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "read", fail)
    monkeypatch.setattr(writing, "_replace", fail)
    for path, kind in (("/proc/self/comm", PermissionError), (in_the_past(folder / "a"), OSError)):
        with pytest.raises(kind) as caught:
            if function == "read":
                read_file(path, LIMIT)
            else:
                write_file(path, b"", tmp_path / "records", lambda: True)
        assert caught.value.errno == (errno.EACCES if kind is PermissionError else number)
        assert caught.value.filename == path


def test_what_is_missing_here_is_not_the_kernels_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Too many open files") as caught:
        read_file("/proc/self/comm", LIMIT)
    assert caught.value.errno == errno.EMFILE


async def test_a_fifo_that_comes_between_two_looks_holds_nobody_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_the_past(folder / "a")
    real = os.stat(path)
    os.unlink(path)
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda *_, **__: real)
    with pytest.raises(PermissionError, match="it is a FIFO"):
        read_file(path, LIMIT)


async def test_a_file_that_is_written_while_it_is_read_is_not_relied_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_the_past(folder / "a", b"x" * 5_000)
    real = os.read

    def read_and_write(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        with open(path, "r+b") as file:
            file.write(b"y")
        return data

    monkeypatch.setattr(os, "read", read_and_write)
    found = read_file(path, LIMIT)
    assert found is not None
    assert not found.is_settled


async def test_when_no_more_files_can_be_opened_what_is_cached_is_still_read(state: FileState, folder: Path) -> None:
    known, other = in_the_past(folder / "a"), in_the_past(folder / "b")
    async with runtime_of(state) as runtime:
        store = store_of(runtime)
        await store.call(FileStore.read, known)
        with limited(resource.RLIMIT_NOFILE, 3):
            assert (await store.call(FileStore.read, known)).cached
            with pytest.raises(OSError, match="Too many open files") as caught:
                await store.call(FileStore.read, other)
        assert caught.value.errno == errno.EMFILE
        assert (await store.call(FileStore.read, other)).data == "old"
        assert runtime.ref("worker-1").stats().crashes == 0
