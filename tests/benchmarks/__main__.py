"""`python -m tests.benchmarks`: measures everything, prints the tables, and writes docs/benchmarks.md.

`--print` writes nothing; `--kernel` measures only the kernel and its peers.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

import trio
from tests.benchmarks import (
    breaker,
    bridge_files,
    files,
    ipc,
    kernel,
    peers,
    recovery,
    reporting,
    resources,
    spec_tables,
    watcher,
)
from tests.benchmarks.measure import table

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / "docs" / "benchmarks.md"
HEAD = f"""# Benchmarks

Made by `make bench` on {date.today()}: Python {platform.python_version()}, trio {trio.__version__}, {os.cpu_count()} \
cores, {platform.machine()}. The machine is shared and noisy: medians, and ratios to bare trio taken in the same run. \
The targets of the kernel's rows are the design's."""
NOTES = (ROOT / "tests" / "benchmarks" / "notes.md").read_text()
RECOVERY_NOTES = (ROOT / "tests" / "benchmarks" / "recovery_notes.md").read_text()


def main() -> None:
    """Measure and write."""
    parts = [HEAD]
    if "--kernel" not in sys.argv:
        parts += ["## The spec's tables", table(trio.run(spec_tables.rows))]
    parts += ["## Kernel", table(trio.run(kernel.rows)), NOTES.strip(), "## Peers, in the same run", peers.table()]
    if "--kernel" not in sys.argv:
        parts += ["## Circuit breaker", table(trio.run(breaker.rows))]
        parts += ["## Recovery", table(trio.run(recovery.rows)), RECOVERY_NOTES.strip()]
        parts += ["## Metrics, alerts and error reports", table(trio.run(reporting.rows))]
        parts += ["## Resource monitor", table(trio.run(resources.rows))]
        parts += ["## File store", table(trio.run(files.rows))]
        parts += ["## File watcher", table(trio.run(watcher.rows))]
        parts += ["## IPC, with a client in another process", table(trio.run(ipc.rows))]
        parts += ["## Files and watches, over the bridge", table(trio.run(bridge_files.rows))]
        parts += ["## Parser", printed("parser"), "## Shells on PTYs", printed("pty")]
        parts += ["## Terminals, as the bridge runs them", printed("terminal")]
    text = "\n\n".join(parts)
    print(text)
    if "--print" not in sys.argv:
        DOC.write_text(text + "\n")


def printed(name: str) -> str:
    """What a benchmark of its own prints, as a block."""
    command = [sys.executable, "-m", f"tests.benchmarks.{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return f"```\n{done.stdout.rstrip()}\n```"


if __name__ == "__main__":
    main()
