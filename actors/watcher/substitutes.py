"""What may run in a watcher's place: one that looks for itself, and one that keeps quiet."""

from __future__ import annotations

import trio

from .keeper import Keeper
from .snapshot import Watches

POLL_EVERY = 2.0
"""Seconds between two looks of a `PollingWatcher`."""
SHARE = 0.1
"""The part of all time that looking takes, at most."""


class PollingWatcher(Keeper):
    """Looks for itself, every so often: for filesystems that tell nothing (such as a network's), and where no more can
    be watched.

    What comes and goes between two looks is not seen, and a file that is written twice in between is told once. It
    looks every `interval` seconds, or less often where it takes long.
    """

    def __init__(self, watches: Watches | None = None, interval: float = POLL_EVERY) -> None:
        super().__init__(watches)
        self._interval = interval

    async def on_start(self) -> None:
        """Look for the first time."""
        took = await self._poll()
        self.ctx.start_task(self._keep_polling, took)

    def _is_on(self) -> bool:
        """Whether it is to look now: for what derives from it and knows better."""
        return True

    async def _keep_polling(self, took: float) -> None:
        while True:
            await trio.sleep(max(self._interval, took / SHARE))
            took = await self._poll()

    async def _poll(self) -> float:
        begun = trio.current_time()
        if self._is_on():
            await self._look_at_everything()
        return trio.current_time() - begun


class QuietWatcher(Keeper):
    """Tells nothing, and costs nothing: keeps the watches, so that whoever is next tells what has changed meanwhile."""
