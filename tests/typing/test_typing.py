"""mypy and pyright see the API as `api.py` says: `Ref[Counter].call(Counter.add, 2)` is checked in full."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

API = Path(__file__).with_name("api.py")
ROOT = API.parents[2]


def marked() -> set[int]:
    return {number for number, line in enumerate(API.read_text().splitlines(), 1) if line.endswith("# error")}


def run(*command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout


def mypy_errors() -> dict[int, str]:
    output = run("mypy", "--no-incremental", "--strict", "--no-pretty", "--hide-error-context", str(API))
    pattern = re.compile(rf"^(?:{re.escape(str(API))}|{API.relative_to(ROOT)}):(\d+): error: (.*)$", re.MULTILINE)
    return {int(number): text for number, text in pattern.findall(output)} or {0: output}


def pyright_errors() -> dict[int, str]:
    report = json.loads(run("pyright", "--outputjson", str(API)))
    errors = [each for each in report["generalDiagnostics"] if each["severity"] == "error"]
    return {each["range"]["start"]["line"] + 1: each["message"] for each in errors}


@pytest.mark.parametrize("checker", [mypy_errors, pyright_errors])
def test_right_use_passes_the_checker_and_wrong_use_does_not(checker: Callable[[], dict[int, str]]) -> None:
    errors = checker()
    lines = API.read_text().splitlines()
    unexpected = {lines[number - 1].strip(): text for number, text in errors.items() if number not in marked()}
    missed = [lines[number - 1].strip() for number in sorted(marked() - set(errors))]
    assert unexpected == {}
    assert missed == []
    assert len(marked()) > 20
