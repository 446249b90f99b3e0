"""Crash reports: what went wrong, with its traceback, kept as text.

Formatting a traceback costs several times what the restart costs, so it is done later, in the turn of an actor of its
own, and at a limited rate for each place that crashes; what was held back is counted (rule X3).
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import attrs
import trio
from loguru import logger

from ..actors.actor import Actor
from ..actors.protocol import at_once, local
from ..actors.reasons import describe
from ..actors.shorten import short
from ..actors.system import Crash

KEPT = 100
"""Reports that are remembered."""
RATE = 5
"""Tracebacks formatted for each place in each second."""
KEYS = 1000
"""Places that are told apart; the count starts anew beyond."""


@attrs.frozen
class CrashReport:
    """One crash, as text."""

    time: str
    path: str
    incarnation: int
    method: str | None
    error: str
    traceback: str
    state: dict[str, str] = attrs.field(factory=dict)
    """The actor's attributes, as text of bounded length."""
    held_back: int = 0
    """Crashes of the same place since the last report, that were only counted."""


class CrashReporter(Actor):
    """Formats crashes and keeps the last ones. Its mailbox is the buffer; what does not fit is only counted."""

    def __init__(self) -> None:
        self._reports: deque[CrashReport] = deque(maxlen=KEPT)
        self._window = 0.0
        self._formatted: dict[tuple[str, str], int] = {}
        self._held_back: dict[tuple[str, str], int] = {}

    def on_start(self) -> None:
        """Be told of each crash."""
        system = self.ctx._incarnation.cell.system
        ref = self.ctx.ref
        mailbox = self.ctx._incarnation.cell.mailbox

        def pass_on(crash: Crash) -> None:
            if not (mailbox.is_full or mailbox.is_closed):
                ref.cast(CrashReporter.report, crash)

        self.ctx.start_task(self._listen, system.listen_to_crashes(pass_on))

    async def _listen(self, end: Callable[[], None]) -> None:
        try:
            await trio.sleep_forever()
        finally:  # after a kill, too
            end()

    @local
    def report(self, crash: Crash) -> None:
        """Format a crash and log it, or count it."""
        now = trio.current_time()
        if now - self._window >= 1.0:
            self._window = now
            self._formatted.clear()
        key = (crash.path, type(crash.error).__name__)
        if self._formatted.get(key, 0) >= RATE:
            if len(self._held_back) < KEYS or key in self._held_back:
                self._held_back[key] = self._held_back.get(key, 0) + 1
            return
        self._formatted[key] = self._formatted.get(key, 0) + 1
        report = CrashReport(
            time=datetime.now(UTC).isoformat(),
            path=crash.path,
            incarnation=crash.incarnation,
            method=crash.method,
            error=describe(crash.error),
            traceback="".join(traceback.format_exception(crash.error)),
            state=state_of(crash.state),
            held_back=self._held_back.pop(key, 0),
        )
        self._reports.append(report)
        more = f" ({report.held_back} more before it)" if report.held_back else ""
        logger.bind(actor=report.path).debug("crash in {}{}\n{}", report.method, more, report.traceback)

    @at_once
    def reports(self, last: int = KEPT) -> list[CrashReport]:
        """The last reports, oldest first."""
        return list(self._reports)[-last:] if last > 0 else []


def state_of(actor: object) -> dict[str, str]:
    """An actor's attributes, as text of bounded length."""
    return {name: short(value) for name, value in list(getattr(actor, "__dict__", {}).items())}
