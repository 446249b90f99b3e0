"""The spec's stress test: `python -m tests.benchmarks.stress [SECONDS [TERMINALS]]`, by default 10 and 100.

So many terminals at once, each keeping a processor busy for so long. What counts as success is the right output, exit
code and mode; more than 95 % is asked for.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio
from tests.bridge import running_bridge

BURN = "timeout {seconds} sh -c 'while :; do :; done'; echo burnt $?; (exit 3)"
ASKED = 0.95


async def main(seconds: float, terminals: int) -> bool:
    """Print how it went."""
    with tempfile.TemporaryDirectory() as home:
        async with running_bridge(Path(home), encode=False) as bridge, bridge.client() as client:
            names = [await client.terminal(Path(home)) for _ in range(terminals)]
            since, command = time.perf_counter(), BURN.format(seconds=seconds)
            ids = [await client.ask("terminal/execute", terminal=name, command=command) for name in names]
            with trio.move_on_after(60 + 10 * seconds):
                while not client.answers.keys() >= set(ids) and await client.read():
                    pass
            spent = time.perf_counter() - since
            restarts = sum(node.restarts for node in bridge.runtime.tree().walk())
            right = sum(map(is_right, client.answers.values()))
    share = right / terminals
    print(f"{right} of {terminals} right ({share:.0%}), in {spent:.1f} s of {seconds:g} s; {restarts} restarts")
    return share > ASKED


def is_right(answer: dict[str, Any]) -> bool:
    """Whether a command came out as it should."""
    result = answer.get("result") or {}
    return (result.get("output"), result.get("exitCode"), result.get("mode")) == ("burnt 124\r\n", 3, "full")


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:]]
    sys.exit(not trio.run(main, given[0] if given else 10.0, int(given[1]) if len(given) > 1 else 100))
