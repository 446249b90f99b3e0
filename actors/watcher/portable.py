"""Other systems' notifications as a source, through watchdog: FSEvents on macOS, kqueue on the BSDs.

watchdog calls from threads of its own. What it says is only where to look; what it may let slip is found by the
watcher's health check.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from functools import partial

import trio
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

from ..errors import ResourceExhausted
from .looking import Steps, asked
from .snapshot import Node, Watch

_SILENT = ("opened", "closed_no_write", "closed")


class Portable:
    """See `sources.Source`."""

    tells_all = False

    def __init__(self) -> None:
        self._observer = Observer()
        self._observer.start()
        self._token = trio.lowlevel.current_trio_token()
        self._told: deque[tuple[Watch, FileSystemEvent]] = deque()
        self._is_told = trio.Event()
        self._handlers: dict[Watch, dict[str, tuple[ObservedWatch, _Handler]]] = {}

    def attend(self, node: Node, *, far: bool) -> Steps[None]:
        """See `Source`. The root's notifications hold for all below it."""
        if node.is_root:
            yield from self._schedule(node.watch, node.path, recursive=node.watch.recursive, far=far)

    def forget(self, node: Node) -> None:
        """See `Source`."""
        if node.is_root:
            self._unschedule(node.watch, node.path)

    def anchor(self, watch: Watch) -> Steps[None]:
        """See `Source`. Of what leads to the root, the nearest folder that is there."""
        assert watch.place is not None
        far = watch.place.is_far
        folder = os.path.dirname(watch.path)
        while not (yield from asked(partial(os.path.isdir, folder), far=far)):
            folder = os.path.dirname(folder)
        for path in list(self._handlers.get(watch, ())):
            if path not in (folder, watch.path):
                self._unschedule(watch, path)
        if folder != watch.path:
            yield from self._schedule(watch, folder, recursive=False, far=far)

    def release(self, watch: Watch) -> Steps[None]:
        """See `Source`."""
        for path in list(self._handlers.get(watch, ())):
            self._unschedule(watch, path)
            yield None
        self._handlers.pop(watch, None)

    def drain(self) -> bool:
        """See `Source`."""
        self._is_told = trio.Event()
        for _ in range(min(len(self._told), 1_000)):
            watch, event = self._told.popleft()
            for path in (event.src_path, event.dest_path):
                if path:
                    _mark(watch, os.fsdecode(path), written=event.event_type == "modified")
        if self._told:
            self._is_told.set()
        return bool(self._told)

    async def wait(self) -> None:
        """See `Source`."""
        await self._is_told.wait()

    def check(self) -> None:
        """See `Source`."""
        if not self._observer.is_alive():
            raise OSError(errno.EIO, "watchdog's thread has ended")

    def close(self) -> None:
        """See `Source`."""
        for handlers in self._handlers.values():
            for _, handler in handlers.values():
                handler.source = None
        self._observer.stop()

    # ---

    def tell(self, watch: Watch, event: FileSystemEvent) -> None:
        """Something has changed (from another thread)."""
        self._told.append((watch, event))
        try:
            self._token.run_sync_soon(self._wake, idempotent=True)
        except trio.RunFinishedError:
            pass  # nobody is there to hear it

    def _wake(self) -> None:
        self._is_told.set()

    def _schedule(self, watch: Watch, path: str, *, recursive: bool, far: bool) -> Steps[None]:
        """Begin anew: what was scheduled for a path may belong to a folder that is gone."""
        self._unschedule(watch, path)
        handler = _Handler(self, watch)
        try:
            schedule = partial(self._observer.schedule, handler, path, recursive=recursive)
            observed = yield from asked(schedule, far=far)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EMFILE):
                raise ResourceExhausted("watches of the system", 0, 0) from error
            raise
        self._handlers.setdefault(watch, {})[path] = observed, handler

    def _unschedule(self, watch: Watch, path: str) -> None:
        known = self._handlers.get(watch, {}).pop(path, None)
        if known is not None:
            observed, handler = known
            handler.source = None
            self._observer.remove_handler_for_watch(handler, observed)


class _Handler(FileSystemEventHandler):
    """Passes on what is told of one path for one watch."""

    def __init__(self, source: Portable, watch: Watch) -> None:
        self.source: Portable | None = source
        self._watch = watch

    def on_any_event(self, event: FileSystemEvent) -> None:
        """See watchdog."""
        source = self.source
        if source is not None and event.event_type not in _SILENT:
            source.tell(self._watch, event)


def _mark(watch: Watch, path: str, *, written: bool) -> None:
    """Have the nearest name that is known looked at."""
    if path == watch.path or not path.startswith(os.path.join(watch.path, "")):
        if watch.path.startswith(path):
            watch.adrift = watch.everything = True
        return
    folder = watch.root
    *way, name = os.path.relpath(path, watch.path).split(os.sep)
    for step in way:
        if folder is None or folder.children is None:
            break
        below = folder.children.get(step)
        if below is None or below.children is None:
            watch.look(folder, step)
            return
        folder = below
    if folder is None or folder.children is None:
        watch.adrift = watch.everything = True
    else:
        watch.look(folder, name, written=written)
