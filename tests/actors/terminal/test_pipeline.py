"""From the shell's process through the parser to the commands: not a byte is lost or doubled, whatever fails."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from loguru import logger

from ukemi import Actor, ActorCrashed, Runtime, UkemiError, child, supervisor
from ukemi.actors.events import ActorExited
from ukemi.actors.parser import MarkerParser
from ukemi.actors.parser.stream import Output, Piece, Reading, StreamParser
from ukemi.actors.terminal import process
from ukemi.actors.terminal.errors import CommandLost
from ukemi.actors.terminal.marked import MarkedCommands
from ukemi.actors.terminal.process import PtyProcess
from ukemi.actors.terminal.settings import TerminalSettings
from ukemi.runtime.bridge import terminals as spec
from ukemi.supervisors.events import ChildRestarted

from ...expecting import PATIENCE, expecting
from .terminals import terminal

LINES = 20_000
NUMBERED = "".join(f"line {n} é\r\n" for n in range(LINES))


@pytest.mark.parametrize("victims", [["parser"], ["commands"], ["parser", "commands"]], ids="+".join)
@pytest.mark.parametrize("encode", [True, False])
async def test_parts_killed_at_random_moments_cost_no_byte(
    tmp_path: Path, victims: list[str], encode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 KB of numbered lines come out exactly, in order, while the parts between are killed over and over.

    A command whose actor was killed has lost its caller, and what it prints is no longer shown; so what has to be exact
    there is what the next one prints.
    """
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    monkeypatch.setattr(spec, "SHELL_RESTARTS", 100_000)
    async with terminal(tmp_path, encode=encode) as term:
        pid = await term.pid()
        killed = 0

        async def kill_now_and_then() -> None:
            nonlocal killed
            while True:
                for _ in range(rng.randrange(8)):
                    await trio.lowlevel.checkpoint()
                victim = rng.choice(victims)
                async with expecting(term.runtime, ChildRestarted, f"/app/t/{victim}"):
                    term.runtime.ref(f"/app/t/{victim}").kill()
                killed += 1

        command = f"for ((n = 0; n < {LINES}; n++)); do echo line $n é; done"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_now_and_then)
            if victims == ["parser"]:
                await term.run(command)
            else:
                with trio.move_on_after(0.3):
                    while True:
                        try:
                            await term.run("echo something")
                        except UkemiError:
                            pass
            nursery.cancel_scope.cancel()
        before = ""
        if victims != ["parser"]:
            await term.run("true")
            before = await term.printed("")
            await term.run(command)
        printed = await term.printed(f"line {LINES - 1}")
        assert printed[len(before) :].replace("\r\n", "\n") == NUMBERED.replace("\r\n", "\n")
        assert killed > 2
        assert await term.pid() == pid


async def test_no_more_is_read_than_may_be_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MOST_UNDER_WAY", 50_000)
    async with terminal(tmp_path) as term:
        await term.run("true")
        term.runtime.ref("/app/t/commands").cell.suspend(True)
        shell = term.settings.at
        await term.pty.call(PtyProcess.write, b"yes | head -c 1000000\r")
        with trio.fail_after(PATIENCE):
            while shell.read - shell.begin < 50_000:
                await trio.sleep(0.001)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert shell.read - shell.begin < 50_000 + 2 * 65_536
        term.runtime.ref("/app/t/commands").cell.suspend(False)
        assert (await term.run("echo next")).output.data == "next\r\n"
        assert shell.read - shell.begin > 1_000_000


class Sink(Actor):
    """Stands where the commands are, and keeps what the parser sends."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.ended: list[tuple[int, int]] = []

    def parsed(self, pieces: list[Piece], reading: Reading) -> None:
        self.pieces += pieces

    def shell_ended(self, end: int, status: int) -> None:
        self.ended.append((end, status))

    def everything(self) -> tuple[list[Piece], list[tuple[int, int]]]:
        return self.pieces, self.ended


class Source(Actor):
    """Stands where the process is."""

    def __init__(self, missed: Output) -> None:
        self._missed = missed

    def not_acknowledged(self) -> Output:
        return self._missed


def between(missed: Output) -> Runtime:
    return Runtime(
        supervisor(
            "app",
            child("pty", lambda: Source(missed)),
            child("commands", Sink),
            child("parser", lambda: StreamParser("n")),
            max_restarts=100,
        )
    )


async def came_through(runtime: Runtime, *messages: tuple[str, Any]) -> tuple[list[Piece], list[tuple[int, int]]]:
    parser = runtime.ref("parser", StreamParser)
    for name, args in messages:
        await parser.call(name, *args)
    found: tuple[list[Piece], list[tuple[int, int]]] = await runtime.ref("commands").call("everything")
    return found


async def test_what_was_read_twice_is_parsed_once() -> None:
    async with between(Output(10, b"abcdef")) as runtime:
        pieces, _ = await came_through(
            runtime,
            ("feed", [Output(8, b"89ab")]),
            ("feed", [Output(12, b"cdefgh")]),
            ("feed", [Output(18, b"ij")]),
        )
        assert [(piece.begin, piece.text) for piece in pieces] == [
            (10, b"abcdef"),
            (16, b"gh"),
            (18, b"ij"),
        ]


async def test_at_the_end_nothing_is_held_back_and_the_end_comes_last() -> None:
    async with between(Output(0, b"")) as runtime:
        pieces, ended = await came_through(runtime, ("feed", [Output(0, b"abc\x1b]633;")]), ("finish", [9, -9]))
        assert [piece.text for piece in pieces] == [b"abc", b"\x1b]633;"]
        assert ended == [(9, -9)]


async def test_the_end_of_an_earlier_shell_is_passed_over() -> None:
    async with between(Output(100, b"")) as runtime:
        assert await came_through(runtime, ("finish", [99, 0])) == ([], [])


async def test_a_sequence_that_never_ends_is_text_and_is_told_of_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with between(Output(0, b"")) as runtime:
        long = b"\x1b]633;E;" + b"x" * 70_000 + b"\a"
        pieces, _ = await came_through(runtime, ("feed", [Output(0, long)]))
        assert b"".join(piece.text for piece in pieces) == long


class Swallow(StreamParser):
    """Stands where the parser is, and says nothing."""

    async def on_start(self) -> None: ...

    async def feed(self, output: Output) -> None: ...

    async def finish(self, end: int, status: int) -> None: ...


def process_alone(settings: TerminalSettings) -> Runtime:
    return Runtime(supervisor("app", child("parser", Swallow), child("pty", lambda: PtyProcess(settings))))


async def test_what_was_acknowledged_is_forgotten_and_the_rest_is_kept(tmp_path: Path) -> None:
    settings = TerminalSettings("t", shell="sh", cwd=str(tmp_path), env={"PATH": "/usr/bin:/bin", "PS1": "$ "})
    async with process_alone(settings) as runtime:
        pty = runtime.ref("pty", PtyProcess)
        with trio.fail_after(PATIENCE):
            while settings.at.read < settings.at.begin + 2:
                await trio.sleep(0.001)
            await pty.call(PtyProcess.write, b"echo 1; echo 2; echo 3\n")
            while not (kept := await pty.call(PtyProcess.not_acknowledged)).data.endswith(b"3\r\n$ "):
                await trio.sleep(0.001)
        await pty.call(PtyProcess.acknowledge, kept.offset + 7)
        assert await pty.call(PtyProcess.not_acknowledged) == Output(kept.offset + 7, kept.data[7:])
        await pty.call(PtyProcess.acknowledge, kept.offset)  # an older one changes nothing
        assert await pty.call(PtyProcess.not_acknowledged) == Output(kept.offset + 7, kept.data[7:])
        await pty.call(PtyProcess.acknowledge, settings.at.read)
        assert await pty.call(PtyProcess.not_acknowledged) == Output(settings.at.read, b"")


async def test_what_was_meant_for_an_earlier_shell_does_nothing(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        await term.run("true")
        earlier, pid = term.settings.at.begin, await term.pid()
        async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
            await term.kill_shell()
        await term.run("true")
        now = await term.pid()
        assert now != pid
        await term.pty.call(PtyProcess.acknowledge, earlier + 1000)
        await term.pty.call(PtyProcess.type_command, b"echo ran >> ran\r", earlier)
        await term.pty.call(PtyProcess.interrupt, earlier)
        await term.pty.call(PtyProcess.kill_session, earlier)
        await term.pty.call(PtyProcess.heard, earlier)
        assert (await term.run("ls")).output.data == ""
        assert await term.pid() == now


async def test_a_shell_that_lives_on_without_its_terminal_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LAST_WORDS", 0.05)
    async with terminal(tmp_path) as term:
        async with expecting(term.runtime, ActorExited, "/app/t/pty"):
            with pytest.raises(UkemiError):
                await term.run("exec sh -c 'exec <&- >&- 2>&-; sleep 1000'")
        assert (await term.run("echo next")).output.data == "next\r\n"


class Silent(PtyProcess):
    """Stands where the process is, and remembers what it was told."""

    def __init__(self, settings: TerminalSettings) -> None:
        super().__init__(settings)
        self.ends: list[int] = []

    async def on_start(self) -> None: ...

    def acknowledge(self, end: int) -> None:
        self.ends.append(end)

    def told(self) -> list[int]:
        return self.ends


async def test_what_comes_after_a_gap_waits_for_the_parser_to_begin_again() -> None:
    settings = TerminalSettings("t")
    parts = child("pty", lambda: Silent(settings)), child("commands", lambda: MarkedCommands(settings))
    tree = supervisor("app", *parts, child("parser", Swallow))
    async with Runtime(tree) as runtime:
        begin, commands = settings.at.begin, runtime.ref("commands", MarkedCommands)
        for end, text in [(2, b"ab"), (6, b"ef"), (4, b"abcd"), (6, b"ef"), (6, b"cdef")]:
            await commands.call(MarkedCommands.parsed, [Piece(begin + end, text)], "markers")
        assert await runtime.ref("pty").call("told") == [begin + end for end in (2, 2, 4, 6, 6)]


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    yield lines
    logger.remove(sink)


async def test_a_shell_that_can_not_be_started_is_named_with_the_reason(tmp_path: Path, said: list[str]) -> None:
    async with terminal(tmp_path, cwd="/no/such/folder") as term:
        assert (await term.run("pwd")).output.data == "/\r\n"
    for shell in ("bash", "zsh", "fish"):
        assert f"PTY creation failed for {shell}: Working directory '/no/such/folder' does not exist." in said


async def test_a_parser_that_fails_says_of_what(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with terminal(tmp_path) as term:
        feed, fails = MarkerParser.feed, [IndexError("out of range")]

        def fail_once(parser: MarkerParser, data: bytes) -> Any:
            if fails:
                raise fails.pop()
            return feed(parser, data)

        monkeypatch.setattr(MarkerParser, "feed", fail_once)
        assert (await term.run("echo hi")).output.data == "hi\r\n"
        assert "Parser error: out of range" in said


async def ended_under(reading: Reading) -> UkemiError:
    """How a command fails whose shell ends when it was typed, and the parser reads like that."""
    settings = TerminalSettings("t")
    parts = child("pty", lambda: Silent(settings)), child("commands", lambda: MarkedCommands(settings))
    async with Runtime(supervisor("app", *parts, child("parser", Swallow), max_restarts=9)) as runtime:
        commands, shell = runtime.ref("commands", MarkedCommands), settings.at
        shell.at_prompt, shell.marks = True, "yes"
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                while shell.command != "typed":
                    await trio.lowlevel.checkpoint()
                await commands.call(MarkedCommands.parsed, [Piece(shell.begin + 2, b"ab")], reading)
                await commands.call(MarkedCommands.shell_ended, shell.begin + 2, 1)

            nursery.start_soon(end)
            with pytest.raises(UkemiError) as caught:
                await commands.call(MarkedCommands.execute, "x")
        return caught.value


async def test_a_command_counts_as_begun_where_nobody_looks_for_the_marker_that_would_say_so() -> None:
    for reading, began in [("markers", False), ("text", True), ("nothing", True)]:
        error = await ended_under(reading)  # type: ignore[arg-type]
        lost = error.__cause__ if isinstance(error, ActorCrashed) else error
        assert isinstance(lost, CommandLost)
        assert lost.began == began
