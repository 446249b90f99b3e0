"""The file store as a small subtree: workers, and the store that everybody asks.

A worker that fails is restarted alone; what the others do, and the cache, are not touched. A disk that hangs costs one
worker a restart for each file.
"""

from __future__ import annotations

from ...actors.files import FileState, FileStore, FileWorker
from ...supervisors.recovery import RECOVERY, Policy, Row, Throttle
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, supervisor

WORKERS = 8
"""Files that are read or written at the same time."""
HUNG = 20.0
"""Seconds after which a disk counts as hung, and the worker that waits for it; less than a call's own."""
RESTARTS = 100
"""Restarts of workers within a minute, before the store is given up."""

STORAGE = RECOVERY.replacing(Row("Resource", "Recoverable", Throttle()), name="storage")
"""The matrix, but for one thing: a disk that is full is its writers' matter. They are slowed down; the quality of what
others do is not lowered for it."""


def files_spec(state: FileState, *, name: str = "storage", policy: Policy | None = None) -> ChildSpec:
    """The subtree of a file store; ask its `files`. `state` is what outlives its actors, made for it alone."""
    workers = [f"worker-{n}" for n in range(1, WORKERS + 1)]
    return supervisor(
        name,
        *(child(worker, lambda: FileWorker(state), handler_timeout=HUNG) for worker in workers),
        child("files", lambda: FileStore(state, workers)),
        policy=policy,
        max_restarts=RESTARTS,
        within=60.0,
    )
