"""The health monitor: what is an alert, when, and how often."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ukemi import Ref, Reject, Runtime, SpecError, child, supervisor
from ukemi.runtime.health import INTERVAL, LEAST, WINDOW, HealthMonitor, findings
from ukemi.runtime.metrics import RECENT, Metrics, Recent
from ukemi.supervisors.alerts import AlertRaised
from ukemi.supervisors.events import ChildRestarted

from ..expecting import expecting


@attrs.frozen
class Ward:
    """A runtime whose health is watched."""

    runtime: Runtime

    def record(self, times: int, seconds: float = 0.001, ok: bool = True, operation: str = "read") -> None:
        for _ in range(times):
            self.runtime.metrics.record(operation, seconds, ok)

    async def raised(self, looks: float = 1.0) -> list[tuple[str, str | None]]:
        """The kinds and operations of the alerts that so many looks raise."""
        before = len(self.runtime.events.of(AlertRaised))
        await trio.sleep(looks * INTERVAL)
        return [(alert.kind, alert.operation) for alert in self.runtime.events.of(AlertRaised)[before:]]

    @property
    def monitor(self) -> Ref[HealthMonitor]:
        return self.runtime.ref("/ukemi/health", HealthMonitor)


@asynccontextmanager
async def watched(targets: dict[str, float] | None = None) -> AsyncIterator[Ward]:
    runtime = Runtime(
        supervisor("app"),
        services=lambda runtime: [child("health", lambda: HealthMonitor(runtime.metrics, targets))],
    )
    async with runtime:
        await trio.sleep(0.5)  # so that no look falls together with a test's own steps
        yield Ward(runtime)


RATE, LATENCY = ("HighFailureRate", "read"), ("HighLatency", "read")


async def test_more_than_a_tenth_of_failures_is_an_alert(autojump_clock: object) -> None:
    async with watched() as ward:
        ward.record(80)
        ward.record(20, ok=False)
        ward.record(90, operation="write")
        ward.record(10, ok=False, operation="write")
        assert await ward.raised() == [RATE]
        (alert,) = ward.runtime.events.of(AlertRaised)
        assert (alert.path, alert.severity, alert.value, alert.limit) == ("/ukemi/health", "Recoverable", 0.2, 0.1)
        assert alert.message == "read: 20.0% of the last 100 failed; up to 10% is well"


async def test_a_p99_above_twice_the_target_is_an_alert(autojump_clock: object) -> None:
    async with watched({"read": 0.01, "write": 0.02}) as ward:
        for operation in ("read", "write", "walk"):
            ward.record(100, 0.03, operation=operation)
        assert await ward.raised() == [LATENCY]
        (alert,) = ward.runtime.events.of(AlertRaised)
        assert (alert.severity, alert.value, alert.limit) == ("Warning", pytest.approx(0.03), 0.02)
        assert alert.message == "read: p99 of the last 100 is 30ms; the target is 10ms, and twice that is well"


async def test_few_operations_are_no_alert(autojump_clock: object) -> None:
    async with watched({"read": 0.001}) as ward:
        ward.record(LEAST - 1, 9.0, ok=False)
        assert await ward.raised(3) == []
        ward.record(1, 9.0, ok=False)
        assert await ward.raised() == [RATE, LATENCY]


async def test_one_slow_first_time_is_no_alert(autojump_clock: object) -> None:
    async with watched({"read": 0.001}) as ward:
        ward.record(1, 9.0)
        ward.record(LEAST - 1)
        assert await ward.raised() == []


async def test_an_alert_is_raised_once_while_it_lasts_and_again_after_it_was_well(autojump_clock: object) -> None:
    async with watched({"read": 0.01}) as ward:
        for _ in range(2):
            ward.record(RECENT, 1.0, ok=False)
            assert await ward.raised() == [RATE, LATENCY]
            assert [alert.kind for alert in await ward.monitor.call(HealthMonitor.lasting)] == [RATE[0], LATENCY[0]]
            ward.record(20, 1.0, ok=False)
            assert await ward.raised(3) == []
            ward.record(RECENT)
            assert await ward.raised() == []
            assert await ward.monitor.call(HealthMonitor.lasting) == []


async def test_a_rate_about_the_limit_does_not_flap(autojump_clock: object) -> None:
    async with watched() as ward:
        ward.record(88)
        ward.record(12, ok=False)
        assert await ward.raised() == [RATE]
        for _ in range(5):
            ward.record(23)
            ward.record(2, ok=False)  # 9.1 % in all
            assert await ward.raised() == []
            ward.record(2, ok=False)
            assert await ward.raised() == []


async def test_what_is_past_is_not_held_against_an_operation(autojump_clock: object) -> None:
    async with watched() as ward:
        ward.record(100, ok=False)
        assert await ward.raised() == [RATE]
        ward.record(LEAST)
        assert await ward.raised(WINDOW / INTERVAL + 2) == []
        ward.record(LEAST // 2, ok=False)
        assert await ward.raised() == [RATE]


async def test_what_is_seldom_done_is_judged_all_the_same(autojump_clock: object) -> None:
    async with watched() as ward:
        raised = []
        for _ in range(LEAST):
            ward.record(1, ok=False)
            raised += await ward.raised(WINDOW / INTERVAL)
        assert raised == [RATE]


async def test_actors_may_record_through_the_monitor(autojump_clock: object) -> None:
    async with watched() as ward:
        ward.monitor.cast(HealthMonitor.record_operation, "read", 0.5, False)
        await ward.monitor.call(HealthMonitor.record_operation, "read", 0.5)
        stats = ward.runtime.metrics.stats("read")
        assert stats is not None
        assert (stats.count, stats.failures) == (2, 1)
        with pytest.raises(ValueError, match="not -1"):
            await ward.monitor.call(HealthMonitor.record_operation, "read", -1.0)
        assert ward.monitor.stats().crashes == 0


async def test_a_monitor_that_is_killed_watches_again(autojump_clock: object) -> None:
    async with watched() as ward:
        async with expecting(ward.runtime, ChildRestarted, "/ukemi/health"):
            ward.monitor.kill()
        ward.record(LEAST, ok=False)
        assert await ward.raised(2) == [RATE]


@pytest.mark.parametrize("targets", [{"read": 0}, {"read": -1.0}, {"read": math.inf}, {"read": "fast"}, {7: 1.0}])
def test_a_target_that_is_none_is_refused_by_name(targets: Any) -> None:
    name = repr(next(iter(targets)))
    with pytest.raises(SpecError, match=f"the target of {name} must be finite seconds above 0, not"):
        HealthMonitor(Metrics(), targets)


def test_a_wrong_record_is_its_senders_matter() -> None:
    with pytest.raises(Reject):
        HealthMonitor(Metrics()).record_operation("", 1.0)


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.0, 10.0), st.floats(0.001, 1.0))
def test_what_is_wrong_stays_wrong_while_an_alert_lasts(count: int, failed: int, p99: float, target: float) -> None:
    recent = Recent(count, min(failed, count), p99)
    fresh = {each.kind for each in findings("op", recent, target, frozenset())}
    lasting = {each.kind for each in findings("op", recent, target, frozenset(fresh))}
    assert fresh <= lasting
    assert fresh <= {
        each.kind for each in findings("op", recent, target, frozenset(("HighFailureRate", "HighLatency")))
    }
    if count < LEAST:
        assert not fresh
    else:
        assert ("HighFailureRate" in fresh) == (recent.failures > 0.1 * count)
        assert ("HighLatency" in fresh) == (p99 > 2 * target)
