"""The log: lines that machines can read, whatever is said."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from ukemi import UkemiError
from ukemi.actors.events import ActorExited, ActorStarted, BackgroundFailed, Event, Zombie
from ukemi.runtime.logs import log_event, set_up_logging
from ukemi.supervisors.alerts import AlertRaised
from ukemi.supervisors.events import (
    ChildRestarted,
    CircuitOpened,
    CircuitShut,
    Exhausted,
    FellBack,
    GaveUp,
    RestartDelayed,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    set_up_logging(tmp_path / "log.jsonl", "warning")
    yield tmp_path / "log.jsonl"
    logger.remove()
    logger.configure(extra={})
    logger.add(sys.stderr)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_says_when_how_bad_who_and_where(log: Path) -> None:
    logger.bind(actor="/app/it").info("hello {}", "world")
    (line,) = lines(log)
    assert {"level": "INFO", "actor": "/app/it", "message": "hello world"}.items() <= line.items()
    assert line["source"].startswith(f"{__name__.rpartition('.')[2]}:") or "test_logs" in line["source"]


@pytest.mark.parametrize("said", ["two\nlines", '"quotes"', "{braces}", "<red>tags</red>", "nul\0", "\udcff", "é€😀"])
def test_whatever_is_said_is_one_line_of_json(log: Path, said: str) -> None:
    logger.bind(value=object(), table={(1, 2): 3}).warning(said)
    logger.bind(actor=said).info("{}", said)
    assert [line["message"] for line in lines(log)] == [said, said]


def test_an_exception_is_named_in_its_line(log: Path) -> None:
    try:
        raise ValueError("of no use")
    except ValueError:
        logger.exception("it failed")
    (line,) = lines(log)
    assert line["exception"] == "ValueError('of no use')"


def test_people_see_what_is_at_least_as_bad_as_asked_for(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(None, "error")
    logger.warning("not so bad")
    logger.error("bad")
    assert "bad" in (said := capsys.readouterr().err)
    assert "not so bad" not in said


def test_a_level_that_there_is_not_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UkemiError, match="there is no log level 'LOUD'; there are: TRACE, DEBUG, INFO"):
        set_up_logging(tmp_path / "log.jsonl", "LOUD")


async def test_events_are_as_bad_as_what_they_tell(log: Path) -> None:
    log_event(GaveUp(path="/a", child="/a/b", reason="r"))
    log_event(Zombie(path="/a", incarnation=2))
    log_event(ActorExited(path="/a", incarnation=1, reason="r", abnormal=True))
    log_event(BackgroundFailed(path="/a", reason="r"))
    log_event(RestartDelayed(path="/a", delay=0.5, attempt=2, reason="r"))
    log_event(ChildRestarted(path="/a", incarnation=2, restarts=1, reason="r", took=0.001))
    log_event(ActorExited(path="/a", incarnation=1, reason="normal", abnormal=False))
    log_event(ActorStarted(path="/a", incarnation=1))
    assert [(line["level"], line["actor"]) for line in lines(log)] == [
        ("CRITICAL", "/a"),
        ("ERROR", "/a"),
        ("WARNING", "/a"),
        ("WARNING", "/a"),
        ("INFO", "/a"),
        ("INFO", "/a"),
        ("DEBUG", "/a"),
        ("DEBUG", "/a"),
    ]


@pytest.mark.parametrize(
    ("event", "level", "said"),
    [
        (CircuitOpened(path="/a", time=0, seconds=30.0, reason="no"), "WARNING", "its circuit is open for 30 s: no"),
        (
            CircuitOpened(path="/a", time=0, seconds=None, reason="no"),
            "WARNING",
            "its circuit is open until it is closed by hand: no",
        ),
        (CircuitShut(path="/a", time=0), "INFO", "its circuit is closed"),
        (FellBack(path="/a", time=0, fallback="raw", reason="no"), "WARNING", "raw runs in its place: no"),
        (FellBack(path="/a", time=0, fallback=None, reason="well again"), "INFO", "is itself again: well again"),
        (
            Exhausted(path="/a", time=0, action="Stop()", why="more than 3"),
            "WARNING",
            "its restarts are spent (more than 3): Stop()",
        ),
    ],
)
def test_what_recovery_does_is_told(log: Path, event: Event, level: str, said: str) -> None:
    log_event(event)
    (line,) = lines(log)
    assert (line["level"], line["message"], line["actor"]) == (level, said, "/a")


def test_an_alert_stands_in_the_log_once(log: Path) -> None:
    log_event(AlertRaised(path="/a", time=0, severity="Critical", message="disk", kind="failure"))
    assert lines(log) == []


def test_nothing_that_is_said_can_command_the_terminal(
    log: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    set_up_logging(tmp_path / "again.jsonl", "warning")
    logger.bind(actor="/a").warning("clear \x1b[2J and\nnext")
    shown = capsys.readouterr().err
    assert "clear \\x1b[2J and\nnext" in shown
    assert lines(tmp_path / "again.jsonl")[0]["message"] == "clear \x1b[2J and\nnext"
