"""`LogFile`: the log's file, which is rotated, and which a full disk does not turn into noise.

Where a line can't be written, that is said on standard error, once while it lasts; how many lines were lost stands in
the file as soon as it can be written again.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

LARGEST = 10 * 1024 * 1024
"""Bytes, from which on it is put aside."""
KEPT = 3
"""Files put aside: `log.jsonl.1` is the youngest."""


class LogFile:
    """A sink of loguru's; lines as text that end with a newline. Used under its lock, from any thread.

    The file is there from now on. Raises OSError if it can't be made.
    """

    def __init__(self, path: Path, largest: int = LARGEST) -> None:
        self._path = path
        self._largest = largest
        self._descriptor: int | None = None
        self._size = 0
        self._lost = 0
        self._open()

    def write(self, line: str) -> None:
        """Append a line; where that can't be, it is lost and counted."""
        data = line.encode("utf-8", "backslashreplace")
        try:
            if self._lost:
                self._append(b'{"level":"ERROR","message":"%d lines before this one were lost"}\n' % self._lost)
                self._lost = 0
            self._append(data)
        except OSError as error:
            if not self._lost:
                print(
                    f"the log {self._path} can't be written: {error.strerror}; what is lost is counted", file=sys.stderr
                )
            self._lost += 1

    def stop(self) -> None:
        """Close it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _append(self, data: bytes) -> None:
        if self._descriptor is not None and self._size + len(data) > self._largest:
            self._put_aside()
        descriptor = self._open()
        if os.write(descriptor, data) < len(data):  # the disk has become full within the line
            os.truncate(descriptor, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += len(data)

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor

    def _put_aside(self) -> None:
        self.stop()
        for n in range(KEPT, 0, -1):
            younger = self._path.with_name(f"{self._path.name}.{n - 1}") if n > 1 else self._path
            if younger.exists():
                younger.replace(self._path.with_name(f"{self._path.name}.{n}"))
