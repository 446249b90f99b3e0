"""Crash reports: text, kept in a bounded number, formatted at a limited rate."""

import gc
import weakref

import pytest
import trio
import trio.testing

from ukemi import Actor, ActorCrashed, Runtime, child, supervisor
from ukemi.runtime.reports import KEPT, RATE, CrashReporter
from ukemi.supervisors.events import ChildRestarted

from ..expecting import expecting


class Thing:
    """Something that a crashing frame holds."""


class Fragile(Actor):
    made: "list[weakref.ref[Thing]]" = []  # noqa: RUF012

    def __init__(self) -> None:
        self.count = 7

    def crash(self, why: str = "why") -> None:
        thing = Thing()
        self.made.append(weakref.ref(thing))
        raise ValueError(why)

    def crash_otherwise(self) -> None:
        raise KeyError("k")


def reporting() -> Runtime:
    return Runtime(
        supervisor("app", child("it", Fragile), max_restarts=100_000),
        services=lambda runtime: [child("reporter", CrashReporter)],
    )


async def crash(runtime: Runtime, times: int = 1, method: str = "crash") -> None:
    for _ in range(times):
        async with expecting(runtime, ChildRestarted, "/app/it"):
            with pytest.raises(ActorCrashed):
                await runtime.ref("it").call(method)


@pytest.mark.rule("X3")
async def test_a_report_says_who_crashed_of_what_where_and_how_it_was() -> None:
    async with reporting() as runtime:
        await crash(runtime)
        with trio.fail_after(30):
            while not runtime.crash_reports():
                await trio.lowlevel.checkpoint()
        (report,) = runtime.crash_reports()
        assert (report.path, report.incarnation, report.method) == ("/app/it", 1, "crash")
        assert report.error == "ValueError: why"
        assert "raise ValueError(why)" in report.traceback
        assert report.state["count"] == "7"


@pytest.mark.rule("X3")
async def test_the_same_crash_is_formatted_so_often_in_a_second_and_then_counted(autojump_clock: object) -> None:
    async with reporting() as runtime:
        await crash(runtime, RATE + 10)
        await crash(runtime, 1, "crash_otherwise")
        await trio.sleep(1.5)
        assert [report.error for report in runtime.crash_reports()] == ["ValueError: why"] * RATE + ["KeyError: 'k'"]
        await crash(runtime)
        await trio.sleep(1.5)
        assert runtime.crash_reports(1)[0].held_back == 10
        assert runtime.crash_reports(0) == []


async def test_the_last_reports_are_kept(autojump_clock: object) -> None:
    async with reporting() as runtime:
        for _ in range(KEPT // RATE + 2):
            await crash(runtime, RATE)
            await trio.sleep(1.0)
        assert len(runtime.crash_reports()) == KEPT


@pytest.mark.rule("X3")
async def test_a_report_keeps_nothing_alive() -> None:
    Fragile.made.clear()
    async with reporting() as runtime:
        await crash(runtime, 3)
        with trio.fail_after(30):
            while len(runtime.crash_reports()) < 3:
                await trio.lowlevel.checkpoint()
        await crash(runtime, 1, "crash_otherwise")  # the supervisor remembers the last exit
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [made() for made in Fragile.made] == [None] * 3


async def test_a_reporter_that_is_killed_reports_again() -> None:
    async with reporting() as runtime:
        async with expecting(runtime, ChildRestarted, "/ukemi/reporter"):
            runtime.ref("/ukemi/reporter").kill()
        await crash(runtime)
        with trio.fail_after(30):
            while "/app/it" not in [report.path for report in runtime.crash_reports()]:
                await trio.lowlevel.checkpoint()
