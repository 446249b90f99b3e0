"""`ResourceMonitor`: measures how short the system's resources are, and publishes it. It does nothing about it."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable

import attrs
import trio

from ..actor import Actor
from ..errors import Reject, ResourceExhausted, SpecError
from ..protocol import at_once
from .pressure import (
    MEASURED,
    PRESSURE,
    Band,
    Gauge,
    PressureChanged,
    PressureMeasured,
    Reading,
    Resource,
    SourcePressure,
    worst_band,
)
from .sources import Found, Source, find_sources
from .spare import Spare

INTERVAL = 5.0
"""Seconds between two measurements (the spec's)."""


@attrs.frozen
class ResourceState:
    """What there is to know of the resources at this moment."""

    pressure: int
    """The worst of the sources, smoothed, from 0 to 100."""
    band: Band
    sources: tuple[SourcePressure, ...]
    """The worst first."""
    silent: tuple[str, ...]
    """Sources that are there and have nothing to say, such as without a limit."""
    absent: dict[str, str]
    """Sources that this system does not have, and why."""
    measured_at: float
    """Seconds on trio's clock."""


class ResourceMonitor(Actor):
    """Measures every `interval` seconds, first when it starts; each measurement is on the topic `MEASURED`.

    A change of the band is on the topic `PRESSURE`, and an event of the runtime. A source that fails crashes it;
    started again, it looks anew for what there is. `find` gives the sources.
    """

    def __init__(self, interval: float = INTERVAL, find: Callable[[], Found] = find_sources) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not 0 < interval < math.inf:
            raise SpecError(f"ResourceMonitor: interval={interval!r} must be a finite number of seconds above 0")
        self._interval = interval
        self._find = find

    def on_start(self) -> None:
        """See what there is, and measure it."""
        self._spare = Spare()
        self.ctx.start_task(self._hold_spare)
        with self._spare.lent():
            self._found = self._find()
        self._gauges = {source.name: Gauge() for source in self._found.sources}
        self._state: ResourceState | None = None
        self.measure()
        self.ctx.every(self._interval, self.measure)

    def measure(self) -> ResourceState:
        """Measure now, and publish it."""
        now, before = self.ctx.ref.cell.system.now(), self._state
        taken = [self._take(source, now) for source in self._found.sources]
        sources = tuple(sorted(filter(None, taken), key=lambda each: (-each.band.rank, -each.pressure)))
        self._state = state = ResourceState(
            pressure=max((source.pressure for source in sources), default=0),
            band=worst_band(sources),
            sources=sources,
            silent=tuple(source.name for source, each in zip(self._found.sources, taken, strict=True) if each is None),
            absent=self._found.absent,
            measured_at=now,
        )
        self._publish(state, before.band if before is not None else None)
        return state

    @at_once
    def state(self) -> ResourceState:
        """The last measurement."""
        assert self._state is not None
        return self._state

    def require(self, resource: Resource, amount: int = 1) -> None:
        """Nothing, if there is room for so much more of it, in bytes, descriptors or processes.

        Else it is rejected with the ResourceExhausted of the limit that does not allow it. It is read now, and nothing
        is set aside. What has no limits, such as the CPU, has room.
        """
        if amount < 0:
            raise Reject(ValueError(f"amount={amount!r} must be a number from 0 up"))
        for source in self._found.sources:
            reading = self._read(source) if source.resource == resource else None
            if reading is None or reading.limit is None or reading.current is None:
                continue
            if reading.current + amount > reading.limit:
                raise Reject(ResourceExhausted(source.name, reading.limit, reading.current))

    async def _hold_spare(self) -> None:
        """Give it back at the end, which `on_stop` would not do after a kill."""
        try:
            await trio.sleep_forever()
        finally:
            self._spare.close()

    def _take(self, source: Source, now: float) -> SourcePressure | None:
        gauge, reading = self._gauges[source.name], self._read(source)
        if reading is None:
            gauge.reset()
            return None
        gauge.take(source.scale.pressure(reading.percent), now)
        return SourcePressure(
            name=source.name,
            resource=source.resource,
            pressure=gauge.pressure,
            band=gauge.band,
            percent=reading.percent,
            current=reading.current,
            limit=reading.limit,
        )

    def _read(self, source: Source) -> Reading | None:
        """What it says; with the spare descriptor, where there is no other left to read it."""
        try:
            try:
                return source.read()
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
            with self._spare.lent():
                return source.read()
        except Exception as error:
            error.add_note(f"while the source {source.name!r} was read")
            raise

    def _publish(self, state: ResourceState, before: Band | None) -> None:
        now, path = state.measured_at, self.ctx.path
        measured = PressureMeasured(
            path=path, time=now, pressure=state.pressure, band=state.band, sources=state.sources
        )
        self.ctx.publish(MEASURED, measured)
        if state.band is before:
            return
        changed = PressureChanged(
            path=path, time=now, pressure=state.pressure, band=state.band, sources=state.sources, before=before
        )
        worse = state.band.rank > (before or Band.NORMAL).rank
        self.ctx.log.log(
            "WARNING" if worse else "INFO", "Resource pressure {}: {}", state.band, worst_text(state.sources)
        )
        self.ctx.ref.cell.system.events.emit(changed)
        self.ctx.publish(PRESSURE, changed)


def worst_text(sources: tuple[SourcePressure, ...], most: int = 3) -> str:
    """The worst sources in a line: `memory of the cgroup 84 (93 %), CPU 60 (100 %)`."""
    shown = ", ".join(f"{each.name} {each.pressure} ({each.percent:.0f} %)" for each in sources[:most])
    return shown or "nothing can be measured"
