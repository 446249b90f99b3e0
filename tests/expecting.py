"""Waiting for what happens in a tree."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ukemi import Runtime
from ukemi.actors.events import Event

PATIENCE = 30
"""Seconds: a test that takes longer hangs."""


@asynccontextmanager
async def expecting(runtime: Runtime, kind: type[Event], path: str, *, times: int = 1) -> AsyncIterator[None]:
    """At its end, wait until an event of this kind and path has happened since its beginning, so many times."""
    happened = trio.Event()
    seen = 0

    def look(event: Event) -> None:
        nonlocal seen
        if isinstance(event, kind) and event.path == path:
            seen += 1
            if seen == times:
                happened.set()

    end = runtime.events.listen(look)
    try:
        yield
        with trio.fail_after(PATIENCE):
            await happened.wait()
    finally:
        end()
