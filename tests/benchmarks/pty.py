"""What a terminal costs: `python -m tests.benchmarks.pty` from the repository's root. Nothing is asserted.

`first prompt`: from nothing to the marker B, with an empty home. `round trip`: from typing a command to its marker D,
through `Pty` and `MarkerParser`, in milliseconds; plain, and one that is typed in quotes. `close`: hang up, kill, reap.
`streaming`: what `Pty.receive_some` gets of 256 MB of zeros, beside a blocking read of the same, by turns.
"""

import os
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from ukemi.actors.parser import Marker, MarkerParser
from ukemi.actors.terminal import Pty, encode_command, kind_of, launch

STARTS = 50
ROUND_TRIPS = 2_000
STREAMED = 256_000_000
ROUNDS = 3


@attrs.define
class Shell:
    """A shell, and what it has said and nobody has looked at yet."""

    pty: Pty
    parser: MarkerParser
    arrived: deque[bytes | Marker] = attrs.field(factory=deque)

    async def until(self, kind: str) -> None:
        """Skip everything before the shell's next marker of `kind`, and that."""
        while True:
            while not self.arrived:
                self.arrived.extend(self.parser.feed(await self.pty.receive_some()))
            piece = self.arrived.popleft()
            if isinstance(piece, Marker) and piece.kind == kind and piece.trusted:
                return


@asynccontextmanager
async def started(shell: str, home: str) -> AsyncIterator[Shell]:
    """A shell at its first prompt."""
    nonce = secrets.token_hex(8)
    how = launch(shell, nonce=nonce, env={"HOME": home, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
    pty = await Pty.spawn(how.argv, env=how.env, cwd=home)
    try:
        it = Shell(pty, MarkerParser(nonce))
        await it.until("B")
        yield it
    finally:
        await pty.aclose(grace=0)


async def starts_and_closes(shell: str, home: str) -> tuple[list[float], list[float]]:
    """Time shells to their first prompt, and their ends."""
    starts, closes = [], []
    for _ in range(STARTS):
        since = time.perf_counter()
        async with started(shell, home):
            starts.append(time.perf_counter() - since)
            since = time.perf_counter()
        closes.append(time.perf_counter() - since)
    return starts, closes


async def round_trips(shell: str, home: str, command: str) -> list[float]:
    """Time a command, there and back."""
    typed = encode_command(command, kind_of(shell))
    times = []
    async with started(shell, home) as it:
        for _ in range(ROUND_TRIPS if kind_of(shell) == "bash" else ROUND_TRIPS // 10):
            since = time.perf_counter()
            await it.pty.send_all(typed)
            await it.until("C")
            await it.until("D")
            times.append(time.perf_counter() - since)
            await it.until("B")
    return times


ZEROS = ["head", "-c", str(STREAMED), "/dev/zero"]


async def streamed() -> float:
    """Return the MB/s of a `Pty`."""
    pty = await Pty.spawn(ZEROS)
    await pty.receive_some(1)
    since, size = time.perf_counter(), 1
    while data := await pty.receive_some():
        size += len(data)
    spent = time.perf_counter() - since
    await pty.aclose()
    assert size == STREAMED
    return STREAMED / spent / 1e6


def bare() -> float:
    """Return the MB/s of a blocking read."""
    master, slave = os.openpty()
    with subprocess.Popen(ZEROS, stdout=slave):
        os.close(slave)
        os.read(master, 1)
        since = time.perf_counter()
        try:
            while os.read(master, 65_536):
                pass
        except OSError:
            pass
        spent = time.perf_counter() - since
    os.close(master)
    return STREAMED / spent / 1e6


def told(name: str, times: Sequence[float]) -> None:
    """Print a line of milliseconds."""
    cuts = statistics.quantiles(times, n=100)
    print(f"{name:32} p50 {cuts[49] * 1e3:7.3f} ms   p99 {cuts[98] * 1e3:7.3f} ms   of {len(times)}")


async def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as home:
        for shell in filter(shutil.which, ("bash", "zsh", "fish")):
            starts, closes = await starts_and_closes(shell, home)
            told(f"{shell}: first prompt", starts)
            told(f"{shell}: round trip", await round_trips(shell, home, "echo hello"))
            told(f"{shell}: round trip in quotes", await round_trips(shell, home, "echo 'hello!'"))
            told(f"{shell}: close", closes)
    for _ in range(ROUNDS):
        ours, floor = await streamed(), bare()
        print(f"{'streaming':32} {ours:5.1f} MB/s, bare {floor:5.1f} MB/s, ratio {ours / floor:.2f}")


if __name__ == "__main__":
    trio.run(main)
