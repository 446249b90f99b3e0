"""`ukemi run --stdio`: the bridge on standard input and output, as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from ..bridge import Client, Failed
from ..expecting import PATIENCE


@attrs.frozen
class Served:
    """A running bridge, and the client at its other end."""

    process: trio.Process
    client: Client

    async def ended(self) -> int:
        with trio.fail_after(PATIENCE):
            code: int = await self.process.wait()
        return code

    async def errors(self) -> str:
        """What it has said on standard error; once it has ended."""
        assert self.process.stderr is not None
        return b"".join([bytes(part) async for part in self.process.stderr]).decode()


@asynccontextmanager
async def served(home: Path, *options: str, without: str = "") -> AsyncIterator[Served]:
    """Started `without` some descriptors, as the shell says it."""
    environment = {**os.environ, "XDG_STATE_HOME": str(home / "state")}
    command = [sys.executable, "-m", "ukemi", "run", "--stdio", *options]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if without:
        command = ["/bin/sh", "-c", f'exec "$@" {without}', "sh", *command]
    process = await trio.lowlevel.open_process(command, env=environment, **pipes)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Served(process, Client(trio.StapledStream(process.stdin, process.stdout)))  # type: ignore[arg-type]
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                assert stream is not None
                await stream.aclose()


async def test_a_client_on_stdio_runs_commands_and_ends_the_runtime_with_exit(tmp_path: Path) -> None:
    async with served(tmp_path, "--log-level", "DEBUG") as bridge:
        client = bridge.client
        assert (await client.request("initialize"))["serverInfo"]["name"] == "ukemi"
        terminal = await client.terminal(tmp_path)
        answer = await client.request("terminal/execute", terminal=terminal, command="echo hello; (exit 3)")
        assert (answer["output"], answer["exitCode"]) == ("hello\r\n", 3)
        assert client.printed(terminal) == "hello\r\n"
        assert await client.request("shutdown") is None
        with pytest.raises(Failed, match="terminal/list after shutdown") as caught:
            await client.request("terminal/list")
        assert caught.value.code == -32600
        await client.notify("exit")
        assert await bridge.ended() == 0
        assert not await client.read()
        assert client._buffer == b""  # nothing but frames: the log goes to standard error
        assert "bridge has ended" in await bridge.errors()


async def test_what_a_command_leaves_running_ends_with_the_runtime(tmp_path: Path) -> None:
    async with served(tmp_path) as bridge:
        client = bridge.client
        await client.request("initialize")
        terminal = await client.terminal(tmp_path)
        answer = await client.request("terminal/execute", terminal=terminal, command="sleep 1000 & echo $!")
        pid = int(answer["output"].split()[-1])
        await client.notify("exit")
        await bridge.ended()
        assert not Path(f"/proc/{pid}/exe").exists()


@pytest.mark.parametrize("how", ["exit", "close", "garbage"])
async def test_a_client_that_goes_without_shutdown_ends_it_with_an_exit_code_that_says_so(
    tmp_path: Path, how: str
) -> None:
    async with served(tmp_path) as bridge:
        client = bridge.client
        await client.request("initialize")
        if how == "exit":
            await client.notify("exit")
        elif how == "close":
            assert bridge.process.stdin is not None
            await bridge.process.stdin.aclose()
        else:
            await client.stream.send_all(b"what?\r\n\r\n")
            with pytest.raises(Failed, match="is no header field"):
                await client.answer(None)
        assert await bridge.ended() == 1
        assert "Traceback" not in await bridge.errors()


async def test_it_is_stopped_in_order_by_a_signal(tmp_path: Path) -> None:
    async with served(tmp_path) as bridge:
        await bridge.client.request("initialize")
        await bridge.client.terminal(tmp_path)
        bridge.process.send_signal(signal.SIGTERM)
        await bridge.ended()
        await bridge.client.closed()
        assert "bridge has ended" in await bridge.errors()


async def test_several_run_beside_each_other_each_in_a_state_folder_of_its_own(tmp_path: Path) -> None:
    async with served(tmp_path) as one:
        await one.client.request("initialize")
        async with served(tmp_path) as two:
            await two.client.request("initialize")
            assert sorted(each.name for each in (tmp_path / "state" / "ukemi").iterdir()) == [
                "bridge-stdio",
                "bridge-stdio-2",
            ]


async def test_without_descriptors_for_it_there_is_no_client_and_nothing_else_takes_their_place(tmp_path: Path) -> None:
    async with served(tmp_path, "--log-level", "ERROR", without="<&- >&-") as bridge:
        assert await bridge.ended() == 1
        assert await bridge.errors() == ""


async def test_without_a_place_for_its_log_the_client_is_told_nothing_else(tmp_path: Path) -> None:
    async with served(tmp_path, "--log-level", "DEBUG", without="2>&-") as bridge:
        client = bridge.client
        await client.request("initialize")
        terminal = await client.terminal(tmp_path)
        answer = await client.request("terminal/execute", terminal=terminal, command="echo hello; echo there >&2")
        assert answer["output"] == "hello\r\nthere\r\n"
        await client.notify("exit")
        assert await bridge.ended() == 1
        await client.closed()
        assert client._buffer == b""


async def test_another_tree_has_no_stdio(tmp_path: Path) -> None:
    async with served(tmp_path, "app:tree") as bridge:
        assert await bridge.ended() == 2
        assert "--stdio is for the bridge, and app:tree is another tree" in await bridge.errors()
