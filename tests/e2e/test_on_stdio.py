"""An editor that starts the bridge as its own child, on standard input and output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pylsp_jsonrpc.exceptions import JsonRpcException

from ..expecting import PATIENCE
from .editor import Editor


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ukemi", "run", "--stdio", "--state-dir", str(tmp_path / "state")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process
        process.kill()


@pytest.fixture
def editor(process: subprocess.Popen[bytes]) -> Iterator[Editor]:
    assert process.stdin is not None
    editor = Editor(process.stdout, process.stdin, process.stdin.close)
    yield editor
    editor.close()


def test_it_runs_commands_sees_what_they_print_and_ends_the_bridge(
    editor: Editor, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    terminal = editor.ask("terminal/create", cwd=str(tmp_path), env={"HOME": str(tmp_path)})["terminal"]
    done = editor.execute(terminal, "echo \N{SNOWMAN} a; (exit 3)")
    assert (done["output"], done["exitCode"]) == ("\N{SNOWMAN} a\r\n", 3)
    assert editor.hear_until("terminal/output", "a\r\n") == done["output"]
    with pytest.raises(JsonRpcException, match="there is no method 'no/such'"):
        editor.ask("no/such")
    asked = [editor.begin("runtime/ping") for _ in range(200)]
    assert [each.result(PATIENCE) for each in asked] == [{}] * 200
    assert editor.ask("shutdown") is None
    editor.tell("exit")
    assert process.wait(PATIENCE) == 0


def test_an_editor_that_goes_takes_the_bridge_with_it(editor: Editor, process: subprocess.Popen[bytes]) -> None:
    editor.close()
    assert process.wait(PATIENCE) == 1
