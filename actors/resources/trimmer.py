"""`Trimmer`: gives back to the system what the process holds and does not need.

Python keeps freed memory for itself, and so does the C library. `trim` gives back what is free; `trim_all` first lets
go of what is only kept to be quick: unreachable cycles, compiled patterns, the lines of sources.
"""

from __future__ import annotations

import ctypes
import gc
import linecache
import re
from collections.abc import Callable

import psutil

from ..actor import Actor


def _find_malloc_trim() -> Callable[[int], int] | None:
    """glibc's; None where the C library has none."""
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    function.argtypes, function.restype = (ctypes.c_size_t,), ctypes.c_int
    return function


class Trimmer(Actor):
    """Its messages answer with the bytes by which the process has become smaller. They take the loop's time, some
    10 ms for each 100 MB."""

    def __init__(self) -> None:
        self._malloc_trim = _find_malloc_trim()

    def trim(self) -> int:
        """Give back what is free."""
        return self._smaller_by(lambda: None)

    def trim_all(self) -> int:
        """Free what can be made again, and give it back."""
        return self._smaller_by(_let_go)

    def _smaller_by(self, first: Callable[[], object]) -> int:
        before = psutil.Process().memory_info().rss
        first()
        if self._malloc_trim is not None:
            self._malloc_trim(0)
        return max(0, before - psutil.Process().memory_info().rss)


def _let_go() -> None:
    gc.collect()
    re.purge()
    linecache.clearcache()
