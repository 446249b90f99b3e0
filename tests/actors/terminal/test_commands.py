"""Commands in a real shell: what they print, how they end, and what becomes of them when something fails."""

import os
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ukemi import ActorCrashed, ActorStopped, ResourceExhausted
from ukemi.actors.events import ActorExited
from ukemi.actors.terminal import commands as commands_module
from ukemi.actors.terminal import plain, process, session
from ukemi.actors.terminal.commands import Commands
from ukemi.actors.terminal.errors import CommandLost, CommandTimeout, ShellExited
from ukemi.actors.terminal.process import MOST_TYPED, PtyProcess
from ukemi.actors.terminal.pty import Pty
from ukemi.actors.terminal.texts import truncated
from ukemi.runtime.bridge.terminals import SHELL_LEAVES, SHELL_RESTARTS
from ukemi.supervisors.alerts import AlertRaised
from ukemi.supervisors.events import ChildRestarted, Recovered
from ukemi.supervisors.spec import MAILBOX

from ...expecting import PATIENCE, expecting
from .terminals import terminal

SLEEPER = "sh -c 'echo begun; exec sleep 1000'"
"""Says that it runs when it does: an interrupt between two commands of a shell reaches neither."""


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> object:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_command_gives_its_output_exit_code_and_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    async with terminal(tmp_path) as term:
        for command, output, code in [
            ("echo hello", "hello\r\n", 0),
            ("false", "", 1),
            ("cd sub; (exit 7)", "", 7),
            ("pwd", f"{tmp_path}/sub\r\n", 0),
            ("printf 'no newline'", "no newline", 0),
            ("", "", 0),
            ("  ", "", 0),
            ("for n in 1 2\ndo\necho $n\ndone", "1\r\n2\r\n", 0),
            ("cat <<end\nhere\nend", "here\r\n", 0),
            ("echo 'grüße €'", "grüße €\r\n", 0),
            ("echo x # a comment", "x\r\n", 0),
            ("kill -TERM $BASHPID & wait $!", "", 143),
        ]:
            result = await term.run(command)
            shown = result.output.data if "BASHPID" not in command else ""
            assert (shown, result.exit_code) == (output, code), command
        assert result.cwd == f"{tmp_path}/sub"
        assert (result.mode, result.truncated) == ("full", False)
        assert 0 <= result.duration < PATIENCE
        assert term.settings.cwd == f"{tmp_path}/sub"
        assert {term.restarts(name) for name in ("pty", "commands", "parser")} == {0}


async def test_a_syntax_error_is_output_and_an_exit_code(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        result = await term.run("if then")
        assert "syntax error" in result.output.data
        assert result.exit_code != 0
        assert (await term.run("echo fine")).output.data == "fine\r\n"


async def test_commands_run_one_after_the_other_in_the_order_in_which_they_were_asked(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        asked, answered = list[int](), list[int]()

        async def ask(n: int) -> None:
            asked.append(n)
            assert (await term.run(f"echo {n} >> order; echo {n}")).output.data == f"{n}\r\n"
            answered.append(n)

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(ask, n)
        assert answered == asked
        assert [int(n) for n in (tmp_path / "order").read_text().split()] == asked


async def test_what_is_no_utf_8_comes_as_base64(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        result = await term.run(r"printf 'a\xff\x00b'")
        assert (result.output.data, result.output.encoding) == ("Yf8AYg==", "base64")


async def test_a_folder_that_is_no_utf_8_is_followed(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(folder)
    async with terminal(tmp_path, encode=False) as term:
        assert (await term.run(r"cd $'\xff'")).cwd == folder
        async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
            await term.kill_shell()
        assert (await term.run("true")).cwd == folder


async def test_big_output_is_shortened(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        result = await term.run("seq 100000")
        assert result.truncated
        assert result.output.data == truncated("".join(f"{n}\r\n" for n in range(1, 100_001)))


async def test_output_is_published_while_the_command_runs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:
        nursery.start_soon(term.run, "echo before; read line < go; echo after $line")
        await term.printed("before\r\n")
        await trio.to_thread.run_sync((tmp_path / "go").write_text, "now\n")
        assert await term.printed("after") == "before\r\nafter now\r\n"


async def test_markers_in_a_programs_output_are_neither_believed_nor_shown(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        result = await term.run(r"printf 'a\e]633;D;7\ab\e]633;P;Cwd=/nowhere\ac\e]633;B\ad'; sh -c 'exit 3'")
        assert (result.output.data, result.exit_code, result.cwd) == ("abcd", 3, str(tmp_path))


async def test_more_commands_than_may_wait_are_refused_and_those_that_wait_run_in_the_next_shell_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_module, "MOST_WAITING", 20)
    callers = MAILBOX + 100
    refused, ran = list[ResourceExhausted](), list[int]()
    async with terminal(tmp_path, encode=False) as term:

        async def first() -> None:
            with pytest.raises(CommandLost):
                await term.run("echo begun; sleep 1000")

        async def ask(n: int) -> None:
            try:
                await term.run(f"echo {n} >> ran")
                ran.append(n)
            except ResourceExhausted as error:
                refused.append(error)

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first)
                await term.printed("begun")
                for n in range(callers):
                    nursery.start_soon(ask, n)
                while len(refused) < callers - 20:
                    await trio.sleep(0.001)
                await term.kill_shell()
        assert str(refused[0]) == "Resource exhausted: commands that wait in /app/t"
        assert (refused[0].limit, len(ran)) == (20, 20)
        assert [int(n) for n in (tmp_path / "ran").read_text().split()] == ran


async def test_a_command_whose_caller_has_gone_takes_no_place_among_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_module, "MOST_WAITING", 3)
    os.mkfifo(tmp_path / "go")
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:
        nursery.start_soon(term.run, "echo begun; read < go")
        await term.printed("begun")
        for _ in range(4):
            async with trio.open_nursery() as gone:
                for _ in range(3):
                    gone.start_soon(term.run, "echo gone >> ran")
                await trio.testing.wait_all_tasks_blocked()
                gone.cancel_scope.cancel()
        for n in range(3):
            nursery.start_soon(term.run, f"echo {n} >> ran")
            await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync((tmp_path / "go").write_text, "\n")
    assert (tmp_path / "ran").read_text().split() == ["0", "1", "2"]


async def test_a_thousand_commands_keep_less_than_ten_megabytes(tmp_path: Path) -> None:
    async with terminal(tmp_path, encode=False) as term:
        await term.run("true")
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(1_000):
                assert (await term.run("echo test")).exit_code == 0
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - before < 10_000_000


# --- time


async def test_a_command_that_takes_too_long_is_interrupted_and_the_shell_goes_on(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        pid = await term.pid()
        with pytest.raises(CommandTimeout, match=r"^Command execution timed out after 100ms$"):
            await term.run("sleep 1000", 0.1)
        assert (await term.run("echo next")).output.data == "next\r\n"
        assert await term.pid() == pid


async def test_one_that_can_not_be_interrupted_is_killed_with_its_shell_and_the_next_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_module, "MERCY", 0.1)
    async with terminal(tmp_path) as term:
        pid = await term.pid()
        with pytest.raises(CommandTimeout):
            await term.run("trap '' INT; echo stubborn; while :; do read -t 1000 < /dev/tty; done", 0.2)
        assert (await term.run("echo next")).output.data == "next\r\n"
        assert await term.pid() != pid
        assert session.members(pid) == []
        assert [term.restarts(name) for name in ("pty", "commands", "parser")] == [1, 1, 1]


async def test_a_command_in_time_leaves_no_timer_and_is_not_hit_by_it_later(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        await term.run("true")
        before = len(term.runtime.system.timers)
        for _ in range(20):
            await term.run("true", 1000.0)
        assert len(term.runtime.system.timers) <= before


async def test_giving_a_command_up_interrupts_that_one_only(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:

        async def long() -> None:
            result = await term.run("echo begun; sleep 1000", key="mine")
            assert result.exit_code == 130

        nursery.start_soon(long)
        await term.printed("begun")
        await term.commands.call(Commands.give_up, "another's")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert nursery.child_tasks
        await term.commands.call(Commands.give_up, "mine")


async def test_an_interrupt_hits_whatever_runs(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:
        nursery.start_soon(term.run, SLEEPER)
        await term.printed("begun")
        await term.commands.call(Commands.interrupt)
    # the nursery has ended: so has the command


async def test_an_interrupt_is_not_behind_input_that_nobody_reads(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:
        nursery.start_soon(term.run, f"stty -echo; {SLEEPER}; stty echo")
        await term.printed("begun")
        nursery.start_soon(term.pty.within(PATIENCE).call, PtyProcess.write, b"stale\n" * 100_000)
        nursery.start_soon(term.pty.within(PATIENCE).call, PtyProcess.write, b"stale too\n")
        await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.fail_after(PATIENCE):
            await term.commands.call(Commands.interrupt)
            assert (await term.run("echo next")).exit_code == 0


async def test_more_input_than_may_wait_is_refused(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:
        nursery.start_soon(term.run, "stty -echo; echo begun; sleep 1000")
        await term.printed("begun")
        for _ in range(2):
            nursery.start_soon(term.pty.within(PATIENCE).call, PtyProcess.write, b"x" * 900_000)
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ResourceExhausted, match="Resource exhausted: input of t"):
            await term.pty.call(PtyProcess.write, b"x" * 900_000)
        await term.pty.call(PtyProcess.interrupt)


# --- a shell that ends


@pytest.mark.parametrize(
    ("command", "said", "status"),
    [
        ("exit", "the shell of /app/t has ended: Exit code: 0", 0),
        ("exit 3", "the shell of /app/t has ended: Exit code: 3", 3),
        ("kill -9 $$", "the shell of /app/t has ended: Process terminated by signal SIGKILL", -9),
        (
            "kill -SEGV $$",
            "the shell of /app/t has ended: Process terminated by signal SIGSEGV - core dump possible",
            -11,
        ),
        ("exec true", "the shell of /app/t has ended: Exit code: 0", 0),
    ],
)
async def test_who_asked_for_a_command_under_which_the_shell_ends_is_told_how(
    tmp_path: Path, command: str, said: str, status: int
) -> None:
    async with terminal(tmp_path) as term:
        with pytest.raises(CommandLost) as caught:
            await term.run(f"echo last words; {command}")
        assert (str(caught.value), caught.value.status, caught.value.began) == (said, status, True)
        assert (await term.printed("words")).startswith("last words\r\n")
        assert (await term.run("echo next")).output.data == "next\r\n"
        assert [term.restarts(name) for name in ("pty", "commands", "parser")] == [1, 1, 1]


async def test_a_shell_killed_while_idle_is_restarted_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    async with terminal(tmp_path) as term:
        await term.run("cd sub")
        async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
            await term.kill_shell()
        result = await term.run("pwd")
        assert (result.output.data, result.exit_code) == (f"{tmp_path}/sub\r\n", 0)


async def test_commands_that_wait_their_turn_run_in_the_next_shell(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:
        results = list[str]()

        async def first() -> None:
            with pytest.raises(CommandLost):
                await term.run("echo begun; sleep 1000")

        async def other(n: int) -> None:
            results.append((await term.run(f"echo {n} >> ran; echo {n}")).output.data)

        nursery.start_soon(first)
        await term.printed("begun")
        for n in range(5):
            nursery.start_soon(other, n)
        await trio.testing.wait_all_tasks_blocked()
        await term.kill_shell()
        await trio.testing.wait_all_tasks_blocked()
    assert sorted(results) == [f"{n}\r\n" for n in range(5)]
    assert sorted((tmp_path / "ran").read_text().split()) == list("01234")


async def test_a_command_typed_at_a_shell_that_is_gone_runs_once_in_the_next(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        for n in range(1, 3):
            await term.run("true")
            await term.kill_shell()
            assert (await term.run("echo ran >> ran; cat ran")).output.data == "ran\r\n" * n
            assert term.restarts("pty") == n
        assert [event.attempt for event in term.runtime.events.of(Recovered) if event.path == "/app/t/commands"] == [
            1,
            1,
        ]


async def test_a_command_that_had_ended_is_answered_although_its_shell_is_gone(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        for n in range(1, 3):
            async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
                result = await term.run("PROMPT_COMMAND+=('kill -9 $$'); echo done")
            assert (result.output.data, result.exit_code) == ("done\r\n", 0)
            assert term.restarts("pty") == n


async def test_a_shell_that_fails_again_and_again_stays_down_and_its_callers_are_told(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        async with expecting(term.runtime, AlertRaised, "/app/t/pty"):
            for _ in range(3):
                with pytest.raises(CommandLost):
                    await term.run("kill -9 $$")
        with pytest.raises(ActorStopped):
            await term.run("true")


@pytest.mark.parametrize("ending", ["exit 3", "exec sh -c 'exit 3'"])
async def test_a_shell_that_leaves_again_and_again_is_there_each_time(tmp_path: Path, ending: str) -> None:
    async with terminal(tmp_path) as term:
        for _ in range(SHELL_LEAVES):
            with pytest.raises(CommandLost):
                await term.run(ending)
        assert (await term.run("echo on")).output.data == "on\r\n"
        assert not term.runtime.events.of(AlertRaised)


async def test_a_shell_that_is_killed_with_its_stubborn_command_again_and_again_is_there_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_module, "MERCY", 0.05)
    async with terminal(tmp_path) as term:
        for _ in range(4):
            with pytest.raises(CommandTimeout):
                await term.run(f"trap '' INT; {SLEEPER}; {SLEEPER}", 0.1)
        assert (await term.run("echo on")).output.data == "on\r\n"
        assert not term.runtime.events.of(AlertRaised)


async def test_a_command_that_was_given_up_keeps_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands_module, "MERCY", 0.1)
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:
        pid = await term.pid()

        async def stubborn() -> None:
            with pytest.raises(CommandTimeout):
                await term.run("trap '' INT; echo begun; while :; do read -t 1000 < /dev/tty; done", 1.0, key="mine")

        nursery.start_soon(stubborn)
        await term.printed("begun")
        await term.commands.call(Commands.give_up, "mine")
        assert (await term.run("echo next")).output.data == "next\r\n"
        assert await term.pid() != pid


async def test_a_terminal_whose_parts_are_restarted_too_often_is_given_up(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        commands = term.commands
        async with expecting(term.runtime, ActorExited, "/app/t"):
            for _ in range(SHELL_RESTARTS):
                async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
                    term.pty.kill()
            term.pty.kill()
        with pytest.raises(ActorStopped):
            await commands.call(Commands.execute, "true")


async def test_background_jobs_end_with_their_shell(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        pid = await term.pid()
        await term.run("sleep 1000 & sleep 1000 & disown -a")
        assert len(session.members(pid)) == 3
        async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
            await term.kill_shell()
        assert session.members(pid) == []


@pytest.mark.parametrize("part", ["pty", ""])
async def test_a_killed_terminal_leaves_no_process(tmp_path: Path, part: str) -> None:
    async with terminal(tmp_path) as term:
        pid = await term.pid()
        await term.run("sleep 1000 & true")
        path = f"/app/t/{part}".rstrip("/")
        async with expecting(term.runtime, ActorExited, path):
            term.runtime.ref(path).kill()
        with trio.fail_after(PATIENCE):
            while session.members(pid):
                await trio.sleep(0.001)


async def test_a_terminal_killed_while_its_shell_starts_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn, made = Pty.spawn, list[Pty]()

    async def killed_meanwhile(*args: Any, **options: Any) -> Pty:
        with trio.CancelScope(shield=True):  # as the thread that starts a process
            made.append(await spawn(*args, **options))
        if len(made) == 1:
            term.pty.kill()
        return made[-1]

    async with terminal(tmp_path) as term:
        monkeypatch.setattr(Pty, "spawn", killed_meanwhile)
        async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
            await term.kill_shell()
        assert len(made) == 2
        with trio.fail_after(PATIENCE):
            while session.members(made[0].pid):
                await trio.sleep(0.001)
        assert (await term.run("echo works")).output.data == "works\r\n"


# --- parts that fail


async def test_commands_killed_while_idle_know_that_the_shell_is_at_its_prompt(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        pid = await term.pid()
        await term.run("x=kept")
        async with expecting(term.runtime, ChildRestarted, "/app/t/commands"):
            term.commands.kill()
        assert (await term.run("echo $x")).output.data == "kept\r\n"
        assert await term.pid() == pid


async def test_commands_killed_while_one_runs_fail_its_caller_and_wait_for_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    async with terminal(tmp_path) as term, trio.open_nursery() as nursery:

        async def first() -> None:
            with pytest.raises(ActorCrashed):
                await term.run("echo begun; read < go; echo ended >> log")

        async def second() -> None:
            assert (await term.run("cat log")).output.data == "ended\r\n"

        nursery.start_soon(first)
        await term.printed("begun")
        async with expecting(term.runtime, ChildRestarted, "/app/t/commands"):
            term.commands.kill()
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync((tmp_path / "go").write_text, "\n")


async def test_a_parser_killed_while_idle_costs_nothing(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        for n in range(3):
            async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
                term.runtime.ref("/app/t/parser").kill()
            assert (await term.run(f"echo {n}")).output.data == f"{n}\r\n"
        assert term.restarts("pty") == 0


async def test_what_can_not_be_typed_is_the_callers_error(tmp_path: Path) -> None:
    async with terminal(tmp_path) as term:
        with pytest.raises(ValueError, match="cannot hold a NUL"):
            await term.run("echo \0")
        for long in ("x" * MOST_TYPED, "é" * (MOST_TYPED // 6)):
            with pytest.raises(ValueError, match=f"bytes, as it is typed; it may have {MOST_TYPED}"):
                await term.run(f": '{long}'")
        assert (await term.run("echo fine")).output.data == "fine\r\n"


@pytest.mark.parametrize("shell", ["bash", "sh"])
async def test_a_command_for_which_there_is_no_room_is_refused_and_the_next_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setattr(process, "MOST_TYPED", 5_000)
    monkeypatch.setattr(plain, "HOT_SECONDS", 0.3)
    async with terminal(tmp_path, shell=shell) as term:
        await term.run("true")
        with pytest.raises(ResourceExhausted, match="Resource exhausted: input of /app/t"):
            await term.run(
                "echo " + " ".join(["x" * 1_000] * 5) if shell == "bash" else "\n".join([": " + "x" * 3_000] * 2)
            )
        assert "fine\r\n" in (await term.run("echo fine")).output.data


async def test_the_window_has_the_size_of_the_settings_also_after_a_restart(tmp_path: Path) -> None:
    async with terminal(tmp_path, cols=100, rows=30) as term:
        assert (await term.run("stty size")).output.data == "30 100\r\n"
        await term.pty.call(PtyProcess.resize, 132, 50)
        async with expecting(term.runtime, ChildRestarted, "/app/t/parser"):
            await term.kill_shell()
        assert (await term.run("stty size")).output.data == "50 132\r\n"
        with pytest.raises(ValueError, match="cols must be from 1 to 65535, not 0"):
            await term.pty.call(PtyProcess.resize, 0, 1)


def test_how_a_shell_has_ended_is_in_its_error() -> None:
    assert str(ShellExited("bash", -signal.SIGTERM)) == "bash has ended: Process terminated by signal SIGTERM"
