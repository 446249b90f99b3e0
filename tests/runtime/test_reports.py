"""Error reports: counted at once, formatted late and at a limited rate, and handed to whoever collects them."""

import gc
import weakref
from collections.abc import Iterable
from typing import Any

import pytest
import trio
import trio.testing

from ukemi import (
    Actor,
    ActorCrashed,
    OperationTimeout,
    ParseError,
    ProviderError,
    ResourceExhausted,
    Runtime,
    SpecError,
    child,
    supervisor,
)
from ukemi.actors.protocol import local
from ukemi.runtime.aggregation import RATE, RATE_OF_ALL
from ukemi.runtime.collectors import KEPT
from ukemi.runtime.error_report import FRAMES, LINE, TRACEBACK, ErrorReport, error_text, severity_of, traceback_text
from ukemi.runtime.reports import PENDING, ErrorReporter
from ukemi.supervisors.events import ChildRestarted, Recovered
from ukemi.supervisors.recovery.policy import RECOVERY

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

    @local
    def crash_of(self, error: BaseException) -> None:
        raise error


class Contrary(Actor):
    """Nothing can be learnt from it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            raise RuntimeError("none of your business")
        return super().__getattribute__(name)

    def crash(self) -> None:
        raise OSError(5, "Input/output error")


def reporting(*others: Any) -> Runtime:
    return Runtime(
        supervisor("app", child("it", Fragile), *others, max_restarts=100_000),
        services=lambda runtime: [child("reporter", ErrorReporter)],
    )


async def crash(runtime: Runtime, times: int = 1, method: str = "crash", who: str = "it", *args: Any) -> None:
    for _ in range(times):
        async with expecting(runtime, ChildRestarted, f"/app/{who}"):
            with pytest.raises(ActorCrashed):
                await runtime.ref(who).call(method, *args)


async def reported(runtime: Runtime, number: int = 1) -> list[ErrorReport]:
    """The reports, once there are so many."""
    with trio.fail_after(30):
        while len(runtime.errors.reports()) < number:
            await trio.lowlevel.checkpoint()
    return runtime.errors.reports()


# --- what is in one


@pytest.mark.rule("X3")
async def test_a_report_says_who_crashed_of_what_where_and_how_it_was() -> None:
    async with reporting() as runtime:
        runtime.system.remembers = 2
        await crash(runtime)
        await crash(runtime)
        report = (await reported(runtime, 2))[1]
        assert (report.path, report.incarnation, report.restarts, report.method) == ("/app/it", 2, 1, "crash")
        assert report.error == "ValueError: why"
        assert "raise ValueError(why)" in report.traceback
        assert report.state["count"] == "7"
        assert report.failure is not None
        assert (report.failure.category, report.failure.component) == ("Unknown", "/app/it")
        assert report.last_messages == ("crash()",)


@pytest.mark.parametrize(
    ("error", "severity"),
    [
        (ResourceExhausted("memory", 1, 2), "Critical"),
        (ProviderError("p", "m"), "Warning"),
        (ParseError("f", 1, 2), "Info"),
        (OperationTimeout("o", 1.0), "Error"),
        (ValueError(), "Error"),
        (ExceptionGroup("g", [ParseError("f", 1, 2), ExceptionGroup("h", [ProviderError("p", "m")])]), "Warning"),
    ],
)
def test_the_severity_of_an_error_is_the_specs(error: Exception, severity: str) -> None:
    assert severity_of(error) == severity


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_whose_str_raises_is_told_all_the_same() -> None:
    assert error_text(Mute()) == "Mute: <its str raises RuntimeError>"
    assert "Mute" in traceback_text(Mute())


def test_the_text_of_an_error_is_of_bounded_length() -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 1_000_000)
        deeper(depth - 1)

    with pytest.raises(ValueError, match="x") as error:
        deeper(200)
    assert len(error_text(error.value)) <= LINE
    text = traceback_text(error.value)
    assert len(text) <= TRACEBACK
    with pytest.raises(ValueError, match="x") as error:
        deeper(FRAMES - 1)
    error.value.args = ("short",)
    text = traceback_text(error.value)
    assert "raise ValueError" in text
    assert text.endswith("ValueError: short\n")


async def test_an_actor_of_which_nothing_can_be_learnt_is_reported() -> None:
    async with reporting(child("other", Contrary)) as runtime:
        await crash(runtime, who="other")
        (report,) = await reported(runtime)
        assert report.error == "OSError: [Errno 5] Input/output error"
        assert report.state == {"__dict__": "<raises RuntimeError>"}


# --- how many there are


@pytest.mark.rule("X3")
async def test_the_same_crash_is_formatted_so_often_in_a_second_and_then_counted(autojump_clock: object) -> None:
    async with reporting() as runtime:
        await crash(runtime, RATE + 10)
        await crash(runtime, 1, "crash_otherwise")
        await trio.sleep(1.5)
        assert [report.error for report in runtime.errors.reports()] == ["ValueError: why"] * RATE + ["KeyError: 'k'"]
        await crash(runtime)
        await trio.sleep(1.5)
        assert runtime.errors.reports(1)[0].held_back == 10
        assert runtime.errors.reports(0) == []
        counted = {each.error: (each.count, each.held_back) for each in runtime.errors.aggregates()}
        assert counted == {"ValueError": (RATE + 11, 10), "KeyError": (1, 0)}


async def test_crashes_everywhere_are_formatted_so_often_in_a_second_and_then_counted(autojump_clock: object) -> None:
    many = [child(f"n{n}", Fragile) for n in range(RATE_OF_ALL + 10)]
    given: list[ErrorReport] = []
    async with reporting(*many) as runtime:
        runtime.errors.report_to(given.append)
        for each in many:
            await crash(runtime, who=each.name)
        await trio.sleep(1.5)
        assert len(given) == RATE_OF_ALL
        assert sum(each.held_back for each in runtime.errors.aggregates()) == 10


async def test_the_last_reports_are_kept(autojump_clock: object) -> None:
    async with reporting() as runtime:
        for _ in range(KEPT // RATE + 2):
            await crash(runtime, RATE)
            await trio.sleep(1.0)
        kept = runtime.errors.reports()
        assert 20 <= len(kept) <= KEPT
        assert [report.incarnation for report in kept] == list(range(KEPT + 11 - len(kept), KEPT + 11))


@pytest.mark.rule("X3")
async def test_a_report_keeps_nothing_alive() -> None:
    Fragile.made.clear()
    async with reporting() as runtime:
        runtime.system.remembers = 5
        await crash(runtime, 3)
        await reported(runtime, 3)
        await crash(runtime, 1, "crash_otherwise")  # the supervisor remembers the last exit
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [made() for made in Fragile.made] == [None] * 3


async def test_a_reporter_that_is_killed_reports_again_and_has_lost_nothing() -> None:
    async with reporting() as runtime:
        await crash(runtime)
        await reported(runtime)
        async with expecting(runtime, ChildRestarted, "/ukemi/reporter"):
            runtime.ref("/ukemi/reporter").kill()
        await crash(runtime)
        reports = await reported(runtime, 2)
        assert [report.incarnation for report in reports if report.path == "/app/it"] == [1, 2]


async def test_what_waits_while_the_reporter_is_down_is_reported_when_it_is_up() -> None:
    async with reporting() as runtime:
        runtime.ref("/ukemi/reporter").cell.suspend(True)
        await crash(runtime, 2)
        assert runtime.errors.waiting == 2
        runtime.ref("/ukemi/reporter").kill()
        assert len(await reported(runtime, 2)) == 2


async def test_what_waits_at_the_end_is_reported() -> None:
    async with reporting() as runtime:
        await crash(runtime)
        await reported(runtime)
        await crash(runtime)
        errors = runtime.errors
    assert len(errors.reports()) == 2
    assert errors.waiting == 0


async def test_so_many_may_wait_and_the_others_are_counted(autojump_clock: object) -> None:
    many = [child(f"n{n}", Fragile) for n in range(PENDING + 10)]
    async with reporting(*many) as runtime:
        runtime.ref("/ukemi/reporter").cell.suspend(True)
        for each in many:
            await crash(runtime, who=each.name)
            await trio.sleep(0.1)
        assert runtime.errors.waiting == PENDING
        assert sum(each.held_back for each in runtime.errors.aggregates()) == 10
        runtime.ref("/ukemi/reporter").cell.suspend(False)
        await trio.sleep(1.5)
        assert runtime.errors.waiting == 0


# --- what a policy has met


def met(
    runtime: Runtime,
    action: str = "Resume()",
    error: str = "ValueError",
    path: str = "/app/it",
    method: str | None = "crash",
) -> None:
    runtime.events.emit(
        Recovered(
            path=path,
            method=method,
            action=action,
            category="Network",
            severity="Warning",
            error=error,
            message="said",
            attempt=1,
        )
    )


async def test_a_failure_that_was_met_without_a_crash_is_counted() -> None:
    async with reporting() as runtime:
        met(runtime)
        met(runtime, "Retry()")
        (each,) = runtime.errors.aggregates()
        assert (each.path, each.error, each.message) == ("/app/it", "ValueError", "said")
        assert (each.count, each.handled, each.held_back, each.action) == (2, 2, 0, "Retry()")
        assert (each.category, each.severity) == ("Network", "Warning")
        assert runtime.errors.reports() == []


async def test_a_failure_that_was_met_and_is_a_crash_is_counted_once() -> None:
    async with reporting() as runtime:
        met(runtime)
        met(runtime, "Restart()")
        await crash(runtime)
        (report,) = await reported(runtime)
        assert report.action == "Restart()"
        (each,) = runtime.errors.aggregates()
        assert (each.count, each.handled, sum(each.by_minute)) == (2, 1, 2)


async def test_a_crash_of_what_another_crashed_of_is_counted_once() -> None:
    async with reporting() as runtime:
        met(runtime, "Restart()", error="ConnectionResetError")
        await crash(runtime)
        assert [(each.error, each.count, each.handled) for each in runtime.errors.aggregates()] == [
            ("ValueError", 1, 0)
        ]


async def test_a_deadline_that_is_lengthened_while_an_actor_ends_is_no_crash() -> None:
    async with reporting() as runtime:
        met(runtime, "Restart()")
        met(runtime, "Extend()", error="CallTimeout")
        await crash(runtime)
        counted = [(each.error, each.count, each.handled) for each in runtime.errors.aggregates()]
        assert counted == [("CallTimeout", 1, 1), ("ValueError", 1, 0)]


async def test_a_failure_without_a_message_in_hand_is_a_crash() -> None:
    async with reporting() as runtime:
        met(runtime, "Restart()", method=None)
        assert runtime.errors.aggregates() == []
        await crash(runtime)
        (report,) = await reported(runtime)
        assert report.action == "Restart()"
        (each,) = runtime.errors.aggregates()
        assert (each.count, each.handled, each.action) == (1, 0, "Restart()")


class SlowToComeBack(Actor):
    """Its first start goes well, the next two do not."""

    starts = 0

    def on_start(self) -> None:
        SlowToComeBack.starts += 1
        if 1 < SlowToComeBack.starts < 4:
            raise KeyError("not yet")

    def crash(self) -> None:
        raise ValueError("why")


async def test_under_a_policy_each_failure_is_counted_once_starts_too(autojump_clock: object) -> None:
    SlowToComeBack.starts = 0
    async with reporting(child("other", SlowToComeBack, policy=RECOVERY)) as runtime:
        await crash(runtime, who="other")
        counted = {each.error: (each.count, each.handled) for each in runtime.errors.aggregates()}
        assert counted == {"ValueError": (1, 0), "KeyError": (2, 0)}


# --- who is given them


async def test_collectors_are_given_each_report() -> None:
    given: list[ErrorReport] = []
    async with reporting() as runtime:
        runtime.errors.report_to(given.append)
        await crash(runtime, 2)
        assert await reported(runtime, 2) == given


class Rude(BaseException):
    """What no collector should raise."""


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), KeyboardInterrupt(), Rude()])
async def test_a_collector_that_raises_is_counted_and_harms_nobody(error: BaseException) -> None:
    given: list[ErrorReport] = []

    def bad(report: ErrorReport) -> None:
        raise error

    async with reporting() as runtime:
        runtime.errors.report_to(bad, given.append)
        await crash(runtime, 2)
        await reported(runtime, 2)
        assert len(given) == 2
        assert list(runtime.errors.failures.values()) == [2]
        assert runtime.ref("/ukemi/reporter").stats().crashes == 0


async def asynchronous(report: ErrorReport) -> None: ...


@pytest.mark.parametrize("wrong", [7, "log", None, asynchronous])
async def test_what_is_no_collector_is_refused(wrong: Any) -> None:
    async with reporting() as runtime:
        with pytest.raises(SpecError, match="a collector is a plain function of an ErrorReport, not"):
            runtime.errors.report_to(wrong)


async def test_the_reporter_answers_as_any_actor() -> None:
    async with reporting() as runtime:
        await crash(runtime)
        reports = await reported(runtime)
        reporter = runtime.ref("/ukemi/reporter", ErrorReporter)
        assert await reporter.call(ErrorReporter.reports) == reports
        aggregates = await reporter.call(ErrorReporter.aggregates)
        assert [each.count for each in aggregates] == [1]


def test_many_kinds_of_errors_make_reports() -> None:
    errors: Iterable[BaseException] = [Mute(), ExceptionGroup("g", [Mute(), Mute()]), SystemExit(3), MemoryError()]
    for error in errors:
        assert error_text(error)
        assert traceback_text(error)
        assert severity_of(error)
