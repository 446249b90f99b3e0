"""A process on a terminal of its own."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import trio
import trio.testing

from ukemi.actors.terminal import Pty, session

Spawn = Callable[..., Awaitable[Pty]]


async def everything(pty: Pty) -> bytes:
    output = b""
    with trio.fail_after(30):
        while data := await pty.receive_some():
            output += data
    return output


async def until(pty: Pty, wanted: bytes) -> bytes:
    output = b""
    with trio.fail_after(30):
        while wanted not in output:
            data = await pty.receive_some()
            assert data, f"the end came before {wanted!r}: {output!r}"
            output += data
    return output


async def exit_status(pty: Pty) -> int:
    with trio.fail_after(30):
        return await pty.wait()


async def test_output_arrives_and_then_the_end(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "echo hello")
    assert await everything(pty) == b"hello\r\n"
    assert await everything(pty) == b""
    assert await exit_status(pty) == 0


async def test_the_process_leads_a_session_with_a_controlling_terminal(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "echo here > /dev/tty; read line")
    assert await until(pty, b"\n") == b"here\r\n"
    assert os.getsid(pty.pid) == pty.pid


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -9 $$", -9), ("kill -TERM $$", -15)])
async def test_the_status_is_the_exit_code_or_the_negative_signal(spawn: Spawn, script: str, status: int) -> None:
    pty = await spawn("sh", "-c", script)
    assert await exit_status(pty) == status
    assert pty.poll() == status


async def test_any_number_of_tasks_may_wait_for_the_exit_and_after_the_close(spawn: Spawn) -> None:
    pty = await spawn("sleep", "1000")
    statuses = []

    async def wait() -> None:
        statuses.append(await exit_status(pty))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert pty.poll() is None
        await pty.kill()
    await pty.aclose()
    await wait()
    assert statuses == [-9] * 4


async def test_a_missing_shell_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no such program: 'nosuchshell'"):
        await Pty.spawn(["nosuchshell"])
    with pytest.raises(FileNotFoundError, match="no such program: '/no/such/shell'"):
        await Pty.spawn(["/no/such/shell"])


async def test_a_shell_that_is_not_executable_is_named(tmp_path: Path) -> None:
    (tmp_path / "shell").write_text("")
    with pytest.raises(PermissionError, match=r"not an executable file: '\./shell'"):
        await Pty.spawn(["./shell"], cwd=str(tmp_path))


async def test_a_missing_working_directory_is_named_in_the_words_users_know() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await Pty.spawn(["sh"], cwd="/no/such/folder")
    assert str(caught.value) == "Working directory '/no/such/folder' does not exist."


async def test_folder_and_environment_are_those_given(spawn: Spawn, tmp_path: Path) -> None:
    pty = await spawn("/bin/sh", "-c", "pwd; env", cwd=str(tmp_path), env={"COLOUR": "teal"})
    lines = (await everything(pty)).decode().splitlines()
    assert lines[0] == str(tmp_path)
    assert "COLOUR=teal" in lines
    assert not any(line.startswith("HOME=") for line in lines)


async def test_what_is_spawned_has_no_descriptor_but_its_terminal(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "ls /proc/self/fd")
    assert (await everything(pty)).split() == [b"0", b"1", b"2", b"3"]  # 3 is ls, reading that folder


async def test_signals_that_nohup_made_us_ignore_are_not_ignored_by_the_shell(spawn: Spawn) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        pty = await spawn("sh", "-c", "kill -HUP $$; echo survived")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert await everything(pty) == b""
    assert await exit_status(pty) == -signal.SIGHUP


async def test_the_window_has_the_size_asked_for_and_may_change(spawn: Spawn) -> None:
    pty = await spawn(
        "sh", "-c", "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.01; done", cols=100, rows=30
    )
    assert await until(pty, b"\n") == b"30 100\r\n"
    pty.resize(132, 50)
    assert await everything(pty) == b"50 132\r\n"


@pytest.mark.parametrize("size", [(0, 24), (80, 0), (65_536, 24), (-1, 24)])
async def test_a_window_without_a_size_is_refused(spawn: Spawn, size: tuple[int, int]) -> None:
    cols, rows = size
    with pytest.raises(ValueError, match="must be from 1 to 65535, not"):
        await Pty.spawn(["true"], cols=cols, rows=rows)


async def test_an_interrupt_ends_the_foreground_program(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "echo ready; exec sleep 1000")
    await until(pty, b"ready")
    pty.interrupt()
    assert await exit_status(pty) == -signal.SIGINT


async def test_an_interrupt_overtakes_unread_input_and_drops_it(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "stty -echo; trap 'cat; exit 7' INT; echo ready; sleep 1000")
    await until(pty, b"ready\r\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pty.send_all, b"stale\n" * 20_000)
        await trio.testing.wait_all_tasks_blocked(0.1)  # the terminal is full
        nursery.cancel_scope.cancel()
    pty.interrupt()
    await pty.send_all(b"fresh\n\x04")
    assert await everything(pty) == b"fresh\r\n"
    assert await exit_status(pty) == 7


async def test_a_signal_goes_to_the_foreground_program_only(spawn: Spawn) -> None:
    pty = await spawn("bash", "--norc", "-i", env={"PATH": os.environ["PATH"], "PS1": "$ "})
    await until(pty, b"$ ")
    await pty.send_all(b"echo re''ady; sleep 1000; echo status $?\n")
    await until(pty, b"ready")
    while os.tcgetpgrp(pty._master) == pty.pid:
        await trio.sleep(0.001)  # until sleep has the terminal
    pty.signal(signal.SIGKILL)
    await until(pty, b"status 137")
    assert pty.poll() is None


async def test_who_has_the_foreground_and_how_a_line_is_read_can_be_seen(spawn: Spawn) -> None:
    pty = await spawn("bash", "--norc", "-i", env={"PATH": os.environ["PATH"], "PS1": "$ "})
    await until(pty, b"$ ")
    assert (pty.has_foreground(), pty.edits_line()) == (True, True)
    await pty.send_all(b"sh -c 'echo be''gun; read line'\r")
    await until(pty, b"begun")
    assert (pty.has_foreground(), pty.edits_line()) == (False, False)
    await pty.send_all(b"\r")
    await until(pty, b"$ ")
    await pty.send_all(b"echo be''gun; read line\r")
    await until(pty, b"begun")
    assert (pty.has_foreground(), pty.edits_line()) == (True, False)
    await pty.aclose()
    with pytest.raises(trio.ClosedResourceError):
        pty.has_foreground()


async def test_there_is_nobody_to_signal_once_the_shell_has_exited(spawn: Spawn) -> None:
    pty = await spawn("true")
    await exit_status(pty)
    with pytest.raises(ProcessLookupError, match="has no foreground program"):
        pty.signal(signal.SIGTERM)


async def test_a_background_job_that_holds_the_terminal_does_not_hold_back_the_end(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "sleep 1000 & echo bye")
    assert await everything(pty) == b"bye\r\n"
    assert await exit_status(pty) == 0


async def test_the_end_comes_although_a_background_job_goes_on_writing(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "trap '' HUP; yes & echo bye")
    assert b"bye\r\n" in await everything(pty)
    assert await everything(pty) == b""


async def test_what_an_exited_process_wrote_is_received_however_late(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    pty = await spawn("sh", "-c", "sleep 1000 & head -c 8000 /dev/zero | tr '\\0' x; echo end")
    assert await exit_status(pty) == 0
    output = b""
    with trio.fail_after(30):
        while data := await pty.receive_some(100):
            output += data
            await trio.sleep(0.01)  # in all longer than a silent job is waited for
    assert output == b"x" * 8_000 + b"end\r\n"


async def test_a_cancelled_receive_takes_nothing(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "stty -echo; echo ready; cat")
    await until(pty, b"ready\r\n")
    for number in range(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pty.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await pty.send_all(b"%d\n" % number)
        assert await until(pty, b"\n") == b"%d\r\n" % number


async def test_a_megabyte_goes_in_and_out_whole(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "stty raw -echo; printf ready; exec cat")
    await until(pty, b"ready")
    sent = os.urandom(1_000_000)
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pty.send_all, sent)
        with trio.fail_after(30):
            while len(received) < len(sent):
                received += await pty.receive_some()
    assert received == sent


async def test_what_several_tasks_send_does_not_mix(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "stty raw -echo; printf ready; exec cat")
    await until(pty, b"ready")
    received = b""
    async with trio.open_nursery() as nursery:
        for letter in b"abcd":
            nursery.start_soon(pty.send_all, bytes([letter]) * 50_000)
        with trio.fail_after(30):
            while len(received) < 200_000:
                received += await pty.receive_some()
    runs = [letter for letter, before in zip(received, b"\0" + received, strict=False) if letter != before]
    assert sorted(runs) == sorted(b"abcd")


async def test_typing_for_a_process_that_has_exited_is_an_error(spawn: Spawn) -> None:
    pty = await spawn("true")
    await exit_status(pty)
    with pytest.raises(trio.BrokenResourceError, match=f"process {pty.pid} has exited"):
        await pty.send_all(b"hello\n")


async def test_typing_that_waits_for_room_is_told_when_the_process_exits(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "stty raw -echo; trap '' HUP; sleep 1000 & echo ready; read line; kill -9 $$")
    await until(pty, b"ready")
    with trio.fail_after(30), pytest.raises(trio.BrokenResourceError):
        await pty.send_all(b"\n" + bytes(1_000_000))


async def test_a_shell_killed_from_outside_ends_the_output(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "echo ready; read line")
    await until(pty, b"ready\r\n")
    os.kill(pty.pid, signal.SIGKILL)
    assert await everything(pty) == b""
    assert await exit_status(pty) == -signal.SIGKILL


JOBS = """
set -m
sleep 1000 &
nohup sleep 1000 >/dev/null 2>&1 &
(trap '' HUP TERM INT; sleep 1000) &
sleep 1000 & kill -STOP $!
(sleep 1000 & sleep 1000 &)
echo ready
wait
"""


@pytest.mark.parametrize("how", ["kill", "aclose"])
async def test_the_whole_session_is_killed_with_the_shell(spawn: Spawn, how: str) -> None:
    pty = await spawn("bash", "-c", JOBS)
    await until(pty, b"ready")
    jobs = session.members(pty.pid)
    assert len(jobs) >= 7
    with trio.fail_after(30):
        await (pty.kill() if how == "kill" else pty.aclose(grace=0))
    assert session.members(pty.pid) == []
    assert not [job for job in jobs if Path(f"/proc/{job}/exe").exists()]


async def test_a_session_that_multiplies_is_killed(spawn: Spawn) -> None:
    storm = "import os, time\nfor _ in range(6): os.fork()\nprint('ready', flush=True)\ntime.sleep(1000)"
    pty = await spawn(sys.executable, "-c", storm)
    await until(pty, b"ready")  # one of 64, the others still come
    with trio.fail_after(30):
        await pty.kill()
    assert session.members(pty.pid) == []


async def test_a_process_is_killed_even_before_it_has_made_its_session(spawn: Spawn) -> None:
    pty = await spawn("sleep", "1000")
    with trio.fail_after(30):
        await pty.kill()
    assert await exit_status(pty) == -signal.SIGKILL


async def test_a_daemon_that_left_the_session_lives_on(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & wait")
    daemon = int(await until(pty, b"\n"))
    await pty.aclose(grace=0)
    os.kill(daemon, signal.SIGKILL)


async def test_what_can_clean_up_in_time_is_given_the_time(spawn: Spawn, tmp_path: Path) -> None:
    pty = await spawn("bash", "-c", "trap 'echo saved > file; exit' HUP; echo ready; read line", cwd=str(tmp_path))
    await until(pty, b"ready")
    await pty.aclose(grace=30)
    assert (tmp_path / "file").read_text() == "saved\n"
    assert pty.poll() == 0


async def test_a_cancelled_close_kills_at_once(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "trap '' HUP; echo ready; sleep 1000")
    await until(pty, b"ready")
    with trio.fail_after(30), trio.CancelScope() as scope:
        scope.cancel()
        await pty.aclose(grace=1000)
    assert scope.cancelled_caught
    assert pty.poll() == -signal.SIGKILL


async def test_closing_twice_and_at_the_same_time_is_closing_once(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "echo ready; exec sleep 1000")
    await until(pty, b"ready")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pty.aclose)
        nursery.start_soon(pty.aclose)
    await pty.aclose()
    await pty.kill()
    assert pty.poll() == -signal.SIGHUP


async def test_a_task_that_waits_on_a_terminal_that_closes_is_told(spawn: Spawn) -> None:
    pty = await spawn("sh", "-c", "stty raw -echo; echo ready; sleep 1000")
    await until(pty, b"ready")
    told = []

    async def expect(wait: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await wait()
        told.append(wait)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, pty.receive_some)
        nursery.start_soon(expect, lambda: pty.send_all(bytes(1_000_000)))
        await trio.testing.wait_all_tasks_blocked(0.05)
        await pty.aclose()
    assert len(told) == 2
    with pytest.raises(trio.ClosedResourceError, match=f"terminal of process {pty.pid} is closed"):
        pty.resize(80, 24)
    for use in (pty.receive_some, lambda: pty.send_all(b"x")):
        with pytest.raises(trio.ClosedResourceError):
            await use()


async def test_fifty_shells_killed_in_all_ways_leave_no_descriptor_and_no_zombie() -> None:
    async def round_trip(number: int) -> None:
        pty = await Pty.spawn(["sh", "-c", "sleep 1000 & echo ready; sleep 1000"])
        await until(pty, b"ready")
        if number % 3 == 0:
            os.kill(pty.pid, signal.SIGKILL)
        elif number % 3 == 1:
            await pty.kill()
        await pty.aclose()

    await round_trip(0)
    before = len(os.listdir("/proc/self/fd"))
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(round_trip, number)
    assert len(os.listdir("/proc/self/fd")) == before
    assert psutil.Process().children() == []


async def test_a_cancelled_spawn_has_started_nothing_or_given_it() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(30):
        pty = None
        with trio.move_on_after(number / 10_000):
            pty = await Pty.spawn(["sleep", "1000"])
        if pty is not None:
            await pty.aclose(grace=0)
    assert len(os.listdir("/proc/self/fd")) == before
    assert psutil.Process().children() == []


async def test_a_spawn_that_fails_leaks_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with pytest.raises(FileNotFoundError):
            await Pty.spawn(["nosuchshell"])
        with pytest.raises(ValueError, match="null byte"):
            await Pty.spawn(["sh", "\0"])
    assert len(os.listdir("/proc/self/fd")) == before
