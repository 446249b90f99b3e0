"""The bridge as an editor meets it, through a client library that nobody here wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pylsp_jsonrpc.exceptions import JsonRpcException

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
