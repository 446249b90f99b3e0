"""Where reports go: the ring and the file, each of bounded size."""

import json
import os
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ukemi.runtime import collectors
from ukemi.runtime.collectors import BYTES, KEPT, JsonLines, MemoryRing
from ukemi.runtime.error_report import ErrorReport
from ukemi.supervisors.recovery.failure import Category, Failure, Severity

FAILURE = Failure(category=Category.NETWORK, severity=Severity.WARNING, retryable=True, error="E", message="m")


def report(n: int = 0, **more: Any) -> ErrorReport:
    return ErrorReport(f"t{n}", "/app/it", n, "go", f"ValueError: {n}", failure=FAILURE, **more)


def lines(path: Path) -> list[int]:
    """The incarnations in a file of reports."""
    return [json.loads(line)["incarnation"] for line in path.read_text().splitlines()]


# --- the ring


def test_the_ring_keeps_the_last_reports() -> None:
    ring = MemoryRing(kept=3)
    for n in range(5):
        ring(report(n))
    assert [each.incarnation for each in ring.last()] == [2, 3, 4]
    assert [each.incarnation for each in ring.last(1)] == [4]
    assert ring.last(0) == []


def test_the_ring_keeps_fewer_where_they_are_big() -> None:
    ring = MemoryRing()
    for n in range(50):
        ring(report(n, traceback="x" * 10_000))
    assert [each.incarnation for each in ring.last()] == list(range(50 - BYTES // 11_300, 50))
    for n in range(KEPT):
        ring(report(n))
    assert len(ring.last()) > BYTES // 2000
    ring(report(7, traceback="x" * 2 * BYTES))
    assert [each.incarnation for each in ring.last()] == [7]


def test_the_rings_memory_is_bounded() -> None:
    ring = MemoryRing()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(1000):
        state = {f"attribute {m}": f"value {n} {m}" * 4 for m in range(n % 40)}
        ring(report(n, traceback=f"line {n}\n" * (n % 300), state=state, last_messages=(f"go({n})",) * 3))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used < 1.5 * BYTES


# --- the file


def test_the_file_has_a_line_for_each_report_and_is_its_owners(tmp_path: Path) -> None:
    collect = JsonLines(tmp_path / "errors.jsonl")
    before = os.umask(0)
    try:
        collect(report(1, state={"n": "7"}, last_messages=("go(1)",)))
    finally:
        os.umask(before)
    collect(report(2))
    first = json.loads(collect.path.read_text().splitlines()[0])
    assert (first["error"], first["severity"], first["state"]) == ("ValueError: 1", "Error", {"n": "7"})
    assert (first["failure"]["category"], first["last_messages"]) == ("Network", ["go(1)"])
    assert lines(collect.path) == [1, 2]
    assert stat.S_IMODE(collect.path.stat().st_mode) == 0o600


def test_a_file_that_would_grow_too_big_is_put_aside(tmp_path: Path) -> None:
    collect = JsonLines(tmp_path / "errors.jsonl", largest=2000)
    for n in range(50):
        collect(report(n))
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["errors.jsonl", "errors.jsonl.1"]
    assert all(file.stat().st_size <= 2000 for file in files)
    kept = [*lines(files[1]), *lines(files[0])]
    assert kept == list(range(50 - len(kept), 50))


def test_one_report_that_is_too_big_is_written_all_the_same(tmp_path: Path) -> None:
    collect = JsonLines(tmp_path / "errors.jsonl", largest=100)
    collect(report(1))
    collect(report(2))
    assert (lines(collect.path), lines(tmp_path / "errors.jsonl.1")) == ([2], [1])


def test_a_file_that_is_taken_away_is_made_again(tmp_path: Path) -> None:
    collect = JsonLines(str(tmp_path / "errors.jsonl"))  # type: ignore[arg-type]
    collect(report(1))
    collect.path.unlink()
    collect(report(2))
    assert lines(collect.path) == [2]


def test_text_that_is_no_utf_8_is_written(tmp_path: Path) -> None:
    collect = JsonLines(tmp_path / "errors.jsonl")
    collect(report(1, state={"name": "\udcff"}))
    assert json.loads(collect.path.read_text())["state"] == {"name": "\udcff"}


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    collect = JsonLines(tmp_path / "errors.jsonl")
    collect.path.write_text('{"time": "t0", "pa')
    collect(report(1))
    assert lines_that_are_whole(collect.path) == [1]


def lines_that_are_whole(path: Path) -> list[int]:
    return [json.loads(line)["incarnation"] for line in path.read_text().splitlines() if line.endswith("}")]


def test_a_full_disk_leaves_whole_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collect = JsonLines(tmp_path / "errors.jsonl")
    collect(report(1))
    write = os.write
    monkeypatch.setattr(collectors.os, "write", lambda fd, data: write(fd, data[:10]))
    with pytest.raises(OSError, match="only 10 of "):
        collect(report(2))
    monkeypatch.undo()
    collect(report(3))
    assert lines(collect.path) == [1, 3]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JsonLines(tmp_path / "nowhere" / "errors.jsonl")(report())
