"""`FileWorker`: reads and writes files, one after the other, each in a thread.

It does each thing once, and raises what the system says: what is then done (try again, answer from the cache, slow
down, tell somebody) is its policy's to say. Only what is its caller's matter it rejects: no such file, a folder, not
allowed, too large, or larger than there is memory for.

A disk may never answer. A thread that waits for one is left alone when its actor ends or its time is over: one that
reads does no harm, one that writes leaves the old contents, unless it is just then putting the new ones in place.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ..actor import Actor
from ..errors import Reject, ResourceExhausted
from ..protocol import falls_back_to, retryable
from ..resources.monitor import ResourceMonitor
from ..resources.pressure import Resource
from .cache import Found, Signature
from .content import FileRead, bytes_of
from .names import decode_path
from .reading import CALLERS, Large, check_size, read_file
from .state import FileState
from .writing import write_file

T = TypeVar("T")

LARGE = 1024 * 1024
"""Bytes of a file from which on there has to be room for it first."""
COPIES = 4
"""How often the contents are in memory at the same time: as bytes, as text, in the cache, on their way."""


class _Attempt:
    """A write, as its actor and its thread see it. Each path has at most one that its thread has begun."""

    def __init__(self, path: str, writing: set[str]) -> None:
        self.is_wanted = True
        self._path = path
        self._writing = writing
        self._has_begun = False
        self._lock = threading.Lock()
        writing.add(path)

    def begin(self) -> bool:
        """In the thread: whether it is still to be done."""
        with self._lock:
            self._has_begun = self.is_wanted
            return self._has_begun

    def end(self) -> None:
        """In the thread: it has come back."""
        self._writing.discard(self._path)

    def give_up(self) -> None:
        """In the loop: nobody waits for it any more."""
        with self._lock:
            self.is_wanted = False
            if not self._has_begun:
                self._writing.discard(self._path)


class FileWorker(Actor):
    """One of a `FileStore`'s. Paths are absolute, and in their `path_encoding`."""

    def __init__(self, state: FileState) -> None:
        self._state = state
        self._cache = state.cache

    @retryable
    @falls_back_to("_last_known")
    async def read(self, path: str, path_encoding: str) -> FileRead:
        """What the file holds."""
        path = decode_path(path, path_encoding)
        found = await self._read(path, self._cache.signature(path))
        if found is None:
            cached = self._cache.confirmed(path)
            if cached is not None:
                return cached
            found = await self._read(path, None)
        assert found is not None
        self._cache.put(path, found)
        return found.content

    async def _read(self, path: str, known: Signature | None) -> Found | None:
        """From the disk; None if it looks as `known`. What is large, only if there is room for it."""
        read = partial(read_file, path, self._state.most_bytes, known)
        found = await self._in_thread(path, partial(read, large=LARGE))
        if isinstance(found, Large):
            await self._make_sure_of_room(found.size)
            found = await self._in_thread(path, read)
        assert not isinstance(found, Large)
        return found

    def _last_known(self, path: str, path_encoding: str) -> FileRead:
        """Answer from the cache why ever the file can't be read, and free it where memory is what is missing."""
        content = self._cache.last_known(decode_path(path, path_encoding))
        self._free_memory()
        if content is None:
            raise self._failure()
        return content

    @retryable
    @falls_back_to("_write_last")
    async def write(self, path: str, data: str, encoding: str, path_encoding: str) -> None:
        """Replace what the file holds, or make it."""
        await self._write(decode_path(path, path_encoding), data, encoding)

    async def _write_last(self, path: str, data: str, encoding: str, path_encoding: str) -> None:
        """Nothing else can hold the data. Where memory was missing, try once more with what the cache has freed."""
        if not self._free_memory():
            raise self._failure()
        await self._write(decode_path(path, path_encoding), data, encoding)

    async def _write(self, path: str, data: str, encoding: str) -> None:
        state = self._state
        if path in state.writing:
            raise OSError(errno.EBUSY, "an earlier write to it has not come back from the disk", path)
        if len(data) > LARGE:
            await self._make_sure_of_room(len(data))
        attempt = _Attempt(path, state.writing)

        def write() -> Found | None:
            if not attempt.begin():
                return None
            try:
                content = bytes_of(data, encoding)
                check_size(path, len(content), state.most_bytes)
                return write_file(path, content, state.records, lambda: attempt.is_wanted)
            finally:
                attempt.end()

        try:
            found = await self._in_thread(path, write)
        finally:
            attempt.give_up()
        assert found is not None
        self._cache.put(path, found, read=False)

    async def _in_thread(self, path: str, function: Callable[[], T]) -> T:
        state = self._state
        if state.threads.available_tokens < 1:
            raise OSError(errno.ETIMEDOUT, f"the disk has not answered {state.threads.total_tokens:g} threads", path)
        try:
            result: T = await state.run_in_thread(function, abandon_on_cancel=True, limiter=state.threads)
        except OSError as error:
            if error.errno not in CALLERS:
                raise
            self._cache.discard(path)  # of what is not there any more, no copy is to be had either
            raise Reject(error) from None
        except ValueError as error:
            raise Reject(error) from None
        return result

    async def _make_sure_of_room(self, size: int) -> None:
        """Reject with the ResourceExhausted of the limit that leaves no memory for contents of so many bytes."""
        if self._state.monitor is None:
            return
        monitor = self.ctx.find(self._state.monitor, ResourceMonitor)
        try:
            await monitor.call(ResourceMonitor.require, Resource.MEMORY, COPIES * size)
        except ResourceExhausted as error:
            raise Reject(error) from None

    # --- in place of what has failed

    def _free_memory(self) -> bool:
        """If that is what was missing, let go of the cache; whether it was."""
        failure = self.ctx.failure
        missing = isinstance(failure, MemoryError) or getattr(failure, "errno", None) == errno.ENOMEM
        if missing:
            self._cache.clear()
        return missing

    def _failure(self) -> Exception:
        """The failure itself, as the answer."""
        failure = self.ctx.failure
        return Reject(failure) if isinstance(failure, Exception) else AssertionError("nothing has failed")
