"""What goes wrong around a terminal's commands, and costs no answer: requests that are cancelled in the middle, shells
whose markers come in part or no more, prompts that are drawn again. As a client of the bridge sees it."""

import os
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi.actors.terminal import marked, plain, posture, process
from ukemi.actors.terminal import pty as pty_module
from ukemi.actors.terminal.pty import Pty
from ukemi.actors.terminal.texts import INTERRUPTED, STATUS_UNKNOWN
from ukemi.supervisors import substitutes
from ukemi.supervisors.alerts import AlertRaised
from ukemi.supervisors.backoff import Backoff

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE
from .descriptors import no_descriptor_left
from .shells import needs, run


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return needs(name)


@pytest.fixture
async def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    """A bridge whose terminals lose little time."""
    monkeypatch.setattr(substitutes, "WAY_BACK", Backoff(initial=0.05, maximum=0.2))
    for module in (plain, marked, posture):
        monkeypatch.setattr(module, "HOT_SECONDS", 0.3)
    monkeypatch.setattr(posture, "INTEGRATION_TIMEOUT", 0.6)
    monkeypatch.setattr(marked, "LOOK", 0.1)
    monkeypatch.setattr(plain, "LOOK", 0.05)
    monkeypatch.setattr(plain, "TAKES_OVER", 0.5)
    monkeypatch.setattr(substitutes, "ANSWERED_BY_THEN", 0.05)
    async with running_bridge(tmp_path) as bridge:
        yield bridge


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


async def cancelled(client: Client, id: int) -> None:
    await client.notify("$/cancelRequest", id=id)
    with pytest.raises(Failed, match="the request was cancelled"):
        await client.answer(id)


class Gate:
    """Where something waits until it is let through."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.open = trio.Event()

    async def pass_(self) -> None:
        self.reached.set()
        await self.open.wait()


# --- requests that are given up in the middle


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Where shells are started."""
    gate, spawn = Gate(), Pty.spawn

    async def spawned(*args: Any, **options: Any) -> Pty:
        await gate.pass_()
        return await spawn(*args, **options)

    monkeypatch.setattr(Pty, "spawn", spawned)
    return gate


async def no_terminal_is_left(client: Client) -> None:
    with trio.fail_after(PATIENCE):
        while (await client.request("terminal/list"))["terminals"]:
            await trio.sleep(0.005)


async def test_a_terminal_whose_creation_was_cancelled_is_gone(client: Client, tmp_path: Path, starting: Gate) -> None:
    id = await client.ask("terminal/create", cwd=str(tmp_path), env={"HOME": str(tmp_path)})
    await starting.reached.wait()
    await cancelled(client, id)
    starting.open.set()
    await no_terminal_is_left(client)


async def test_a_terminal_whose_client_goes_while_it_is_created_is_gone(
    bridge: Bridge, client: Client, tmp_path: Path, starting: Gate
) -> None:
    async with bridge.client() as other:
        await other.ask("terminal/create", cwd=str(tmp_path), env={"HOME": str(tmp_path)})
        await starting.reached.wait()
        await other.notify("exit")
        await other.closed()
    starting.open.set()
    await no_terminal_is_left(client)


@pytest.fixture
def closing(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Where shells that were hung up are waited for."""
    gate = Gate()

    async def ended(*_: Any) -> None:
        await gate.pass_()

    monkeypatch.setattr(pty_module.session, "ended", ended)
    return gate


async def test_a_restart_that_was_cancelled_takes_place(client: Client, tmp_path: Path, closing: Gate) -> None:
    terminal = await client.terminal(tmp_path)
    before = (await run(client, terminal, "echo $$"))["output"]
    id = await client.ask("terminal/restart", terminal=terminal)
    await closing.reached.wait()
    await cancelled(client, id)
    closing.open.set()
    assert (await run(client, terminal, "echo $$"))["output"] != before


async def test_two_clients_may_restart_a_terminal_at_once(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    async with bridge.client() as other:
        for _ in range(12):
            ids = [(each, await each.ask("terminal/restart", terminal=terminal)) for each in (client, other)]
            for each, id in ids:
                assert await each.answer(id) == {}
        assert (await run(other, terminal, "echo on"))["output"] == "on\r\n"


async def test_commands_that_wait_outlive_a_restart_and_the_one_that_runs_does_not(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path)
    running = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
    await client.output(terminal, "begun")
    async with bridge.client() as other:
        waiting = await other.ask("terminal/execute", terminal=terminal, command="echo waited")
        await other.request("terminal/list")  # the other has been asked
        await client.request("terminal/restart", terminal=terminal)
        with pytest.raises(Failed, match="has ended: Process terminated by signal SIGHUP"):
            await client.answer(running)
        assert (await other.answer(waiting))["output"] == "waited\r\n"


async def test_a_terminal_that_is_down_can_be_started_by_two_at_once(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path)
    await bridge.runtime.ref(f"/bridge/terminals/{terminal}").call("stop_child", "pty")
    async with bridge.client() as other:
        ids = [(each, await each.ask("terminal/restart", terminal=terminal)) for each in (client, other)]
        for each, id in ids:
            assert await each.answer(id) == {}
    assert (await run(client, terminal, "echo on"))["output"] == "on\r\n"


async def test_a_command_that_is_cancelled_at_once_harms_not_the_next(
    client: Client, tmp_path: Path, shell: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    await run(client, terminal, "true")
    for n in range(10):
        id = await client.ask("terminal/execute", terminal=terminal, command=f"echo {n}; sleep 0.01")
        await trio.sleep(n * 0.0003)
        await client.notify("$/cancelRequest", id=id)
        answer = await run(client, terminal, "echo next; sh -c 'exit 3'")
        said = (answer["output"], answer["exitCode"], answer["mode"])
        assert said == ("next\r\n", 3, "full") or answer.get("note") == INTERRUPTED, answer


async def test_a_command_that_an_interrupt_has_dropped_says_so(client: Client, tmp_path: Path, shell: str) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    await run(client, terminal, "true")
    ran = 0
    for n in range(10):
        id = await client.ask("terminal/execute", terminal=terminal, command=f"echo {n} >> ran; echo {n}")
        await trio.sleep(n * 0.0003)
        await client.request("terminal/interrupt", terminal=terminal)
        answer = await client.answer(id)
        ran += answer["exitCode"] == 0
        if answer["mode"] != "full":  # what was hit was its announcement, or what tells its end
            assert answer["note"] == STATUS_UNKNOWN
        elif answer["exitCode"] is None:
            assert (answer["output"], answer["note"]) == ("", INTERRUPTED)
    assert (await run(client, terminal, "echo on"))["mode"] == "full"
    lines = (tmp_path / "ran").read_text().split() if (tmp_path / "ran").exists() else []
    assert ran <= len(lines) == len(set(lines))


# --- markers that come in part, or no more


async def said(client: Client, terminal: str) -> tuple[int | None, str, bool]:
    """The code and mode of a command that ends with 3, and whether its output is there."""
    answer = await run(client, terminal, "echo hi >/dev/tty; sh -c 'exit 3'")
    return answer["exitCode"], answer["mode"], "hi\r\n" in answer["output"]


def features(client: Client, state: str) -> list[str]:
    """The features of which it was told that they are in this state now."""
    told = [note["params"] for note in client.notes if note["method"] == "runtime/feature"]
    return [note["feature"] for note in told if note["state"] == state]


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("bash", "set +o emacs"),
        ("zsh", "unsetopt zle"),
        ("fish", "functions -e __ukemi_postexec __ukemi_A __ukemi_preexec; function fish_prompt; echo -n '> '; end"),
    ],
)
async def test_a_shell_whose_prompts_are_not_marked_any_more_has_no_integration(
    client: Client, tmp_path: Path, kind: str, command: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=needs(kind))
    await run(client, terminal, "true")
    await run(client, terminal, command)
    for _ in range(2):
        assert await said(client, terminal) == (None, "no integration", True)


async def test_a_bash_whose_standard_error_goes_elsewhere_still_runs_commands_and_says_how_they_end(
    client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path)
    answer = await run(client, terminal, "exec 2>/dev/null")
    assert (answer["exitCode"], answer["mode"]) == (0, "full")
    assert await said(client, terminal) == (3, "no integration", True)
    assert await said(client, terminal) == (None, "no integration", True)
    await run(client, terminal, "exec 2>/dev/tty")
    await run(client, terminal, "true")
    await client.until(lambda: f"shell_integration of {terminal}" in features(client, "whole"))
    assert await said(client, terminal) == (3, "full", True)


async def test_a_shell_whose_markers_are_back_has_integration_again_also_where_commands_always_wait(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "TAKES_OVER", 0.0)  # so it is missed the first time
    terminal = await client.terminal(tmp_path)
    await run(client, terminal, "exec 2>/dev/null")
    assert await said(client, terminal) == (3, "no integration", True)
    async with bridge.client() as other:
        await client.ask("terminal/execute", terminal=terminal, command="exec 2>/dev/tty")
        asked = [
            (each, await each.ask("terminal/execute", terminal=terminal, command="true"))
            for _ in range(3)
            for each in (other, client)
        ]
        modes = [(await each.answer(id))["mode"] for each, id in asked[:2]]
        assert modes == ["no integration"] * 2
        monkeypatch.setattr(plain, "TAKES_OVER", 0.5)
        monkeypatch.setattr(plain, "ANEW", 0.0)
        modes = [(await each.answer(id))["mode"] for each, id in asked[2:]]
        assert modes[-1] == "full"


async def test_a_command_that_nothing_has_announced_and_that_ended_is_answered_with_its_code(
    client: Client, tmp_path: Path
) -> None:
    (tmp_path / ".bashrc").write_text("declare -r PS0=x\n")
    terminal = await client.terminal(tmp_path)
    answer = await run(client, terminal, "echo hi; sh -c 'exit 3'")
    assert (answer["exitCode"], answer["mode"], answer["note"]) == (3, "no integration", STATUS_UNKNOWN)
    assert "hi\r\n" in answer["output"]
    assert await said(client, terminal) == (None, "no integration", True)


async def test_a_prompt_that_is_drawn_again_does_not_end_a_line_that_is_open(
    client: Client, tmp_path: Path, shell: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell, screen=True)
    await run(client, terminal, "true")
    await client.request("terminal/write", terminal=terminal, data="echo 'open\r")
    await client.until(lambda: "open" in client.printed(terminal).replace("\r", ""))
    before = len(client.notes)
    await client.request("terminal/resize", terminal=terminal, cols=100, rows=30)
    await client.until(lambda: len(client.notes) > before)
    for command, output in [("echo one", "one\r\n"), ("echo two", "two\r\n")]:
        answer = await run(client, terminal, command)
        assert (answer["output"], answer["exitCode"], answer["mode"]) == (output, 0, "full")


# --- shells that are paused, or gone while their programs are not


async def test_a_shell_that_is_paused_runs_its_command_when_it_goes_on_and_its_caller_waits(
    client: Client, tmp_path: Path, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    pid = int((await run(client, terminal, "sh -c 'echo $PPID'"))["output"])
    looks, enough = count(1), trio.Event()

    def is_stopped(pid: int) -> bool:
        if next(looks) > 10:  # as many take longer than a command has to begin
            enough.set()
        return posture.is_stopped(pid)

    monkeypatch.setattr(process, "is_stopped", is_stopped)
    os.kill(pid, signal.SIGSTOP)
    id = await client.ask("terminal/execute", terminal=terminal, command="echo one; sh -c 'exit 3'")
    await enough.wait()
    os.kill(pid, signal.SIGCONT)
    answer = await client.answer(id)
    assert (answer["output"], answer["exitCode"], answer["mode"]) == ("one\r\n", 3, "full")
    assert (await run(client, terminal, "echo two"))["output"] == "two\r\n"


async def test_what_is_asked_of_a_shell_that_has_ended_costs_nothing_more(
    bridge: Bridge, client: Client, tmp_path: Path, closing: Gate
) -> None:
    terminal = await client.terminal(tmp_path)
    pid = int((await run(client, terminal, "echo $$"))["output"])
    os.kill(pid, signal.SIGKILL)
    await closing.reached.wait()
    assert await client.request("terminal/resize", terminal=terminal, cols=100, rows=30) == {}
    assert await client.request("terminal/interrupt", terminal=terminal) == {}
    with pytest.raises(Failed, match="bash has ended: Process terminated by signal SIGKILL"):
        await client.request("terminal/write", terminal=terminal, data="echo hi\r")
    closing.open.set()
    assert (await run(client, terminal, "stty size"))["output"] == "30 100\r\n"
    assert not bridge.runtime.events.of(AlertRaised)


async def test_what_was_to_be_typed_at_a_shell_that_ends_is_refused(
    client: Client, tmp_path: Path, closing: Gate
) -> None:
    terminal = await client.terminal(tmp_path)
    pid = int((await run(client, terminal, "echo $$"))["output"])
    running = await client.ask("terminal/execute", terminal=terminal, command="stty raw; echo begun; sleep 1000")
    await client.output(terminal, "begun")
    id = await client.ask("terminal/write", terminal=terminal, data="x" * 500_000)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Failed, match="bash has ended: Process terminated by signal SIGKILL"):
        await client.answer(id)
    closing.open.set()
    with pytest.raises(Failed, match="has ended"):
        await client.answer(running)
    assert (await run(client, terminal, "echo on"))["output"] == "on\r\n"


async def test_an_interrupt_needs_no_descriptor(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    pid = (await run(client, terminal, "echo $$"))["output"]
    running = await client.ask("terminal/execute", terminal=terminal, command="sh -c 'echo begun; exec sleep 1000'")
    await client.output(terminal, "begun")
    with no_descriptor_left():
        await client.request("terminal/interrupt", terminal=terminal)
        assert (await client.answer(running))["exitCode"] == 130
    assert (await run(client, terminal, "echo $$"))["output"] == pid
