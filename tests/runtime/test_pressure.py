"""Relief in a tree: what it does at each band, what it takes back, and what becomes of a row that fails."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import attrs
import pytest
import trio
from trio.testing import MockClock

from ukemi import (
    RECOVERY,
    Actor,
    ActorCrashed,
    DynamicSupervisor,
    Ref,
    ResourceExhausted,
    Restart,
    Runtime,
    SpecError,
    child,
    dynamic_supervisor,
    supervisor,
)
from ukemi.actors import resources
from ukemi.actors.resources import (
    INTERVAL,
    Band,
    Found,
    Reading,
    Resource,
    ResourceMonitor,
    Scale,
    Source,
)
from ukemi.runtime.pressure import SILENCE, Relief, ReliefFailed, ReliefState, Relieved
from ukemi.runtime.relief import Row, announce, lower_quality, tell, throttle, when
from ukemi.supervisors.alerts import AlertRaised
from ukemi.supervisors.degradation import QualityChanged
from ukemi.supervisors.events import ChildRestarted
from ukemi.supervisors.recovery import Row as PolicyRow
from ukemi.supervisors.spec import ChildSpec

from ..expecting import expecting
from ..limited import run_limited

SAME = Scale(30, 60, 80)
MEASURED_HERE = (Resource.MEMORY, Resource.CPU, Resource.FILES)


class Cache(Actor):
    """Has a size, and forgets what it is told to."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.size = 1.0
        self.is_ill = False
        self.hangs = False

    async def resize(self, factor: float) -> float:
        if self.hangs:
            await trio.sleep_forever()
        self.size = min(1.0, max(0.125, self.size * factor))
        self.log.append(f"{self.size:g}")
        return self.size

    def clear(self) -> None:
        if self.is_ill:
            raise OSError("can't forget")
        self.log.append("clear")

    def be(self, ill: bool = False, hangs: bool = False) -> None:
        self.is_ill, self.hangs = ill, hangs

    def take(self) -> list[str]:
        taken, self.log = self.log, []
        return taken


class Worker(Actor):
    """Notes when it was asked."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def work(self) -> None:
        self.times.append(trio.current_time())

    def take(self) -> list[float]:
        taken, self.times = self.times, []
        return taken


ROWS = (
    when("moderate", tell("cache", Cache.resize, 0.5), back=tell("cache", Cache.resize, 2.0), times=3, of=["memory"]),
    when("high", tell("cache", Cache.clear), times=None, of=["memory"]),
    when("high", lower_quality()),
    when("critical", throttle("worker", rate=0.5)),
)


@attrs.define
class Scene:
    """A tree under a pressure that the test makes."""

    readings: dict[Resource, Reading]
    runtime: Runtime = attrs.field(init=False)

    def find(self) -> Found:
        def source(resource: Resource) -> Source:
            return Source(resource.value, resource, SAME, lambda: self.readings.get(resource))

        return Found(tuple(map(source, MEASURED_HERE)), {})

    async def press(self, measurements: int = 1, /, **percents: float) -> list[str]:
        """These percents, for so many measurements; what the cache was told meanwhile."""
        for name, percent in percents.items():
            self.readings[Resource(name)] = Reading(percent, round(percent), 100)
        await trio.sleep(measurements * INTERVAL)
        return await self.cache.call(Cache.take)

    async def relax(self) -> list[str]:
        """No pressure at all, until it is felt."""
        return await self.press(20, memory=0, cpu=0, files=0)

    @property
    def cache(self) -> Ref[Cache]:
        return self.runtime.ref("cache", Cache)

    @property
    def relief(self) -> Ref[Relief]:
        return self.runtime.ref("relief", Relief)

    @property
    def quality(self) -> int:
        return self.runtime.features.quality.level

    def alerts(self) -> list[str]:
        return [alert.kind for alert in self.runtime.events.of(AlertRaised)]


@asynccontextmanager
async def scene(*rows: Row, timeout: float = 2.0) -> AsyncIterator[Scene]:
    made = Scene({})
    tree = supervisor(
        "app",
        child("cache", Cache),
        child("worker", Worker),
        child("resources", lambda: ResourceMonitor(INTERVAL, made.find)),
        child("relief", lambda: Relief(rows or ROWS, timeout=timeout), depends_on=["resources"]),
        dynamic_supervisor("work"),
        strategy="dependents",
    )
    async with Runtime(tree) as made.runtime:
        await trio.sleep(0.5)  # so that no measurement falls together with a test's own steps
        yield made


async def test_at_normal_nothing_is_done(autojump_clock: MockClock) -> None:
    async with scene() as at:
        assert await at.press(5, memory=30) == []
        assert at.runtime.events.of(Relieved) == []
        assert (await at.relief.call(Relief.state)) == ReliefState(Band.NORMAL, (), {})


async def test_at_moderate_the_cache_is_halved_down_to_its_floor(autojump_clock: MockClock) -> None:
    async with scene() as at:
        assert await at.press(6, memory=45) == ["0.5", "0.25", "0.125"]
        assert at.quality == 3


async def test_at_high_it_is_cleared_and_the_quality_is_lowered(autojump_clock: MockClock) -> None:
    async with scene() as at:
        assert sorted(await at.press(2, memory=75)) == ["0.25", "0.5", "clear", "clear"]
        assert at.quality == 2
        assert at.alerts() == []


async def test_at_critical_new_work_is_let_through_slowly_and_the_user_is_told(autojump_clock: MockClock) -> None:
    async with scene() as at:
        await at.press(1, memory=95)
        assert at.alerts() == ["ResourcePressure", "Throttled"]
        worker = at.runtime.ref("worker", Worker)
        for _ in range(3):
            worker.cast(Worker.work)
        await at.press(2)
        first, second, third = await at.runtime.ref("worker", Worker).within(None).call(Worker.take)
        assert second - first >= 2 <= third - second
        assert at.alerts() == ["ResourcePressure", "Throttled"]
        assert at.runtime.events.of(AlertRaised)[-1].path == "/app/worker"


async def test_new_children_of_a_dynamic_supervisor_are_slowed_down(autojump_clock: MockClock) -> None:
    async with scene(when("critical", throttle("work", rate=0.1))) as at:
        await at.press(1, cpu=95)
        work = at.runtime.ref("work", DynamicSupervisor)
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(work.within(None).call, DynamicSupervisor.start_child, child(f"w{number}", Worker))
        assert trio.current_time() - begun >= 10


async def test_when_it_is_over_everything_comes_back(autojump_clock: MockClock) -> None:
    async with scene() as at:
        await at.press(3, memory=95)
        assert (await at.relief.call(Relief.state)).in_force == tuple(map(str, ROWS))
        told = [text for text in await at.relax() if text != "clear"]
        assert told == ["0.25", "0.5", "1"]
        assert (await at.relief.call(Relief.state)).in_force == ()
        worker = at.runtime.ref("worker", Worker)
        for _ in range(3):
            worker.cast(Worker.work)
        times = await worker.call(Worker.take)
        assert times == [times[0]] * 3


async def test_the_quality_comes_up_one_level_at_a_time(autojump_clock: MockClock) -> None:
    async with scene(when("high", lower_quality()), when("critical", lower_quality(2))) as at:
        await at.press(1, cpu=95)
        assert at.quality == 0
        await at.press(40, cpu=0)
        changes = [(event.before, event.level) for event in at.runtime.events.of(QualityChanged)]
        assert changes == [(3, 2), (2, 0), (0, 1), (1, 2), (2, 3)]


async def test_the_quality_does_not_come_up_while_the_pressure_is_not_low(autojump_clock: MockClock) -> None:
    async with scene() as at:
        await at.press(1, cpu=75)
        await at.press(60, cpu=45)
        assert at.quality == 2
        await at.press(20, cpu=0)
        assert at.quality == 3


async def test_a_row_for_memory_has_nothing_to_do_with_the_cpu(autojump_clock: MockClock) -> None:
    async with scene() as at:
        assert await at.press(3, cpu=95) == []
        assert at.quality == 2


async def test_a_limit_that_is_reached_is_told_once_while_that_lasts(autojump_clock: MockClock) -> None:
    async with scene() as at:
        await at.press(3, files=100)
        await at.press(1, files=99)
        await at.press(1, files=100)
        alerts = [alert for alert in at.runtime.events.of(AlertRaised) if alert.kind == "ResourceExhausted"]
        assert [alert.message for alert in alerts] == ["Resource exhausted: files (100 of 100)"]
        await at.relax()
        await at.press(1, files=100)
        assert at.alerts().count("ResourceExhausted") == 2


# --- rows that fail


async def test_a_row_that_fails_is_reported_and_harms_no_other(autojump_clock: MockClock) -> None:
    async with scene() as at:
        await at.cache.call(Cache.be, ill=True)
        async with expecting(at.runtime, ChildRestarted, "/app/cache"):
            await at.press(1, memory=75)
        (failed,) = at.runtime.events.of(ReliefFailed)
        assert (failed.row, failed.is_back) == ("at high: cache.clear()", False)
        assert "can't forget" in failed.reason
        assert at.quality == 2
        assert at.alerts() == ["ReliefFailed"]
        assert at.relief.stats().state == "running"


async def test_a_row_that_failed_is_tried_again_at_the_next_measurement(autojump_clock: MockClock) -> None:
    rows = when("high", tell("cache", Cache.clear))
    async with scene(rows) as at:
        await at.cache.call(Cache.be, ill=True)
        await at.press(1, memory=75)
        assert (await at.relief.call(Relief.state)).failing.keys() == {str(rows)}
        assert await at.press(3) == ["clear"]  # the new incarnation is well
        assert (await at.relief.call(Relief.state)).failing == {}


async def test_an_actor_that_hangs_is_given_its_time_and_holds_up_nothing_else(autojump_clock: MockClock) -> None:
    async with scene(timeout=7.0) as at:
        await at.cache.call(Cache.be, hangs=True)
        at.readings[Resource.MEMORY] = Reading(95)
        await trio.sleep(4 * INTERVAL)
        assert at.quality == 2
        assert {"at moderate: cache.resize(0.5)", "at high: cache.clear()"} == {
            event.row for event in at.runtime.events.of(ReliefFailed)
        }
        assert all("within 7 s" in event.reason for event in at.runtime.events.of(ReliefFailed))
        assert at.alerts().count("ReliefFailed") == 2


async def test_an_actor_that_is_not_there_is_reported_once_and_there_is_no_way_back_to_it(
    autojump_clock: MockClock,
) -> None:
    async with scene(when("high", tell("ghost", "clear")), when("high", throttle("w1", rate=1))) as at:
        work = at.runtime.ref("work", DynamicSupervisor)
        await work.call(DynamicSupervisor.start_child, child("w1", Worker, restart="temporary"))
        await at.press(4, memory=75)
        assert at.alerts() == ["Throttled", "ReliefFailed"]
        await work.call(DynamicSupervisor.stop_child, "w1")
        await at.relax()
        assert await at.relief.call(Relief.state) == ReliefState(Band.NORMAL, (), {})
        await at.press(2, memory=75)
        assert at.alerts()[1:] == ["ReliefFailed"] * 3  # the worker is not there any more, either


# --- its own end, and the monitor's


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_relief_that_is_restarted_goes_on_from_where_it_was(autojump_clock: MockClock, how: str) -> None:
    async with scene() as at:
        assert await at.press(2, memory=45) == ["0.5", "0.25"]
        async with expecting(at.runtime, ChildRestarted, "/app/relief"):
            if how == "kill":
                at.relief.kill()
            else:
                await at.relief.stop()
        assert await at.press(4) == ["0.125"]
        assert await at.relax() == ["0.25", "0.5", "1"]


async def test_a_throttle_does_not_outlive_the_relief(autojump_clock: MockClock) -> None:
    async with scene() as at:
        await at.press(1, cpu=95)
        worker = at.runtime.ref("worker", Worker)
        assert worker.cell.gate.pace == 2.0
        await at.runtime.ref("/app").call("stop_child", "relief")
        assert worker.cell.gate.pace is None
        assert at.runtime.features.quality.pressure is None


async def test_of_a_policys_throttle_and_the_reliefs_the_slower_counts(
    autojump_clock: MockClock,
) -> None:
    async with scene() as at:
        await at.press(1, cpu=95)
        cell = at.runtime.ref("worker").cell
        cell.gate.throttle("policy", 0.125)
        assert cell.gate.pace == 2.0
        cell.gate.throttle("policy", 5.0)
        assert cell.gate.pace == 5.0
        await at.press(1)
        cell.gate.throttle("policy", 0.125)
        await at.runtime.ref("relief").stop()
        assert cell.gate.pace == 0.125
        cell.gate.throttle("policy", None)
        assert cell.gate.pace is None


async def test_when_nobody_measures_any_more_it_goes_back(autojump_clock: MockClock) -> None:
    tree = supervisor(
        "app",
        child("cache", Cache),
        child("worker", Worker),
        child("resources", lambda: ResourceMonitor(INTERVAL, lambda: at.find()), restart="temporary"),
        child("relief", lambda: Relief(ROWS)),
    )
    at = Scene({})
    async with Runtime(tree) as at.runtime:
        await trio.sleep(0.5)
        await at.press(3, memory=95)
        at.runtime.ref("resources").kill()
        await trio.sleep(SILENCE)
        assert at.runtime.features.quality.pressure is None
        told = await at.press(4)
        assert [text for text in told if text != "clear"] == ["0.25", "0.5", "1"]
        assert at.runtime.ref("worker").cell.gate.pace is None
        state = await at.relief.call(Relief.state)
        assert (state.band, state.in_force) == (Band.NORMAL, ())


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_befalls_it_everything_is_taken_back_in_the_end(autojump_clock: MockClock, seed: int) -> None:
    random = Random(seed)
    at = Scene({})
    tree = supervisor(
        "app",
        child("cache", Cache),
        child("worker", Worker),
        child("resources", lambda: ResourceMonitor(INTERVAL, at.find)),
        child("relief", lambda: Relief(ROWS, timeout=random.choice([1.0, 7.0])), depends_on=["resources"]),
        strategy=random.choice(["dependents", "one_for_one"]),
        max_restarts=1000,
    )
    async with Runtime(tree, seed=seed) as at.runtime:
        disturb: list[Callable[[], object]] = [
            lambda: at.relief.kill(),
            lambda: at.runtime.ref("resources").kill(),
            lambda: at.cache.kill(),
            lambda: at.cache.cast(Cache.be, random.random() < 0.5, random.random() < 0.3),
            lambda: at.relief.cast(Relief.emergency),
            lambda: None,
        ]
        for _ in range(40):
            at.readings[random.choice(MEASURED_HERE)] = Reading(random.choice([0, 20, 45, 70, 90, 100]), 1, 100)
            await trio.sleep(random.random() * 8)
            random.choice(disturb)()
        at.readings.clear()
        while at.cache.stats().waiting:  # whatever still makes it hang
            at.cache.kill()
            await trio.sleep(1)
        at.cache.kill()
        await trio.sleep(500)
        assert await at.relief.call(Relief.state) == ReliefState(Band.NORMAL, (), {})
        assert (at.runtime.ref("worker").cell.gate.pace, at.quality) == (None, 3)


async def test_in_an_emergency_everything_is_done_at_once_and_taken_back(autojump_clock: MockClock) -> None:
    async with scene() as at:
        begun = await at.relief.call(Relief.emergency)
        assert begun == list(map(str, ROWS))
        await trio.sleep(0.1)
        assert sorted(await at.cache.call(Cache.take)) == ["0.5", "clear"]
        assert await at.relax() == ["1"]
        assert at.runtime.ref("worker").cell.gate.pace is None


# --- when memory is missing


class Hungry(Actor):
    """Asks for more memory than there is, or fails of something else."""

    def eat(self, size: int) -> int:
        return len(bytearray(size))

    def fail(self, resource: str) -> None:
        raise ResourceExhausted(resource, 1, 1)


class Ear(Actor):
    """Hears what is announced."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_start(self) -> None:
        self.ctx.subscribe("free", self.free)

    def free(self, why: str) -> None:
        self.heard.append(why)

    def take(self) -> list[str]:
        return self.heard


@asynccontextmanager
async def hungry_scene() -> AsyncIterator[Runtime]:
    """An actor under a policy with a row for what is critical, and a relief that has nothing to measure by."""
    rows = (
        when("critical", announce("free")),
        when("critical", throttle("ear", rate=100)),
        when("high", lower_quality()),
    )
    tree = supervisor(
        "app",
        child("ear", Ear),
        child("hungry", Hungry),
        child("resources", lambda: ResourceMonitor(INTERVAL, lambda: Found((), {}))),
        child("relief", lambda: Relief(rows), depends_on=["resources"]),
        policy=RECOVERY.replacing(PolicyRow("Resource", "Critical", Restart())),
    )
    async with Runtime(tree) as runtime:
        yield runtime


async def test_where_an_actor_fails_for_want_of_memory_all_is_done_at_once_and_taken_back(
    autojump_clock: MockClock,
) -> None:
    async with hungry_scene() as runtime:
        relief = runtime.ref("relief", Relief)
        assert relief.cell.incarnation.actor._reserve.is_held  # type: ignore[union-attr]
        with pytest.raises(ActorCrashed, match="MemoryError"):
            await runtime.ref("hungry", Hungry).call(Hungry.eat, 2**62)
        await trio.sleep(0.1)
        assert await runtime.ref("ear", Ear).call(Ear.take) == ["memory is missing"]
        assert runtime.features.quality.level == 2
        assert not relief.cell.incarnation.actor._reserve.is_held  # type: ignore[union-attr]
        throttled, emergency = runtime.events.of(AlertRaised)
        assert (throttled.path, throttled.kind) == ("/app/ear", "Throttled")
        assert (emergency.path, emergency.kind, emergency.severity) == ("/app/relief", "Emergency", "Critical")
        assert emergency.message == "/app/hungry has failed of MemoryError: all that can be freed is"
        await trio.sleep(6)
        assert (await relief.call(Relief.state)).in_force == ()
        assert relief.cell.incarnation.actor._reserve.is_held  # type: ignore[union-attr]


async def test_a_limit_that_names_itself_is_no_want_of_memory(autojump_clock: MockClock) -> None:
    async with hungry_scene() as runtime:
        with pytest.raises(ActorCrashed, match="Resource exhausted: watches"):
            await runtime.ref("hungry", Hungry).call(Hungry.fail, "watches")
        await trio.sleep(0.1)
        assert await runtime.ref("ear", Ear).call(Ear.take) == []
        assert runtime.features.quality.level == 3


async def test_a_relief_that_was_killed_hears_of_the_next_failure(autojump_clock: MockClock) -> None:
    async with hungry_scene() as runtime:
        async with expecting(runtime, ChildRestarted, "/app/relief"):
            runtime.ref("relief").kill()
        with pytest.raises(ActorCrashed):
            await runtime.ref("hungry", Hungry).call(Hungry.eat, 2**62)
        await trio.sleep(0.1)
        assert await runtime.ref("ear", Ear).call(Ear.take) == ["memory is missing"]


def test_the_example_of_the_resources_is_a_tree() -> None:
    assert resources.__doc__ is not None
    example = resources.__doc__.partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    exec(example, names)
    tree = names["tree"]
    assert isinstance(tree, ChildSpec)
    Runtime(tree)
    assert len(names["RELIEF"]) == 6  # type: ignore[arg-type]


def test_the_last_descriptor_is_told_in_a_real_process_and_relieved() -> None:
    code = """
import os, trio
from ukemi import Actor, Runtime, child, supervisor
from ukemi.actors.resources import ResourceMonitor
from ukemi.runtime.pressure import Relief
from ukemi.runtime.relief import tell, when
from ukemi.supervisors.alerts import AlertRaised

class Hoard(Actor):
    def __init__(self): self.held = []
    def fill(self):
        try:
            while True: self.held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error: print(error.strerror)
    def close_idle(self) -> None:
        for each in self.held: os.close(each)
        self.held.clear()

async def main():
    relief = [when("critical", tell("hoard", Hoard.close_idle), of=["files"])]
    tree = supervisor("app", child("hoard", Hoard), child("resources", lambda: ResourceMonitor(0.1)),
                      child("relief", lambda: Relief(relief)))
    async with Runtime(tree) as runtime:
        await runtime.ref("hoard").call(Hoard.fill)
        monitor = runtime.ref("resources", ResourceMonitor)
        with trio.fail_after(30):
            while True:
                await trio.sleep(0.1)
                state = await monitor.call(ResourceMonitor.state)
                (files,) = [each for each in state.sources if each.resource == "files"]
                if runtime.events.of(AlertRaised) and files.current < 50:
                    break
        for alert in runtime.events.of(AlertRaised):
            if alert.kind == "ResourceExhausted": print(alert.message)
        print(monitor.stats().state, monitor.cell.number)
trio.run(main)
"""
    assert run_limited(code, which=resource.RLIMIT_NOFILE, limit=128).splitlines() == [
        "Too many open files",
        "Resource exhausted: open files (128 of 128)",
        "running 1",
    ]


@pytest.mark.parametrize(("option", "value"), [("timeout", 0), ("timeout", float("inf")), ("silence", True)])
def test_a_time_that_is_none_is_refused(option: str, value: float) -> None:
    with pytest.raises(SpecError, match=f"{option}="):
        Relief((), **{option: value})


def test_what_is_no_row_is_refused() -> None:
    with pytest.raises(SpecError, match="must be made by when"):
        Relief(["clear the cache"])  # type: ignore[list-item]
