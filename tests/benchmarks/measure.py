"""How the benchmarks measure: medians over repeats, and ratios taken in one run, since machines are noisy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

import attrs


@attrs.frozen
class Row:
    """One line of a table."""

    what: str
    measured: str
    target: str
    met: bool | None
    """None for what has no target."""
    beside: str = ""
    """The ratio to bare trio, or what a peer does."""


def percentile(samples: Sequence[float], share: float) -> float:
    """The value below which this share of the samples lies."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(samples: Sequence[float]) -> float:
    """The middle one."""
    return percentile(samples, 0.5)


def cuts(samples: Sequence[float]) -> str:
    """What most, nearly all and all but one of a thousand stay below."""
    return ", ".join(f"p{share * 100:g} {us(percentile(samples, share))}" for share in (0.5, 0.99, 0.999))


async def seconds_each(step: Callable[[], Awaitable[object]], times: int, repeats: int = 7) -> float:
    """Seconds for one step: the median of some repeats of many."""
    rounds = []
    for _ in range(repeats):
        begun = perf_counter()
        for _ in range(times):
            await step()
        rounds.append((perf_counter() - begun) / times)
    return median(rounds)


async def samples_of(step: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Seconds of each single step."""
    samples = []
    for _ in range(times):
        begun = perf_counter()
        await step()
        samples.append(perf_counter() - begun)
    return samples


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    lines = ["| what | measured | target | met | beside |", "|---|---|---|---|---|"]
    for row in rows:
        met = {True: "yes", False: "**no**", None: ""}[row.met]
        lines.append(f"| {row.what} | {row.measured} | {row.target} | {met} | {row.beside} |")
    return "\n".join(lines)


def us(seconds: float) -> str:
    """Microseconds."""
    return f"{seconds * 1e6:.2f} us"
