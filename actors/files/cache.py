"""`FileCache`: what files held when they were last read, bounded in bytes; what was used least goes first.

Whether an entry still holds is asked of the file itself, with one stat: size, times, inode and device. The clock of a
file system ticks slowly, so an entry that was read within a tick of the file's last change is not trusted: the file
may have changed again since, and look the same. It is kept all the same, for when the file can't be read.
"""

from __future__ import annotations

import math
import os
import sys
from collections import OrderedDict
from typing import TypeAlias

import attrs

from .content import FileRead

CAPACITY = 64 * 1024 * 1024
FLOOR = 1024 * 1024
PER_ENTRY = 1024
"""Bytes that an entry takes beside its data and its path."""
LARGEST_SHARE = 4
"""What would take more than this part of the bound is not kept."""

Signature: TypeAlias = tuple[int, int, int, int, int]
"""What changes when a file does."""


def signature_of(stat: os.stat_result) -> Signature:
    """Of a file."""
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_dev


@attrs.frozen
class Found:
    """What was read of a file."""

    content: FileRead
    signature: Signature
    is_settled: bool
    """Whether the file can't have changed since without a change of its signature."""
    is_near: bool
    """Whether its stat is sure to take no longer than memory does, so that it may be asked for in the loop."""


@attrs.frozen
class CacheStats:
    """What a cache holds, in bytes, and how often it could answer."""

    entries: int
    size: int
    bound: int
    """How much it may hold now; under pressure less than its capacity."""
    capacity: int
    hits: int
    misses: int
    stale: int
    """Answers for files that could not be read."""
    evicted: int
    """Entries that had to make room."""


@attrs.frozen
class _Entry:
    content: FileRead
    """Marked as cached."""
    found: Found
    size: int


class FileCache:
    """Used in one thread only. `capacity` and `floor` are bytes: the bound lies between them."""

    def __init__(self, capacity: int = CAPACITY, floor: int = FLOOR) -> None:
        if not 0 <= floor <= capacity:
            raise ValueError(f"floor={floor!r} must be from 0 to the capacity of {capacity!r} bytes")
        self._capacity = self._bound = capacity
        self._floor = floor
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = self._hits = self._misses = self._stale = self._evicted = 0

    def fresh(self, path: str) -> FileRead | None:
        """What the file holds now, if that is known and one quick stat can tell; else None."""
        entry = self._entries.get(path)
        if entry is None or not (entry.found.is_settled and entry.found.is_near):
            return None
        try:
            stat = os.stat(path)
        except (OSError, ValueError):
            return None  # whoever reads it will see why
        return self.confirmed(path) if signature_of(stat) == entry.found.signature else None

    def signature(self, path: str) -> Signature | None:
        """What the file has to look like for its entry to hold; None if there is none to rely on."""
        entry = self._entries.get(path)
        return entry.found.signature if entry is not None and entry.found.is_settled else None

    def confirmed(self, path: str) -> FileRead | None:
        """The entry of a file that looks as it did; None if it is not there any more."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        self._entries.move_to_end(path)
        self._hits += 1
        return entry.content

    def last_known(self, path: str) -> FileRead | None:
        """What the file held when it was last read, marked stale."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        self._stale += 1
        return attrs.evolve(entry.content, stale=True)

    def put(self, path: str, found: Found, *, read: bool = True) -> None:
        """Keep what was `read`, or written; an earlier entry goes in any case."""
        self._misses += read
        self.discard(path)
        content = FileRead(found.content.data, found.content.encoding, cached=True)
        size = sys.getsizeof(content.data) + sys.getsizeof(path) + PER_ENTRY
        if size * LARGEST_SHARE > self._bound:
            return
        self._entries[path] = _Entry(content, found, size)
        self._size += size
        self._make_room()

    def discard(self, path: str) -> None:
        """Forget a file."""
        entry = self._entries.pop(path, None)
        if entry is not None:
            self._size -= entry.size

    def resize(self, fraction: float) -> None:
        """Make the bound so many times what it is now, within floor and capacity. ValueError for what is no factor."""
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < math.inf:
            raise ValueError(f"fraction={fraction!r} must be a finite number above 0, such as 0.5 for half the size")
        self._bound = max(self._floor, int(min(self._bound * float(fraction), self._capacity)))
        self._make_room()

    def clear(self) -> None:
        """Forget all files; the bound stays."""
        self._entries.clear()
        self._size = 0

    def _make_room(self) -> None:
        while self._size > self._bound:
            _, entry = self._entries.popitem(last=False)
            self._size -= entry.size
            self._evicted += 1

    def stats(self) -> CacheStats:
        """As of now."""
        return CacheStats(
            entries=len(self._entries),
            size=self._size,
            bound=self._bound,
            capacity=self._capacity,
            hits=self._hits,
            misses=self._misses,
            stale=self._stale,
            evicted=self._evicted,
        )
