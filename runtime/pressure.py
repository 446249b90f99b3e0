"""`Relief`: does what the tree declares for each band of resource pressure, and takes it back when that is over.

Measurements come in on a topic, messages go out to the actors that the rows name. Each row is carried out on its own:
one that fails, or hangs, is reported and harms no other, and is due again at the next measurement. The pressure is also
told to the runtime's quality, which rises only while it is low.

Memory may be missing before it is measured: where an actor of the runtime has failed for want of it, everything that is
declared is done at once ("Free resources" of the recovery matrix).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress

import attrs
import trio

from ..actors.actor import Actor
from ..actors.errors import ComponentNotFound, ResourceExhausted, SpecError
from ..actors.events import Event
from ..actors.protocol import at_once
from ..actors.reasons import Reason, describe
from ..actors.resources.monitor import INTERVAL, worst_text
from ..actors.resources.pressure import MEASURED, Band, PressureMeasured, worst_band
from ..actors.resources.spare import Reserve
from ..actors.system import System
from ..supervisors.alerts import raise_alert
from ..supervisors.degradation import Degradation
from ..supervisors.events import Recovered
from ..supervisors.recovery.failure import Category, Severity
from .relief import Announce, Course, Due, LowerQuality, Row, Tell, ThrottleMail, check_rows

TIMEOUT = 5.0
"""Seconds that an actor has to answer."""
SILENCE = 4 * INTERVAL
"""Seconds without a measurement after which nobody measures, and everything is taken back."""


@attrs.frozen(kw_only=True)
class Relieved(Event):
    """Something was done about the pressure, or taken back."""

    row: str
    is_back: bool
    band: Band
    """At which it was begun."""


@attrs.frozen(kw_only=True)
class ReliefFailed(Event):
    """It was tried in vain."""

    row: str
    is_back: bool
    reason: str


@attrs.frozen
class ReliefState:
    """What a Relief has done and not taken back, and what of it fails, by row."""

    band: Band
    """The worst that it was told last; normal if it has heard nothing for long."""
    in_force: tuple[str, ...]
    failing: dict[str, str]


class Relief(Actor):
    """Carries out rows that `when(…)` has made. How far each has been carried out outlives its incarnations.

    - `timeout`: seconds that an actor has to answer a `tell`.
    - `silence`: seconds without a measurement after which it goes back to how it was; more than are between two.
    """

    def __init__(self, rows: Iterable[Row], *, timeout: float = TIMEOUT, silence: float = SILENCE) -> None:
        self._rows = check_rows(rows)
        self._timeout = _check_seconds("timeout", timeout)
        self._silence = _check_seconds("silence", silence)

    def on_start(self) -> None:
        """Listen to measurements."""
        self._system = self.ctx.ref.cell.system
        self._course = _Courses.of(self._system).course(self.ctx.path, self._rows)
        self._under_way: set[int] = set()
        self._failing: dict[int, str] = {}
        self._alarmed: frozenset[str] = frozenset()
        self._band = Band.NORMAL
        self._why = "it was asked for"
        """Why what is done is."""
        self._reserve = Reserve()
        self._silent = self.ctx.after(self._silence, self._hear_nothing)
        self.ctx.subscribe(MEASURED, self._hear)
        self._follow_failures()

    def on_stop(self, reason: Reason) -> None:
        """Nobody throttles, or tells the pressure, any more."""
        for throttle in self._course.let_go():
            with suppress(ComponentNotFound):
                self._throttle(throttle, None)
        Degradation.of(self._system).pressure(None)

    @at_once
    def state(self) -> ReliefState:
        """What is in force, and what fails."""
        failing = {str(self._course.rows[index]): why for index, why in self._failing.items()}
        return ReliefState(self._band, tuple(map(str, self._course.in_force)), failing)

    def emergency(self) -> list[str]:
        """Do everything that is declared, whatever the pressure; what was begun. Measurements to come take it back."""
        return self._relieve(lambda row: Band.CRITICAL)

    # --- hearing

    def _follow_failures(self) -> None:
        """From now on, until this incarnation ends, however it does."""

        def look(event: Event) -> None:
            if isinstance(event, Recovered) and is_want_of_memory(event):
                self._reserve.let_go()  # what is done about it takes memory itself
                self.ctx.after(0, self._meet_emergency, event.path, event.error)

        async def until_the_end() -> None:
            try:
                await trio.sleep_forever()
            finally:
                end_listening()
                self._reserve.let_go()

        self._reserve.hold()
        end_listening = self._system.events.listen(look)
        self.ctx.start_task(until_the_end)

    def _meet_emergency(self, path: str, error: str) -> None:
        self._why = "memory is missing"
        if self.emergency():
            self._alert(Severity.CRITICAL, "Emergency", f"{path} has failed of {error}: all that can be freed is")

    def _hear(self, measured: PressureMeasured) -> None:
        self._silent.cancel()
        self._silent = self.ctx.after(self._silence, self._hear_nothing)
        Degradation.of(self._system).pressure(measured.pressure)
        self._alarm(measured)
        self._band = measured.band
        self._why = f"the resource pressure is {self._band}"
        if self._band is Band.NORMAL:
            self._reserve.hold()
        self._relieve(lambda row: worst_band(measured.sources, row.of))

    def _hear_nothing(self) -> None:
        """Nobody measures: go back, a step at a time."""
        if self._band is not Band.NORMAL:
            self.ctx.log.warning("Nobody has measured the resources for {:g} s", self._silence)
        self._band = Band.NORMAL
        Degradation.of(self._system).pressure(None)
        self._relieve(lambda row: Band.NORMAL)
        self._silent = self.ctx.after(INTERVAL, self._hear_nothing)

    def _alarm(self, measured: PressureMeasured) -> None:
        """Alert, once while it lasts, of a critical pressure, and of each limit that is reached."""
        wrong: dict[str, str] = {}
        if measured.band is Band.CRITICAL:
            wrong["pressure"] = f"Resource pressure is critical: {worst_text(measured.sources)}"
        for source in measured.sources:
            error = source.exhausted
            if error is not None:
                wrong[source.name] = f"{error} ({error.current} of {error.limit})"
            elif source.name in self._alarmed and source.band is Band.CRITICAL:
                wrong[source.name] = "it is not over while it may be reached again at any moment"
        for what in wrong:
            if what in self._alarmed:
                continue
            kind = "ResourcePressure" if what == "pressure" else "ResourceExhausted"
            self._alert(Severity.CRITICAL, kind, wrong[what])
        self._alarmed = frozenset(wrong)

    # --- doing

    def _relieve(self, band_of: Callable[[Row], Band]) -> list[str]:
        due = self._course.due(band_of, self._system.now(), self._under_way)
        for each in due:
            self._carry_out(each)
        for index in list(self._failing):
            row = self._course.rows[index]
            if index not in self._under_way and band_of(row).rank < row.at.rank and not self._course.done(index):
                del self._failing[index]  # nobody asks for it any more
        return [str(each) for each in due]

    def _carry_out(self, due: Due) -> None:
        """Do it, or begin it."""
        match due.row.do:
            case Tell():
                self._under_way.add(due.index)
                self.ctx.start_task(self._tell, due)
            case LowerQuality(levels):
                degradation = Degradation.of(self._system)
                self._try(due, lambda: degradation.lower_quality(levels, str(due.row), self.ctx.path))
            case Announce(topic):
                self._try(due, lambda: self.ctx.publish(topic, self._why))
            case ThrottleMail() as throttle:
                self._try(due, lambda: self._throttle(throttle, None if due.is_back else 1 / throttle.rate))

    def _throttle(self, throttle: ThrottleMail, seconds: float | None) -> None:
        """Let the mail through at this distance, or, as far as this row cares, as it comes."""
        self.ctx.find(throttle.actor).cell.gate.throttle((self.ctx.path, throttle), seconds)

    async def _tell(self, due: Due) -> None:
        told = due.row.back if due.is_back else due.row.do
        assert isinstance(told, Tell)
        try:
            await self.ctx.find(told.actor).within(self._timeout).call(told.method, *told.args)
        except Exception as error:
            self._report_failure(due, error)
        else:
            self._report(due)
        finally:
            self._under_way.discard(due.index)

    def _try(self, due: Due, do: Callable[[], object]) -> None:
        try:
            do()
        except Exception as error:
            self._report_failure(due, error)
        else:
            self._report(due)

    # --- telling of it

    def _report(self, due: Due) -> None:
        self._failing.pop(due.index, None)
        if due.is_again:
            return
        do = due.row.do
        if isinstance(do, ThrottleMail) and not due.is_back:
            said = f"New work is let in slowly, {do.rate:g} messages/s: {self._why}"
            self._alert(Severity.WARNING, "Throttled", said, self.ctx.find(do.actor).path)
        self._system.events.emit(Relieved(path=self.ctx.path, row=str(due.row), is_back=due.is_back, band=self._band))

    def _report_failure(self, due: Due, error: Exception) -> None:
        """Tell of it, and alert of a row that did not fail before."""
        reason = describe(error)
        self._system.events.emit(ReliefFailed(path=self.ctx.path, row=str(due.row), is_back=due.is_back, reason=reason))
        if due.is_back and isinstance(error, ComponentNotFound):
            self._failing.pop(due.index, None)
            return  # there is nothing any more that could go back
        self._course.failed(due)
        if due.index not in self._failing:
            self._alert(Severity.WARNING, "ReliefFailed", f"{due}: {reason}")
        self._failing[due.index] = reason

    def _alert(self, severity: Severity, kind: str, message: str, path: str = "") -> None:
        raise_alert(self._system, path=path or self.ctx.path, severity=severity, message=message, kind=kind)


def is_want_of_memory(event: Recovered) -> bool:
    """Whether an actor has failed since there was no memory.

    ResourceExhausted, which is as critical, names the limit that was reached, and what met it knows what to do.
    """
    is_critical = event.category == Category.RESOURCE and event.severity == Severity.CRITICAL
    return is_critical and event.error != ResourceExhausted.__name__


class _Courses:
    """How far the Reliefs of one runtime have come, by path."""

    def __init__(self) -> None:
        self._courses: dict[str, Course] = {}

    @classmethod
    def of(cls, system: System) -> _Courses:
        """Those of this runtime."""
        return system.only(cls, cls)

    def course(self, path: str, rows: tuple[Row, ...]) -> Course:
        """That of this path, or a new one where the rows are others."""
        found = self._courses.get(path)
        if found is None or found.rows != rows:
            found = self._courses[path] = Course(rows)
        return found


def _check_seconds(option: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SpecError(f"Relief: {option}={value!r} must be a finite number of seconds above 0")
    return float(value)
