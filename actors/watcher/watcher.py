"""`Watcher` and what may take its place: tell what changes on disk below the paths that they are asked to watch.

All keep the same `Watches` and answer the same messages, so that one can take another's place, and the next
incarnation goes on where the last one was ended: it compares what was known with what is there, and tells the rest.
None tries anything again: a source that fails, or that has kept something back, ends the actor; the tree decides.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import attrs
import trio

from ..actor import Actor
from ..errors import Reject, UkemiError
from ..protocol import retryable
from .changes import Changed, decode_path, encode_path
from .reconcile import Reconciliation
from .snapshot import Node, Watch, Watches
from .sources import Source, open_source

SETTLE = 0.05
"""Seconds for which changes are gathered after some were told. The first change after a quiet time is told at once."""
HEALTH_EVERY = 30.0
"""Seconds between two comparisons of everything that is watched with the disk (the spec's health check)."""
GRACE = 0.1
"""Seconds within which a source has to tell of what is on disk already."""
POLL_EVERY = 2.0
"""Seconds between two looks of a `PollingWatcher`."""
MOST_CHANGES = 1_000
"""Changes in one message."""
_OWN_ERRORS = (errno.EBADF, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Of the watcher, and not of the path that it is to watch."""


class NoSuchWatch(UkemiError, LookupError):
    """No watch has this id."""

    def __init__(self, watch: str) -> None:
        super().__init__(f"there is no watch {watch!r}")
        self.watch = watch


class WatcherUnhealthy(UkemiError):
    """The source of a watcher did not tell of what has changed, such as at `path`. Nothing is lost: it was found."""

    def __init__(self, path: str, count: int) -> None:
        super().__init__(f"{count} changes were not told by the system, such as at {ascii(path)[1:-1]}")
        self.path = path
        self.count = count


@attrs.frozen
class WatchInfo:
    """One watch, as it stands."""

    watch: str
    path: str
    recursive: bool
    encoding: str
    """Of `path` and `unreadable`, as in `Change`."""
    exists: bool
    """Whether anything is there at present."""
    unreadable: tuple[str, ...]
    """Folders of which only the name is known, in the encoding of the path; at most ten."""


class _Keeper(Actor):
    """What all watchers have in common."""

    def __init__(self, watches: Watches | None = None) -> None:
        self._watches = Watches() if watches is None else watches
        self._source: Source | None = None

    # --- messages

    @retryable
    async def add(self, path: str, recursive: bool = False, encoding: str = "utf-8", watch: str | None = None) -> str:
        """Watch a file, or a folder and what is directly in it, or (`recursive`) all below it; the watch's id.

        What changes from now on is published as `Changed` on the topic `<path of this actor>/changed`. A link is
        followed if it is the path itself, and not below. The path may be deleted and made again. `encoding` as in
        `Change`. `watch` is an id of the caller's own, with which asking once more changes nothing; without it the
        watch is given one. What can't be watched is rejected with the system's error, or ValueError.
        """
        new = Watch("", _absolute(path, encoding), recursive)
        async with self._watches.lock:
            known = self._watches.by_id.get(watch or "")
            if known is not None:
                if (known.path, known.recursive) == (new.path, recursive):
                    return known.id
                raise Reject(ValueError(f"watch={watch!r} is the id of another watch; a new one takes one of its own"))
            try:
                await self._reconcile(new, publish=False)
                while new.is_dirty:  # it has changed meanwhile
                    await self._reconcile(new, publish=False)
            except BaseException as error:
                if self._source is not None:
                    self._source.release(new)
                if isinstance(error, OSError) and error.errno not in _OWN_ERRORS:
                    raise Reject(error) from None  # of this path alone
                raise
            new.told.clear()
            new.id = watch or self._watches.new_id()
            self._added(new)
        return new.id

    async def remove(self, watch: str) -> None:
        """Tell no more of a watch. Rejects with NoSuchWatch."""
        async with self._watches.lock:
            if watch not in self._watches.by_id:
                raise Reject(NoSuchWatch(watch))
            self._removed(self._watches.by_id[watch])

    async def forget(self, watches: list[str]) -> None:
        """Tell no more of these, as far as they are there."""
        async with self._watches.lock:
            for watch in watches:
                if watch in self._watches.by_id:
                    self._removed(self._watches.by_id[watch])

    def watches(self) -> tuple[WatchInfo, ...]:
        """All that is watched, in the order of adding."""
        return tuple(_info(watch) for watch in self._watches.by_id.values())

    # ---

    def _added(self, watch: Watch) -> None:
        """It is watched from now on. The lock is held."""
        self._watches.by_id[watch.id] = watch
        self._watches.news.unpark_all()

    def _removed(self, watch: Watch) -> None:
        """It is not watched any more. The lock is held."""
        del self._watches.by_id[watch.id]
        self._watches.news.unpark_all()

    async def _look_at_everything(self) -> list[Reconciliation]:
        """Compare all that is known with the disk. The lock is held."""
        done = []
        for watch in list(self._watches.by_id.values()):
            watch.everything = True
            done.append(await self._reconcile(watch))
        return done

    async def _reconcile(self, watch: Watch, *, publish: bool = True) -> Reconciliation:
        """One pass, with pauses, in which what has changed meanwhile is marked for the next one."""
        one = Reconciliation(watch, self._source)
        for _ in one.steps():
            if publish:
                self._publish(watch)
            await trio.lowlevel.checkpoint()
            if self._source is not None:
                self._source.drain()
        if publish:
            self._publish(watch)
        return one

    def _publish(self, watch: Watch) -> None:
        while watch.told:
            self.ctx.publish(f"{self.ctx.path}/changed", Changed(watch.id, tuple(watch.told[:MOST_CHANGES])))
            del watch.told[:MOST_CHANGES]


class Watcher(_Keeper):
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

    async def on_start(self) -> None:
        """Watch again what was watched before, and tell what has changed since."""
        self.ctx.start_task(self._run)
        await self._is_open.wait()
        async with self._watches.lock:
            await self._catch_up()
        self.ctx.start_task(self._keep_in_step)
        self._is_well = True
        self.ctx.every(self._health_every, self._check_health)

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
                    await source.wait()
                source.drain()
                if self._is_dirty:
                    async with self._watches.lock:
                        for watch in list(self._watches.by_id.values()):
                            if watch.is_dirty:
                                await self._reconcile(watch)
                    await self._gather(source)
        finally:
            self._is_well = False
            source.close()

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
            async with watches.lock:
                await self._catch_up()

    async def _catch_up(self) -> None:
        """Have the source tell of all that is watched, and of nothing else. The lock is held."""
        for watch in [each for each in self._attended if self._watches.by_id.get(each.id) is not each]:
            self._let_go_of(watch)
        for watch in [each for each in self._watches.by_id.values() if each not in self._attended]:
            self._attended[watch] = None
            watch.adrift = watch.everything = True
            await self._reconcile(watch)

    def _added(self, watch: Watch) -> None:
        self._attended[watch] = None
        super()._added(watch)

    def _removed(self, watch: Watch) -> None:
        self._let_go_of(watch)
        super()._removed(watch)

    def _let_go_of(self, watch: Watch) -> None:
        if watch in self._attended:
            del self._attended[watch]
            assert self._source is not None
            self._source.release(watch)

    @property
    def _is_dirty(self) -> bool:
        return any(watch.is_dirty for watch in self._watches.by_id.values())

    async def _check_health(self) -> None:
        source = self._source
        assert source is not None
        try:
            source.check()
            async with self._watches.lock:
                await self._find_surprises(source)
        except (OSError, WatcherUnhealthy):
            self._is_well = False
            self.ctx.log.warning("Watcher unhealthy, recreating...")
            raise

    async def _find_surprises(self, source: Source) -> None:
        """Compare everything with the disk; WatcherUnhealthy if the source knew of something and did not tell."""
        while source.drain():
            await trio.lowlevel.checkpoint()
        done = await self._look_at_everything()
        found = [look for one in done for look in one.surprises]
        if not found or not source.tells_all:
            return
        await trio.sleep(GRACE)
        while source.drain():
            await trio.lowlevel.checkpoint()
        surprises = [look for look in found if not _is_told(*look)]
        if surprises:
            folder, name = surprises[0]
            raise WatcherUnhealthy(os.path.join(folder.path, name), len(surprises))


class PollingWatcher(_Keeper):
    """Looks for itself, every so often: for filesystems that tell nothing (such as a network's), and where no more can
    be watched.

    What comes and goes between two looks is not seen, and a file that is written twice in between is told once.
    """

    def __init__(self, watches: Watches | None = None, interval: float = POLL_EVERY) -> None:
        super().__init__(watches)
        self._interval = interval

    async def on_start(self) -> None:
        """Look for the first time."""
        await self._poll()
        self.ctx.every(self._interval, self._poll)

    def _is_on(self) -> bool:
        """Whether it is to look now: for what derives from it and knows better."""
        return True

    async def _poll(self) -> None:
        if self._is_on():
            async with self._watches.lock:
                await self._look_at_everything()


class QuietWatcher(_Keeper):
    """Tells nothing, and costs nothing: keeps the watches, so that whoever is next tells what has changed meanwhile."""


def _absolute(path: str, encoding: str) -> str:
    """The path to watch; rejects what is none, or what is not there."""
    try:
        decoded = decode_path(path, encoding)
        if not decoded:
            raise ValueError("path='' must name a file or a folder")
        decoded = os.path.abspath(decoded)
        os.stat(decoded)
    except (OSError, ValueError) as error:
        raise Reject(error) from None
    return decoded


def _info(watch: Watch) -> WatchInfo:
    blind = [node.path for node in watch.blind][:10]
    path, encoding = encode_path(watch.path)
    unreadable = tuple(path for path, its in map(encode_path, blind) if its == encoding)
    return WatchInfo(watch.id, path, watch.recursive, encoding, watch.root is not None, unreadable)


def _is_told(folder: Node, name: str) -> bool:
    """Whether something has been told of a name, or may have been."""
    watch = folder.watch
    return folder.is_dead or folder in watch.blind or watch.everything or (folder, name) in watch.looks
