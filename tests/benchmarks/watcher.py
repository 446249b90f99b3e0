"""The file watcher, with another process that writes: `python -m tests.benchmarks.watcher` from the repository's root.

Latency is from just before the write to the subscriber's handler, both on the system's monotonic clock: once with
nothing gathered (`settle=0`), and as it is by default, one change after a quiet time. A storm is as many files as fast
as one process can make them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import trio
from tests.benchmarks.measure import Row, cuts, table

from ukemi import Actor, Ref, Runtime, child, supervisor
from ukemi.actors.protocol import local
from ukemi.actors.watcher import Changed, Watcher, Watches
from ukemi.actors.watcher.watcher import SETTLE

WRITES = 10_000
QUIET_WRITES = 200
FILES = 50_000
FOLDERS = 10_000

WRITER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for _ in range(int(sys.argv[2])):
    time.sleep(float(sys.argv[3]))
    os.pwrite(fd, b"%019d" % time.monotonic_ns(), 0)
"""
STORM = """
import os, sys
os.chdir(sys.argv[1])
for n in range(int(sys.argv[2])):
    os.close(os.open(str(n), os.O_CREAT | os.O_WRONLY))
"""


class Ear(Actor):
    """Hears all that is told, and notes how long ago it was written."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.latencies: list[float] = []
        self.changes = 0

    def on_start(self) -> None:
        """Listen."""
        self.ctx.subscribe("/bench/watcher/changed", self.changed)

    @local
    def changed(self, event: Changed) -> None:
        """Something has changed."""
        now = time.monotonic_ns()
        self.changes += len(event.changes)
        if self.file is not None:
            written = self.file.read_bytes()
            if written:
                self.latencies.append((now - int(written)) / 1e9)


class Bench:
    """A runtime with a watcher on one folder."""

    def __init__(self, folder: str, file: Path | None = None, settle: float = SETTLE) -> None:
        self.ear = Ear(file)
        watches = Watches()
        watcher = child("watcher", lambda: Watcher(watches, settle))
        tree = supervisor("bench", watcher, child("ear", lambda: self.ear))
        self.folder = folder
        self.runtime = Runtime(tree)

    async def __aenter__(self) -> Bench:
        await self.runtime.__aenter__()
        self.ref: Ref[Watcher] = self.runtime.ref("watcher", Watcher)
        await self.ref.within(None).call(Watcher.add, self.folder, True)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.runtime.__aexit__(*exc)  # type: ignore[arg-type]


async def rows() -> list[Row]:
    """All of them."""
    return [
        await latency("write → event, of another process, nothing gathered", WRITES, 0.0005, settle=0.0),
        await latency("the same after a quiet time, by default", QUIET_WRITES, 2 * SETTLE, settle=SETTLE),
        await storm(),
        *await many_folders(),
    ]


async def latency(what: str, writes: int, pause: float, *, settle: float) -> Row:
    """From the write to the event; a write that came before its forerunner was read counts with that."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.touch()
        async with Bench(folder, file, settle) as bench:
            await trio.run_process([sys.executable, "-c", WRITER, str(file), str(writes), str(pause)])
            await trio.sleep(0.2)
            samples = bench.ear.latencies
    return Row(what, cuts(samples), "", None, f"{len(samples):,} events")


async def storm() -> Row:
    """Until all files of a storm are told."""
    with tempfile.TemporaryDirectory() as folder:
        async with Bench(folder) as bench:
            begun = time.perf_counter()
            made = 0.0
            async with trio.open_nursery() as nursery:
                process = await nursery.start(trio.run_process, [sys.executable, "-c", STORM, folder, str(FILES)])
                await process.wait()
                made = time.perf_counter() - begun
            while bench.ear.changes < FILES:
                await trio.sleep(0.001)
            told = time.perf_counter() - begun
            number = bench.ear.changes
    beside = f"made at {FILES / made:,.0f}/s; {number:,} told of {FILES:,}"
    return Row("storm of new files, told", f"{FILES / told:,.0f} changes/s", "", None, beside)


async def many_folders() -> list[Row]:
    """What it costs to watch ten thousand folders, to look at all of them, and to restart."""
    with tempfile.TemporaryDirectory() as folder:
        for n in range(FOLDERS):
            (Path(folder) / f"{n // 100}" / f"{n}").mkdir(parents=True)
        begun = time.perf_counter()
        async with Bench(folder) as bench:
            added = time.perf_counter() - begun
            actor = bench.ref.cell.incarnation.actor  # type: ignore[union-attr]
            begun = time.process_time()
            await actor._look_at_everything()
            checked = time.process_time() - begun
            number, begun = bench.ref.cell.number, time.perf_counter()
            bench.ref.kill()
            while bench.ref.cell.number == number:
                await trio.lowlevel.checkpoint()
            await bench.ref.call(Watcher.watches)
            restarted = time.perf_counter() - begun
    each = f"{checked / FOLDERS * 1e6:.1f} us for each"
    return [
        Row(f"{FOLDERS:,} folders: first watched", f"{added:.2f} s", "", None),
        Row(f"{FOLDERS:,} folders: the health check, every 30 s", f"{checked:.2f} s of CPU", "", None, each),
        Row(f"{FOLDERS:,} folders: kill → watched again", f"{restarted:.2f} s", "", None),
    ]


def main() -> None:
    """Print the table."""
    print(table(trio.run(rows)))


if __name__ == "__main__":
    main()
