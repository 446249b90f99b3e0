"""Typing, sizes, interrupts and the screen of a terminal, as a client of the bridge sees them."""

import base64
import os
import shutil
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
import trio

from ukemi.runtime.bridge.methods import METHODS

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE
from ..far import far_folder

SHELLS = ["bash", "zsh", "fish"]


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


def told(client: Client, method: str) -> str:
    """All that was told by notifications of this method."""
    return "".join(note["params"]["data"] for note in client.notes if note["method"] == method)


async def seen(client: Client, method: str, wanted: str) -> str:
    await client.until(lambda: wanted in told(client, method))
    return told(client, method)


async def typed(client: Client, terminal: str, keys: str) -> None:
    assert await client.request("terminal/write", terminal=terminal, data=keys) == {}


async def run(client: Client, terminal: str, command: str) -> str:
    answer = await client.request("terminal/execute", terminal=terminal, command=command)
    output: str = answer["output"]
    return output


# --- the screen


async def test_what_is_typed_and_the_prompts_are_on_the_screen_and_what_commands_print_is_their_output(
    client: Client, tmp_path: Path, shell: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell, screen=True)
    assert await run(client, terminal, "echo first") == "first\r\n"
    await typed(client, terminal, "echo sec''ond\r")
    output = await seen(client, "terminal/output", "second")
    assert (output[:7], output[-8:]) == ("first\r\n", "second\r\n")
    screen = await seen(client, "terminal/screen", "sec''ond")
    assert not {"first", "second"} & set(screen.splitlines())
    assert "\x1b]633" not in screen


async def test_who_types_sees_the_screen_from_then_on(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    await run(client, terminal, "PS1='ready> '")
    assert told(client, "terminal/screen") == ""
    await typed(client, terminal, "\r")
    await seen(client, "terminal/screen", "ready> ")


async def test_screen_and_output_come_in_the_order_in_which_they_were_printed(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path, screen=True)
    await run(client, terminal, "PS1='ready> '")
    for n in range(20):
        await run(client, terminal, f"echo line {n}")
    await typed(client, terminal, "echo by hand\r")
    await seen(client, "terminal/output", "by hand\r\n")
    await client.until(lambda: told(client, "terminal/screen").endswith("ready> "))
    notes = [(note["method"], note["params"]["data"]) for note in client.notes if "data" in note["params"]]
    outputs = [place for place, (method, _) in enumerate(notes) if method == "terminal/output"]
    assert [notes[place][1] for place in outputs] == [*(f"line {n}\r\n" for n in range(20)), "by hand\r\n"]
    for one, other in pairwise(outputs):
        assert "ready> " in "".join(text for method, text in notes[one:other] if method == "terminal/screen")
    seqs = [note["params"]["seq"] for note in client.notes]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


async def test_another_client_sees_the_screen_only_if_it_asks_for_it(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path, screen=True)
    async with bridge.client() as other:
        await run(other, terminal, "echo on")
        await seen(client, "terminal/screen", "echo on")
        assert [note["method"] for note in other.notes if "data" in note["params"]] == ["terminal/output"]


# --- typing


async def test_a_command_that_reads_gets_what_is_typed(client: Client, tmp_path: Path, shell: str) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    id = await client.ask("terminal/execute", terminal=terminal, command="echo name; read name; echo hello $name")
    await client.output(terminal, "name")
    await typed(client, terminal, "wörld\r")
    answer = await client.answer(id)
    assert (answer["output"].endswith("hello wörld\r\n"), answer["exitCode"]) == (True, 0)


async def test_bytes_that_are_no_text_are_typed_as_base64(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    command = "stty raw -echo; echo ready; head -c 3 | od -An -tx1; stty sane"
    id = await client.ask("terminal/execute", terminal=terminal, command=command)
    await client.output(terminal, "ready")
    data = base64.b64encode(b"\xff\x00\x03").decode()
    await client.request("terminal/write", terminal=terminal, data=data, encoding="base64")
    assert "ff 00 03" in (await client.answer(id))["output"]


async def test_what_is_typed_arrives_in_order(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    id = await client.ask(
        "terminal/execute", terminal=terminal, command="stty -echo; echo ready; head -n 50; stty echo"
    )
    await client.output(terminal, "ready")
    ids = [await client.ask("terminal/write", terminal=terminal, data=f"{n}\r") for n in range(50)]
    for each in ids:
        await client.answer(each)
    assert (await client.answer(id))["output"] == "ready\r\n" + "".join(f"{n}\r\n" for n in range(50))


async def test_a_line_begun_by_hand_is_dropped_before_a_command_and_is_no_part_of_it(
    client: Client, tmp_path: Path, shell: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell, screen=True)
    await run(client, terminal, "true")
    await typed(client, terminal, "echo not")
    await seen(client, "terminal/screen", "not")
    assert await run(client, terminal, "echo mine") == "mine\r\n"


async def test_a_command_waits_for_the_one_that_was_typed_by_hand(client: Client, tmp_path: Path, shell: str) -> None:
    os.mkfifo(tmp_path / "go")
    terminal = await client.terminal(tmp_path, shell=shell, screen=True)
    await run(client, terminal, "true")
    await typed(client, terminal, "echo begun; cat go\r")
    id = await client.ask("terminal/execute", terminal=terminal, command="echo mine")
    await client.output(terminal, "begun\r\n")
    await trio.to_thread.run_sync((tmp_path / "go").write_text, "theirs\n")
    assert (await client.answer(id))["output"] == "mine\r\n"
    assert told(client, "terminal/output").endswith("begun\r\ntheirs\r\nmine\r\n")


# --- sizes and interrupts


async def test_a_terminal_gets_another_size(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    assert await client.request("terminal/resize", terminal=terminal, cols=132, rows=50) == {}
    assert await run(client, terminal, "stty size") == "50 132\r\n"
    for cols, rows, said in [
        (0, 24, "cols must be from 1 to 65535, not 0"),
        (80, 65_536, "rows must be from 1 to 65535, not 65536"),
    ]:
        with pytest.raises(Failed, match=said) as caught:
            await client.request("terminal/resize", terminal=terminal, cols=cols, rows=rows)
        assert caught.value.code == -32602
    assert await run(client, terminal, "stty size") == "50 132\r\n"


async def test_an_interrupt_ends_what_runs_whoever_has_begun_it(
    bridge: Bridge, client: Client, tmp_path: Path, shell: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    id = await client.ask("terminal/execute", terminal=terminal, command="sh -c 'echo begun; exec sleep 1000'")
    await client.output(terminal, "begun")
    async with bridge.client() as other:
        assert await other.request("terminal/interrupt", terminal=terminal) == {}
    assert (await client.answer(id))["exitCode"] == 130
    assert await run(client, terminal, "echo on") == "on\r\n"


async def test_an_interrupt_at_the_prompt_harms_one_command_at_most_whose_caller_is_told(
    client: Client, tmp_path: Path, shell: str
) -> None:
    terminal = await client.terminal(tmp_path, shell=shell)
    await run(client, terminal, "true")
    for n in range(5):
        await client.request("terminal/interrupt", terminal=terminal)
        answer = await client.request("terminal/execute", terminal=terminal, command=f"echo {n}")
        assert answer["output"] == f"{n}\r\n" or "note" in answer or answer["exitCode"] == 130
        assert await run(client, terminal, f"echo after {n}") == f"after {n}\r\n"


# --- names and bounds


async def test_a_part_of_a_terminal_is_no_terminal(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    for method in ("execute", "write", "resize", "interrupt", "restart", "close"):
        more = {"execute": {"command": "true"}, "write": {"data": ""}, "resize": {"cols": 80, "rows": 24}}
        with pytest.raises(Failed, match=f"there is no terminal '{terminal}/pty'") as caught:
            await client.request(f"terminal/{method}", terminal=f"{terminal}/pty", **more.get(method, {}))
        assert caught.value.code == -32602
    assert await run(client, terminal, "echo on") == "on\r\n"


async def test_no_folder_is_not_the_present_one(client: Client) -> None:
    with pytest.raises(Failed, match="Working directory '' does not exist") as caught:
        await client.request("terminal/create", cwd="")
    assert caught.value.code == -32602


async def test_one_client_has_no_more_commands_wait_than_a_terminal_may(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "terminal/execute", attrs.evolve(METHODS["terminal/execute"], most_waiting=3))
    terminal = await client.terminal(tmp_path)
    running = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
    await client.output(terminal, "begun")
    ids = [await client.ask("terminal/execute", terminal=terminal, command=f"echo {n}") for n in range(4)]
    with pytest.raises(Failed, match="terminal/execute of this session that waits its turn: 3") as caught:
        await client.answer(ids[-1])
    assert (caught.value.data["category"], caught.value.data["retryable"]) == ("Resource", True)
    await client.notify("$/cancelRequest", id=running)
    assert [(await client.answer(id))["output"] for id in ids[:-1]] == [f"{n}\r\n" for n in range(3)]
    assert await run(client, terminal, "echo on") == "on\r\n"


async def test_a_session_forgets_terminals_that_are_closed(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    topics = bridge.runtime.system.topics
    async with bridge.client() as other:
        for who in (client, other):
            terminal = await client.terminal(tmp_path, screen=True)
            told = [f"/bridge/terminals/{terminal}/{what}" for what in ("output", "screen")]
            assert [topics.followers(topic) for topic in told] == [1, 1]
            await who.request("terminal/close", terminal=terminal)
            with trio.fail_after(PATIENCE):
                while any(topics.followers(topic) for topic in told):
                    await trio.sleep(0.001)


async def test_a_folder_of_which_nobody_answers_holds_up_its_terminal_only(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with far_folder(tmp_path / "far", monkeypatch) as far:
        far.hang()
        made = await client.ask("terminal/create", cwd=str(far.path / "folder"))
        await trio.to_thread.run_sync(far.wait_until_asked)
        await client.request("runtime/ping")
        assert made not in client.answers
        far.abort()
        with pytest.raises(Failed, match="does not exist"):
            await client.answer(made)
