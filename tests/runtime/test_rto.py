"""The spec's recovery objectives (11.2), held: each thing is made to fail for real, and the time until a client is
served again as before is printed beside its objective.

The recovery point objective is 0 for each: nothing that a client was told to be done, and no byte or notification that
it was to get, is lost. A time of "0 s" means that it rounds to none.
"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

import attrs
import pytest
import trio

from ukemi.actors.files import FileStore
from ukemi.actors.resources import Found, Resource, Source, find_sources
from ukemi.actors.resources.cgroups import Cgroup, read_memory
from ukemi.actors.resources.sources import USED_MEMORY
from ukemi.supervisors import ChildRestarted

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE, expecting
from .test_bridge_recovers import connected, no_more_files

MB = 1024 * 1024


@attrs.frozen
class Objective:
    """A row of the spec's table, and what was measured: seconds of each failure, the worst of which counts."""

    failure: str
    objective: float
    how: str
    seconds: list[float] = attrs.field(factory=list)

    @property
    def worst(self) -> float:
        return max(self.seconds)

    def __str__(self) -> str:
        left = f"| {self.failure} | {self.objective:g} s | {self.worst:.4f} s | 0 | 0 "
        return f"{left}| {self.how}, {len(self.seconds)} times |"


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[Objective]]:
    """Prints what was measured, once all has been."""
    rows: list[Objective] = []
    yield rows
    head = "| failure | RTO | recovered after | RPO | lost | how |\n|---|---|---|---|---|---|"
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n\n" + "\n".join([head, *map(str, rows)]))


def met(table: list[Objective], row: Objective) -> None:
    """It goes into the table, and has met its objective."""
    table.append(row)
    assert round(row.worst) <= row.objective, str(row)


@asynccontextmanager
async def bridge_and_client(
    folder: Path, find: Callable[[], Found] | None = None
) -> AsyncIterator[tuple[Bridge, Client]]:
    (folder / "state").mkdir()
    options = {} if find is None else {"find": find}
    async with running_bridge(folder / "state", **options) as bridge, bridge.client() as client:
        yield bridge, client


async def until(happens: Callable[[], Awaitable[object]]) -> None:
    """Wait until it does."""
    with trio.fail_after(2 * PATIENCE):
        while not await happens():
            await trio.sleep(0.01)


# --- terminal crash


async def test_a_terminal_whose_shell_is_killed(tmp_path: Path, table: list[Objective]) -> None:
    row = Objective("Terminal crash", 1, "SIGKILL to the shell")
    async with bridge_and_client(tmp_path) as (bridge, client):
        for _ in range(10):
            terminal = await client.terminal(tmp_path)
            await client.request("terminal/execute", terminal=terminal, command="mkdir -p sub; cd sub; echo kept")
            pid: int = await bridge.runtime.ref(f"/bridge/terminals/{terminal}/pty").call("pid")
            begun = perf_counter()
            os.kill(pid, signal.SIGKILL)
            answer = await works_again(client, terminal)
            row.seconds.append(perf_counter() - begun)
            assert answer["output"] == f"{tmp_path}/sub\r\n"
            assert answer["exitCode"] == 0
            await client.output(terminal, "kept")
            await client.request("terminal/close", terminal=terminal)
    met(table, row)


async def works_again(client: Client, terminal: str) -> dict[str, object]:
    """The answer to the next command; one that comes just as the shell ends may be told so."""
    while True:
        try:
            answer: dict[str, object] = await client.request("terminal/execute", terminal=terminal, command="pwd")
        except Failed:
            continue
        return answer


# --- IPC disconnect


async def test_a_client_whose_connection_is_cut(tmp_path: Path, table: list[Objective]) -> None:
    row = Objective("IPC disconnect", 5, "the connection cut in the middle of 20,000 lines")
    async with bridge_and_client(tmp_path) as (bridge, _client):
        for _ in range(5):
            client = await bridge.connect()
            session = (await client.request("initialize"))["session"]
            terminal = await client.terminal(tmp_path)
            await client.ask(
                "terminal/execute", terminal=terminal, command="seq 20000; echo over", requestKey="the command"
            )
            await client.until(lambda client=client: client.notes != [])
            begun = perf_counter()
            await trio.aclose_forcefully(client.stream)
            seen = client.notes
            again = await bridge.connect()
            async with again.stream:
                await again.request("initialize", session=session, lastSeq=seen[-1]["params"]["seq"])
                row.seconds.append(perf_counter() - begun)
                answer = await again.request(
                    "terminal/execute", terminal=terminal, command="seq 20000; echo over", requestKey="the command"
                )
                assert answer["exitCode"] == 0
                notes = [*seen, *again.notes]
                assert [note["params"]["seq"] for note in notes] == list(range(1, len(notes) + 1))
                printed = "".join(note["params"]["data"] for note in notes)
                assert printed == "".join(f"{n}\r\n" for n in range(1, 20_001)) + "over\r\n"
                await again.request("terminal/close", terminal=terminal)
                await again.notify("exit")
    met(table, row)


# --- parser error


async def test_a_parser_that_fails_while_a_command_prints(tmp_path: Path, table: list[Objective]) -> None:
    row = Objective("Parser error", 0, "the parser killed in the middle of 20,000 lines")
    async with bridge_and_client(tmp_path) as (bridge, client):
        for _ in range(5):
            terminal = await client.terminal(tmp_path)
            path = f"/bridge/terminals/{terminal}/parser"
            id = await client.ask("terminal/execute", terminal=terminal, command="seq 20000")
            await client.output(terminal, "1\r\n")
            begun = perf_counter()
            async with expecting(bridge.runtime, ChildRestarted, path):
                bridge.runtime.ref(path).kill()
            row.seconds.append(perf_counter() - begun)
            assert (await client.answer(id))["exitCode"] == 0
            assert client.printed(terminal) == "".join(f"{n}\r\n" for n in range(1, 20_001))
            await client.request("terminal/close", terminal=terminal)
    met(table, row)


# --- resource exhaustion


async def test_no_descriptor_is_left(tmp_path: Path, table: list[Objective]) -> None:
    row = Objective("Resource exhaustion", 30, "no descriptor left, until the next client is served")
    async with bridge_and_client(tmp_path) as (bridge, client):
        path = str(tmp_path / "a")
        for n in range(2):
            with trio.socket.socket(trio.socket.AF_UNIX) as refused, no_more_files():
                await connected(refused, bridge)
                await trio.sleep(0.5)  # it is refused again and again meanwhile
            begun = perf_counter()
            with trio.socket.socket(trio.socket.AF_UNIX) as sock:
                await connected(sock, bridge)
                other = Client(trio.SocketStream(sock))
                await other.request("initialize")
                await other.request("file/write", path=path, data=str(n))
                row.seconds.append(perf_counter() - begun)
            assert (await client.request("file/read", path=path))["data"] == str(n)
    met(table, row)


@contextmanager
def limited_memory(size: int) -> Iterator[tuple[Path, Source]]:
    """A cgroup with so much memory, and what measures it. Skipped where none may be made."""
    for base, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = Path(base) / f"ukemi-test-{os.getpid()}"
        try:
            folder.mkdir()
            (folder / limit).write_text(str(size))
        except OSError:
            subprocess.run(["rmdir", str(folder)], capture_output=True, check=False)
            continue
        read = partial(read_memory, Cgroup(limit == "memory.max", (folder,)))
        try:
            yield folder, Source("memory of the cgroup", Resource.MEMORY, USED_MEMORY, read)
        finally:
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            while subprocess.run(["rmdir", str(folder)], capture_output=True, check=False).returncode:
                pass
        return
    pytest.skip("no memory cgroup may be made here")


HOG = """sh -c 'echo $$ > {cgroup}/cgroup.procs; exec python3 -c "\
x = b\\"x\\" * {size}; print(\\"full\\", flush=True); open(\\"{fifo}\\").read()"'"""


async def test_no_memory_is_left(tmp_path: Path, table: list[Objective]) -> None:
    """A command in a terminal takes nearly all the memory that its cgroup has, as the kernel counts it."""
    row = Objective("Resource exhaustion", 30, "memory full, until work is let in as it comes and caches are whole")
    fifo, path = tmp_path / "fifo", tmp_path / "a"
    os.mkfifo(fifo)
    with limited_memory(400 * MB) as (cgroup, source):
        async with bridge_and_client(tmp_path, lambda: Found((source,), {})) as (bridge, client):
            terminal = await client.terminal(tmp_path)
            hog = HOG.format(cgroup=cgroup, size=384 * MB, fifo=fifo)
            id = await client.ask("terminal/execute", terminal=terminal, command=hog)
            await client.output(terminal, "full")
            critical = "Resource pressure is critical: memory of the cgroup"
            await client.until(lambda: any(critical in str(note["params"]) for note in client.notes))
            await client.request("file/write", path=str(path), data="told to be written")
            await trio.to_thread.run_sync(fifo.write_text, "it is enough")
            assert (await client.answer(id))["exitCode"] == 0
            begun = perf_counter()
            await until(lambda: is_over(bridge))
            row.seconds.append(perf_counter() - begun)
            assert path.read_text() == "told to be written"
            assert [note["params"]["seq"] for note in client.notes] == list(range(1, len(client.notes) + 1))
    met(table, row)


async def is_over(bridge: Bridge) -> bool:
    cache = (await bridge.runtime.ref("files", FileStore).call(FileStore.stats)).cache
    paces = [bridge.runtime.ref(name).cell.gate.pace for name in ("terminals", "connections", "files")]
    return cache.bound == cache.capacity and paces == [None] * 3


# --- file system error


async def test_a_file_that_is_busy_for_a_while(tmp_path: Path, table: list[Objective]) -> None:
    row = Objective("File system error", 10, "a busy file (EBUSY), until the write is done")
    path, other = tmp_path / "a", tmp_path / "b"
    async with bridge_and_client(tmp_path) as (_, client):
        for n in range(3):
            path.write_text("old")
            other.write_text("other")
            mount = ["mount", "--bind", str(other), str(path)]
            if (await trio.run_process(mount, check=False, capture_stderr=True)).returncode:
                pytest.skip("nothing may be mounted here")
            id = await client.ask("file/write", path=str(path), data=f"new {n}")
            await trio.sleep(0.2)
            await trio.run_process(["umount", str(path)])
            begun = perf_counter()
            await client.answer(id)
            row.seconds.append(perf_counter() - begun)
            assert (path.read_text(), other.read_text()) == (f"new {n}", "other")
    met(table, row)


async def test_a_disk_that_is_full_for_a_while(tmp_path: Path, table: list[Objective]) -> None:
    row = Objective("File system error", 10, "a full disk (ENOSPC), until the next write is done")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if (await trio.run_process(mount, check=False, capture_stderr=True)).returncode:
        pytest.skip("no small file system may be mounted here")
    try:
        async with bridge_and_client(tmp_path) as (_, client):
            path, filling = disk / "a", disk / "filling"
            await client.request("file/write", path=str(path), data="0")
            for n in range(1, 4):
                filling.write_bytes(b"x" * 4096 * 14)
                with pytest.raises(Failed, match="No space left"):
                    await client.request("file/write", path=str(path), data="x" * 8192)
                assert path.read_text() == str(n - 1)
                filling.unlink()
                begun = perf_counter()
                await client.request("file/write", path=str(path), data=str(n))
                row.seconds.append(perf_counter() - begun)
                assert path.read_text() == str(n)
    finally:
        await trio.run_process(["umount", "--lazy", str(disk)])
    met(table, row)


async def test_what_reads_and_writes_files_is_killed(tmp_path: Path, table: list[Objective]) -> None:
    row = Objective("File system error", 10, "store and workers killed, until the next write is done")
    path = tmp_path / "a"
    async with bridge_and_client(tmp_path) as (bridge, client):
        for n, name in enumerate(("storage", "files", "worker-1", "worker-2")):
            await client.request("file/write", path=str(path), data=f"before {n}")
            begun = perf_counter()
            bridge.runtime.ref(name).kill()
            await client.request("file/write", path=str(tmp_path / "b"), data=str(n))
            row.seconds.append(perf_counter() - begun)
            assert (await client.request("file/read", path=str(path)))["data"] == f"before {n}"
    met(table, row)


def test_memory_is_measured_here() -> None:
    assert any(source.resource == Resource.MEMORY for source in find_sources().sources)
