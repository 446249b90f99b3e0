"""What the bridge does when something runs short, as its clients see it, and that all of it is taken back.

The bands are walked through with readings of a test's own, on a clock that runs ahead; what really runs out does so in
a process of its own, under limits that the kernel holds it to.
"""

import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from ukemi import Runtime
from ukemi.actors.files import FileStore
from ukemi.actors.resources import Found, Reading, Resource, Source, find_sources
from ukemi.actors.resources.pressure import Scale
from ukemi.runtime.bridge.bands import HALVINGS, relief_rows
from ukemi.runtime.bridge.connection import CLOSE_IDLE, IDLE
from ukemi.runtime.bridge.tree import bridge_tree

from .. import bridge as bridge_module
from ..bridge import Bridge, Client, Failed, running_bridge
from .launched import Program, launched

FASTER = 10
"""How far the clock runs ahead."""
SAME = Scale(30, 60, 80)
MB = 1024 * 1024


@attrs.define
class Pressed:
    """A bridge that finds what a test tells it to find."""

    bridge: Bridge
    client: Client
    percents: dict[Resource, float]

    async def press(self, **percents: float) -> None:
        """So much of each is used from now on."""
        self.percents.update({Resource(name): percent for name, percent in percents.items()})

    async def until(self, **wanted: Any) -> None:
        """Wait until all that is asked for is so: `bound` of the file cache, `entries`, `quality`, `pace`, `over`."""
        with trio.fail_after(FASTER * 60):
            while (state := await self.state()) | wanted != state:
                await trio.sleep(0.5)

    async def state(self) -> dict[str, Any]:
        runtime = self.bridge.runtime
        cache = (await runtime.ref("files", FileStore).within(None).call(FileStore.stats)).cache
        return {
            "bound": cache.bound // MB,
            "entries": cache.entries,
            "quality": runtime.features.quality.level,
            "pace": runtime.ref("terminals").cell.gate.pace,
            "over": not (await runtime.ref("relief").call("state")).in_force,
        }

    def alerts(self) -> list[tuple[str, str]]:
        notes = [note["params"] for note in self.client.notes if note["method"] == "runtime/alert"]
        return [(note["component"], note["message"]) for note in notes]


@pytest.fixture
async def pressed(tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pressed]:
    """Each test takes the clock itself, too, which is how it gets to be the clock of the test."""
    mock_clock.rate = FASTER
    monkeypatch.setattr(bridge_module, "PATIENCE", FASTER * 30)
    percents: dict[Resource, float] = {}

    def find() -> Found:
        def source(resource: Resource) -> Source:
            return Source(resource.value, resource, SAME, lambda: Reading(percents.get(resource, 0.0)))

        return Found(tuple(map(source, Resource)), {})

    async with running_bridge(tmp_path, find=find) as bridge, bridge.client() as client:
        yield Pressed(bridge, client, percents)


async def test_at_moderate_the_file_cache_is_halved_down_to_its_floor_and_comes_back(
    pressed: Pressed, tmp_path: Path, mock_clock: MockClock
) -> None:
    await pressed.press(memory=50)
    await pressed.until(bound=64 >> HALVINGS, quality=3, pace=None)
    await pressed.press(memory=0)
    await pressed.until(bound=64, over=True)
    assert pressed.client.notes == []


async def test_at_high_it_is_cleared_and_the_quality_goes_down_a_level(
    pressed: Pressed, tmp_path: Path, mock_clock: MockClock
) -> None:
    await pressed.client.request("file/write", path=str(tmp_path / "a"), data="x")
    await pressed.until(entries=1)
    await pressed.press(memory=75)
    await pressed.until(entries=0, quality=2, pace=None)
    await pressed.client.until(lambda: pressed.client.notes != [])
    note = pressed.client.notes[0]["params"]
    assert (note["feature"], note["state"], note["because"]) == ("decorations", "degraded", "quality")
    await pressed.press(memory=0)
    await pressed.until(bound=64, quality=3, over=True)
    assert (await pressed.client.request("file/read", path=str(tmp_path / "a")))["data"] == "x"


async def test_at_critical_new_work_is_let_in_slowly_its_clients_are_told_and_all_comes_back(
    pressed: Pressed, tmp_path: Path, mock_clock: MockClock
) -> None:
    await pressed.press(memory=95)
    await pressed.until(quality=0, pace=0.1)
    wanted = {"/bridge/relief", "/bridge/terminals", "/bridge/connections", "/bridge/storage/files"}
    await pressed.client.until(lambda: {component for component, _ in pressed.alerts()} == wanted)
    said = dict(reversed(pressed.alerts()))  # the first of each: a busy machine may be late for what is then done
    assert said["/bridge/relief"].startswith("Resource pressure is critical: memory ")
    assert said["/bridge/terminals"] == "New work is let in slowly, 10 messages/s: the resource pressure is critical"
    async with pressed.bridge.client() as other:  # slowly, but it is
        await other.request("file/write", path=str(tmp_path / "a"), data="x")
    await pressed.press(memory=0)
    await pressed.until(bound=64, quality=3, pace=None, over=True)
    await pressed.client.request("runtime/features")  # behind all that was told
    states = [note["params"] for note in pressed.client.notes if note["method"] == "runtime/feature"]
    restored = [each["feature"] for each in states if each["state"] == "whole"]
    assert sorted(restored) == ["decorations", "file_watching", "shell_integration"]


async def test_that_the_cpu_is_busy_costs_no_cache_and_no_quality(
    pressed: Pressed, tmp_path: Path, mock_clock: MockClock
) -> None:
    await pressed.client.request("file/write", path=str(tmp_path / "a"), data="x")
    await pressed.until(entries=1)
    await pressed.press(cpu=99)
    await pressed.until(pace=0.1)
    assert await pressed.state() == {"bound": 64, "entries": 1, "quality": 3, "pace": 0.1, "over": False}
    assert [pressed.bridge.runtime.ref(name).cell.gate.pace for name in ("files", "connections")] == [None, None]
    await pressed.press(cpu=0)
    await pressed.until(pace=None, over=True)


async def test_connections_that_nobody_uses_are_closed_and_their_sessions_live_on(
    pressed: Pressed, tmp_path: Path, mock_clock: MockClock
) -> None:
    idle = await pressed.bridge.connect()
    session = (await idle.request("initialize"))["session"]
    await trio.sleep(IDLE)
    await pressed.client.request("runtime/ping")
    await pressed.press(files=75)
    async with idle.stream:
        await idle.closed()
    async with pressed.bridge.client(session=session, lastSeq=len(idle.notes)) as again:
        answer = await again.request("runtime/ping")
        assert answer == {}
    children = await pressed.bridge.runtime.ref("sessions").call("children")
    assert session in [info.name for info in children]


async def test_every_actor_that_a_row_names_is_there(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as bridge:
        for row in relief_rows():
            if (actor := getattr(row.do, "actor", None)) is not None:
                assert bridge.runtime.ref(f"/bridge/{actor.removeprefix('../')}")


def test_a_bridge_for_one_client_has_no_others_to_let_in_slowly_and_does_not_close_its_connection() -> None:
    rows = relief_rows(takes_clients=False)
    named = [getattr(row.do, "actor", "") for row in rows]
    assert CLOSE_IDLE not in [getattr(row.do, "topic", "") for row in rows]
    assert "../connections" not in named
    assert "../terminals" in named


# --- what really runs out


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Program, Client]]:
    """A bridge in a process of its own, and a client of it."""
    async with launched(folder) as program:
        await program.says("is up")
        client = Client(await trio.open_unix_socket(str(program.state / "bridge.sock")))
        async with client.stream:
            await client.request("initialize")
            yield program, client


@contextmanager
def room(pid: int, size: int) -> Iterator[None]:
    """Let a process have so many bytes of address space more, and no more than these."""
    with open(f"/proc/{pid}/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (used + size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))


async def node(client: Client, name: str) -> dict[str, Any]:
    tree = await client.request("runtime/tree")
    (found,) = [child for child in tree["children"] if child["name"] == name]
    return dict(found)


def messages(client: Client) -> dict[str, str]:
    """The alerts, by component."""
    notes = [note["params"] for note in client.notes if note["method"] == "runtime/alert"]
    return {note["component"]: note["message"] for note in notes}


@pytest.mark.cell("Resource/Critical: first")
async def test_where_memory_is_missing_all_is_freed_and_what_asked_for_it_gets_on(tmp_path: Path) -> None:
    """Resource/Critical: a MemoryError of the watcher, whose snapshot finds no room."""
    many = tmp_path / "many"
    for n in range(100):
        (many / f"{n}").mkdir(parents=True)
        for m in range(100):
            (many / f"{n}" / f"{m}").touch()
    async with running(tmp_path) as (program, client):
        with room(program.process.pid, MB):
            watch = (await client.request("watch/add", path=str(many), recursive=True))["watch"]
        await client.until(lambda: "/bridge/relief" in messages(client))
        assert (
            messages(client)["/bridge/relief"] == "/bridge/watcher has failed of MemoryError: all that can be freed is"
        )
        assert messages(client)["/bridge/terminals"] == "New work is let in slowly, 10 messages/s: memory is missing"
        assert (await node(client, "watcher"))["fallback"] == "polling"
        answer = await client.request("runtime/features")
        assert [each["state"] for each in answer["features"]] == ["degraded"] * 3
        (many / "0" / "new").touch()
        asked = [sys.executable, "-m", "ukemi", "quality", "3", "--state-dir", str(program.state)]
        await trio.run_process(asked, capture_stdout=True)  # else it takes half a minute for each level
        await client.until(lambda: any(note["method"] == "watch/changed" for note in client.notes))
        change = next(note["params"] for note in client.notes if note["method"] == "watch/changed")
        assert (change["watch"], change["changes"][0]["path"]) == (watch, str(many / "0" / "new"))
        with trio.fail_after(60):
            while (await node(client, "watcher"))["fallback"] is not None:
                await trio.sleep(0.1)


@pytest.mark.cell("Resource/Critical: then")
async def test_what_fails_for_want_of_memory_again_at_once_stops_the_runtime_in_order(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    """Resource/Critical: free resources, then graceful shutdown. No system has the memory that this takes."""
    mock_clock.rate = FASTER
    size = [0]

    def find() -> Found:
        def read() -> Reading:
            return Reading(len(bytearray(size[0])))

        return Found((Source("memory", Resource.MEMORY, SAME, read),), {})

    async with Runtime(bridge_tree(tmp_path, find=find)) as runtime, Bridge(runtime, tmp_path).client() as client:
        terminal = await client.terminal(tmp_path)
        pid: int = await runtime.ref(f"/bridge/terminals/{terminal}/pty").call("pid")
        size[0] = 2**62
        await client.closed()
        await runtime.wait()
        said = messages(client)
        assert said["/bridge/relief"] == "/bridge/resources has failed of MemoryError: all that can be freed is"
        assert said["/bridge/resources"] == "the runtime stops, in order: MemoryError"
        assert not os.path.exists(f"/proc/{pid}")
        assert not (tmp_path / "bridge.sock").exists()


async def test_a_file_for_which_there_is_no_memory_is_refused_with_its_category(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_text("x" * 8 * MB)
    async with running(tmp_path) as (program, client):
        with room(program.process.pid, 4 * MB):
            with pytest.raises(Failed, match="Resource exhausted: address space") as caught:
                await client.request("file/read", path=str(path))
            assert (caught.value.data["category"], caught.value.data["retryable"]) == ("Resource", True)
        assert len((await client.request("file/read", path=str(path)))["data"]) == 8 * MB


async def test_without_descriptors_new_work_is_refused_with_its_category_and_what_is_there_goes_on(
    tmp_path: Path,
) -> None:
    """Neither a client nor a terminal more, while there are no more than a few; both once there are."""
    path = tmp_path / "a"
    async with running(tmp_path) as (program, client):
        terminal = await client.terminal(tmp_path)
        pid = program.process.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 4, hard))
        with pytest.raises(Failed, match="Resource exhausted: open files") as caught:
            await client.terminal(tmp_path)
        assert (caught.value.data["category"], caught.value.data["severity"]) == ("Resource", "Critical")
        other = Client(await trio.open_unix_socket(str(program.state / "bridge.sock")))
        async with other.stream:
            await other.closed()
        error = other.answers[None]["error"]
        assert "too many for one more client" in error["message"]
        assert error["data"]["category"] == "Resource"
        await client.request("file/write", path=str(path), data="goes on")
        await trio.sleep(0.05)  # two ticks of the file system's clock, after which what is read is known
        await client.request("file/read", path=str(path))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))  # not one more, whatever is open
        with pytest.raises(Failed, match="Too many open files") as caught:
            await client.request("file/read", path="/etc/passwd")
        assert (caught.value.data["category"], caught.value.data["severity"]) == ("Resource", "Recoverable")
        assert (await client.request("file/read", path=str(path)))["data"] == "goes on"
        ran = await client.request("terminal/execute", terminal=terminal, command="echo on")
        assert ran["output"] == "on\r\n"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        await client.terminal(tmp_path)


def test_all_that_this_system_measures_can_be_read() -> None:
    assert {source.resource for source in find_sources().sources} >= {Resource.MEMORY, Resource.FILES}
