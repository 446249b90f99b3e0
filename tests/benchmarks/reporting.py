"""Metrics, alerts and error reports: what they keep, and what they cost: `python -m tests.benchmarks.reporting`.

Memory is what tracemalloc sees of the objects when they are full; code is counted by itself.
"""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from time import perf_counter

import trio
from loguru import logger
from tests.benchmarks.measure import Row, median, seconds_each, table, us

from ukemi import Actor, ActorCrashed, Runtime, child, supervisor
from ukemi.actors.system import Crash
from ukemi.runtime.aggregation import KEYS
from ukemi.runtime.metrics import OPERATIONS, RECENT, Metrics
from ukemi.runtime.reports import ErrorReporter, Errors
from ukemi.supervisors.alerts import KEPT, raise_alert

IMPORTED = """
import ukemi, tracemalloc, sys
for name in [name for name in sys.modules if "hdr" in name]: del sys.modules[name]
tracemalloc.start()
import hdrh.histogram
print(tracemalloc.get_traced_memory()[0])
"""


class Fragile(Actor):
    """Has some state, and crashes."""

    def __init__(self) -> None:
        self.settings = {f"setting {n}": list(range(n)) for n in range(10)}

    def crash(self) -> None:
        """Crash."""
        raise ValueError("on purpose")

    def answer(self) -> int:
        """Show that it runs."""
        return 1


async def rows() -> list[Row]:
    """All of them."""
    reporting, errors = error_reports()
    return [
        *metrics(),
        reporting,
        alerts(),
        *recording(),
        *await counting(errors),
        *await restarting(),
    ]


# --- memory


def metrics() -> list[Row]:
    """A histogram and its ring, and as many as there may be."""
    source = random.Random(1)

    def filled(operations: int, longest: float) -> Metrics:
        made = Metrics()
        for n in range(operations):
            for _ in range(2 * RECENT):
                made.record(f"operation {n}", source.uniform(longest / 2, longest))
        return made

    seldom = kept(lambda: [made := Metrics(), made.record("operation", 0.1)])
    quick, slow = kept(lambda: filled(1, 0.1)), kept(lambda: filled(1, 3600.0))
    everything = kept(lambda: filled(OPERATIONS, 3600.0))
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    return [
        Row("metrics of an operation", f"{seldom:,} bytes", "", None, f"from {RECENT} times on up to {quick:,}"),
        Row("the same, of one that takes an hour", f"{slow:,} bytes", "", None),
        Row(f"metrics, at their most ({OPERATIONS} of these)", f"{everything:,} bytes", "", None),
        Row("the histogram library's code", f"{int(done.stdout):,} bytes", "", None),
    ]


def error_reports() -> tuple[Row, Errors]:
    """Counts of as many keys as there may be, and as many reports as there is room for."""
    now = 0.0
    crashes = [crash_of(f"/app/actor-{n}") for n in range(2 * KEYS)]

    def filled() -> Errors:
        nonlocal now
        errors = Errors(lambda: now, ())
        for crash in crashes:
            now += 10.0
            errors.crashed(crash)
            errors.format()
        return errors

    errors = filled()  # so that what Python itself keeps in caches is there already
    size = kept(filled)
    row = Row("error reports, at their most", f"{size:,} bytes", "< 200,000 (the spec's)", size < 200_000)
    return row, errors


def alerts() -> Row:
    """As many as are remembered."""
    system = Runtime(supervisor("app")).system

    def fill() -> None:
        for n in range(KEPT):
            raise_alert(system, path="/app", severity="Info", message=f"{n:100}", kind="Test")

    logger.disable("ukemi")
    size = kept(fill)
    logger.enable("ukemi")
    return Row(f"the last {KEPT} alerts", f"{size:,} bytes", "", None)


def kept(make: Callable[[], object]) -> int:
    """Bytes that are kept after making something."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    made = make()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del made
    return size


# --- time


def recording() -> list[Row]:
    """Recording an operation, and asking for its percentiles."""
    source = random.Random(1)
    rows = []
    for what, typical in (("20 us", -10.8), ("5 ms", -5.3)):
        times = [source.lognormvariate(typical, 0.5) for _ in range(50_000)]
        made = Metrics()
        samples = []
        for _ in range(5):
            begun = perf_counter()
            for seconds in times:
                made.record("operation", seconds)
            samples.append((perf_counter() - begun) / len(times))
        begun = perf_counter()
        made.stats("operation")
        asked = perf_counter() - begun
        rows.append(Row(f"record an operation of {what}", us(median(samples)), "", None, f"its stats: {us(asked)}"))
    return rows


async def counting(errors: Errors) -> list[Row]:
    """What a crash costs at once, and later."""
    crash = crash_of("/app/it")

    async def count() -> None:
        errors.crashed(crash)

    counted = await seconds_each(count, 1_000)
    errors.format()
    formatted = []
    for _ in range(200):
        errors = Errors(lambda: 0.0, ())
        errors.crashed(crash)
        begun = perf_counter()
        errors.format()
        formatted.append(perf_counter() - begun)
    return [
        Row("count a crash", us(counted), "", None),
        Row("format a report, later", us(median(formatted)), "", None),
    ]


async def restarting() -> list[Row]:
    """Crash, restart, answer: without and with all services that look at it."""
    rows = []
    for what, services in (("nobody looks", None), ("errors are reported", lambda _: [child("r", ErrorReporter)])):
        tree = supervisor("app", child("it", Fragile), max_restarts=10**9)
        async with Runtime(tree, services=services) as runtime:
            runtime.errors.report_to()
            it = runtime.ref("it", Fragile)

            async def crash(it=it) -> None:  # type: ignore[no-untyped-def]
                try:
                    await it.call(Fragile.crash)
                except ActorCrashed:
                    await it.call(Fragile.answer)

            rows.append(Row(f"crash → restarted → answered, {what}", us(await seconds_each(crash, 1_000)), "", None))
    return rows


def crash_of(path: str) -> Crash:
    """One with a traceback, some state and some messages."""
    actor = Fragile()
    try:
        actor.crash()
    except ValueError as error:
        return Crash(path, 2, "crash", error, actor, (("crash", (), {}, None),) * 5)
    raise AssertionError


def main() -> None:
    """Print the table."""
    print(table(trio.run(rows)))


if __name__ == "__main__":
    main()
