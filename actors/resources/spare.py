"""What is held back for the moment when all else is used up: a file descriptor, and memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RESERVE = 16 * 1024 * 1024
"""Bytes."""


class Reserve:
    """Memory that is set aside until it is needed, so that a process which has none left can do what there is to do.

    Nobody writes to it, so that it takes none of the machine's; what it takes is room below the process's own limit.
    """

    def __init__(self, size: int = RESERVE) -> None:
        self._size = size
        self._held: mmap.mmap | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is still there."""
        return self._held is not None

    def hold(self) -> None:
        """Set it aside, if there is so much and it is not there already."""
        if self._held is None:
            with suppress(OSError, MemoryError):
                self._held = mmap.mmap(-1, self._size)

    def let_go(self) -> None:
        """Give it back. Harmless when repeated."""
        held, self._held = self._held, None
        if held is not None:
            held.close()


class Spare:
    """Holds one descriptor, and lends its number, until it is closed."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._take()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """One more descriptor than else may be opened meanwhile. Afterwards it is held again, if there is one left."""
        self.close()
        try:
            yield
        finally:
            self._take()

    def close(self) -> None:
        """Give it back. Harmless when repeated."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self) -> None:
        with suppress(OSError):  # another thread has taken the last one: the next time, perhaps
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
