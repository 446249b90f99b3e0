"""Files as a client of the bridge reads and writes them: over a real socket, on a real disk, with real faults."""

import base64
import errno
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi.actors.events import ActorExited
from ukemi.actors.files.state import MOST_BYTES
from ukemi.supervisors import Recovered

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE, expecting
from ..far import far_folder


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "state").mkdir()
    async with running_bridge(tmp_path / "state") as bridge:
        yield bridge
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


async def failure(client: Client, method: str, **params: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        await client.request(method, **params)
    return caught.value


async def settled(path: Path) -> str:
    """A file whose times can be relied on: nobody has changed it for two ticks of the file system's clock."""
    await trio.to_thread.run_sync(lambda: subprocess.run(["sleep", "0.05"], check=True))
    return str(path)


def actions(bridge: Bridge) -> list[str]:
    return [event.action.partition("(")[0] for event in bridge.runtime.events.of(Recovered)]


# --- reading and writing


async def test_what_was_written_is_read_and_the_second_time_from_the_cache(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert await client.request("file/write", path=str(path), data="größer\n") == {}
    assert path.read_text() == "größer\n"
    await settled(path)
    first = await client.request("file/read", path=str(path))
    assert first == {"data": "größer\n", "encoding": "utf-8", "cached": False, "stale": False}
    assert await client.request("file/read", path=str(path)) == {**first, "cached": True}
    path.write_text("other")
    assert (await client.request("file/read", path=str(path)))["data"] == "other"


async def test_bytes_that_are_no_text_travel_as_base64(client: Client, tmp_path: Path) -> None:
    path, data = str(tmp_path / "a"), base64.b64encode(b"\xff\0\x80").decode()
    await client.request("file/write", path=path, data=data, encoding="base64")
    assert (tmp_path / "a").read_bytes() == b"\xff\0\x80"
    answer = await client.request("file/read", path=path)
    assert (answer["data"], answer["encoding"]) == (data, "base64")


async def test_a_file_whose_name_is_no_text_is_written_and_read_by_its_base64(client: Client, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    named = {"path": base64.b64encode(name).decode(), "pathEncoding": "base64"}
    assert await client.request("file/write", **named, data="text") == {}
    assert await trio.Path(os.fsdecode(name)).read_bytes() == b"text"
    answer = await client.request("file/read", **named)
    assert (answer["data"], answer["encoding"]) == ("text", "utf-8")
    os.unlink(name)
    error = await failure(client, "file/read", **named)
    assert "No such file or directory" in str(error)
    assert (error.code, error.data["severity"]) == (-32602, "Warning")


async def test_reads_and_writes_of_a_file_are_done_in_the_order_in_which_they_were_asked(
    client: Client, tmp_path: Path
) -> None:
    path = str(tmp_path / "a")
    reads = []
    for n in range(20):
        await client.ask("file/write", path=path, data=str(n))
        reads.append(await client.ask("file/read", path=path))
    assert [(await client.answer(id))["data"] for id in reads] == [str(n) for n in range(20)]


async def test_a_write_with_a_key_is_done_once(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a"
    for _ in range(2):
        await client.request("file/write", path=str(path), data="once", requestKey="k")
        assert path.exists() or path.write_text("") == 0
        path.unlink(missing_ok=True)
    assert not path.exists()


async def test_a_file_as_large_as_can_be_passes_and_a_larger_one_is_refused(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a"
    await client.request("file/write", path=str(path), data="x" * MOST_BYTES)
    assert len((await client.request("file/read", path=str(path)))["data"]) == MOST_BYTES
    os.truncate(path, 10**12)
    error = await failure(client, "file/read", path=str(path))
    assert "File too large: it has 1000000000000 bytes or more, at most 8388608 can be" in str(error)
    assert (error.code, error.data["category"], error.data["severity"]) == (-32602, "FileSystem", "Warning")


# --- what is the client's own matter


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """What is no file, or none that can be read."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "No such file or directory"),
        ("folder", "it is a folder, not a file"),
        ("fifo", "it is a FIFO, not a file"),
        ("file/below", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
    ],
)
@pytest.mark.parametrize("method", ["file/read", "file/write"])
async def test_what_is_no_file_is_said_so_and_is_nobodys_failure(
    bridge: Bridge, client: Client, odd: Path, name: str, said: str, method: str
) -> None:
    if method == "file/write" and name in ("missing", "loop"):
        name, said = f"{name}/below", said
    data = {"data": "x"} if method == "file/write" else {}
    error = await failure(client, method, path=str(odd / name), **data)
    assert said in str(error)
    assert error.code == -32602
    assert error.data == {
        "category": "FileSystem",
        "severity": "Warning",
        "retryable": False,
        "fallbackAvailable": False,
        "component": "/bridge/storage/files",
    }
    assert client.notes == []
    assert actions(bridge) == []


async def test_what_may_not_be_read_is_said_so(client: Client) -> None:
    path = "/proc/sys/vm/compact_memory"  # which may only be written, by root, too
    if not isinstance(await failure_of_reading(path), PermissionError):
        pytest.skip("this system has no file that nobody may read")
    error = await failure(client, "file/read", path=path)
    assert "Permission denied" in str(error)
    assert (error.code, error.data["category"], error.data["severity"]) == (-32602, "FileSystem", "Warning")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "'path' is missing"),
        ({"path": ""}, "path='' must be the name of a file"),
        ({"path": "a\0b"}, "must be the name of a file, without NUL"),
        ({"path": 7}, "7 must be a string"),
        ({"path": "/tmp/x", "pth": 1}, "unknown parameter 'pth'; it takes: path, pathEncoding"),
        ({"path": "/tmp/x", "pathEncoding": "base64"}, "path='/tmp/x' is no base64"),
        ({"path": "YQBi", "pathEncoding": "base64"}, "must be the name of a file, without NUL"),
        ({"path": "/tmp/x", "pathEncoding": "latin-1"}, "'latin-1' must be 'utf-8' or 'base64' @ params.pathEncoding"),
    ],
)
async def test_a_wrong_path_is_named(client: Client, params: dict[str, Any], said: str) -> None:
    error = await failure(client, "file/read", **params)
    assert said in str(error)
    assert (error.code, error.data["severity"]) == (-32602, "Warning")


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [("=", "base64", "no base64"), ("x", "latin-1", "'latin-1' must be 'utf-8' or 'base64' @ params.encoding")],
)
async def test_data_that_is_none_changes_nothing(
    client: Client, tmp_path: Path, data: str, encoding: str, said: str
) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    error = await failure(client, "file/write", path=str(path), data=data, encoding=encoding)
    assert said in str(error)
    assert (error.code, error.data["severity"]) == (-32602, "Warning")
    assert path.read_text() == "old"


# --- what fails for real, and how it comes back


def can_be_read(path: str) -> bool:
    """Whether it may be opened."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """Something is mounted there, where that is allowed."""
    if subprocess.run(["mount", *arguments, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


needs_kmsg = pytest.mark.skipif(not can_be_read("/proc/kmsg"), reason="it may not be read here")


@pytest.mark.cell("FileSystem/Critical: first")
async def test_a_disk_that_fails_is_an_error_for_its_reader_and_an_alert_for_all(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FileSystem/Critical: a file system whose server says EIO."""
    with far_folder(tmp_path / "disk", monkeypatch) as disk:
        disk.fail()
        path = str(disk.path / "a")
        async with bridge.client() as other:
            error = await failure(client, "file/read", path=path)
            assert "Input/output error" in str(error)
            assert (error.code, error.data["category"], error.data["severity"]) == (-32000, "FileSystem", "Critical")
            for each in (client, other):
                await each.until(lambda each=each: each.notes != [])
                alert = each.notes[0]["params"]
                assert alert["message"].startswith(f"OSError: [Errno 5] Input/output error: '{path}'")
                assert alert["severity"] == "Critical"
                assert alert["component"].startswith("/bridge/storage/worker-")
        await client.request("file/write", path=str(tmp_path / "a"), data="goes on")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/proc/self/mem", "Input/output error"),
        pytest.param("/proc/kmsg", "Resource temporarily unavailable", marks=needs_kmsg),
    ],
)
async def test_what_the_kernel_does_not_give_of_its_own_files_alerts_nobody(
    bridge: Bridge, client: Client, path: str, said: str
) -> None:
    error = await failure(client, "file/read", path=path)
    assert f"the kernel makes it up, and says: {said}" in str(error)
    assert (error.code, error.data["category"], error.data["severity"]) == (-32602, "FileSystem", "Warning")
    assert client.notes == []
    assert actions(bridge) == []


@pytest.mark.cell("FileSystem/Critical: first")
async def test_a_disk_that_may_not_be_written_is_an_alert(client: Client, tmp_path: Path) -> None:
    """FileSystem/Critical: a file system that is mounted read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=64k,ro", "none"):
        error = await failure(client, "file/write", path=str(disk / "a"), data="x")
        assert "Read-only file system" in str(error)
        assert (error.data["category"], error.data["severity"]) == ("FileSystem", "Critical")
        await client.until(lambda: client.notes != [])
        assert client.notes[0]["method"] == "runtime/alert"


@pytest.mark.cell("FileSystem/Recoverable: first")
async def test_a_busy_file_is_tried_again_until_it_is_not(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    """FileSystem/Recoverable: something is mounted on the name, which can't be replaced until it is not any more."""
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("old")
    other.write_text("other")
    with mounted(path, "--bind", str(other)):
        id = await client.ask("file/write", path=str(path), data="new")
        with trio.fail_after(PATIENCE):
            while "Retry" not in actions(bridge):
                await trio.sleep(0.001)
        await trio.run_process(["umount", str(path)])
        assert await client.answer(id) == {}
    assert set(actions(bridge)) == {"Retry"}
    assert path.read_text() == "new"
    assert other.read_text() == "other"
    assert client.notes == []


async def test_a_file_that_stays_busy_is_said_to_be_after_three_retries(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("old")
    other.write_text("other")
    with mounted(path, "--bind", str(other)):
        error = await failure(client, "file/write", path=str(path), data="new")
    assert "Device or resource busy" in str(error)
    assert error.data["retryable"]
    assert actions(bridge) == ["Retry", "Retry", "Retry", "Fallback"]
    assert path.read_text() == "old"


@pytest.mark.cell("FileSystem/Recoverable: then")
async def test_what_can_not_be_read_any_more_is_answered_from_before_and_says_so(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FileSystem/Recoverable, which no retry helps: the name leads to what its file system refuses (EINVAL)."""
    path = tmp_path / "a"
    path.write_text("old")
    await settled(path)
    whole = await client.request("file/read", path=str(path))
    path.unlink()
    with far_folder(tmp_path / "disk", monkeypatch) as disk:
        disk.fail(errno.EINVAL)
        path.symlink_to(disk.path / "a")
        assert await client.request("file/read", path=str(path)) == {**whole, "cached": True, "stale": True}
    assert "Fallback" in actions(bridge)
    path.unlink()
    path.write_text("again")
    answer = await client.request("file/read", path=str(path))
    assert (answer["data"], answer["stale"]) == ("again", False)


async def failure_of_reading(path: str) -> OSError | None:
    try:
        await trio.Path(path).read_bytes()
    except OSError as error:
        return error
    return None


@pytest.mark.cell("Resource/Recoverable: first")
async def test_a_full_disk_slows_its_writers_down_until_it_is_not_full_and_harms_nobody_else(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    """Resource/Recoverable: throttle. The old contents stay."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=64k", "none"):
        path = disk / "a"
        await client.request("file/write", path=str(path), data="old")
        for _ in range(20):  # whichever workers they come to
            error = await failure(client, "file/write", path=str(path), data="x" * 100_000)
            assert "No space left on device" in str(error)
            assert (error.data["category"], error.data["severity"]) == ("Resource", "Recoverable")
        assert path.read_text() == "old"
        assert os.listdir(disk) == ["a"]
        assert set(actions(bridge)) == {"Throttle"}
        await client.request("file/write", path=str(path), data="small")
        assert client.notes == []
        assert path.read_text() == "small"


async def test_workers_and_store_that_are_killed_lose_nothing_that_was_acknowledged(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    for n, name in enumerate(["files", *(f"worker-{n}" for n in range(1, 9)), "storage"]):
        await client.request("file/write", path=str(path), data=f"before {n}")
        async with expecting(bridge.runtime, ActorExited, bridge.runtime.ref(name).path):
            bridge.runtime.ref(name).kill()
        assert (await client.request("file/read", path=str(path)))["data"] == f"before {n}"
        await client.request("file/write", path=str(path), data=f"after {n}")
        assert path.read_text() == f"after {n}"
    tree = await client.request("runtime/tree")
    (storage,) = [each for each in tree["children"] if each["name"] == "storage"]
    assert storage["restarts"] == 1
