"""The circuit breaker: how soon it trips, and what a guarded call costs: `python -m tests.benchmarks.breaker`.

Tripping is measured from the exception in what is called to the refusal of the next call, both through the breaker.
"""

from __future__ import annotations

import gc
import tracemalloc
from time import perf_counter

import trio
from tests.benchmarks.measure import Row, median, percentile, seconds_each, table, us

from ukemi import CircuitOpen
from ukemi.supervisors.breaker import CircuitBreaker


async def answer(n: int) -> int:
    """What is guarded."""
    return n


async def rows() -> list[Row]:
    """All of them."""
    return [await tripping(), *await guarding(), await refusing(), memory()]


async def tripping() -> Row:
    """From the failure that opens it to the first refused call."""
    failed_at = 0.0

    async def fail() -> None:
        nonlocal failed_at
        failed_at = perf_counter()
        raise ConnectionError("on purpose")

    samples = []
    for _ in range(5_000):
        breaker = CircuitBreaker("far side")
        try:
            while True:
                try:
                    await breaker.call(fail)
                except ConnectionError:
                    pass
        except CircuitOpen:
            samples.append(perf_counter() - failed_at)
    p50, p99, worst = median(samples), percentile(samples, 0.99), max(samples)
    return Row(
        "failure → circuit open → next call refused",
        f"p50 {us(p50)}, p99 {us(p99)}",
        "< 50 ms (the spec's)",
        worst < 0.05,
        f"the longest of {len(samples):,}: {us(worst)}",
    )


async def guarding() -> list[Row]:
    """A call that goes well, beside the same without a breaker."""
    breaker = CircuitBreaker("far side")

    async def with_body() -> None:
        async with breaker:
            await answer(1)

    bare, calls, bodies = [], [], []
    for _ in range(9):  # interleaved, so that a change of the machine's pace hits all of them
        bare.append(await seconds_each(lambda: answer(1), 10_000, 1))
        calls.append(await seconds_each(lambda: breaker.call(answer, 1), 10_000, 1))
        bodies.append(await seconds_each(with_body, 10_000, 1))
    beside = f"bare: {us(median(bare))}"
    return [
        Row("guarded call, closed", us(median(calls)), "", None, beside),
        Row("guarded body of `async with`, closed", us(median(bodies)), "", None, beside),
    ]


async def refusing() -> Row:
    """A call that is refused, which is a checkpoint."""
    breaker = CircuitBreaker("far side")
    breaker.force_open()

    async def refused() -> None:
        try:
            await breaker.call(answer, 1)
        except CircuitOpen:
            pass

    refusals, bare = [], []
    for _ in range(9):
        refusals.append(await seconds_each(refused, 3_000, 1))
        bare.append(await seconds_each(trio.lowlevel.checkpoint, 3_000, 1))
    return Row("refused call, open", us(median(refusals)), "", None, f"a bare checkpoint: {us(median(bare))}")


def memory() -> Row:
    """What each breaker keeps."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    breakers = [CircuitBreaker(f"far side {n}") for n in range(1_000)]
    size = (tracemalloc.get_traced_memory()[0] - before) / len(breakers)
    tracemalloc.stop()
    return Row("a breaker", f"{size:,.0f} bytes", "", None, f"{150_000 / size:,.0f} of them in the spec's 150 KB")


def main() -> None:
    """Print the table."""
    print(table(trio.run(rows)))


if __name__ == "__main__":
    main()
