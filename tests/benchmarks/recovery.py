"""What recovery costs, and how soon it is done: `python -m tests.benchmarks.recovery`.

The spec's success criteria (a breaker trips in < 50 ms, recovery takes < 100 ms, handling errors adds < 1 MB), and what
a policy costs where nothing fails, beside the same without one, in the same run.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import TypeAlias

import trio
from loguru import logger
from tests.benchmarks.measure import Row, median, percentile, samples_of, seconds_each, table, us
from tests.benchmarks.recovery_memory import memory

from ukemi import (
    RECOVERY,
    Actor,
    ActorCrashed,
    Backoff,
    CircuitBreak,
    CircuitOpen,
    Fallback,
    Ref,
    Resume,
    Runtime,
    Supervisor,
    child,
    retryable,
    supervisor,
)
from ukemi.actors.events import Event
from ukemi.supervisors import ChildSpec, FellBack

Step: TypeAlias = Callable[[], Awaitable[object]]

SOON = Backoff(initial=1e-3, maximum=1e-3, jitter=0.0)
MANY = 10**9
TRIP, RECOVER = 0.05, 0.1
"""The spec's, in seconds."""


class Part(Actor):
    """The subject."""

    failed_at = 0.0
    """When one of them last failed."""

    def __init__(self) -> None:
        self.fails = 0

    def answer(self) -> int:
        """A sync method."""
        return 1

    async def answer_async(self) -> int:
        """An async method."""
        return 1

    def crash(self) -> None:
        """An error that nobody has registered: a restart."""
        Part.failed_at = perf_counter()
        raise ValueError("on purpose")

    async def crash_later(self, seconds: float) -> None:
        """The same, with time for others to queue up."""
        await trio.sleep(seconds)
        self.crash()

    @retryable
    def fail_every_second_time(self) -> int:
        """An error that is tried again at once."""
        self.fails += 1
        if self.fails % 2:
            raise InterruptedError(errno.EINTR, "interrupted")
        return 1


class Own(Part):
    """What a fallback replaces; says when it was started."""

    started_at = 0.0

    def on_start(self) -> None:
        """Note the time."""
        Own.started_at = perf_counter()


class Second(Part):
    """What takes its place."""


async def rows() -> list[Row]:
    """All of them."""
    logger.disable("ukemi")
    found = [
        *await tripping(),
        *await recovering(),
        *await falling_back(),
        await retrying(),
        *await answering(),
        *await memory(),
    ]
    logger.enable("ukemi")
    return found


def limited(what: str, samples: list[float], limit: float, beside: str = "") -> Row:
    """A row for something that must never take longer."""
    p50, p99, worst = median(samples), percentile(samples, 0.99), max(samples)
    said = f"the longest of {len(samples):,}: {us(worst)}{beside}"
    target = f"< {limit * 1000:.0f} ms (the spec's)"
    return Row(what, f"p50 {us(p50)}, p99 {us(p99)}", target, worst < limit, said)


def tree(*children: ChildSpec, strategy: str = "one_for_one", policy: object = None) -> Runtime:
    """A runtime in which nothing is encoded, and restarts are never spent."""
    spec = supervisor("bench", *children, strategy=strategy, policy=policy, max_restarts=MANY)  # type: ignore[arg-type]
    return Runtime(spec, encode_messages=False)


async def crashed(it: Ref[Part]) -> None:
    """Let it crash."""
    try:
        await it.call(Part.crash)
    except ActorCrashed:
        pass


# --- the success criteria


async def tripping() -> list[Row]:
    """From the failure that opens a child's circuit until who waits, and who comes, is refused."""
    queued: list[float] = []
    new: list[float] = []
    async with tree(child("it", Part, policy=CircuitBreak(duration=1000.0, failures=1))) as runtime:
        it, top = runtime.ref("it", Part), runtime.ref("bench", Supervisor)

        async def wait() -> None:
            try:
                await it.call(Part.answer)
            except CircuitOpen:
                queued.append(perf_counter() - Part.failed_at)

        async def come() -> None:
            while True:
                try:
                    await it.call(Part.answer)
                except CircuitOpen:
                    new.append(perf_counter() - Part.failed_at)
                    return

        for _ in range(500):
            async with trio.open_nursery() as nursery:
                it.cast(Part.crash_later, 0.001)
                for _ in range(10):
                    nursery.start_soon(wait)
            await come()
            await top.call(Supervisor.close_circuit, "it")
            await it.call(Part.answer)
    return [
        limited("failure → a child's circuit open → queued calls refused", queued, TRIP, ", of 10 at a time"),
        limited("failure → a child's circuit open → a new call refused", new, TRIP),
    ]


async def recovering() -> list[Row]:
    """Crash, restart, answer."""
    found = []
    for dependents in (0, 5):
        samples: dict[str, list[float]] = {"OTP": [], "RECOVERY": []}
        below = [child(f"below {n}", Part, depends_on=["it"]) for n in range(dependents)]
        async with (
            tree(child("it", Part), *below, strategy="dependents") as otp,
            tree(child("it", Part), *below, strategy="dependents", policy=RECOVERY) as recovery,
        ):
            for _ in range(9):  # interleaved, so that a change of the machine's pace hits both
                for name, runtime in (("OTP", otp), ("RECOVERY", recovery)):
                    samples[name] += await samples_of(restart_of(runtime, dependents), 100)
        for name, taken in samples.items():
            group = f", with {dependents} dependents" if dependents else ""
            ratio = median(taken) / median(samples["OTP"])
            beside = f"; {ratio:.2f} × OTP's" if name != "OTP" else ""
            found.append(limited(f"crash → restarted{group} → answered, {name}", taken, RECOVER, beside))
    return found


def restart_of(runtime: Runtime, dependents: int) -> Step:
    """One crash, until it and all that depends on it answer again."""
    names = ["it", *(f"below {n}" for n in range(dependents))]
    refs = [runtime.ref(name, Part) for name in names]

    async def restart() -> None:
        await crashed(refs[0])
        for ref in reversed(refs):
            await ref.call(Part.answer)

    return restart


async def falling_back() -> list[Row]:
    """There, and back again."""
    there: list[float] = []
    back: list[float] = []
    longest: list[float] = []
    returned = trio.Event()

    def hear(event: Event) -> None:
        if isinstance(event, FellBack) and event.fallback is None:
            back.append(perf_counter() - Own.started_at)
            returned.set()

    async with tree(child("it", Own, policy=Fallback(), fallback=Second, backoff=SOON)) as runtime:
        it = runtime.ref("it", Part)
        runtime.events.listen(hear)
        for _ in range(300):
            returned = trio.Event()
            await crashed(it)
            await it.call(Part.answer)
            there.append(perf_counter() - Part.failed_at)
            waits = 0.0
            while not returned.is_set():
                begun = perf_counter()
                await it.call(Part.answer_async)
                waits = max(waits, perf_counter() - begun)
            longest.append(waits)
    return [
        limited("failure → a fallback in its place → answered", there, RECOVER),
        limited("the way back: the child started → it has taken over", back, RECOVER),
        limited("the longest call meanwhile", longest, RECOVER),
    ]


async def retrying() -> Row:
    """A call that fails and is given again at once, beside one that does not."""
    async with tree(child("it", Part, policy=RECOVERY)) as runtime:
        it = runtime.ref("it", Part)
        bare, retried = [], []
        for _ in range(9):
            bare.append(await seconds_each(lambda: it.call(Part.answer_async), 1_000, 1))
            retried.append(await seconds_each(lambda: it.call(Part.fail_every_second_time), 1_000, 1))
    beside = f"an async call that goes well: {us(median(bare))}"
    return Row("a call that fails, is given again at once and goes well", us(median(retried)), "", None, beside)


# --- where nothing fails


async def answering() -> list[Row]:
    """Calls of a child with a policy, and with more, beside one with none."""
    subjects = {
        "policy=RECOVERY": child("policy", Part, policy=RECOVERY),
        "policy=Resume()": child("resume", Part, policy=Resume()),
        "a feature too": child("feature", Part, policy=RECOVERY, feature="it"),
        "a circuit too": child("circuit", Part, policy=RECOVERY, on_exhausted=CircuitBreak()),
    }
    found = []
    async with tree(child("none", Part), *subjects.values()) as runtime:
        none = runtime.ref("none", Part)
        refs = {what: runtime.ref(spec.name, Part) for what, spec in subjects.items()}
        for kind, method in (("inline call", Part.answer), ("async call", Part.answer_async)):
            calls: dict[str, Step] = {what: partial(ref.call, method) for what, ref in refs.items()}
            found += await side_by_side(kind, partial(none.call, method), calls)
    return found


async def side_by_side(kind: str, bare: Step, others: dict[str, Step]) -> list[Row]:
    """Each beside the bare one, interleaved, so that a change of the machine's pace hits all of them."""
    bares: list[float] = []
    taken: dict[str, list[float]] = {what: [] for what in others}
    for _ in range(15):
        bares.append(await seconds_each(bare, 2_000, 1))
        for what, step in others.items():
            taken[what].append(await seconds_each(step, 2_000, 1))
    found = []
    for what, times in taken.items():
        ratio = median([one / other for one, other in zip(times, bares, strict=True)])
        beside = f"{ratio:.2f} × without any ({us(median(bares))})"
        found.append(Row(f"{kind}, {what}", us(median(times)), "", None, beside))
    return found


def main() -> None:
    """Print the table."""
    print(table(trio.run(rows)))


if __name__ == "__main__":
    main()
