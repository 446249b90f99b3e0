"""What outlives the actors of a file store: the cache, from which failures are answered, and what is under way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from .cache import FileCache

MOST_BYTES = 8 * 1024 * 1024
"""Of one file, read or written: even as base64 it fits into one frame of the bridge."""
MOST_THREADS = 64
"""Threads at any time, those included that wait for a disk that does not answer."""


class RunInThread(Protocol):
    """As `trio.to_thread.run_sync`."""

    async def __call__(self, function: Any, /, *, abandon_on_cancel: bool, limiter: trio.CapacityLimiter) -> Any:
        """Run the function without holding up the loop."""


def _threads() -> trio.CapacityLimiter:
    return trio.CapacityLimiter(MOST_THREADS)


@attrs.define(eq=False)
class FileState:
    """One store's, shared by its actors. Made once, where its tree is described."""

    records: Path
    """The folder of the records of writes that are under way; this process's own."""
    cache: FileCache = attrs.field(factory=FileCache)
    most_bytes: int = MOST_BYTES
    run_in_thread: RunInThread = trio.to_thread.run_sync
    threads: trio.CapacityLimiter = attrs.field(factory=_threads)
    writing: set[str] = attrs.field(factory=set)
    """Paths that a thread is writing just now, though its actor may have given it up."""
    monitor: str | None = None
    """The path of a ResourceMonitor, as a worker sees it: it is asked for memory before what is large. None: nobody."""
    is_swept: bool = False
    """Whether what an earlier process has left behind was removed."""
