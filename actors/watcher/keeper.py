"""`Keeper`: what all watchers have in common: they keep the same `Watches`, and answer the same messages.

So one can take another's place, and the next incarnation goes on where the last one was ended: it compares what was
known with what is there, and tells the rest. None tries anything again: what fails ends the actor; the tree decides.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from typing import TypeAlias

import attrs
import trio

from ..actor import Actor
from ..deferred import Reply
from ..errors import ActorStopped, Reject, ResourceExhausted, UkemiError
from ..files.names import decode_path, encode_path
from ..files.near import ask_disk
from ..protocol import retryable
from .changes import Changed
from .passes import Pass
from .reconcile import Reconciliation
from .snapshot import Watch, Watches
from .sources import Source

MOST_CHANGES = 1_000
"""Changes in one message."""
MOST_ENTRIES = 500_000
"""Entries below a path, so that it may be watched: some 200 MB."""
MOST_IN_ALL = 1_000_000
"""Entries of all watches, beyond which none is added."""
_OWN_ERRORS = (errno.EBADF, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Of the watcher, and not of the path that it is to watch."""


Then: TypeAlias = Callable[[Reconciliation], Awaitable[None]]
"""What follows upon a pass."""


class NoSuchWatch(UkemiError, LookupError):
    """No watch has this id."""

    def __init__(self, watch: str) -> None:
        super().__init__(f"there is no watch {watch!r}")
        self.watch = watch


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


@attrs.frozen(eq=False)
class _Adding:
    """A watch that is being added: everything below its path is still looked at."""

    scope: trio.CancelScope
    reply: Reply
    """Held here, where the end of the actor finds it: what was asked is then asked of the next one."""


class Keeper(Actor):
    """Knows the watches; when to look at them is up to what derives from it."""

    def __init__(self, watches: Watches | None = None) -> None:
        self._watches = Watches() if watches is None else watches
        self._source: Source | None = None
        self._adding: dict[str, _Adding] = {}
        self._under_way: dict[Watch, trio.CancelScope] = {}
        """The tasks in which watches are looked at, one for each at most."""

    # --- messages

    @retryable
    def add(self, path: str, recursive: bool = False, encoding: str = "utf-8", watch: str | None = None) -> str:
        """Watch a file, or a folder and what is directly in it, or (`recursive`) all below it; the watch's id.

        What changes from now on is published as `Changed` on the topic `<path of this actor>/changed`. A link is
        followed if it is the path itself, and not below. The path may be deleted and made again. `encoding` as in
        `Change`. `watch` is an id of the caller's own, with which asking once more changes nothing; without it the
        watch is given one. What can't be watched is rejected with the system's error, ValueError, or ResourceExhausted
        where there is too much below it. To look at it all may take its time, in which others are served; `forget`
        ends it.
        """
        new = Watch(watch or self._new_id(), _absolute(path, encoding), recursive)
        known = self._watches.by_id.get(new.id)
        if known is not None and (known.path, known.recursive) == (new.path, recursive):
            return known.id
        if known is not None or new.id in self._adding:
            raise Reject(ValueError(f"watch={watch!r} is the id of another watch; a new one takes one of its own"))
        reply = self.ctx.defer()
        self._adding[new.id] = _Adding(self.ctx.start_task(self._add, new), reply)
        return ""  # answered later

    def remove(self, watch: str) -> None:
        """Tell no more of a watch. Rejects with NoSuchWatch."""
        if watch not in self._watches.by_id and watch not in self._adding:
            raise Reject(NoSuchWatch(watch))
        self.forget([watch])

    def forget(self, watches: list[str]) -> None:
        """Tell no more of these, as far as they are there; add no more those that are being added."""
        for watch in watches:
            adding = self._adding.pop(watch, None)
            if adding is not None:
                adding.scope.cancel()
                adding.reply.fail(NoSuchWatch(watch))
            if watch in self._watches.by_id:
                self._removed(self._watches.by_id[watch])

    def watches(self) -> tuple[WatchInfo, ...]:
        """All that is watched, in the order of adding."""
        return tuple(_info(watch) for watch in self._watches.by_id.values())

    # --- adding and removing

    def _new_id(self) -> str:
        while (id := self._watches.new_id()) in self._adding:
            pass
        return id

    async def _add(self, new: Watch) -> None:
        """Look at all that there is. Nobody else knows of the watch yet, so that this holds nobody up."""
        try:
            await ask_disk(new.path, partial(os.stat, new.path), self._watches.threads)
            while new.is_dirty:  # at first, and when it has changed meanwhile
                await self._carry_out(Pass(Reconciliation(new, self._source, tells=False)))
        except BaseException as error:
            self._let_go_of(new)
            if not isinstance(error, Exception):
                raise
            self._refuse(self._adding.pop(new.id).reply, error)
        else:
            self._added(new)
            self._adding.pop(new.id).reply.send(new.id)

    def _refuse(self, reply: Reply, error: Exception) -> None:
        """It could not be added: it is the path's fault, or else the watcher has failed."""
        if isinstance(error, Reject):
            reply.fail(error.error)
        elif isinstance(error, OSError) and error.errno not in _OWN_ERRORS:
            reply.fail(error)
        else:
            reply.throw(error)

    def _added(self, watch: Watch) -> None:
        """It is watched from now on."""
        self._watches.by_id[watch.id] = watch
        self._watches.news.unpark_all()

    def _removed(self, watch: Watch) -> None:
        """It is not watched any more."""
        del self._watches.by_id[watch.id]
        self._watches.news.unpark_all()
        self._let_go_of(watch)

    def _let_go_of(self, watch: Watch) -> None:
        """Have the source tell no more of it, and forget what is known of it, if nobody else watches it."""
        scope = self._under_way.get(watch)
        if scope is not None:
            scope.cancel()
        if not self._is_watched(watch):
            self._watches.count(watch, 0)
        try:
            self.ctx.start_task(self._let_go, watch)
        except ActorStopped:
            pass  # its source ends with it

    async def _let_go(self, watch: Watch) -> None:
        """By and by: it may be much."""
        async with watch.hold:
            if self._source is not None:
                for _ in self._source.release(watch):
                    await trio.lowlevel.checkpoint()
            if not self._is_watched(watch):
                await watch.forget_all()

    def _is_watched(self, watch: Watch) -> bool:
        return self._watches.by_id.get(watch.id) is watch

    # --- looking

    def _look_at(self, watch: Watch) -> None:
        """Have it looked at: what is quick is over at once, anything else goes on in a task of its own."""
        try:
            watch.hold.acquire_nowait()
        except trio.WouldBlock:
            self._look_soon(watch)
            return
        begun, is_over = Pass(Reconciliation(watch, self._source)), True
        try:
            goes_on = begun.step()
            self._note_progress(begun)
            if goes_on:
                self._look_soon(watch, begun)
                is_over = False
        finally:
            if is_over:
                begun.close()
                watch.hold.release()

    def _look_soon(self, watch: Watch, begun: Pass | None = None, then: Then | None = None) -> trio.Event:
        """Have it looked at in a task of its own. The event is set once that is over, or waits for somebody else."""
        moved_on = trio.Event()
        self._under_way[watch] = self.ctx.start_task(self._look, watch, begun, then, moved_on)
        return moved_on

    async def _look(self, watch: Watch, begun: Pass | None, then: Then | None, moved_on: trio.Event) -> None:
        """One pass, and `then` something while nobody else changes the snapshot."""
        try:
            if begun is None:
                await _acquire(watch.hold, moved_on)
            try:
                one = begun or Pass(Reconciliation(watch, self._source))
                if self._is_watched(watch):
                    await self._carry_out(one, moved_on)
                    if then is not None:
                        await then(one.one)
            finally:
                watch.hold.release()
        finally:
            del self._under_way[watch]
            moved_on.set()
            self._looked()

    async def _look_at_everything(self, then: Then | None = None) -> None:
        """Compare all that is known with the disk, one after the other. Whatever does not answer holds up nobody."""
        for watch in list(self._watches.by_id.values()):
            watch.everything = True
            if watch not in self._under_way and self._is_watched(watch):
                await self._look_soon(watch, then=then).wait()

    async def _carry_out(self, one: Pass, moved_on: trio.Event | None = None) -> None:
        """To its end, with pauses, in which what has changed meanwhile is marked for the next one."""
        try:
            while True:
                if one.job is not None:
                    if moved_on is not None:
                        moved_on.set()
                    await one.do_job(self._watches.threads)
                self._drain()
                async with self._watches.turn:
                    goes_on = one.step()
                self._note_progress(one)
                if not goes_on:
                    break
        finally:
            one.close()

    def _note_progress(self, one: Pass) -> None:
        """Tell what was found; Reject where there is too much to be added."""
        watch, watches = one.watch, self._watches
        watches.count(watch)
        if watch.id not in self._adding:
            self._publish(watch)
        elif watch.entries > MOST_ENTRIES:
            raise Reject(ResourceExhausted(f"entries below {ascii(watch.path)[1:-1]}", MOST_ENTRIES, watch.entries))
        elif watches.entries > MOST_IN_ALL:
            raise Reject(ResourceExhausted("entries of all that is watched", MOST_IN_ALL, watches.entries))

    def _looked(self) -> None:
        """A pass is over: for what derives from it and may have waited for that."""

    def _drain(self) -> bool:
        """Mark what the source knows of by now; whether there may be more."""
        return self._source is not None and self._source.drain()

    def _publish(self, watch: Watch) -> None:
        if not self._is_watched(watch):
            return
        while watch.told:
            self.ctx.publish(f"{self.ctx.path}/changed", Changed(watch.id, tuple(watch.told[:MOST_CHANGES])))
            del watch.told[:MOST_CHANGES]


async def _acquire(hold: trio.Semaphore, has_to_wait: trio.Event) -> None:
    try:
        hold.acquire_nowait()
    except trio.WouldBlock:
        has_to_wait.set()
        await hold.acquire()


def _absolute(path: str, encoding: str) -> str:
    """The path to watch; rejects what is none."""
    try:
        decoded = decode_path(path, encoding)
        if not decoded or "\0" in decoded:
            raise ValueError(f"path={path!r} must name a file or a folder, without NUL")
        os.fsencode(decoded)
        return os.path.abspath(decoded)
    except ValueError as error:
        raise Reject(error) from None


def _info(watch: Watch) -> WatchInfo:
    blind = [node.path for node in islice(watch.blind, 10)]
    path, encoding = encode_path(watch.path)
    unreadable = tuple(path for path, its in map(encode_path, blind) if its == encoding)
    return WatchInfo(watch.id, path, watch.recursive, encoding, watch.root is not None, unreadable)
