"""Processes under real limits, which the kernel holds them to."""

from __future__ import annotations

import subprocess
import sys


def run_limited(code: str, *, which: int, limit: int) -> str:
    """What a process of its own prints that runs `code` under an RLIMIT; it must end well."""
    first = f"import resource\nresource.setrlimit({which}, ({limit}, {limit}))\n"
    done = subprocess.run([sys.executable, "-c", first + code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
