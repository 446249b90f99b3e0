"""The examples of the README and the docs run, as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UKEMI = [sys.executable, "-m", "ukemi"]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def run(folder: Path, *command: str, stdin: str = "") -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, input=stdin, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("page", "number"),
    [(page, n) for page in ("docs/tutorial.md", "docs/bridge.md") for n in range(len(blocks(page, "python")))],
)
def test_an_example_of_the_docs_runs(page: str, number: int, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(blocks(page, "python")[number])
    run(tmp_path, sys.executable, "example.py")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    define, use = blocks("README.md", "python")
    assert define.startswith("# shop.py")
    (tmp_path / "shop.py").write_text(define)
    (tmp_path / "use.py").write_text(use)
    return tmp_path


def test_the_readmes_program_runs(shop: Path) -> None:
    assert run(shop, sys.executable, "use.py") == "total: 5\n"


def test_the_readmes_tree_is_launched_and_inspected_as_it_says(shop: Path) -> None:
    consoles = "".join(blocks("README.md", "console"))
    assert "$ ukemi run shop:tree" in consoles
    assert "$ ukemi repl" in consoles
    lines = re.findall(r"^shop> (.*)$", consoles, flags=re.MULTILINE)
    state = ["--state-dir", str(shop / "state")]
    launched = subprocess.Popen([*UKEMI, "run", "shop:tree", *state], cwd=shop, stderr=subprocess.PIPE)
    try:
        while subprocess.run([*UKEMI, "tree", *state], cwd=shop, capture_output=True, check=False).returncode:
            assert launched.poll() is None
            time.sleep(0.05)
        said = run(shop, *UKEMI, "repl", *state, stdin="\n".join(lines) + "\n")
        assert "total" in said
        assert "5" in said
        assert "counter" in run(shop, *UKEMI, "tree", *state)
    finally:
        launched.terminate()
        _, errors = launched.communicate(timeout=20)
    assert launched.returncode == 0, errors
