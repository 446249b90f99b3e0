"""What users do in terminals and what goes wrong in others': in each shell, in full integration, over the bridge."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi.actors.terminal import session

from ..bridge import Bridge, Client, running_bridge
from ..expecting import PATIENCE

SHELLS = ["bash", "zsh", "fish"]
RC = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}
BURN = "sh -c 'n=0; while [ $n -lt {n} ]; do n=$((n+1)); done; echo burnt $n; exit 3'"
"""Takes a processor for a while, and says so."""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    name: str = request.param
    return name


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    before = len(os.listdir("/proc/self/fd"))
    async with running_bridge(tmp_path) as bridge:
        yield bridge
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


async def run(client: Client, terminal: str, command: str) -> tuple[str, int | None]:
    """The output and the exit code of a command, in full integration."""
    answer = await client.request("terminal/execute", terminal=terminal, command=command)
    assert answer["mode"] == "full"
    return answer["output"], answer["exitCode"]


async def typed(client: Client, terminal: str, keys: str) -> None:
    await client.request("terminal/write", terminal=terminal, data=keys)


async def test_commands_of_every_form_give_their_output_and_exit_code(
    client: Client, tmp_path: Path, shell: str
) -> None:
    (tmp_path / "a folder; with 'quotes'").mkdir()
    terminal = await client.terminal(tmp_path, shell=shell)
    for command, output, code in [
        ("echo one; echo two", "one\r\ntwo\r\n", 0),
        ("echo one\necho two\n\n\necho three", "one\r\ntwo\r\nthree\r\n", 0),
        ("printf 'no newline'", "no newline", 0),
        ("sh -c 'exit 42'", "", 42),
        ("sh -c 'kill -SEGV $$' 2>/dev/null", None, 139),
        ("no_such_command_at_all 2>/dev/null", None, 127),
        ("echo 'a;b|c&d>e' \"f g\" '!' '#' '$HOME' '*'", "a;b|c&d>e f g ! # $HOME *\r\n", 0),
        ("cd 'a folder; with '\\''quotes'\\'", "", 0),
        ("pwd", f"{tmp_path}/a folder; with 'quotes'\r\n", 0),
        ("echo 'grüße €' | tr -d x", "grüße €\r\n", 0),
        ("true", "", 0),
        ("false", "", 1),
        ("cat /dev/null", "", 0),
        ("seq 3 | cat", "1\r\n2\r\n3\r\n", 0),
        ("echo to stderr >&2", "to stderr\r\n", 0),
    ]:
        said, ended = await run(client, terminal, command)
        assert (said if output is not None else None, ended) == (output, code), command


@pytest.mark.parametrize("shell", ["bash", "zsh"], indirect=True)  # fish has none
async def test_a_here_document_is_one_command(client: Client, tmp_path: Path, shell: str) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    assert await run(client, terminal, "cat <<'end'\nit's $HOME\n\n  \"here\"\nend") == (
        'it\'s $HOME\r\n\r\n  "here"\r\n',
        0,
    )


async def test_the_users_own_files_prompt_and_traps_are_as_they_were(
    client: Client, tmp_path: Path, shell: str
) -> None:
    rc = {
        "bash": "alias hi='echo mine'; PS1='mine> '; PROMPT_COMMAND='seen=$((seen+1))'; trap 'echo bye' USR1\n",
        "zsh": "alias hi='echo mine'; PS1='mine> '; precmd() { seen=$((seen+1)) }; trap 'echo bye' USR1\n",
        "fish": "alias hi 'echo mine'; function fish_prompt; echo -n 'mine> '; end; trap 'echo bye' USR1\n"
        "function each_time --on-event fish_prompt; set -g seen yes; end\n",
    }
    (tmp_path / RC[shell]).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / RC[shell]).write_text(rc[shell])
    terminal = await client.terminal(tmp_path, shell=shell, screen=True)
    assert await run(client, terminal, "hi") == ("mine\r\n", 0)
    await client.until(lambda: "mine> " in client.printed(terminal))
    assert (await run(client, terminal, "echo $seen"))[0].strip() not in ("", "0")
    pid = "$fish_pid" if shell == "fish" else "$$"
    assert "bye" in (await run(client, terminal, f"kill -USR1 {pid}; sleep 0"))[0]


async def test_what_happens_in_a_nested_shell_is_the_output_of_one_command(
    client: Client, tmp_path: Path, shell: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    id = await client.ask("terminal/execute", terminal=terminal, command="PS1='nested> ' sh")
    await client.output(terminal, "nested> ")
    await typed(client, terminal, "echo in''side\r")
    await client.output(terminal, "inside\r\n")
    await typed(client, terminal, "exit 5\r")
    answer = await client.answer(id)
    assert (answer["exitCode"], answer["mode"], "inside\r\n" in answer["output"]) == (5, "full", True)
    assert await run(client, terminal, "echo out") == ("out\r\n", 0)


async def test_a_background_child_that_keeps_the_terminal_open_holds_up_nobody_and_ends_with_it(
    bridge: Bridge, client: Client, tmp_path: Path, shell: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    await run(client, terminal, "sleep 1000 &")
    assert await run(client, terminal, "echo on") == ("on\r\n", 0)
    pid = await bridge.runtime.ref(f"/bridge/terminals/{terminal}/pty").call("pid")
    assert len(session.members(pid)) >= 2
    await client.request("terminal/close", terminal=terminal)
    with trio.fail_after(PATIENCE):
        while session.members(pid):
            await trio.sleep(0.001)


async def test_a_program_that_takes_the_whole_screen_gets_its_keys(client: Client, tmp_path: Path, shell: str) -> None:
    """As an editor does: the other screen, key by key, without an echo."""
    terminal = await client.terminal(tmp_path, shell=shell)
    program = (
        r"""printf '\e[?1049h'; stty raw -echo; echo ready; head -c 2 | od -An -c; stty sane; printf '\e[?1049l'"""
    )
    id = await client.ask("terminal/execute", terminal=terminal, command=f'sh -c "{program}"'.replace("\\e", "\\033"))
    await client.output(terminal, "ready")
    await typed(client, terminal, ":q")
    answer = await client.answer(id)
    assert (answer["exitCode"], answer["mode"]) == (0, "full")
    assert ":   q" in answer["output"]


async def test_output_of_many_lines_keeps_its_head_and_tail(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    answer = await client.request("terminal/execute", terminal=terminal, command="seq 600")
    assert answer["truncated"]
    lines = answer["output"].split("\n")
    assert lines[:100] == [f"{n}\r" for n in range(1, 101)]
    assert "[...101 lines omitted...]" in lines
    assert lines[-2] == "600\r"


# --- many


async def test_a_hundred_terminals_at_once_each_burning_a_processor_all_end_right(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminals = [await client.terminal(tmp_path, shell="bash") for _ in range(100)]
    ids = [
        await client.ask("terminal/execute", terminal=terminal, command=BURN.format(n=20_000)) for terminal in terminals
    ]
    answers: list[dict[str, Any]] = [await client.answer(id) for id in ids]
    assert [(each["output"], each["exitCode"], each["mode"]) for each in answers] == [
        ("burnt 20000\r\n", 3, "full")
    ] * 100
    assert all(node.restarts == 0 for node in bridge.runtime.tree().walk())
