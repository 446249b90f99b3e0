"""docs/recovery.md: its examples run, and its tables are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ukemi.supervisors.recovery import RECOVERY, Action, Category, PolicyLine, Severity, describe_policy

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "recovery.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(number: int, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(EXAMPLES[number])
    command = [sys.executable, tmp_path / "example.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def written(line: PolicyLine) -> str:
    first = ": ".join(filter(None, (line.primary, f"`{line.first}`")))
    then = line.then if line.then == "–" else f"{line.fallback}: `{line.then}`"
    return f"| {line.category} | {line.severity} | {first} | {line.retries} | {then} |"


def test_its_matrix_is_the_policys() -> None:
    table = PAGE.partition("| category | severity | first | retries | then |\n|---|---|---|---|---|\n")[2]
    assert table.split("\n\n")[0].splitlines() == [written(line) for line in describe_policy(RECOVERY)]


def test_it_tells_of_every_action_category_and_severity() -> None:
    actions = {cls.__name__ for cls in Action.__subclasses__() if cls.__module__.endswith("recovery.actions")}
    assert set(re.findall(r"^\| `(\w+)\(", PAGE, flags=re.MULTILINE)) == actions
    for name in (*Category, *Severity):
        assert f"| `{name}` |" in PAGE
