"""The monitor in a tree: measurements on MockClock, changes of the band, and sources that fail."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from ukemi import Actor, ActorCrashed, Ref, ResourceExhausted, Runtime, SpecError, child, supervisor
from ukemi.actors.resources import (
    INTERVAL,
    MEASURED,
    PRESSURE,
    Band,
    Found,
    PressureChanged,
    PressureMeasured,
    Reading,
    Resource,
    ResourceMonitor,
    Scale,
    Source,
)
from ukemi.actors.resources.sources import count_open_files
from ukemi.supervisors.events import ChildRestarted

from ...expecting import expecting

SAME = Scale(30, 60, 80)
"""The pressure is the percent."""


@attrs.define
class Weather:
    """What the sources say, as the test has it."""

    readings: dict[str, Reading | Exception | Callable[[], Reading] | None] = attrs.field(factory=dict)
    looks: int = 0

    def set(self, name: str, percent: float, limit: int | None = None) -> None:
        current = None if limit is None else round(percent * limit / 100)
        self.readings[name] = Reading(percent, current, limit)

    def find(self) -> Found:
        self.looks += 1
        names = {"memory": Resource.MEMORY, "CPU": Resource.CPU, "open files": Resource.FILES}
        sources = tuple(Source(name, kind, SAME, self._reader(name)) for name, kind in names.items())
        return Found(sources, {"tides": "there is no sea"})

    def _reader(self, name: str) -> Callable[[], Reading | None]:
        def read() -> Reading | None:
            reading = self.readings.get(name)
            if isinstance(reading, Exception):
                raise reading
            return reading() if callable(reading) else reading

        return read


class Listener(Actor):
    """Writes down what is published."""

    def __init__(self) -> None:
        self.measured: list[int] = []
        self.changed: list[str] = []

    def on_start(self) -> None:
        self.ctx.subscribe(MEASURED, self.take_measured)
        self.ctx.subscribe(PRESSURE, self.take_changed)

    def take_measured(self, event: PressureMeasured) -> None:
        self.measured.append(event.pressure)

    def take_changed(self, event: PressureChanged) -> None:
        self.changed.append(f"{event.before} -> {event.band} at {event.pressure}")

    def heard(self) -> tuple[list[int], list[str]]:
        heard = self.measured, self.changed
        self.measured, self.changed = [], []
        return heard


@attrs.frozen
class Station:
    runtime: Runtime

    @property
    def monitor(self) -> Ref[ResourceMonitor]:
        return self.runtime.ref("resources", ResourceMonitor)

    async def heard(self) -> tuple[list[int], list[str]]:
        return await self.runtime.ref("listener", Listener).call(Listener.heard)


@asynccontextmanager
async def station(weather: Weather, interval: float = INTERVAL) -> AsyncIterator[Station]:
    tree = supervisor(
        "app", child("listener", Listener), child("resources", lambda: ResourceMonitor(interval, weather.find))
    )
    async with Runtime(tree) as runtime:
        await trio.sleep(0.5)  # so that no measurement falls together with a test's own steps
        yield Station(runtime)


async def test_it_measures_when_it_starts_and_every_five_seconds(autojump_clock: MockClock) -> None:
    weather = Weather()
    weather.set("memory", 20)
    async with station(weather) as at:
        assert await at.heard() == ([20], ["None -> normal at 20"])
        await trio.sleep(3 * INTERVAL)
        assert await at.heard() == ([20, 20, 20], [])


async def test_the_pressure_is_the_worst_of_its_sources(autojump_clock: MockClock) -> None:
    weather = Weather()
    weather.set("memory", 20)
    weather.set("CPU", 70)
    async with station(weather) as at:
        state = await at.monitor.call(ResourceMonitor.state)
        assert (state.pressure, state.band) == (70, Band.HIGH)
        assert [source.name for source in state.sources] == ["CPU", "memory"]
        assert state.silent == ("open files",)
        assert state.absent == {"tides": "there is no sea"}


async def test_a_rise_is_there_at_once_and_a_fall_takes_its_time(autojump_clock: MockClock) -> None:
    weather = Weather()
    weather.set("memory", 10)
    async with station(weather) as at:
        await at.heard()
        weather.set("memory", 100)
        await trio.sleep(INTERVAL)
        assert await at.heard() == ([88], ["normal -> critical at 88"])
        weather.set("memory", 10)
        await trio.sleep(8 * INTERVAL)
        measured, changed = await at.heard()
        assert measured == sorted(measured, reverse=True)
        assert [each.partition(" at ")[0] for each in changed] == [
            "critical -> high",
            "high -> moderate",
            "moderate -> normal",
        ]


async def test_a_change_of_the_band_is_an_event_and_a_measurement_is_none(autojump_clock: MockClock) -> None:
    weather = Weather()
    weather.set("memory", 10)
    async with station(weather) as at:
        weather.set("memory", 70)
        await trio.sleep(10 * INTERVAL)
        events = at.runtime.events.of(PressureChanged)
        assert [(event.before, event.band) for event in events] == [(None, Band.NORMAL), (Band.NORMAL, Band.HIGH)]
        assert {event.path for event in events} == {"/app/resources"}
        assert at.runtime.events.of(PressureMeasured) == []


async def test_a_source_that_falls_silent_counts_no_more(autojump_clock: MockClock) -> None:
    weather = Weather()
    weather.set("open files", 95, limit=100)
    async with station(weather) as at:
        assert (await at.monitor.call(ResourceMonitor.state)).band is Band.CRITICAL
        weather.readings["open files"] = None
        state = await at.monitor.call(ResourceMonitor.measure)
        assert (state.pressure, state.band, state.sources) == (0, Band.NORMAL, ())


async def test_a_source_that_fails_crashes_it_and_the_tree_starts_it_again(autojump_clock: MockClock) -> None:
    weather = Weather()
    weather.set("memory", 40)
    async with station(weather) as at:
        weather.readings["memory"] = OSError("the sensor is gone")
        async with expecting(at.runtime, ChildRestarted, "/app/resources"):
            with pytest.raises(ActorCrashed, match="the sensor is gone") as caught:
                await at.monitor.call(ResourceMonitor.measure)
            weather.set("memory", 50)
        assert caught.value.__cause__ is not None
        assert set(caught.value.__cause__.__notes__) == {"while the source 'memory' was read"}
        assert weather.looks > 1
        assert (await at.monitor.call(ResourceMonitor.state)).pressure == 50


async def test_a_limit_that_leaves_no_room_is_answered_with_resource_exhausted(autojump_clock: MockClock) -> None:
    weather = Weather()
    weather.set("open files", 90, limit=100)
    weather.set("CPU", 100)
    async with station(weather) as at:
        await at.monitor.call(ResourceMonitor.require, Resource.FILES, 10)
        await at.monitor.call(ResourceMonitor.require, Resource.CPU, 10)
        await at.monitor.call(ResourceMonitor.require, Resource.PROCESSES, 10)
        with pytest.raises(ResourceExhausted, match="Resource exhausted: open files") as caught:
            await at.monitor.call(ResourceMonitor.require, Resource.FILES, 11)
        assert (caught.value.limit, caught.value.current) == (100, 90)
        with pytest.raises(ValueError, match="amount=-1"):
            await at.monitor.call(ResourceMonitor.require, Resource.FILES, -1)
        assert at.monitor.stats().state == "running"


async def test_a_limit_that_is_reached_is_in_its_state(autojump_clock: MockClock) -> None:
    weather = Weather()
    weather.set("open files", 100, limit=64)
    async with station(weather) as at:
        (source,) = (await at.monitor.call(ResourceMonitor.state)).sources
        assert isinstance(source.exhausted, ResourceExhausted)


async def test_where_no_descriptor_is_left_it_reads_with_its_own(autojump_clock: MockClock) -> None:
    weather, before = Weather(), count_open_files()
    weather.set("memory", 10)
    async with station(weather) as at:
        held = count_open_files()
        asked: list[int] = []

        def read() -> Reading:
            asked.append(count_open_files())
            if len(asked) % 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return Reading(20)

        weather.readings["memory"] = read
        assert (await at.monitor.call(ResourceMonitor.measure)).pressure >= 10
        assert asked == [held, held - 1]
        assert count_open_files() == held
    assert count_open_files() <= before


async def test_it_leaves_no_descriptor_behind(autojump_clock: MockClock) -> None:
    weather = Weather()
    async with Runtime(supervisor("app")):
        inside = count_open_files()
    async with station(weather) as at:
        assert count_open_files() == inside + 1  # the spare one
        async with expecting(at.runtime, ChildRestarted, "/app/resources"):
            await at.monitor.stop()
        assert count_open_files() == inside + 1
        async with expecting(at.runtime, ChildRestarted, "/app/resources"):
            at.monitor.kill()
        assert count_open_files() == inside + 1
    assert count_open_files() <= inside


async def test_this_very_system_is_measured(autojump_clock: MockClock) -> None:
    async with Runtime(supervisor("app", child("resources", ResourceMonitor))) as runtime:
        await trio.sleep(2.5 * INTERVAL)
        state = await runtime.ref("resources", ResourceMonitor).call(ResourceMonitor.state)
    assert 0 <= state.pressure <= 100
    assert {source.name for source in state.sources} >= {"memory", "open files"}


@pytest.mark.parametrize("interval", [0, -1, float("inf"), float("nan"), True, "5"])
def test_an_interval_that_is_none_is_refused(interval: float) -> None:
    with pytest.raises(SpecError, match="interval="):
        ResourceMonitor(interval)
