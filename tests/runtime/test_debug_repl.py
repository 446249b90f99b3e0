"""`ukemi repl` and `ukemi tree` as processes of their own, over a pipe and on a terminal."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import orjson
import pytest
import trio

from .debug_shop import Counter, open_shop

ON_ITS_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'ukemi', *sys.argv[1:]])"
)

TAKEN = "\x1b[?2004l"
"""What the prompt sends to the terminal once a line was entered."""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}


async def ukemi(folder: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "ukemi", *words, "--state-dir", str(folder)]
    return await trio.run_process(
        command,
        stdin=typed.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=environment(folder),
    )


class Terminal:
    """The REPL on a pseudo-terminal, and what it has shown."""

    def __init__(self, master: int, process: trio.Process) -> None:
        self._stream = trio.lowlevel.FdStream(master)
        self.process = process
        self.shown = ""

    async def type(self, keys: str) -> None:
        await self._stream.send_all(keys.encode())

    async def see(self, text: str) -> None:
        """Wait until the text was shown after what was seen last."""
        while text not in self.shown:
            try:
                data = await self._stream.receive_some()
            except trio.BrokenResourceError:  # how a PTY ends
                data = b""
            assert data, f"{text!r} was never shown, but {self.shown!r}"
            self.shown += data.decode(errors="replace")
        self.shown = self.shown.partition(text)[2]

    async def run(self, line: str, answer: str) -> None:
        await self.type(line + "\r")
        await self.see(TAKEN)
        await self.see(answer)
        await self.see("shop>")

    async def status(self) -> int:
        async def read_on() -> None:
            try:
                while await self._stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_on)
            return await self.process.wait()


@asynccontextmanager
async def terminal(folder: Path) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    termios.tcsetwinsize(master, (30, 200))
    words = ["repl", "--state-dir", str(folder)]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-c", ON_ITS_TERMINAL, *words],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                check=False,
                env=environment(folder),
            )
        )
        os.close(slave)
        screen = Terminal(master, process)
        await screen.see("shop>")
        yield screen
        nursery.cancel_scope.cancel()
    await screen._stream.aclose()


# --- ukemi tree


async def test_tree_prints_the_running_tree_and_exits(tmp_path: Path) -> None:
    async with open_shop(tmp_path):
        done = await ukemi(tmp_path, "tree")
        lines = done.stdout.decode().splitlines()
        assert [line.split("  ")[0] for line in lines] == ["shop", "├── counter", "├── shelf", "└── guests"]
        assert "running" in lines[1]
        assert (done.returncode, done.stderr) == (0, b"")


async def test_tree_prints_json_for_programs(tmp_path: Path) -> None:
    async with open_shop(tmp_path):
        done = await ukemi(tmp_path, "tree", "--json")
        assert orjson.loads(done.stdout)["path"] == "/shop"


@pytest.mark.parametrize("command", ["tree", "repl"])
async def test_where_no_runtime_is_the_error_is_one_line(tmp_path: Path, command: str) -> None:
    done = await ukemi(tmp_path, command)
    assert done.returncode != 0
    assert done.stdout == b""
    assert done.stderr.decode().count("\n") == 1
    assert str(tmp_path) in done.stderr.decode()


@pytest.mark.parametrize("command", ["tree", "repl"])
async def test_where_a_runtime_has_died_the_error_is_one_line(tmp_path: Path, command: str) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX) as stale:
        await stale.bind(str(tmp_path / "debug.sock"))
    done = await ukemi(tmp_path, command)
    assert done.returncode != 0
    assert done.stderr.decode().count("\n") == 1
    assert "no runtime listens at" in done.stderr.decode()


# --- over a pipe


async def test_piped_commands_are_run_one_a_line(tmp_path: Path) -> None:
    async with open_shop(tmp_path):
        typed = """
            # a comment, and an empty line

            call counter add 2
            call shelf put '{"name": "tea cup", "price": 2}'
            state counter
            """
        done = await ukemi(tmp_path, "repl", typed=typed)
        assert [line.split() for line in done.stdout.decode().splitlines()] == [["2"], ["1"], ["total", "2"]]
        assert (done.returncode, done.stderr) == (0, b"")


async def test_a_piped_command_that_fails_fails_the_whole_but_not_the_next(tmp_path: Path) -> None:
    async with open_shop(tmp_path):
        done = await ukemi(tmp_path, "repl", typed="call nobody add 2\ncall counter add 2\n")
        assert done.stdout.decode().split() == ["2"]
        assert done.stderr.decode() == "error: ComponentNotFound: Component not found: nobody\n"
        assert done.returncode == 1


async def test_traced_calls_are_printed_as_they_come(tmp_path: Path) -> None:
    async with open_shop(tmp_path):
        done = await ukemi(tmp_path, "repl", typed="trace counter\ncall counter add 2\n")
        assert [line.partition("  ")[0] for line in done.stdout.decode().splitlines()] == [
            "tracing /shop/counter",
            "counter.add(2) → 2",
            "2",
        ]


async def test_the_end_of_the_runtime_is_told_in_one_line(tmp_path: Path) -> None:
    async with open_shop(tmp_path):
        done = await ukemi(tmp_path, "repl", typed="stop shop\n" + "call counter add 1\n" * 200)
        assert done.stdout.decode().startswith("stopping /shop\n")
        assert done.returncode == 1
        assert done.stderr.decode().splitlines()[-1].endswith("has ended")
        assert "Traceback" not in done.stderr.decode()


async def test_help_lists_every_command_and_explains_one(tmp_path: Path) -> None:
    async with open_shop(tmp_path):
        done = await ukemi(tmp_path, "repl", typed="help\nhelp trace\n")
        assert "trace ACTOR [on|off]" in done.stdout.decode()
        assert done.stdout.decode().count("Show each message that an actor handles") == 2


# --- on a terminal


async def test_a_session_on_a_terminal(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, terminal(tmp_path) as screen:
        await screen.run("call counter add 40", "40")
        await screen.run("destroy", "there is no command 'destroy'")
        await screen.type("call cou\t")
        await screen.see("nter")
        await screen.type(" a\t")
        await screen.see("dd")
        await screen.run(" 2", "42")
        await screen.run("trace counter", "tracing /shop/counter")
        shop.runtime.ref("counter", Counter).cast(Counter.add, 1000)
        await screen.see("counter.add(1000)")
        await screen.see("shop>")
        await screen.type("\x04")
        assert await screen.status() == 0
        history = (tmp_path / "state" / "ukemi" / ".repl-history").read_text()
        assert "+call counter add 40\n" in history


async def test_ctrl_c_gives_up_what_is_typed_and_what_is_waited_for(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, terminal(tmp_path) as screen:
        await screen.type("call counter add 1\x03")
        await screen.see(TAKEN)
        await screen.see("shop>")
        await screen.type("call counter wait\r")
        await screen.see(TAKEN)
        while not shop.runtime.ref("counter").cell.incarnation.current:
            await trio.sleep(0.001)
        await screen.type("\x03")
        await screen.see("cancelled")
        await screen.see("shop>")
        await screen.run("kill counter", "killed /shop/counter")
        await screen.run("call counter add 7", "7")
        await screen.type("exit\r")
        assert await screen.status() == 0


async def test_the_prompt_ends_with_the_runtime(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, terminal(tmp_path) as screen:
        await screen.run("call counter add 1", "1")
        await shop.runtime.stop()
        await screen.see("shop has ended")
        assert await screen.status() == 0
