"""Error reports: who crashed of what, how often, and how it was.

Each crash is counted at once. Formatting one costs several times what the restart costs, so that is done later, in the
turn of an actor of its own, and at a limited rate for each place that crashes (rule X3); what is held back is counted.
What a policy has met without a crash is counted, too. Reports go to collectors: the log, a file, the user's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import trio

from ..actors.actor import Actor
from ..actors.events import Event
from ..actors.protocol import at_once, local
from ..actors.reasons import Reason
from ..actors.system import Crash, System
from ..supervisors.events import Recovered
from .aggregation import KEYS, ErrorAggregate, Tallies, Tally
from .collectors import KEPT, Collector, Collectors, MemoryRing, to_log
from .error_report import ErrorReport, report_of

PENDING = 64
"""Crashes that may wait to be formatted; those beyond are only counted."""
TURN = 4
"""Crashes that are formatted in one turn, some 0.2 ms each."""
GOING_ON = frozenset(("Resume", "Cancel", "Retry", "Extend", "Throttle"))
"""Actions after which the actor goes on, if they are upon a message."""


class Errors:
    """The errors of one runtime: its counts, its last reports, and what waits to be formatted.

    It outlives the incarnations of the `ErrorReporter`, without which nothing is counted.
    """

    def __init__(
        self, now: Callable[[], float] = trio.current_time, collectors: Iterable[Collector] = (to_log,)
    ) -> None:
        self._now = now
        self._tallies = Tallies()
        self._ring = MemoryRing()
        self._collectors = Collectors(tuple(collectors))
        self._pending: deque[tuple[Crash, Tally, str | None]] = deque()
        self._met: dict[str, tuple[Tally | None, str]] = {}
        """By path, the action that a policy has named on what may yet be a crash, and where that was counted."""

    @classmethod
    def of(cls, system: System) -> Errors:
        """Those of this runtime."""
        return system.only(cls, lambda: cls(lambda: system.now()))

    def report_to(self, *collectors: Collector) -> None:
        """Let these have the reports. Raises SpecError for what is no collector."""
        self._collectors = Collectors(collectors)

    @property
    def failures(self) -> dict[str, int]:
        """How often a collector has raised, by its repr."""
        return self._collectors.failures

    # --- counting

    def crashed(self, crash: Crash) -> bool:
        """Count a crash; whether it waits now to be formatted."""
        now = self._now()
        same, action = self._met.pop(crash.path, (None, None))
        if same is not None:
            self._tallies.take_back(same)
        tally = self._tallies.count((crash.path, type(crash.error).__name__), now)
        tally.action = action
        if not self._tallies.may_report(tally, now):
            return False
        if len(self._pending) >= PENDING:
            self._tallies.hold_back(tally)
            return False
        self._pending.append((crash, tally, action))
        return True

    def recovered(self, event: Recovered) -> None:
        """Count a failure that a policy has named an action on, if there is no crash of it.

        One with no message in hand is a crash; of the others, some are, and then it follows.
        """
        tally = None
        if event.method is not None:
            tally = self._tallies.count((event.path, event.error), event.time)
            tally.handled += 1
            tally.action = event.action
            tally.category, tally.severity, tally.message = event.category, event.severity, event.message
            if event.action.partition("(")[0] in GOING_ON:
                return
        if len(self._met) >= KEYS:
            self._met.clear()
        self._met[event.path] = (tally, event.action)

    # --- formatting

    @property
    def waiting(self) -> int:
        """How many wait to be formatted."""
        return len(self._pending)

    def format(self, most: int = PENDING) -> None:
        """Format some of those that wait, and hand them to the collectors."""
        for _ in range(min(most, len(self._pending))):
            crash, tally, action = self._pending.popleft()
            report = report_of(crash, held_back=tally.unreported, action=action)
            tally.unreported = 0
            if report.failure is not None:
                tally.learn(report.failure, report.failure.message)
            self._ring(report)
            self._collectors(report)

    # --- looking

    def reports(self, last: int = KEPT) -> list[ErrorReport]:
        """The last reports, oldest first."""
        return self._ring.last(last)

    def aggregates(self, last: int = KEYS) -> list[ErrorAggregate]:
        """The errors by key, those that were seen last at the end."""
        now, wall = self._now(), datetime.now(UTC)
        found = self._tallies.aggregates(now, lambda time: (wall - timedelta(seconds=now - time)).isoformat())
        return found[-last:] if last > 0 else []


class ErrorReporter(Actor):
    """The turns in which a runtime's errors are formatted; see `Errors`."""

    def __init__(self) -> None:
        self._is_asked = False

    def on_start(self) -> None:
        """Be told of each crash, and of what policies meet."""
        system = self.ctx._incarnation.cell.system
        self._errors = Errors.of(system)
        ends = (system.listen_to_crashes(self._crashed), system.events.listen(self._happened))
        self.ctx.start_task(self._listen, ends)
        self._ask()

    async def _listen(self, ends: Iterable[Callable[[], None]]) -> None:
        try:
            await trio.sleep_forever()
        finally:  # after a kill, too
            for end in ends:
                end()

    def on_stop(self, reason: Reason) -> None:
        """Let nothing that was counted go unreported."""
        self._errors.format()

    @local
    def format(self) -> None:
        """Format what waits, a few at a time."""
        self._is_asked = False
        self._errors.format(TURN)
        self._ask()

    @at_once
    def reports(self, last: int = KEPT) -> list[ErrorReport]:
        """The last reports, oldest first."""
        return self._errors.reports(last)

    @at_once
    def aggregates(self, last: int = KEYS) -> list[ErrorAggregate]:
        """The errors by key, those that were seen last at the end."""
        return self._errors.aggregates(last)

    def _crashed(self, crash: Crash) -> None:
        if self._errors.crashed(crash):
            self._ask()

    def _happened(self, event: Event) -> None:
        if isinstance(event, Recovered):
            self._errors.recovered(event)

    def _ask(self) -> None:
        """Ask itself for a turn, if something waits. What can't be done any more is left to the next incarnation."""
        mailbox = self.ctx._incarnation.cell.mailbox
        if self._errors.waiting and not (self._is_asked or mailbox.is_full or mailbox.is_closed):
            self._is_asked = True
            self.ctx.ref.cast(ErrorReporter.format)
