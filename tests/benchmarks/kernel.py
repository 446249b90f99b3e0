"""The kernel's rows of the design's table, each beside bare trio in the same run."""

from __future__ import annotations

import gc
import tracemalloc
from time import perf_counter

import trio
import trio.testing
from tests.benchmarks.measure import Row, median, percentile, samples_of, seconds_each, us
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from ukemi import Actor, ActorCrashed, DynamicSupervisor, Ref, Runtime, child, dynamic_supervisor, supervisor


class Counter(Actor):
    """The subject."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, n: int) -> int:
        """A sync method."""
        self.total += n
        return self.total

    async def add_async(self, n: int) -> int:
        """An async method."""
        self.total += n
        return self.total

    def fail(self) -> None:
        """A crash."""
        raise ValueError("on purpose")


class Publisher(Actor):
    """Publishes."""

    def on_start(self) -> None:
        """Keep what publishing needs at hand."""
        self.publish_one = self.ctx.publish


class Subscriber(Actor):
    """Is told."""

    seen = 0

    def on_start(self) -> None:
        """Subscribe."""
        self.ctx.subscribe("prices", self.price)

    def price(self, event: int) -> None:
        """One event."""
        Subscriber.seen += 1


class TwoSwitches:
    """The floor: a task that hands the turn back at once."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self.caller: Task | None = None

    async def run(self) -> None:
        """Answer for ever."""
        while True:
            self.task = current_task()
            await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)
            assert self.caller is not None
            reschedule(self.caller)

    async def ask(self) -> None:
        """One round trip."""
        self.caller = current_task()
        assert self.task is not None
        reschedule(self.task)
        await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)


async def rows() -> list[Row]:
    """All of them."""
    tree = supervisor(
        "bench",
        child("counter", Counter),
        child("publisher", Publisher),
        child("subscriber", Subscriber, mailbox=100_000),
        dynamic_supervisor("many"),
        max_restarts=10**9,
    )
    async with Runtime(tree, encode_messages=False) as runtime, trio.open_nursery() as nursery:
        counter = runtime.ref("counter", Counter)
        floor = TwoSwitches()
        nursery.start_soon(floor.run)
        await trio.testing.wait_all_tasks_blocked()
        found = [
            *await calls(counter, floor),
            await casts(counter),
            *await dispatch(runtime),
            *await crashes(counter),
            *await spawning(runtime, nursery),
        ]
        nursery.cancel_scope.cancel()
    return [*found, await stopping()]


async def calls(counter: Ref[Counter], floor: TwoSwitches) -> list[Row]:
    """Call."""
    ratios, waits, inline = [], [], []
    for _ in range(9):  # interleaved, so that a change of the machine's pace hits both
        bare = await seconds_each(floor.ask, 2_000, 1)
        waits.append(await seconds_each(lambda: counter.call(Counter.add_async, 1), 2_000, 1))
        inline.append(await seconds_each(lambda: counter.call(Counter.add, 1), 10_000, 1))
        ratios.append(waits[-1] / bare)
    ratio = median(ratios)
    return [
        Row("call, async method", us(median(waits)), "≤ 1.3 × two switches", ratio <= 1.3, f"{ratio:.2f} × bare trio"),
        Row("call, sync method of an idle actor", us(median(inline)), "≤ 1.2 us", median(inline) <= 1.2e-6, ""),
    ]


async def casts(counter: Ref[Counter]) -> Row:
    """Cast and drain."""
    rates, bare_rates = [], []
    from collections import deque

    for _ in range(15):
        begun = perf_counter()
        for _ in range(4_000):
            counter.cast(Counter.add, 1)
        while counter.stats().waiting:
            await trio.lowlevel.checkpoint()
        rates.append(4_000 / (perf_counter() - begun))
        queue: deque[int] = deque()
        begun = perf_counter()
        for _ in range(4_000):
            queue.append(1)
        while queue:
            queue.popleft()
        bare_rates.append(4_000 / (perf_counter() - begun))
    rate = median(rates)
    beside = f"a bare deque: {median(bare_rates):,.0f}/s"
    return Row("cast and drain", f"{rate:,.0f}/s", "≥ 800,000/s", rate >= 800_000, beside)


async def dispatch(runtime: Runtime) -> list[Row]:
    """Publish and subscribe."""
    publisher = runtime.ref("publisher").cell.incarnation.actor
    single: list[float] = []
    rates_in, rates_through = [], []
    for _ in range(15):
        begun = perf_counter()
        for n in range(4_000):
            publisher.publish_one("prices", n)
        rates_in.append(4_000 / (perf_counter() - begun))
        while runtime.ref("subscriber").stats().waiting:
            await trio.lowlevel.checkpoint()
        rates_through.append(4_000 / (perf_counter() - begun))
        for n in range(2_000):
            begun = perf_counter()
            publisher.publish_one("prices", n)
            single.append(perf_counter() - begun)
        await trio.testing.wait_all_tasks_blocked()
    p50, p99 = median(single), percentile(single, 0.99)
    rate, through = median(rates_in), median(rates_through)
    return [
        Row("publish, per subscriber", f"p50 {us(p50)}, p99 {us(p99)}", "≤ 1 us, ≤ 10 us", p50 <= 1e-6 and p99 <= 1e-5),
        Row("events in", f"{rate:,.0f}/s", "≥ 500,000/s", rate >= 500_000),
        Row("events handled, end to end", f"{through:,.0f}/s", "≥ 100,000/s", through >= 100_000),
    ]


async def crashes(counter: Ref[Counter]) -> list[Row]:
    """Crash, restart, answer."""

    async def crash_and_ask() -> None:
        try:
            await counter.call(Counter.fail)
        except ActorCrashed:
            pass
        await counter.call(Counter.add, 1)

    early = await samples_of(crash_and_ask, 3_000)
    await samples_of(crash_and_ask, 4_000)
    late = await samples_of(crash_and_ask, 3_000)
    p50, p99 = median(late), percentile(late, 0.99)
    growth = p50 / median(early)
    return [
        Row(
            "crash → restarted → next call answered",
            f"p50 {us(p50)}, p99 {us(p99)}",
            "p50 ≤ 60 us, p99 ≤ 1 ms",
            p50 <= 60e-6 and p99 <= 1e-3,
            f"after 7,000 restarts {growth:.2f} × as long as at first",
        )
    ]


async def spawning(runtime: Runtime, nursery: trio.Nursery) -> list[Row]:
    """Spawn."""
    many = runtime.ref("many", DynamicSupervisor)
    bare = []
    each: list[float] = []
    for group in range(9):
        specs = [child(f"s{group}-{n}", Counter) for n in range(500)]
        with trio.CancelScope() as scope:
            begun = perf_counter()
            for _ in specs:
                nursery.start_soon(trio.sleep_forever)
            await trio.lowlevel.checkpoint()
            bare.append((perf_counter() - begun) / len(specs))
            scope.cancel()
        begun = perf_counter()
        for spec in specs:
            await many.call(DynamicSupervisor.start_child, spec)
        each.append((perf_counter() - begun) / len(specs))
    ratio = median([one / two for one, two in zip(each, bare, strict=True)])
    few = median(each)

    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for n in range(2_000):
        await many.call(DynamicSupervisor.start_child, child(f"m{n}", Counter))
    gc.collect()
    size = (tracemalloc.get_traced_memory()[0] - before) / 2_000
    tracemalloc.stop()

    specs = [child(f"h{n}", Counter) for n in range(100_000)]
    begun = perf_counter()
    for spec in specs:
        await many.call(DynamicSupervisor.start_child, spec)
    huge = (perf_counter() - begun) / 100_000
    return [
        Row("spawn a supervised child", us(few), "≤ 6 × start_soon", ratio <= 6, f"{ratio:.2f} × bare start_soon"),
        Row("an idle actor, its spec too", f"{size:,.0f} bytes", "≤ 4,096 bytes", size <= 4096),
        Row(
            "100,000 of them, each", us(huge), "no dearer than 1,000", huge <= few * 1.2, f"{huge / few:.2f} × as dear"
        ),
    ]


async def stopping() -> Row:
    """Stop 20,000 in order."""
    tree = supervisor("bench", *(child(f"c{n}", Counter) for n in range(20_000)))
    async with Runtime(tree, encode_messages=False) as runtime:
        begun = perf_counter()
        await runtime.stop()
        seconds = perf_counter() - begun
    return Row("stop 20,000 children in order", f"{seconds:.2f} s", "≤ 1 s", seconds <= 1)
