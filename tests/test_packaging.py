"""The explicit package list is the tree, and the rooms can't be imported twice."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = {"hdrhistogram": "hdrh"}
"""What is imported under another name than it is installed under."""
ROOMS = ("actors", "supervisors", "runtime", "chaos")
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_of_the_tree_is_listed() -> None:
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("__init__.py")}
    there = {"ukemi", *("ukemi." + ".".join(folder.relative_to(ROOT).parts) for folder in folders)}
    assert set(SETUP["tool"]["setuptools"]["packages"]) == there
    for name, folder in SETUP["tool"]["setuptools"]["package-dir"].items():
        assert (ROOT / folder / "__init__.py").is_file(), name


def test_the_top_level_is_the_design_cards() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in listed.splitlines()}
    assert top == {
        *ROOMS,
        "tests",
        "docs",
        "src",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        ".ci",
        ".gitignore",
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_at_the_top_level_says_what_to_import_instead(room: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"import ukemi.{room}, not {room}" in done.stderr or "import ukemi.actors, not actors" in done.stderr


@pytest.mark.parametrize("requirement", SETUP["project"]["dependencies"])
def test_every_dependency_is_used(requirement: str) -> None:
    name = re.split(r"[<>=~!]", requirement)[0]
    module = MODULES.get(name, name.replace("-", "_"))
    sources = "".join(path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    assert re.search(rf"^ *(import|from) {module}\b", sources, re.MULTILINE), f"nothing imports {module}"


def test_every_dependency_says_what_it_is_for() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for name in [*SETUP["project"]["dependencies"], *SETUP["project"]["optional-dependencies"]["dev"]]:
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f'"{name}"')]
        assert "#" in line or name.startswith("pytest>="), line
