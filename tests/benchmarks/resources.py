"""The resource monitor: what a measurement of this system costs: `python -m tests.benchmarks.resources`.

It is made in the loop, every 5 s: what counts is how long it holds up everything else, and its part of a CPU.
"""

from __future__ import annotations

import os
from time import perf_counter, process_time

import trio
from tests.benchmarks.measure import Row, cuts, median, percentile, samples_of, table, us

from ukemi import Ref, Runtime, child, supervisor
from ukemi.actors.resources import INTERVAL, ResourceMonitor, find_sources

TIMES = 10_000
MANY = 10_000
"""Descriptors of a busy process."""
IN_THE_LOOP = 0.01
"""Seconds for which nothing may hold up the loop: the p99 of a terminal command in the spec's table."""


async def rows() -> list[Row]:
    """All of them."""
    return [*await measuring(), *each_source(), finding()]


async def measuring() -> list[Row]:
    """One measurement by the actor, from call to reply, published; alone, and with many descriptors open."""
    async with Runtime(supervisor("app", child("resources", ResourceMonitor)), encode_messages=False) as runtime:
        monitor = runtime.ref("resources", ResourceMonitor)
        found = await monitor.call(ResourceMonitor.state)
        begun = process_time()
        samples = await samples_of(lambda: monitor.call(ResourceMonitor.measure), TIMES)
        part = (process_time() - begun) / TIMES / INTERVAL
        crowded = await crowd(monitor)
    count = len(found.sources) + len(found.silent)
    return [
        Row(
            "a measurement, all sources",
            cuts(samples),
            "p99 ≤ 10 ms",
            percentile(samples, 0.99) <= IN_THE_LOOP,
            f"{count} sources; every {INTERVAL:g} s: {part:.4%} of a CPU",
        ),
        crowded,
    ]


async def crowd(monitor: Ref[ResourceMonitor]) -> Row:
    """The same, where many files are open."""
    opened: list[int] = []
    try:
        while len(opened) < MANY:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    try:
        samples = await samples_of(lambda: monitor.call(ResourceMonitor.measure), TIMES)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return Row(
        f"the same, {len(opened):,} files open",
        cuts(samples),
        "p99 ≤ 10 ms",
        percentile(samples, 0.99) <= IN_THE_LOOP,
    )


def each_source() -> list[Row]:
    """What each of them takes, the dearest first."""
    costs: list[tuple[float, str]] = []
    for source in find_sources().sources:
        samples = []
        for _ in range(TIMES // 10):
            begun = perf_counter()
            source.read()
            samples.append(perf_counter() - begun)
        costs.append((median(samples), source.name))
    return [Row(f"· {name}", f"p50 {us(cost)}", "", None) for cost, name in sorted(costs, reverse=True)]


def finding() -> Row:
    """Seeing what there is, at each start."""
    samples = []
    for _ in range(200):
        begun = perf_counter()
        find_sources()
        samples.append(perf_counter() - begun)
    return Row("finding the sources", cuts(samples), "", None)


def main() -> None:
    """Print the table."""
    print(table(trio.run(rows)))


if __name__ == "__main__":
    main()
