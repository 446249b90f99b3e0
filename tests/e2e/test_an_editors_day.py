"""The bridge as an editor meets it, through a client library that nobody here wrote."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pylsp_jsonrpc.exceptions import JsonRpcException

from ..expecting import PATIENCE
from .editor import Bridge, Editor, bridge


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bridge]:
    with bridge(tmp_path / "state") as it:
        yield it


@pytest.fixture
def editor(running: Bridge) -> Iterator[Editor]:
    it = running.connect()
    yield it
    it.close()


def shell(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))


def test_it_is_greeted_and_told_what_there_is(editor: Editor) -> None:
    assert editor.greeting["serverInfo"]["name"] == "ukemi"
    assert editor.greeting["capabilities"]["terminal"] is True
    assert editor.ask("terminal/list") == {"terminals": []}
    assert editor.ask("runtime/health")["score"] == 1.0
    tree = editor.ask("runtime/tree")
    assert tree["path"] == "/bridge"
    assert {each["state"] for each in tree["children"]} == {"running"}


@pytest.mark.parametrize("name", [shell("bash"), shell("zsh"), shell("fish")])
def test_it_runs_commands_in_a_terminal_and_sees_what_they_print(editor: Editor, tmp_path: Path, name: str) -> None:
    terminal = editor.ask("terminal/create", shell=name, cwd=str(tmp_path), env={"HOME": str(tmp_path)})["terminal"]
    done = editor.execute(terminal, "printf 'one\\ntwo\\n'; false")
    assert (done["output"], done["exitCode"], done["mode"]) == ("one\r\ntwo\r\n", 1, "full")
    assert editor.hear_until("terminal/output", "two\r\n") == done["output"]
    os.mkdir(tmp_path / "sub")
    assert editor.execute(terminal, "cd sub")["cwd"] == str(tmp_path / "sub")
    assert editor.execute(terminal, "pwd")["output"] == f"{tmp_path / 'sub'}\r\n"
    assert editor.ask("terminal/close", terminal=terminal) == {}


def test_it_answers_what_a_program_asks_interrupts_one_and_makes_the_terminal_wider(
    editor: Editor, tmp_path: Path
) -> None:
    terminal = editor.ask("terminal/create", shell="bash", cwd=str(tmp_path), env={"HOME": str(tmp_path)})["terminal"]
    asked = editor.begin("terminal/execute", terminal=terminal, command='printf "name? "; read -r name; echo "<$name>"')
    editor.hear_until("terminal/output", "name? ")
    editor.ask("terminal/write", terminal=terminal, data="Jigoro\r")
    assert asked.result(PATIENCE)["output"].endswith("<Jigoro>\r\n")
    asked = editor.begin("terminal/execute", terminal=terminal, command="echo begun; sleep 600")
    editor.hear_until("terminal/output", "begun\r\n")
    editor.ask("terminal/interrupt", terminal=terminal)
    assert asked.result(PATIENCE)["exitCode"] == 130
    editor.ask("terminal/resize", terminal=terminal, cols=132, rows=50)
    assert editor.execute(terminal, "stty size")["output"] == "50 132\r\n"


def test_it_edits_a_file_and_hears_of_it(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    watch = editor.ask("watch/add", path=str(tmp_path), recursive=True)["watch"]
    editor.ask("file/write", path=str(path), data="# Ukemi\n")
    assert path.read_text() == "# Ukemi\n"
    told = editor.hear("watch/changed")
    while not any(change["path"] == str(path) for change in told["changes"]):  # or what it was written to first
        told = editor.hear("watch/changed")
    assert told["watch"] == watch
    assert editor.ask("file/read", path=str(path))["data"] == "# Ukemi\n"
    assert editor.ask("watch/remove", watch=watch) == {}
    with pytest.raises(JsonRpcException) as caught:
        editor.ask("file/read", path=str(tmp_path / "none"))
    assert caught.value.data["category"] == "FileSystem"


def test_its_shell_is_killed_and_the_tree_shows_what_became_of_it(editor: Editor, tmp_path: Path) -> None:
    terminal = editor.ask("terminal/create", shell="bash", cwd=str(tmp_path), env={"HOME": str(tmp_path)})["terminal"]
    pid = int(editor.execute(terminal, "echo $$")["output"])
    lost = editor.begin("terminal/execute", terminal=terminal, command="echo begun; sleep 600")
    editor.hear_until("terminal/output", "begun\r\n")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(JsonRpcException) as caught:
        lost.result(PATIENCE)
    assert (caught.value.data["category"], caught.value.data["retryable"]) == ("Terminal", False)
    assert int(editor.execute(terminal, "echo $$")["output"]) != pid
    assert part(editor.ask("runtime/tree"), "terminals", terminal, "pty")["restarts"] == 1


def test_the_quality_goes_down_and_up_and_it_is_told(running: Bridge, editor: Editor, tmp_path: Path) -> None:
    terminal = editor.ask("terminal/create", shell="bash", cwd=str(tmp_path), env={"HOME": str(tmp_path)})["terminal"]
    running.command("quality", "1")
    while editor.hear("runtime/feature")["feature"] != f"shell_integration of {terminal}":
        pass
    done = editor.execute(terminal, "echo plain")
    assert ("plain" in done["output"], done["exitCode"], done["mode"]) == (True, None, "no integration")
    running.command("quality", "3")
    told = {"feature": "", "state": ""}
    while (told["feature"], told["state"]) != (f"shell_integration of {terminal}", "whole"):
        told = editor.hear("runtime/feature")
    until = time.monotonic() + PATIENCE
    while (done := editor.execute(terminal, "echo full"))["mode"] != "full" and time.monotonic() < until:
        pass
    assert (done["output"], done["exitCode"]) == ("full\r\n", 0)


def part(tree: dict[str, Any], *names: str) -> dict[str, Any]:
    """What is below, by its names."""
    for name in names:
        (tree,) = (each for each in tree["children"] if each["name"] == name)
    return tree


def test_what_it_asks_wrongly_gets_its_error_and_harms_nothing(editor: Editor) -> None:
    for method, params, said in (
        ("terminal/execute", {"terminal": "t99", "command": "true"}, "there is no terminal 't99'"),
        ("terminal/execute", {"terminal": "t99"}, "'command' is missing"),
        ("terminal/create", {"cwd": "/no/such/folder"}, "Working directory '/no/such/folder' does not exist."),
        ("no/such/method", {}, "there is no method 'no/such/method'"),
    ):
        with pytest.raises(JsonRpcException) as caught:
            editor.ask(method, **params)
        assert said in caught.value.message
        assert caught.value.data["severity"] == "Warning"
    assert editor.ask("runtime/health")["score"] == 1.0


def test_it_takes_its_session_up_again_and_misses_nothing(running: Bridge) -> None:
    first = running.connect()
    terminal = first.ask("terminal/create")["terminal"]
    first.execute(terminal, "echo before")
    seq = first.hear("terminal/output")["seq"]
    request: dict[str, Any] = {"terminal": terminal, "command": "echo meanwhile", "requestKey": "once"}
    first.begin("terminal/execute", **request)
    first.close()  # whether it was run already, it does not know
    second = running.connect(session=first.greeting["session"], lastSeq=seq)
    assert second.greeting["resumed"]
    assert second.ask("terminal/execute", **request)["output"] == "meanwhile\r\n"
    assert second.hear_until("terminal/output", "meanwhile\r\n") == "meanwhile\r\n"
    assert second.execute(terminal, "echo after")["output"] == "after\r\n"
    assert second.hear("terminal/output")["data"] == "after\r\n"  # and nothing a second time
    second.close()
