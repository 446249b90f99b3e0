"""`FileStore`: reads and writes files for everybody.

What the cache knows it answers at once, after one stat, and so it does what the kernel has in memory. All else it hands
to its workers, so that files don't wait for each other while one of the workers is free. Of one path, everything is
done in the order in which it was asked for; other names of the same file (links) are other paths.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from ..actor import Actor
from ..deferred import Reply
from ..errors import Reject, ResourceExhausted
from ..protocol import retryable
from ..ref import Ref
from .at_once import read_at_once
from .cache import CacheStats
from .content import Encoding, FileRead
from .names import decode_path, encode_path
from .state import FileState
from .worker import FileWorker
from .writing import sweep

MOST_WAITING = 1_000
"""Reads and writes that may be under way or wait."""


@attrs.frozen
class FileStats:
    """A store's, as of now."""

    cache: CacheStats
    waiting: int
    """Reads and writes that are under way, or wait for a worker."""
    threads: int
    """Threads that read or write, those included that nobody waits for any more since their disk does not answer."""


@attrs.frozen(eq=False)
class _Asked:
    """A read or a write."""

    method: Callable[..., Any]
    arguments: tuple[Any, ...]
    reply: Reply


class FileStore(Actor):
    """Its workers are the actors of these names beside it, which share its `state`.

    An error that is the caller's matter is the answer: FileNotFoundError, IsADirectoryError, PermissionError (of what
    is no file, too), OSError EFBIG of what is too large, ResourceExhausted where there is not the memory for it, or too
    much waits. What else can go wrong is the workers' to fail of.

    A relative path is relative to this process's folder; one that is no UTF-8 is given as base64, which its
    `path_encoding` says. A caller that goes away stops nothing.
    """

    def __init__(self, state: FileState, workers: Sequence[str]) -> None:
        self._state = state
        self._cache = state.cache
        self._names = workers
        self._idle: deque[Ref[FileWorker]] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self._lines: dict[str, deque[_Asked]] = {}
        """By path, what is asked about it; the first is under way."""
        self._waiting = 0

    async def on_start(self) -> None:
        """Remove what an earlier process has left behind half written."""
        find = self.ctx.find
        self._idle.extend(find(f"../{name}", FileWorker).within(None) for name in self._names)
        state = self._state
        if not state.is_swept:
            clean = partial(sweep, state.records)
            for error in await state.run_in_thread(clean, abandon_on_cancel=True, limiter=state.threads):
                self.ctx.log.warning("left behind by an earlier process, and can't be removed: {}", error)
            state.is_swept = True

    # --- messages

    @retryable
    def read(self, path: str, path_encoding: Encoding = "utf-8") -> FileRead:
        """What the file holds now. `stale` says that it can't be read, and that this is what it held before."""
        path = _checked(path, path_encoding)
        if path not in self._lines:
            content = self._cache.fresh(path)
            if content is not None:
                return content
            found = read_at_once(path, self._state.most_bytes)
            if found is not None:
                self._cache.put(path, found)
                return found.content
        self._ask(FileWorker.read, path)
        return None  # type: ignore[return-value]  # answered later

    @retryable
    def write(self, path: str, data: str, encoding: Encoding = "utf-8", path_encoding: Encoding = "utf-8") -> None:
        """Replace what the file holds, or make it: as a whole, or not at all. Answered once it is on the disk.

        `data` is text, or the base64 of bytes; ValueError if it is neither. Mode and owner stay; of a symbolic link,
        what it leads to is written. After an error the file holds the old contents, or the new ones.
        """
        self._ask(FileWorker.write, _checked(path, path_encoding), data, encoding)

    def stats(self) -> FileStats:
        """What the cache holds and how much is under way."""
        return FileStats(self._cache.stats(), self._waiting, int(self._state.threads.borrowed_tokens))

    def resize(self, fraction: float) -> CacheStats:
        """Let the cache hold so many times what it may hold now: 0.5 under pressure, 2.0 on the way back.

        It stays within its floor and its capacity.
        """
        try:
            self._cache.resize(fraction)
        except ValueError as error:
            raise Reject(error) from None
        return self._cache.stats()

    def clear(self) -> CacheStats:
        """Let the cache forget everything."""
        self._cache.clear()
        return self._cache.stats()

    # --- handing over

    def _ask(self, method: Callable[..., Any], path: str, *arguments: Any) -> None:
        if self._waiting >= MOST_WAITING:
            raise Reject(ResourceExhausted("reads and writes of files that wait", MOST_WAITING, self._waiting))
        self._waiting += 1
        name, path_encoding = encode_path(path)
        asked = _Asked(method, (name, *arguments, path_encoding), self.ctx.defer())
        line = self._lines.get(path)
        if line is not None:
            line.append(asked)
            return
        self._lines[path] = deque((asked,))
        self.ctx.start_task(self._carry_out, path)

    async def _carry_out(self, path: str) -> None:
        """Everything that is asked about one path, in order."""
        line = self._lines[path]
        while line:
            asked = line[0]  # it stays there until it is answered, as what this actor's end is to fail
            worker = await self._free_worker()
            try:
                answer = await worker.call(asked.method, *asked.arguments)
            except Exception as error:  # whatever became of it is for who has asked
                asked.reply.fail(error)
            else:
                asked.reply.send(answer)
            self._idle.append(worker)
            self._lot.unpark()
            self._waiting -= 1
            line.popleft()
        del self._lines[path]

    async def _free_worker(self) -> Ref[FileWorker]:
        while not self._idle:
            await self._lot.park()
        return self._idle.popleft()


def _checked(path: str, path_encoding: Encoding) -> str:
    """The path, absolute, as Python has it. Rejects what can't be one."""
    if path_encoding == "utf-8" and path.startswith("/") and path.isascii() and "\0" not in path:
        return path
    try:
        decoded = decode_path(path, path_encoding)
        if not decoded or "\0" in decoded:
            raise ValueError(f"path={path!r} must be the name of a file, without NUL")
        os.fsencode(decoded)
    except UnicodeEncodeError:
        raise Reject(ValueError(f"path={path!r} can't be the name of a file: it holds half a surrogate pair")) from None
    except ValueError as error:
        raise Reject(error) from None
    return os.path.join(os.getcwd(), decoded)
