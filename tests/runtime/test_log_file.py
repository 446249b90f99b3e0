"""The log's file: rotated, and quiet about a full disk."""

import errno
import os
from pathlib import Path

import pytest

from ukemi.runtime.log_file import KEPT, LogFile


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log = LogFile(path)
    log.write("größer\n")
    log.write("\udcff\n")
    log.stop()
    assert path.read_text() == "before\ngrößer\n\\udcff\n"


def test_it_is_its_owners_only(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    log.write("x\n")
    log.stop()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_it_is_put_aside_when_it_is_large_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", largest=10)
    for n in range(2 * (KEPT + 2)):
        log.write(f"{n:4}\n")
    log.stop()
    names = ["log", *(f"log.{n}" for n in range(1, KEPT + 1))]
    assert sorted(os.listdir(tmp_path)) == names
    assert [(tmp_path / name).read_text().split() for name in names] == [["8", "9"], ["6", "7"], ["4", "5"], ["2", "3"]]


def test_what_can_not_be_written_is_said_once_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, write = LogFile(tmp_path / "log"), os.write
    log.write("first\n")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for _ in range(3):
        log.write("lost\n")
    monkeypatch.setattr(os, "write", write)
    log.write("last\n")
    log.stop()
    said = f"the log {tmp_path / 'log'} can't be written: No space left on device; what is lost is counted\n"
    assert capsys.readouterr().err == said
    first, lost, last = (tmp_path / "log").read_text().splitlines()
    assert (first, last) == ("first", "last")
    assert "3 lines before this one were lost" in lost
