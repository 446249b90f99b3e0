"""Alerts: events that reach the log, the topic and whoever looks later."""

from typing import Any

import attrs
import cattrs
import pytest
import trio.testing
from loguru import logger

from ukemi import Actor, Runtime, SpecError, child, supervisor
from ukemi.actors.protocol import at_once
from ukemi.supervisors.alerts import ALERTS, KEPT, LONGEST, AlertRaised, last_alerts, raise_alert
from ukemi.supervisors.recovery.failure import Severity


class Bystander(Actor):
    def __init__(self) -> None:
        self.seen: list[AlertRaised] = []

    def on_start(self) -> None:
        self.ctx.subscribe(ALERTS, Bystander.take)

    def take(self, alert: AlertRaised) -> None:
        self.seen.append(alert)

    @at_once
    def alerts(self) -> list[AlertRaised]:
        return self.seen


TREE = supervisor("app", child("it", Bystander))


def alarm(runtime: Runtime, message: str = "the disk is full", **more: Any) -> AlertRaised:
    options = {"path": "/app/it", "severity": Severity.CRITICAL, "kind": "failure", **more}
    return raise_alert(runtime.system, message=message, **options)


async def test_an_alert_is_an_event_and_reaches_who_subscribed() -> None:
    async with Runtime(TREE) as runtime:
        alert = alarm(runtime, value=0.5, limit=0.1, operation="file/write")
        await trio.testing.wait_all_tasks_blocked()
        assert runtime.events.of(AlertRaised) == [alert]
        assert await runtime.ref("it", Bystander).call(Bystander.alerts) == [alert]
        assert (alert.path, alert.severity, alert.kind) == ("/app/it", "Critical", "failure")


@pytest.mark.parametrize(
    ("severity", "level"),
    [("Critical", "CRITICAL"), ("Recoverable", "ERROR"), (Severity.WARNING, "WARNING"), ("Info", "INFO")],
)
async def test_an_alert_is_logged_as_its_severity_asks(severity: str, level: str) -> None:
    logged: list[tuple[str, str, str]] = []
    sink = logger.add(
        lambda m: logged.append((m.record["level"].name, m.record["extra"]["actor"], m.record["message"])), level=0
    )
    try:
        async with Runtime(TREE) as runtime:
            alarm(runtime, "braces {like} these", severity=severity)
    finally:
        logger.remove(sink)
    assert (level, "/app/it", "failure: braces {like} these") in logged


async def test_the_last_alerts_are_remembered_whatever_else_happens() -> None:
    async with Runtime(TREE) as runtime:
        for n in range(KEPT + 5):
            alarm(runtime, str(n))
        for _ in range(runtime.events.remembered):
            runtime.system.dead_letter("/app/it", "m", "nobody is there")
        assert runtime.events.of(AlertRaised) == []
        assert [alert.message for alert in last_alerts(runtime.system)] == [str(n) for n in range(5, KEPT + 5)]
        assert [alert.message for alert in last_alerts(runtime.system, 2)] == [str(KEPT + 3), str(KEPT + 4)]
        assert last_alerts(runtime.system, 0) == []


async def test_a_severity_that_is_none_is_refused_by_name() -> None:
    async with Runtime(TREE) as runtime:
        with pytest.raises(SpecError, match="severity='Fatal' must be one of Critical, Recoverable, Warning, Info"):
            alarm(runtime, severity="Fatal")
        assert last_alerts(runtime.system) == []


async def test_a_message_of_any_length_makes_a_short_alert() -> None:
    async with Runtime(TREE) as runtime:
        assert len(alarm(runtime, "x" * 1_000_000).message) == LONGEST


async def test_an_alert_encodes_and_comes_back() -> None:
    async with Runtime(TREE) as runtime:
        alert = alarm(runtime, value=1.5)
        assert cattrs.structure(cattrs.unstructure(alert), AlertRaised) == alert
        assert attrs.asdict(alert)["severity"] == "Critical"
