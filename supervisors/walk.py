"""Doing something with many children, in order: one after the other, or as far as their dependencies allow at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import trio

from .graph import Graph, reverse

Action: TypeAlias = Callable[[str], Awaitable[BaseException | None]]
"""What is done with a name. It returns its error, if it fails."""

_BREATH = 64
"""Names between which the loop turns, where no action has to wait."""


async def in_turn(names: Iterable[str], action: Action) -> dict[str, BaseException]:
    """One after the other; the first error ends it, and is the result."""
    for turn, name in enumerate(names, 1):
        error = await action(name)
        if error is not None:
            return {name: error}
        if turn % _BREATH == 0:
            await trio.lowlevel.checkpoint()
    return {}


async def side_by_side(depends_on: Graph, action: Action) -> dict[str, BaseException]:
    """Each name once all that it depends on among them is done; the errors. An error holds up its dependents only."""
    waits_for = {name: sum(n in depends_on for n in needed) for name, needed in depends_on.items()}
    after = reverse(depends_on)
    failed: dict[str, BaseException] = {}

    async def run(name: str) -> None:
        error = await action(name)
        if error is not None:
            failed[name] = error
            return
        for follower in after[name]:
            waits_for[follower] -= 1
            if waits_for[follower] == 0:
                nursery.start_soon(run, follower)

    async with trio.open_nursery() as nursery:
        for name in [name for name, count in waits_for.items() if count == 0]:
            nursery.start_soon(run, name)
    return failed
