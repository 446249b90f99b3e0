"""The bridge under faults: what is killed comes back, the client's next command works, and nobody else is harmed."""

import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest
import trio

from ukemi.actors.events import ActorExited
from ukemi.runtime.bridge import session as session_module
from ukemi.runtime.bridge import tree as tree_module
from ukemi.runtime.bridge.backlog import Backlog
from ukemi.runtime.bridge.clients import clients_at_most
from ukemi.supervisors.events import ChildRestarted

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE, expecting


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    before = len(os.listdir("/proc/self/fd"))
    async with running_bridge(tmp_path) as bridge:
        yield bridge
    assert len(os.listdir("/proc/self/fd")) == before


async def works(client: Client, terminal: str, word: str = "works") -> None:
    answer = await client.request("terminal/execute", terminal=terminal, command=f"echo {word}")
    assert (answer["output"], answer["exitCode"]) == (f"{word}\r\n", 0)


async def new_client_works(bridge: Bridge, tmp_path: Path) -> None:
    async with bridge.client() as client:
        await works(client, await client.terminal(tmp_path))


async def shell_of(bridge: Bridge, terminal: str) -> int:
    pid: int = await bridge.runtime.ref(f"/bridge/terminals/{terminal}/pty").call("pid")
    return pid


async def session_of(bridge: Bridge) -> str:
    children = await bridge.runtime.ref("sessions").call("children")
    return str(children[0].ref.path)


# --- the shell


async def test_a_shell_killed_while_idle_is_restarted_and_the_next_command_works(
    bridge: Bridge, tmp_path: Path
) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        await client.request("terminal/execute", terminal=terminal, command="mkdir sub; cd sub")
        async with expecting(bridge.runtime, ChildRestarted, f"/bridge/terminals/{terminal}/parser"):
            os.kill(await shell_of(bridge, terminal), signal.SIGKILL)
        answer = await client.request("terminal/execute", terminal=terminal, command="pwd")
        assert answer["output"] == f"{tmp_path}/sub\r\n"


async def test_a_shell_killed_while_a_command_runs_fails_that_command_only(bridge: Bridge, tmp_path: Path) -> None:
    async with bridge.client() as client, bridge.client() as other:
        terminal, others = await client.terminal(tmp_path), await other.terminal(tmp_path)
        id = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
        await client.output(terminal, "begun")
        os.kill(await shell_of(bridge, terminal), signal.SIGKILL)
        with pytest.raises(Failed, match="has ended: Process terminated by signal SIGKILL") as caught:
            await client.answer(id)
        assert caught.value.data["category"] == "Terminal"
        await works(client, terminal)
        await works(other, others)
        assert bridge.runtime.tree().find(f"/bridge/terminals/{others}/pty").restarts == 0


async def test_a_terminal_that_is_given_up_is_gone_and_another_can_be_made(bridge: Bridge, tmp_path: Path) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        async with expecting(bridge.runtime, ActorExited, f"/bridge/terminals/{terminal}"):
            bridge.runtime.ref(f"/bridge/terminals/{terminal}").kill()
        with pytest.raises(Failed, match="there is no terminal"):
            while True:
                await works(client, terminal)
        await works(client, await client.terminal(tmp_path))


# --- the client


async def test_a_client_that_goes_in_the_middle_of_a_command_takes_it_up_where_it_was(
    bridge: Bridge, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    client = await bridge.connect()
    async with client.stream:
        session = (await client.request("initialize"))["session"]
        terminal = await client.terminal(tmp_path)
        asked = {"terminal": terminal, "command": "echo begun; cat go; echo ended", "requestKey": "k"}
        await client.ask("terminal/execute", **asked)
        await client.output(terminal, "begun")
        seen = client.notes[-1]["params"]["seq"]
    await trio.to_thread.run_sync((tmp_path / "go").write_text, "meanwhile\n")
    again = await bridge.connect()
    async with again.stream:
        id = await again.ask("initialize", session=session, lastSeq=seen)
        assert (await again.answer(id))["resumed"]
        assert again.order[0] == id  # before any notification
        answer = await again.request("terminal/execute", **asked)
        assert answer["output"] == "begun\r\nmeanwhile\r\nended\r\n"
        assert again.printed(terminal) == "meanwhile\r\nended\r\n"
        seqs = [note["params"]["seq"] for note in again.notes]
        assert seqs == list(range(seen + 1, seen + 1 + len(seqs)))


async def test_a_second_connection_takes_the_session_over(bridge: Bridge, tmp_path: Path) -> None:
    client = await bridge.connect()
    async with client.stream:
        session = (await client.request("initialize"))["session"]
        terminal = await client.terminal(tmp_path)
        again = await bridge.connect()
        async with again.stream:
            assert (await again.request("initialize", session=session))["resumed"]
            await client.stream.aclose()
            await works(again, terminal)
            assert again.printed(terminal) == "works\r\n"


async def test_a_gap_is_stated(bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "Backlog", lambda: Backlog(2))
    client = await bridge.connect()
    async with client.stream:
        session = (await client.request("initialize"))["session"]
        terminal = await client.terminal(tmp_path)
        for _ in range(5):
            await works(client, terminal)
        last = client.notes[-1]["params"]["seq"]
    again = await bridge.connect()
    async with again.stream:
        answer = await again.request("initialize", session=session, lastSeq=0)
        assert answer["gap"] == {"from": 1, "to": last - 2}
        assert answer["lastSeq"] == last
        await again.until(lambda: len(again.notes) == 2)
        assert [note["params"]["seq"] for note in again.notes] == [last - 1, last]


async def test_a_session_without_a_client_ends_after_its_time(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module.ClientSession.__init__, "__defaults__", (0.05,))
    client = await bridge.connect()
    async with client.stream:
        await client.request("initialize")
        path = await session_of(bridge)
        terminal = await client.terminal(tmp_path)
        await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
        await client.output(terminal, "begun")
        async with expecting(bridge.runtime, ActorExited, path):
            await client.stream.aclose()
    async with bridge.client() as client:
        await works(client, terminal)  # what it ran was interrupted


# --- the tree


@pytest.mark.parametrize("part", ["parser", "commands", "pty"])
async def test_a_terminals_part_that_is_killed_comes_back(bridge: Bridge, tmp_path: Path, part: str) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        await works(client, terminal)
        last = "parser" if part == "pty" else part
        for _ in range(3):
            async with expecting(bridge.runtime, ChildRestarted, f"/bridge/terminals/{terminal}/{last}"):
                bridge.runtime.ref(f"/bridge/terminals/{terminal}/{part}").kill()
            await works(client, terminal)


async def test_a_connection_that_is_killed_ends_for_its_client_and_its_session_lives_on(
    bridge: Bridge, tmp_path: Path
) -> None:
    client = await bridge.connect()
    async with client.stream, bridge.client() as other:
        session = (await client.request("initialize"))["session"]
        terminal = await client.terminal(tmp_path)
        others = await other.terminal(tmp_path)
        connections = await bridge.runtime.ref("connections").call("children")
        connections[0].ref.kill()
        await client.closed()
        await works(other, others)
        await works(other, terminal, "missed")
    again = await bridge.connect()
    async with again.stream:
        assert (await again.request("initialize", session=session))["resumed"]
        await works(again, terminal)


async def test_a_session_that_is_killed_ends_its_connection_and_the_client_begins_anew(
    bridge: Bridge, tmp_path: Path
) -> None:
    client = await bridge.connect()
    async with client.stream:
        session = (await client.request("initialize"))["session"]
        terminal = await client.terminal(tmp_path)
        bridge.runtime.ref(await session_of(bridge)).kill()
        await client.closed()
    again = await bridge.connect()
    async with again.stream:
        assert not (await again.request("initialize", session=session))["resumed"]
        await works(again, terminal)


@pytest.mark.parametrize("part", ["listener", "connections", "sessions", "terminals"])
async def test_a_part_of_the_bridge_that_is_killed_comes_back(bridge: Bridge, tmp_path: Path, part: str) -> None:
    await new_client_works(bridge, tmp_path)
    path = f"/bridge/{part}"
    for _ in range(2):
        last = path if part == "terminals" else "/bridge/listener"
        async with expecting(bridge.runtime, ChildRestarted, last):
            bridge.runtime.ref(path).kill()
        await new_client_works(bridge, tmp_path)


async def test_clients_outlive_the_supervisor_of_the_terminals(bridge: Bridge, tmp_path: Path) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        pid = await shell_of(bridge, terminal)
        async with expecting(bridge.runtime, ChildRestarted, "/bridge/terminals"):
            bridge.runtime.ref("/bridge/terminals").kill()
        with pytest.raises(Failed, match="there is no terminal"):
            await works(client, terminal)
        await works(client, await client.terminal(tmp_path))
        assert not Path(f"/proc/{pid}/exe").exists()


async def test_clients_outlive_the_listener(bridge: Bridge, tmp_path: Path) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        async with expecting(bridge.runtime, ChildRestarted, "/bridge/listener"):
            bridge.runtime.ref("/bridge/listener").kill()
        await works(client, terminal)


async def test_a_client_too_many_is_told_the_limit_and_harms_nobody(
    tmp_path: Path,
) -> None:
    async with running_bridge(tmp_path, most_clients=2) as bridge, bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        async with bridge.client():
            for _ in range(20):
                other = await bridge.connect()
                async with other.stream:
                    with pytest.raises(Failed, match="2 clients are connected, at most 2 may be") as caught:
                        await other.answer(None)
                    assert (caught.value.data["category"], caught.value.data["retryable"]) == ("Resource", True)
                    await other.closed()
            await works(client, terminal)
        with trio.fail_after(PATIENCE):
            while len(bridge.runtime.tree().find("connections").children) > 1:
                await trio.sleep(0.001)
        await new_client_works(bridge, tmp_path)
        assert bridge.runtime.tree().find("listener").restarts == 0


def test_clients_take_no_more_than_half_of_the_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, clients in [(100, 50), (1024, 256), (resource.RLIM_INFINITY, 256)]:
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert clients_at_most() == clients


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open no file but in place of one that it has closed."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (before, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        try:
            while True:
                opened.callback(os.close, os.dup(0))
        except OSError:
            yield


async def connected(sock: trio.socket.SocketType, bridge: Bridge) -> None:
    """Connect, as soon as the bridge listens."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await sock.connect(str(bridge.socket))
            except OSError:
                await trio.sleep(0.001)


async def test_no_file_for_one_more_client_harms_nobody_and_is_over_when_there_is_one(
    bridge: Bridge, tmp_path: Path
) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        with trio.socket.socket(trio.socket.AF_UNIX) as one_too_many, no_more_files():
            async with expecting(bridge.runtime, ActorExited, "/bridge/listener", times=2):
                await connected(one_too_many, bridge)
            await works(client, terminal)
        assert "Too many open files" in bridge.runtime.events.of(ActorExited)[-1].reason
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            await connected(sock, bridge)
            other = Client(trio.SocketStream(sock))
            await other.request("initialize")
            await works(other, terminal)


@pytest.mark.parametrize("failures", range(1, 12))
def test_a_listener_that_fails_again_and_again_does_not_spend_the_bridges_restarts(failures: int) -> None:
    """It fails so often in a row, then works just long enough that the row is over."""
    again = tree_module.LISTEN_AGAIN
    at, tries = 0.0, list[float]()
    while at < 1000.0:
        for n in range(failures):
            at += again.delay(n, Random(0)) / (1 + again.jitter)
            tries.append(at)
        at += again.maximum
    assert max(sum(since <= at < since + 60.0 for at in tries) for since in tries) < tree_module.RESTARTS


async def test_stopping_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    async with running_bridge(tmp_path) as bridge, bridge.client() as client:
        pids = []
        for _ in range(3):
            terminal = await client.terminal(tmp_path)
            pids.append(await shell_of(bridge, terminal))
            await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
            await client.output(terminal, "begun")
        with trio.fail_after(PATIENCE):
            await bridge.runtime.stop()
        await client.closed()
        assert not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]
    assert not bridge.socket.exists()
