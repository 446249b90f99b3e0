"""A watcher in a tree, and somebody who hears what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from ukemi import Actor, Ref, Runtime, child, supervisor
from ukemi.actors.watcher import Change, Changed, ChangeKind, Watcher, Watches

QUIET = 1.0
"""Seconds after which all is told; virtual where the clock is."""


class Ear(Actor):
    """Remembers all that is told."""

    def __init__(self, heard: list[Changed]) -> None:
        self.heard = heard

    def on_start(self) -> None:
        self.ctx.subscribe("/app/watcher/changed", self.changed)

    def changed(self, event: Changed) -> None:
        self.heard.append(event)


@attrs.frozen
class Watching:
    """What a test works with."""

    runtime: Runtime
    ref: Ref[Watcher]
    watches: Watches
    heard: list[Changed]

    async def add(self, path: object, recursive: bool = False) -> str:
        return await self.ref.call(Watcher.add, str(path), recursive)

    async def told(self, watch: str | None = None) -> list[Change]:
        """All that was told since the last time, once all is quiet."""
        await trio.sleep(QUIET)
        heard, self.heard[:] = list(self.heard), []
        return [change for event in heard if watch in (None, event.watch) for change in event.changes]

    async def brief(self, base: object) -> list[str]:
        """The same as text: `created a/b`."""
        return [brief(change, str(base)) for change in await self.told()]


def brief(change: Change, base: str) -> str:
    """A change as text, with paths from a base."""
    path = change.path[len(base) :].strip("/") or "."
    if change.kind is ChangeKind.MOVED:
        assert change.source is not None
        return f"moved {change.source[len(base) :].strip('/')} to {path}"
    return f"{change.kind} {path}"


@asynccontextmanager
async def watching(
    factory: Callable[[Watches], Actor] = Watcher,
    *,
    fallback: Callable[[Watches], Actor] | None = None,
    max_restarts: int = 100,
    **options: Any,
) -> AsyncIterator[Watching]:
    """A runtime with a watcher. `fallback` is made of the same watches as the watcher itself."""
    watches, heard = Watches(), list[Changed]()
    if fallback is not None:
        options["fallback"] = lambda: fallback(watches)
    tree = supervisor(
        "app",
        child("watcher", lambda: factory(watches), **options),
        child("ear", lambda: Ear(heard)),
        max_restarts=max_restarts,
    )
    async with Runtime(tree) as runtime:
        yield Watching(runtime, runtime.ref("watcher"), watches, heard)
