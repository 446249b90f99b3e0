"""Shells that a test needs, and a command in one."""

import shutil
from typing import Any

import pytest

from ..bridge import Client


def needs(shell: str) -> str:
    """The shell; skips the test where it is not there."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    return shell


async def run(client: Client, terminal: str, command: str) -> dict[str, Any]:
    """How a command in a terminal ended."""
    answer: dict[str, Any] = await client.request("terminal/execute", terminal=terminal, command=command)
    return answer
