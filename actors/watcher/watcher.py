"""`Watcher`: has the system tell of changes, and tells what they are.

It tries nothing again: a source that fails, or that has kept something back, ends the actor; the tree decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from ..errors import UkemiError
from ..files.mounts import Mounts, mounts_now
from .keeper import Keeper
from .reconcile import Reconciliation
from .snapshot import Node, Watch, Watches
from .sources import Source, open_source

SETTLE = 0.05
"""Seconds for which changes are gathered after some were told. The first change after a quiet time is told at once."""
HEALTH_EVERY = 30.0
"""Seconds between two comparisons of everything that is watched with the disk (the spec's health check)."""
GRACE = 0.1
"""Seconds within which a source has to tell of what is on disk already."""


class WatcherUnhealthy(UkemiError):
    """The source of a watcher did not tell of what has changed, such as at `path`. Nothing is lost: it was found."""

    def __init__(self, path: str, count: int) -> None:
        super().__init__(f"{count} changes were not told by the system, such as at {ascii(path)[1:-1]}")
        self.path = path
        self.count = count


class Watcher(Keeper):
    """Has the system tell of changes: soon, and at little cost.

    Whatever the system lets slip is found: where its queue has overflown, in folders that are made faster than they
    can be watched, and at the latest with the health check, which costs a look at each entry. `watches` is given by
    the tree, so that it outlives this actor. Raises ResourceExhausted where no more can be watched, and
    WatcherUnhealthy.
    """

    def __init__(
        self,
        watches: Watches | None = None,
        settle: float = SETTLE,
        health_every: float = HEALTH_EVERY,
        source: Callable[[], Source] = open_source,
    ) -> None:
        super().__init__(watches)
        self._settle = settle
        self._health_every = health_every
        self._open = source
        self._is_open = trio.Event()
        self._is_well = False
        self._attended: dict[Watch, None] = {}
        """What the source tells of."""
        self._sleep = trio.CancelScope()
        """While `_run` waits for the source."""

    async def on_start(self) -> None:
        """Watch again what was watched before, and tell what has changed since."""
        self.ctx.start_task(self._run)
        await self._is_open.wait()
        await self._catch_up()
        self.ctx.start_task(self._keep_in_step)
        self._is_well = True
        self.ctx.start_task(self._keep_well)

    def health(self) -> float:
        """1 if everything that is watched is told of, 0 if not."""
        return 1.0 if self._is_well else 0.0

    async def _run(self) -> None:
        """Follow the source. This task has it from its first moment on, and is joined also after a kill."""
        source = self._source = self._open()
        try:
            self._is_open.set()
            while True:
                if not self._is_dirty:
                    with trio.CancelScope() as self._sleep:
                        await source.wait()
                source.drain()
                if self._is_dirty:
                    for watch in list(self._attended):
                        if self._is_to_be_looked_at(watch):
                            self._look_at(watch)
                            await trio.lowlevel.checkpoint()
                    await self._gather(source)
        finally:
            self._is_well = False
            self._source = None
            source.close()

    def _drain(self) -> bool:
        """Whoever does it may have taken from the source what `_run` waits for."""
        may_be_more = super()._drain()
        self._looked()
        return may_be_more

    def _looked(self) -> None:
        if self._is_dirty:
            self._sleep.cancel()

    async def _gather(self, source: Source) -> None:
        """Note what changes, and let it be, for as long as many changes are to be told at once."""
        with trio.move_on_after(self._settle):
            while True:
                await source.wait()
                source.drain()

    async def _keep_in_step(self) -> None:
        """Attend to what is added, and let go of what is removed, by what still runs in this actor's place."""
        watches = self._watches
        while True:
            if set(self._attended) == set(watches.by_id.values()):
                await watches.news.park()
                continue
            await self._catch_up()

    async def _catch_up(self) -> None:
        """Have the source tell of all that is watched, and of nothing else."""
        for watch in [each for each in self._attended if not self._is_watched(each)]:
            self._let_go_of(watch)
        for watch in list(self._watches.by_id.values()):
            if watch not in self._attended and self._is_watched(watch):
                self._attended[watch] = None
                watch.adrift = watch.everything = True
                if watch not in self._under_way:
                    await self._look_soon(watch).wait()

    def _added(self, watch: Watch) -> None:
        self._attended[watch] = None
        super()._added(watch)

    def _let_go_of(self, watch: Watch) -> None:
        self._attended.pop(watch, None)
        super()._let_go_of(watch)

    def _is_to_be_looked_at(self, watch: Watch) -> bool:
        return watch.is_dirty and watch not in self._under_way

    @property
    def _is_dirty(self) -> bool:
        return any(self._is_to_be_looked_at(watch) for watch in self._attended)

    async def _keep_well(self) -> None:
        while True:
            await trio.sleep(self._health_every)
            await self._check_health()

    async def _check_health(self) -> None:
        source = self._source
        if source is None:
            return  # it is ending
        with self._unhealthy_if_it_fails():
            source.check()
        while self._drain():
            await trio.lowlevel.checkpoint()
        await self._look_at_everything(self._find_surprises)

    @contextmanager
    def _unhealthy_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except (OSError, WatcherUnhealthy):
            self._is_well = False
            self.ctx.log.warning("Watcher unhealthy, recreating...")
            raise

    async def _find_surprises(self, one: Reconciliation) -> None:
        """After a look at all of a watch: WatcherUnhealthy if the source knew of something and did not tell."""
        source, found = self._source, one.surprises
        if not found or source is None or not source.tells_all:
            return
        with self._unhealthy_if_it_fails():
            await trio.sleep(GRACE)
            while self._drain():
                await trio.lowlevel.checkpoint()
            mounts = mounts_now()
            surprises = [look for look in found if not _is_told(*look) and _is_expected(look[0], mounts)]
            if surprises:
                folder, name = surprises[0]
                raise WatcherUnhealthy(os.path.join(folder.path, name), len(surprises))


def _is_expected(folder: Node, mounts: Mounts) -> bool:
    """Whether the system has to tell of what changes here; what another machine changes on a server it can't know."""
    return folder.found is not None and not mounts.is_far(os.path.join(folder.path, ""), folder.found.device)


def _is_told(folder: Node, name: str) -> bool:
    """Whether something has been told of a name, or may have been."""
    watch = folder.watch
    return folder.is_dead or folder in watch.blind or watch.everything or (folder, name) in watch.looks
