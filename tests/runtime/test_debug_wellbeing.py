"""What the debug commands tell of crashes, errors, alerts, metrics and timeouts, to programs and to people."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from ukemi import Runtime, child
from ukemi.actors.events import DeadLetter
from ukemi.runtime.debug.server import debug_services
from ukemi.runtime.debug.show import console, show
from ukemi.runtime.reports import ErrorReporter
from ukemi.supervisors.alerts import raise_alert
from ukemi.supervisors.events import Recovered

from .debug_shop import TREE, Client, Shop, open_shop
from .test_debug_repl import ukemi


@asynccontextmanager
async def reporting_shop(folder: Path) -> AsyncIterator[tuple[Shop, Client]]:
    """A shop whose errors are reported, and a client of it."""
    path = folder / "debug.sock"
    runtime = Runtime(
        TREE,
        timeouts={"read": 5.0},
        services=lambda runtime: [child("reporter", ErrorReporter), *debug_services(runtime, path)],
    )
    async with runtime:
        shop = Shop(runtime, path)
        async with shop.client() as client:
            yield shop, client


def shown(what: Any, value: Any) -> list[str]:
    """The lines that a person sees."""
    out = console()
    with out.capture() as text:
        show(out, what, value)
    return text.get().splitlines()


async def crash(client: Client) -> None:
    await client.ask("call", actor="counter", method="crash")
    await client.ok("call", actor="counter", method="add", args=[1])


# --- crashes and errors


async def test_crashes_tells_of_each_and_errors_of_all_together(tmp_path: Path) -> None:
    async with reporting_shop(tmp_path) as (_, client):
        for _ in range(3):
            await crash(client)
        while len(await client.ok("crashes")) < 3:
            pass
        reports = await client.ok("crashes", last=2)
        assert [report["restarts"] for report in reports] == [1, 2]
        assert "the till is broken" in reports[0]["traceback"]
        (error,) = await client.ok("errors")
        assert (error["path"], error["error"], error["count"]) == ("/shop/counter", "RuntimeError", 3)
        assert (error["message"], error["category"], error["handled"]) == ("the till is broken", "Unknown", 0)
        head, row = shown("errors", [error])
        assert head.split()[:2] == ["count", "last"]
        assert row.split()[:4] == ["3", "3", "3", "/shop/counter"]
        assert "RuntimeError: the till is broken  Unknown Critical" in row


async def test_errors_that_a_policy_has_met_are_among_them(tmp_path: Path) -> None:
    async with reporting_shop(tmp_path) as (shop, client):
        shop.runtime.events.emit(
            Recovered(
                path="/shop/shelf",
                method="put",
                action="Retry()",
                category="Network",
                severity="Recoverable",
                error="OSError",
                message="reset",
                attempt=1,
            )
        )
        (error,) = await client.ok("errors")
        assert (error["count"], error["handled"], error["action"]) == (1, 1, "Retry()")
        assert "Network Recoverable  Retry()" in shown("errors", [error])[1]


async def test_without_a_reporter_errors_counts_the_exits_that_are_remembered(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        assert await client.ok("errors") == []
        for _ in range(2):
            await crash(client)
        (error,) = await client.ok("errors")
        assert (error["path"], error["error"], error["count"]) == ("/shop/counter", "RuntimeError", 2)
        assert await client.ok("errors", last=0) == []


# --- alerts


async def test_alerts_shows_the_last_ones(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        for n in range(3):
            raise_alert(
                shop.runtime.system, path="/shop", severity="Critical", message=f"fire\n{n}\x1b[2J", kind="Fire"
            )
        alerts = await client.ok("alerts", last=2)
        assert [(each["kind"], each["sort"], each["severity"]) for each in alerts] == [
            ("AlertRaised", "Fire", "Critical")
        ] * 2
        lines = shown("alerts", alerts[:1])
        assert "Critical  Fire  /shop  fire 1\\x1b[2J" in lines[0]
        assert "\x1b" not in "".join(lines)
        happened = "".join(shown("events", await client.ok("events")))
        assert (happened.count("AlertRaised"), happened.count("sort=Fire")) == (3, 3)


async def test_events_that_have_no_kind_of_their_own_are_as_before(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        shop.runtime.system.dead_letter("/shop", "m", "nobody")
        (event,) = [each for each in await client.ok("events") if each["kind"] == DeadLetter.__name__]
        assert (event["method"], event["why"]) == ("m", "nobody")
        assert "sort" not in event


# --- metrics


async def test_metrics_shows_all_operations_or_one(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        assert await client.ok("metrics") == []
        for n in range(4):
            shop.runtime.metrics.record("read", 0.002, ok=n > 0)
        shop.runtime.metrics.record("write", 1.5)
        read, write = await client.ok("metrics")
        assert await client.ok("metrics", operation="write") == [write]
        assert (read["count"], read["failures"], read["p99"]) == (4, 1, pytest.approx(0.002))
        _, first, second = shown("metrics", [read, write])
        assert first.split() == ["4", "1", "2", "ms", "2", "ms", "2", "ms", "read"]
        assert second.split() == ["1", "0", "1.5", "s", "1.5", "s", "1.5", "s", "write"]
        message = await client.error("metrics", operation="walk")
        assert message == "metrics: no operation 'walk' was recorded; those that were: read, write"


# --- timeouts


async def test_timeouts_shows_and_overrides_them(tmp_path: Path) -> None:
    async with reporting_shop(tmp_path) as (shop, client):
        everything = await client.ok("timeouts")
        assert [tuple(each.values()) for each in everything] == [("*", 30.0, "default"), ("read", 5.0, "default")]
        assert (await client.ok("timeouts", operation="read", seconds=0.5))[0]["source"] == "override"
        assert shop.runtime.timeouts.of("read") == 0.5
        (walk,) = await client.ok("timeouts", operation="walk", seconds="none")
        assert walk["seconds"] is None
        assert [line.split() for line in shown("timeouts", [walk])[1:]] == [["none", "walk", "override"]]
        await client.ok("timeouts", operation="read", seconds="default")
        assert await client.ok("timeouts", operation="read") == [everything[1]]
        await client.ok("timeouts", operation="*", seconds=7)
        assert shop.runtime.timeouts.of("anything") == 7.0
        assert (await client.ok("timeouts", operation="*"))[0]["seconds"] == 7.0


@pytest.mark.parametrize("seconds", [0, -1, "soon", True, [], {}])
@pytest.mark.parametrize("operation", ["read", "*"])
async def test_a_wrong_timeout_is_explained_and_changes_nothing(tmp_path: Path, operation: str, seconds: Any) -> None:
    async with reporting_shop(tmp_path) as (shop, client):
        message = await client.error("timeouts", operation=operation, seconds=seconds)
        assert message.startswith(f"timeouts: seconds={seconds!r} must be a number of seconds above 0, ")
        assert (shop.runtime.timeouts.of("read"), shop.runtime.timeouts.default) == (5.0, 30.0)


async def test_the_default_of_all_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    async with reporting_shop(tmp_path) as (_, client):
        message = await client.error("timeouts", operation="*", seconds="default")
        assert message == "timeouts: seconds='default' must be a number of seconds above 0, or \"none\" for no timeout"


async def test_operations_are_there_for_completion(tmp_path: Path) -> None:
    async with reporting_shop(tmp_path) as (shop, client):
        shop.runtime.metrics.record("reap", 1.0)
        shop.runtime.metrics.record("write", 1.0)
        assert await client.ok("operations") == ["read", "reap", "write"]
        assert await client.ok("operations", prefix="rea") == ["read", "reap"]


# --- from the command line


def words(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split()


async def test_each_is_a_command_of_its_own(tmp_path: Path) -> None:
    async with reporting_shop(tmp_path) as (shop, _):
        shop.runtime.metrics.record("read", 0.002)
        assert words(await ukemi(tmp_path, "metrics"))[-4:] == ["ms", "2", "ms", "read"]
        assert orjson.loads((await ukemi(tmp_path, "metrics", "read", "--json")).stdout)[0]["count"] == 1
        assert words(await ukemi(tmp_path, "errors")) == ["no", "error"]
        assert words(await ukemi(tmp_path, "alerts", "3")) == ["no", "alert"]
        assert words(await ukemi(tmp_path, "timeouts", "read", "0.25"))[-3:] == ["0.25", "read", "override"]
        assert shop.runtime.timeouts.of("read") == 0.25


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["alerts", "many"], "ukemi: alerts: LAST is a whole number from 0 up, not 'many'"),
        (["metrics", "walk"], "ukemi: metrics: no operation 'walk' was recorded; those that were: none"),
        (["errors", "1", "2"], "ukemi: '2' is too much; usage: errors [LAST]"),
    ],
)
async def test_what_is_wrong_is_one_line(tmp_path: Path, typed: list[str], says: str) -> None:
    async with open_shop(tmp_path):
        done = await ukemi(tmp_path, *typed)
        assert done.returncode != 0
        assert done.stderr.decode() == f"{says}\n"
