"""`Keeper`: what all watchers have in common: they keep the same `Watches`, and answer the same messages.

So one can take another's place, and the next incarnation goes on where the last one was ended: it compares what was
known with what is there, and tells the rest. None tries anything again: what fails ends the actor; the tree decides.
"""

from __future__ import annotations

import errno
import os

import attrs
import trio

from ..actor import Actor
from ..deferred import Reply
from ..errors import Reject, ResourceExhausted, UkemiError
from ..protocol import retryable
from .changes import Changed, decode_path, encode_path
from .reconcile import Reconciliation
from .snapshot import Watch, Watches
from .sources import Source

MOST_CHANGES = 1_000
"""Changes in one message."""
MOST_ENTRIES = 500_000
"""Entries below a path, so that it may be watched: some 300 MB."""
_OWN_ERRORS = (errno.EBADF, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Of the watcher, and not of the path that it is to watch."""


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

    async def remove(self, watch: str) -> None:
        """Tell no more of a watch. Rejects with NoSuchWatch."""
        if watch not in self._watches.by_id and watch not in self._adding:
            raise Reject(NoSuchWatch(watch))
        await self.forget([watch])

    async def forget(self, watches: list[str]) -> None:
        """Tell no more of these, as far as they are there; add no more those that are being added."""
        for watch in watches:
            adding = self._adding.pop(watch, None)
            if adding is not None:
                adding.scope.cancel()
                adding.reply.fail(NoSuchWatch(watch))
        async with self._watches.lock:
            for watch in watches:
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
            await self._reconcile(new, publish=False)
            while new.is_dirty:  # it has changed meanwhile
                await self._reconcile(new, publish=False)
        except BaseException as error:
            self._release(new)
            if not isinstance(error, Exception):
                raise
            self._refuse(self._adding.pop(new.id).reply, error)
        else:
            new.told.clear()
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
        """It is not watched any more. The lock is held."""
        del self._watches.by_id[watch.id]
        self._watches.news.unpark_all()

    def _release(self, watch: Watch) -> None:
        if self._source is not None:
            self._source.release(watch)

    # --- looking

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
            elif one.created > MOST_ENTRIES:
                raise Reject(ResourceExhausted(f"entries below {ascii(watch.path)[1:-1]}", MOST_ENTRIES, one.created))
            await trio.lowlevel.checkpoint()
            self._drain()
        if publish:
            self._publish(watch)
        return one

    def _drain(self) -> bool:
        """Mark what the source knows of by now; whether there may be more."""
        return self._source is not None and self._source.drain()

    def _publish(self, watch: Watch) -> None:
        while watch.told:
            self.ctx.publish(f"{self.ctx.path}/changed", Changed(watch.id, tuple(watch.told[:MOST_CHANGES])))
            del watch.told[:MOST_CHANGES]


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
