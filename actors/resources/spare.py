"""A spare file descriptor, so that a process which has used up all of its own can still be measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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
