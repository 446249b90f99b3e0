"""The file store: cached and disk reads beside bare ones, and a mixture of reads and writes.

`python -m tests.benchmarks.files`. Writes go down to the disk, so the mixture shows how long its fsync takes; the same
is measured on a file system in memory.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

import trio
from tests.benchmarks.measure import Row, cuts, median, percentile, samples_of, table, us

from ukemi import RECOVERY, Ref, Runtime
from ukemi.actors.files import FileState, FileStore
from ukemi.runtime.bridge.files import files_spec

SAMPLES = 10_000
FILES = 500
SIZE = 4096
CLIENTS = 32
MIXED = 5_000
WRITES = 0.2
"""Share of the mixture."""


async def rows() -> list[Row]:
    """All of them."""
    with tempfile.TemporaryDirectory() as folder:
        result = [*await reading(Path(folder)), await mixed("on the disk", Path(folder), 1_000)]
    if os.path.isdir("/dev/shm"):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            result.append(await mixed("in memory", Path(folder), 1_000))
    return result


async def reading(folder: Path) -> list[Row]:
    """Reads, one after the other."""
    paths = [folder / f"{n}.txt" for n in range(FILES)]
    for path in paths:
        path.write_text("x" * SIZE)
    await trio.sleep(0.1)  # what has just been written is not trusted to be known
    async with Runtime(files_spec(FileState(folder / "records"), policy=RECOVERY)) as runtime:
        store = runtime.ref("files", FileStore)
        turn = 0

        def each(step: Callable[[Path], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
            async def one() -> None:
                nonlocal turn
                turn += 1
                await step(paths[turn % FILES])

            return one

        async def cached(path: Path) -> None:
            await store.call(FileStore.read, str(path))

        async def bare(path: Path) -> None:
            path.read_bytes()

        async def in_thread(path: Path) -> None:
            await trio.Path(path).read_bytes()

        for path in paths:
            await cached(path)
        from_cache = await samples_of(each(cached), SAMPLES)
        beside = await samples_of(each(bare), SAMPLES)
        beside_thread = await samples_of(each(in_thread), SAMPLES)
        from_kernel = await uncached(store, paths, cached, drop=False)
        from_disk = await uncached(store, paths, cached, drop=True)
        beside_disk = await uncached(store, paths, bare, drop=True)
    read_bytes, trio_path, device = us(median(beside)), us(median(beside_thread)), us(median(beside_disk))
    disk = (100e-6, 1e-3, 10e-3)
    return [
        row("read, cached", from_cache, (10e-6, 100e-6, 1e-3), f"Path.read_bytes: {read_bytes}"),
        row("read, in the kernel's memory", from_kernel, disk, f"trio.Path.read_bytes: {trio_path}"),
        row("read, from the device, in a thread", from_disk, disk, f"Path.read_bytes: {device}"),
    ]


async def uncached(
    store: Ref[FileStore], paths: list[Path], read: Callable[[Path], Awaitable[object]], *, drop: bool
) -> list[float]:
    """Seconds of reads that the cache can't answer; nor can the kernel's, if `drop`."""
    samples = []
    while len(samples) < SAMPLES:
        await store.call(FileStore.clear)
        for path in paths:
            if drop:
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
            begun = perf_counter()
            await read(path)
            samples.append(perf_counter() - begun)
    return samples


async def mixed(where: str, folder: Path, target: int) -> Row:
    """Reads and writes of many clients at once; operations in a second."""
    paths = [str(folder / f"mixed-{n}.txt") for n in range(FILES)]
    source = random.Random(1)
    async with Runtime(files_spec(FileState(folder / "records"), policy=RECOVERY)) as runtime:
        store = runtime.ref("files", FileStore)
        for path in paths:
            Path(path).write_text("x" * SIZE)
        left = MIXED

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                path = source.choice(paths)
                if source.random() < WRITES:
                    await store.call(FileStore.write, path, "y" * SIZE)
                else:
                    await store.call(FileStore.read, path)

        begun = perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(client)
        rate = MIXED / (perf_counter() - begun)
    what = f"{WRITES:.0%} writes, {CLIENTS} clients, {where}"
    return Row(what, f"{rate:,.0f}/s", f"≥ {target:,}/s (the spec's)", rate >= target)


def row(what: str, samples: list[float], targets: tuple[float, ...], beside: str) -> Row:
    """Percentiles beside their targets."""
    measured = [percentile(samples, share) for share in (0.5, 0.99, 0.999)]
    met = all(value <= target for value, target in zip(measured, targets, strict=True))
    wanted = f"≤ {', '.join(map(us, targets))}"
    return Row(what, cuts(samples), wanted, met, beside)


def main() -> None:
    """Print the table."""
    print(table(trio.run(rows)))


if __name__ == "__main__":
    main()
