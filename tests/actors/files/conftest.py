"""What the tests of the file store share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukemi.actors.files import FileState

from .stores import Disk, failing_disk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For the files themselves."""
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def state(tmp_path: Path) -> FileState:
    """Of a store."""
    return FileState(tmp_path / "records")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """One that fails as told."""
    return failing_disk(monkeypatch)
