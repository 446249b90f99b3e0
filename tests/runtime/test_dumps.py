"""Crash dumps: what is in them, who may read them, how many there are."""

import gc
import json
import os
import re
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ukemi.runtime import dumps
from ukemi.runtime.dumps import MOST, CrashDump, CrashHook, location_of, message_of


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_dump_says_where_what_and_by_whom(tmp_path: Path) -> None:
    dump = CrashDump.of("/app/it", raised(ValueError("of no use")), state={"n": "7"}, message_in_hand="add")
    data = json.loads(dump.write(tmp_path).read_text())
    assert data["origin"] == "/app/it"
    assert data["message"] == "ValueError: of no use"
    assert re.search(r"test_dumps\.py:\d+:\d+$", data["location"])
    assert data["traceback"][-1] == "ValueError: of no use\n"
    assert (data["state"], data["message_in_hand"], data["pid"]) == ({"n": "7"}, "add", os.getpid())


def test_a_dump_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = CrashDump.of("main", ValueError()).write(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_last_dumps_are_kept(tmp_path: Path) -> None:
    files = [CrashDump.of("main", ValueError(str(n))).write(tmp_path) for n in range(MOST + 5)]
    assert sorted(tmp_path.iterdir()) == files[5:]


def test_a_dump_that_can_not_be_written_leaves_nothing_half_done(tmp_path: Path) -> None:
    dump = CrashDump.of("main", ValueError(), state={"n": object()})
    with pytest.raises(TypeError):
        dump.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_no_utf_8_is_dumped(tmp_path: Path) -> None:
    data = json.loads(CrashDump.of("main", ValueError("\udcff")).write(tmp_path).read_text())
    assert "ValueError" in data["message"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a"), "ValueError: a"),
        (ValueError(), "ValueError"),
        (Exception(), "Unknown panic"),
        (KeyError("k"), "KeyError: 'k'"),
    ],
)
def test_an_exception_in_a_line(error: Exception, said: str) -> None:
    assert message_of(error) == said


def test_an_exception_that_was_not_raised_is_nowhere() -> None:
    assert location_of(ValueError()) == "unknown"


# --- the hook


@pytest.fixture
def panics(tmp_path: Path) -> Any:
    """A hook that is entered, and how often it asked to stop."""
    asked = list[None]()
    with CrashHook(tmp_path, lambda: asked.append(None)) as hook:
        yield hook, asked


def written(hook: CrashHook) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(hook.folder.iterdir())]


def test_what_a_thread_raises_is_dumped_and_stops_the_program(panics: Any) -> None:
    hook, asked = panics
    thread = threading.Thread(target=raised_in_thread, name="worker")
    thread.start()
    thread.join()
    assert [dump["origin"] for dump in written(hook)] == ["thread worker"]
    assert (hook.count, len(asked)) == (1, 1)


def raised_in_thread() -> None:
    raise ValueError("in a thread")


def test_a_thread_that_exits_is_no_panic(panics: Any) -> None:
    hook, asked = panics
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert (hook.count, asked, written(hook)) == (0, [], [])


def test_what_a_finalizer_raises_is_dumped(panics: Any) -> None:
    class Bad:
        def __del__(self) -> None:
            raise ValueError("in a finalizer")

    hook, asked = panics
    bad = Bad()
    del bad
    gc.collect()
    assert [(dump["origin"], dump["message"]) for dump in written(hook)] == [
        ("unraisable", "ValueError: in a finalizer")
    ]
    assert len(asked) == 1


def test_what_reaches_the_top_of_the_main_thread_is_dumped(panics: Any) -> None:
    hook, _ = panics
    error = raised(ValueError("at the top"))
    sys.excepthook(type(error), error, error.__traceback__)
    assert [dump["origin"] for dump in written(hook)] == ["main"]


def test_a_full_disk_is_told_and_hides_nothing(panics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hook, asked = panics
    told = list[str]()
    sink = dumps.logger.add(told.append, format="{message}")  # type: ignore[arg-type]

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dumps.CrashDump, "write", full)
    assert hook.caught("main", ValueError("x")) is None
    dumps.logger.remove(sink)
    assert any("PANIC at unknown: ValueError: x" in line for line in told)
    assert any("no crash dump could be written" in line for line in told)
    assert len(asked) == 1


def test_the_hooks_from_before_are_put_back(tmp_path: Path) -> None:
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    with CrashHook(tmp_path, lambda: None):
        pass
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before
