"""What a terminal costs as the bridge runs it: `python -m tests.benchmarks.terminal`. Nothing is asserted.

`echo`: from asking the terminal's actor for a command to its answer, in milliseconds. `streaming`: what a command
prints until its answer is there, beside a blocking read of the same from a bare PTY, by turns. `memory`: the peak of
1,000 commands under tracemalloc, over what there was before them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from tests.benchmarks.pty import bare

from ukemi import Feature, Ref, Runtime, supervisor
from ukemi.actors.terminal.commands import Commands
from ukemi.actors.terminal.running import CommandResult
from ukemi.actors.terminal.settings import TerminalSettings
from ukemi.runtime.bridge.terminals import SHELL_INTEGRATION, terminal_spec

ROUND_TRIPS = 10_000
STREAMED = 256_000_000
ROUNDS = 3
REMEMBERED = 1_000


@asynccontextmanager
async def terminal(shell: str, home: str) -> AsyncIterator[Ref[Commands]]:
    """The commands of a terminal at its first prompt."""
    env = {"HOME": home, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    settings = TerminalSettings("t", shell=shell, cwd=home, env=env)
    tree = supervisor("app", terminal_spec(settings), features=[Feature(SHELL_INTEGRATION)])
    async with Runtime(tree) as runtime:
        commands: Ref[Commands] = runtime.ref("/app/t/commands", Commands).within(None)
        await run(commands, "true")
        yield commands


async def run(commands: Ref[Commands], command: str) -> CommandResult:
    """Run one."""
    result: CommandResult = await commands.call(Commands.execute, command)
    return result


async def echoes(shell: str, home: str) -> list[float]:
    """Time `echo`, there and back."""
    times = []
    async with terminal(shell, home) as commands:
        for _ in range(ROUND_TRIPS if shell == "bash" else ROUND_TRIPS // 10):
            since = time.perf_counter()
            await run(commands, "echo hello")
            times.append(time.perf_counter() - since)
    return times


async def streamed(home: str) -> float:
    """Return the MB/s of a command."""
    async with terminal("bash", home) as commands:
        since = time.perf_counter()
        await run(commands, f"head -c {STREAMED} /dev/zero")
        return STREAMED / (time.perf_counter() - since) / 1e6


async def remembered(home: str) -> float:
    """Return the MB that 1,000 commands keep at their peak."""
    async with terminal("bash", home) as commands:
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(REMEMBERED):
            await run(commands, "echo hello")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return (peak - before) / 1e6


def told(name: str, times: Sequence[float]) -> None:
    """Print a line of milliseconds."""
    cuts = statistics.quantiles(times, n=1000)
    values = "   ".join(
        f"{label} {cuts[at] * 1e3:7.3f} ms" for label, at in [("p50", 499), ("p99", 989), ("p99.9", 998)]
    )
    print(f"{name:32} {values}   of {len(times)}")


async def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as home:
        for shell in filter(shutil.which, ("bash", "zsh", "fish")):
            told(f"{shell}: echo", await echoes(shell, home))
        for _ in range(ROUNDS):
            ours, floor = await streamed(home), bare()
            print(f"{'streaming':32} {ours:5.1f} MB/s, bare {floor:5.1f} MB/s, ratio {ours / floor:.2f}")
        print(f"{'memory of 1,000 commands':32} {await remembered(home):5.2f} MB")


if __name__ == "__main__":
    trio.run(main)
