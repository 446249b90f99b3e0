"""A terminal's modes, each from its real cause, as a client of the bridge sees them: and the ways back."""

import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi.actors.parser import MarkerParser
from ukemi.actors.terminal import marked, plain
from ukemi.actors.terminal.texts import NO_SHELLS, OUTPUT_UNAVAILABLE, STATUS_UNKNOWN
from ukemi.supervisors import substitutes
from ukemi.supervisors.alerts import AlertRaised
from ukemi.supervisors.backoff import Backoff
from ukemi.supervisors.events import FellBack

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE, expecting

SHELLS = ["bash", "zsh", "fish"]
RC = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}


@pytest.fixture
async def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    """A bridge whose terminals lose no time."""
    monkeypatch.setattr(substitutes, "WAY_BACK", Backoff(initial=0.05, maximum=0.2))
    monkeypatch.setattr(plain, "TAKES_OVER", 0.5)
    before = len(os.listdir("/proc/self/fd"))
    async with running_bridge(tmp_path) as bridge:
        yield bridge
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of silence is long."""
    monkeypatch.setattr("ukemi.actors.terminal.texts.HOT_SECONDS", 0.3)
    monkeypatch.setattr(plain, "HOT_SECONDS", 0.3)
    monkeypatch.setattr(marked, "HOT_SECONDS", 0.3)
    monkeypatch.setattr("ukemi.actors.terminal.posture.HOT_SECONDS", 0.3)
    monkeypatch.setattr(marked, "LOOK", 0.1)
    monkeypatch.setattr(plain, "LOOK", 0.05)


pytestmark = pytest.mark.usefixtures("_quick")


def rc(home: Path, shell: str, text: str) -> None:
    (home / RC[shell]).parent.mkdir(parents=True, exist_ok=True)
    (home / RC[shell]).write_text(text)


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


async def run(client: Client, terminal: str, command: str, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await client.request("terminal/execute", terminal=terminal, command=command, **params)
    return answer


async def parts(client: Client, terminal: str) -> dict[str, tuple[str, str | None]]:
    """The state of each part of a terminal, and its fallback, as the client sees them."""
    tree = await client.request("runtime/tree")
    (terminals,) = [each for each in tree["children"] if each["name"] == "terminals"]
    (found,) = [each for each in terminals["children"] if each["name"] == terminal]
    return {each["name"]: (each["state"], each["fallback"]) for each in found["children"]}


async def is_whole(client: Client, terminal: str) -> None:
    """Wait until nothing of a terminal is in a fallback any more."""
    with trio.fail_after(PATIENCE):
        while set((await parts(client, terminal)).values()) != {("running", None)}:
            await trio.sleep(0.01)


def features(client: Client, name: str) -> list[str]:
    """What the client was told of a feature."""
    notes = [note["params"] for note in client.notes if note["method"] == "runtime/feature"]
    return [params["state"] for params in notes if params["feature"] == name]


def path(terminal: str, part: str) -> str:
    return f"/bridge/terminals/{terminal}/{part}"


# --- no integration


@pytest.mark.parametrize("shell", ["sh", "/bin/sh"])
async def test_sh_runs_commands_without_integration_and_lacks_nothing_for_it(
    client: Client, tmp_path: Path, shell: str
) -> None:
    created = await client.request("terminal/create", shell=shell, cwd=str(tmp_path), env={"HOME": str(tmp_path)})
    assert (created["shell"], created["mode"]) == (shell, "no integration")
    terminal = created["terminal"]
    answer = await run(client, terminal, "echo hello; pwd")
    assert answer.pop("duration") >= 0.3
    assert answer == {
        "output": f"hello\r\n{tmp_path}\r\n",
        "encoding": "utf-8",
        "exitCode": None,
        "cwd": str(tmp_path),
        "mode": "no integration",
        "truncated": False,
        "note": STATUS_UNKNOWN,
    }
    assert client.printed(terminal) == f"hello\r\n{tmp_path}\r\n"
    assert await parts(client, terminal) == dict.fromkeys(("pty", "commands", "parser"), ("running", None))


async def test_a_command_of_sh_that_says_nothing_was_submitted(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path, shell="sh")
    assert (await run(client, terminal, "true"))["output"] == OUTPUT_UNAVAILABLE
    assert (await run(client, terminal, "x=1\nfor n in 1 2; do echo $n; done"))["output"].endswith("1\r\n2\r\n")


async def test_a_command_of_sh_that_takes_too_long_is_interrupted(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path, shell="sh")
    with pytest.raises(Failed, match="Command execution timed out after 100ms"):
        await run(client, terminal, "echo begun; sleep 1000", timeout=0.1)
    assert (await run(client, terminal, "echo on"))["output"] == "on\r\n"


async def test_a_shell_of_sh_that_is_killed_under_a_command_fails_it_and_the_next_command_works(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path, shell="sh")
    id = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
    await client.output(terminal, "begun")
    os.kill(await bridge.runtime.ref(path(terminal, "pty")).call("pid"), signal.SIGKILL)
    with pytest.raises(Failed, match="has ended: Process terminated by signal SIGKILL") as caught:
        await client.answer(id)
    assert not caught.value.data["retryable"]
    assert (await run(client, terminal, "echo on"))["output"] == "on\r\n"


async def test_a_command_of_sh_that_has_begun_is_never_run_again(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it runs: longer than a shell has for its first prompt."""
    monkeypatch.setattr(plain, "INTEGRATION_TIMEOUT", 0.2)
    terminal = await client.terminal(tmp_path, shell="sh")
    command = "echo ran >> ran; n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done"
    id = await client.ask("terminal/execute", terminal=terminal, command=command)
    await client.output(terminal, "\n10\r\n")
    os.kill(await bridge.runtime.ref(path(terminal, "pty")).call("pid"), signal.SIGKILL)
    with pytest.raises(Failed, match="has ended: Process terminated by signal SIGKILL"):
        await client.answer(id)
    assert (await run(client, terminal, "cat ran"))["output"] == "ran\r\n"


@pytest.mark.cell("Terminal/Recoverable: then")
async def test_a_shell_whose_markers_do_not_come_in_time_has_no_integration_until_they_come(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start-up file that takes its time: what is asked meanwhile runs, too."""
    monkeypatch.setattr(marked, "INTEGRATION_TIMEOUT", 0.2)
    os.mkfifo(tmp_path / "go")
    rc(tmp_path, "bash", "read line < ~/go\n")
    terminal = await client.terminal(tmp_path, shell="bash")
    async with expecting(bridge.runtime, FellBack, path(terminal, "commands")):
        pass
    said = bridge.runtime.events.of(FellBack)[-1].reason
    assert said.startswith(r"ShellIntegrationError: Shell integration initialization sequence '\x1b]633;A' was not ")
    assert (await parts(client, terminal))["commands"] == ("degraded", "no integration")
    await client.until(lambda: features(client, f"shell_integration of {terminal}") == ["degraded"])
    await trio.to_thread.run_sync((tmp_path / "go").write_text, "\n")
    await is_whole(client, terminal)
    answer = await run(client, terminal, "(exit 3)")
    assert (answer["exitCode"], answer["mode"]) == (3, "full")
    await client.until(lambda: features(client, f"shell_integration of {terminal}") == ["degraded", "whole"])


@pytest.mark.parametrize("shell", SHELLS)
async def test_after_exec_of_another_shell_there_is_no_integration_any_more_and_commands_still_run(
    client: Client, tmp_path: Path, shell: str
) -> None:
    needs(shell)
    terminal = await client.terminal(tmp_path, shell=shell)
    await run(client, terminal, "true")
    answer = await run(client, terminal, "exec sh")
    assert (answer["exitCode"], answer["mode"], answer["note"]) == (None, "no integration", STATUS_UNKNOWN)
    answer = await run(client, terminal, "echo $0")
    assert (answer["output"][:4], answer["exitCode"], answer["mode"]) == ("sh\r\n", None, "no integration")
    assert (await parts(client, terminal))["commands"] == ("degraded", "no integration")
    await client.request("terminal/restart", terminal=terminal)
    answer = await run(client, terminal, "echo back")
    assert (answer["output"], answer["exitCode"], answer["mode"]) == ("back\r\n", 0, "full")


async def test_a_shell_whose_hooks_were_unset_has_no_integration_any_more(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path, shell="bash")
    answer = await run(client, terminal, "echo bye; unset PROMPT_COMMAND; PS0= PS1='$ '")
    assert (answer["exitCode"], answer["mode"], "bye\r\n" in answer["output"]) == (None, "no integration", True)
    answer = await run(client, terminal, "echo on")
    assert (answer["exitCode"], answer["mode"]) == (None, "no integration")
    assert "on\r\n" in answer["output"]


async def test_a_zsh_whose_hooks_were_unset_has_no_integration_any_more(client: Client, tmp_path: Path) -> None:
    needs("zsh")
    terminal = await client.terminal(tmp_path, shell="zsh")
    answer = await run(client, terminal, "precmd_functions=() preexec_functions=(); zle -D zle-line-init")
    assert (answer["exitCode"], answer["mode"]) == (None, "no integration")
    assert "on\r\n" in (await run(client, terminal, "echo on"))["output"]


async def test_hooks_that_are_set_again_bring_integration_back(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path, shell="bash")
    await run(client, terminal, "kept=(\"${PROMPT_COMMAND[@]}\"); was=$PS1; unset PROMPT_COMMAND; PS1='$ '")
    assert (await parts(client, terminal))["commands"] == ("degraded", "no integration")
    assert (await run(client, terminal, 'PROMPT_COMMAND=("${kept[@]}")'))["mode"] == "no integration"
    await is_whole(client, terminal)
    assert (await run(client, terminal, "(exit 3)"))["exitCode"] == 3


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_command_that_reads_what_is_typed_keeps_the_integration(
    client: Client, tmp_path: Path, shell: str
) -> None:
    needs(shell)
    terminal = await client.terminal(tmp_path, shell=shell)
    id = await client.ask("terminal/execute", terminal=terminal, command="echo name; read name; echo hello $name")
    await client.output(terminal, "name")
    await trio.sleep(1)  # it is quiet for longer than a command that nothing marks may be
    await client.request("terminal/write", terminal=terminal, data="world\r")
    answer = await client.answer(id)
    assert (answer["exitCode"], answer["mode"]) == (0, "full")
    assert answer["output"].endswith("hello world\r\n")


async def test_a_quality_of_one_turns_integration_off_in_every_terminal_and_it_comes_back(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    one = await client.terminal(tmp_path)
    assert (await run(client, one, "true"))["mode"] == "full"
    bridge.runtime.features.set_quality(1)
    with trio.fail_after(PATIENCE):
        while (await parts(client, one))["commands"] != ("degraded", "no integration"):
            await trio.sleep(0.01)
    other = await client.terminal(tmp_path)
    for terminal in (one, other):
        answer = await run(client, terminal, "echo on")
        assert (answer["exitCode"], answer["mode"], "on\r\n" in answer["output"]) == (None, "no integration", True)
    bridge.runtime.features.set_quality(3)
    for terminal in (one, other):
        await is_whole(client, terminal)
        answer = await run(client, terminal, "echo on")
        assert (answer["output"], answer["exitCode"], answer["mode"]) == ("on\r\n", 0, "full")


# --- another shell, and the least


@pytest.mark.cell("Terminal/Recoverable: then")
async def test_a_shell_that_is_not_there_is_replaced_by_the_next_that_is(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    shell = str(tmp_path / "missing" / "zsh")
    created = await client.request("terminal/create", shell=shell, cwd=str(tmp_path), env={"HOME": str(tmp_path)})
    assert (created["shell"], created["mode"]) == ("bash", "another shell")
    terminal = created["terminal"]
    assert (await parts(client, terminal))["pty"] == ("degraded", "bash")
    with trio.fail_after(PATIENCE):
        while (answer := await run(client, terminal, "(exit 3)"))["exitCode"] is None:
            await trio.sleep(0.05)
    assert (answer["exitCode"], answer["mode"]) == (3, "another shell")


async def test_once_the_shell_that_was_asked_for_is_there_it_is_tried_first_again_but_takes_no_running_one_away(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    shell = tmp_path / "bin" / "bash"
    created = await client.request("terminal/create", shell=str(shell), cwd=str(tmp_path), env={"HOME": str(tmp_path)})
    terminal = created["terminal"]
    pid = await bridge.runtime.ref(path(terminal, "pty")).call("pid")
    shell.parent.mkdir()
    shell.symlink_to(shutil.which("bash") or "")
    await trio.sleep(0.5)
    assert await bridge.runtime.ref(path(terminal, "pty")).call("pid") == pid
    await client.request("terminal/restart", terminal=terminal)
    answer = await run(client, terminal, "(exit 3)")
    assert (answer["exitCode"], answer["mode"]) == (3, "full")
    assert (await parts(client, terminal))["pty"] == ("running", None)


async def test_a_shell_that_ends_before_its_first_prompt_counts_as_one_that_can_not_be_started(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    needs("zsh")
    rc(tmp_path, "bash", "exit 3\n")
    terminal = await client.terminal(tmp_path, shell="bash")
    answer = await run(client, terminal, "echo $ZSH_NAME; (exit 3)")
    assert (answer["output"], answer["exitCode"], answer["mode"]) == ("zsh\r\n", 3, "another shell")
    reasons = [event.reason for event in bridge.runtime.events.of(FellBack) if event.path == path(terminal, "pty")]
    assert reasons == [
        "ShellNotStarted: PTY creation failed for bash: it has ended before its first prompt: Exit code: 3"
    ]


@pytest.fixture
def _no_shells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no shell on this machine."""
    monkeypatch.setattr("ukemi.actors.terminal.shells.SYSTEM", str(tmp_path / "sh"))
    monkeypatch.setattr("ukemi.actors.terminal.shells.system_shells", lambda env: ())


@pytest.mark.usefixtures("_no_shells")
async def test_where_no_shell_can_be_started_the_client_is_told(client: Client, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=NO_SHELLS) as caught:
        await client.request("terminal/create", shell="/no/such", env={"PATH": str(tmp_path)})
    assert (caught.value.data["category"], caught.value.data["severity"]) == ("Terminal", "Critical")
    assert (await client.request("terminal/list"))["terminals"] == []


async def test_where_no_shell_can_be_started_any_more_the_user_is_alerted_and_can_start_it_later(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    bash = tmp_path / "bin" / "bash"
    bash.symlink_to(shutil.which("bash") or "")
    monkeypatch.setattr("ukemi.actors.terminal.shells.SYSTEM", str(tmp_path / "sh"))
    monkeypatch.setattr("ukemi.actors.terminal.shells.system_shells", lambda env: ())
    terminal = await client.terminal(tmp_path, shell=str(bash), env={"PATH": str(tmp_path / "bin")})
    await run(client, terminal, "true")
    bash.unlink()
    async with expecting(bridge.runtime, AlertRaised, path(terminal, "pty")):
        os.kill(await bridge.runtime.ref(path(terminal, "pty")).call("pid"), signal.SIGKILL)
    await client.until(lambda: [note for note in client.notes if note["method"] == "runtime/alert"] != [])
    (alert,) = [note["params"] for note in client.notes if note["method"] == "runtime/alert"]
    assert (alert["severity"], alert["message"]) == ("Critical", f"NoShells: {NO_SHELLS}")
    bash.symlink_to(shutil.which("bash") or "")
    await client.request("terminal/restart", terminal=terminal)
    assert (await run(client, terminal, "echo on"))["output"] == "on\r\n"


# --- the parser


def broken(monkeypatch: pytest.MonkeyPatch, error: Exception) -> dict[str, bool]:
    """Let every parser that looks for markers fail while this says so; it comes back when it has nothing to read."""
    monkeypatch.setattr(substitutes, "WAY_BACK", Backoff(initial=2.0, maximum=2.0))
    feed, state = MarkerParser.feed, {"is_broken": True}

    def fail(parser: MarkerParser, data: bytes) -> Any:
        if state["is_broken"]:
            raise error
        return feed(parser, data)

    monkeypatch.setattr(MarkerParser, "feed", fail)
    return state


@pytest.mark.cell("Parser/Critical: then")
async def test_a_parser_that_fails_again_is_replaced_by_one_that_skips_markers_until_it_is_well(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = await client.terminal(tmp_path)
    await run(client, terminal, "true")
    state = broken(monkeypatch, IndexError("out of range"))
    answer = await run(client, terminal, "echo on")
    assert ("on\r\n" in answer["output"], answer["exitCode"], answer["mode"]) == (True, None, "no integration")
    assert "633" not in answer["output"]
    seen = await parts(client, terminal)
    assert seen == {
        "pty": ("running", None),
        "commands": ("degraded", "no integration"),
        "parser": ("degraded", "skip markers"),
    }
    state["is_broken"] = False
    with trio.fail_after(PATIENCE):
        while (await parts(client, terminal))["parser"] != ("running", None):
            await trio.sleep(0.01)
    assert "on\r\n" in (await run(client, terminal, "echo on"))["output"]  # its markers are found again
    await is_whole(client, terminal)
    answer = await run(client, terminal, "echo on")
    assert (answer["output"], answer["exitCode"], answer["mode"]) == ("on\r\n", 0, "full")


@pytest.mark.cell("Parser/Recoverable: first", "Parser/Recoverable: then")
async def test_bytes_that_can_not_be_read_are_read_once_more_and_then_passed_on_as_they_are(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = await client.terminal(tmp_path)
    await run(client, terminal, "true")
    state = broken(monkeypatch, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))
    answer = await run(client, terminal, "echo on")
    assert ("on\r\n" in answer["output"], answer["exitCode"]) == (True, None)
    answer = await run(client, terminal, "echo on")
    assert (answer["mode"], "\x1b]633;D" in answer["output"]) == ("raw output", True)
    assert await parts(client, terminal) == {
        "pty": ("running", None),
        "commands": ("degraded", "raw output"),
        "parser": ("degraded", "raw passthrough"),
    }
    state["is_broken"] = False
    with trio.fail_after(PATIENCE):
        while (await parts(client, terminal))["parser"] != ("running", None):
            await trio.sleep(0.01)
    await run(client, terminal, "true")
    await is_whole(client, terminal)
    answer = await run(client, terminal, "echo on")
    assert (answer["output"], answer["exitCode"], answer["mode"]) == ("on\r\n", 0, "full")


@pytest.mark.cell("Parser/Critical: first")
async def test_a_parser_that_fails_once_is_restarted_and_costs_nothing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = await client.terminal(tmp_path)
    await run(client, terminal, "true")
    feed, fails = MarkerParser.feed, [IndexError("out of range")]

    def fail_once(parser: MarkerParser, data: bytes) -> Any:
        if fails:
            raise fails.pop()
        return feed(parser, data)

    monkeypatch.setattr(MarkerParser, "feed", fail_once)
    answer = await run(client, terminal, "echo on")
    assert (answer["output"], answer["exitCode"], answer["mode"]) == ("on\r\n", 0, "full")


# --- the shell's end


@pytest.mark.cell("Terminal/Recoverable: first")
async def test_a_command_that_had_not_begun_when_its_shell_died_runs_once_in_the_next(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path)
    await run(client, terminal, "true")
    os.kill(await bridge.runtime.ref(path(terminal, "pty")).call("pid"), signal.SIGKILL)
    answer = await run(client, terminal, "echo ran >> ran; cat ran")
    assert (answer["output"], answer["exitCode"], answer["mode"]) == ("ran\r\n", 0, "full")
