"""What is known of one entry on a disk."""

from __future__ import annotations

import os
import stat
import struct
import sys
from typing import TypeAlias

Identity: TypeAlias = bytes
"""Device, inode and kind of file: what stays the same when an entry is moved."""

_LAYOUT = struct.Struct("=QQIIIIqqqq")
_IDENTITY = slice(0, 20)
_CONTENT = slice(20, 48)
_CHANGED = slice(48, 56)
_WRITTEN = slice(56, 64)


class Found(bytes):
    """An entry as it is on disk. Packed, since there may be a million of them: all but the name in 64 bytes.

    Two that are equal stand for an entry that has not changed.
    """

    __slots__ = ()

    @classmethod
    def of(cls, status: os.stat_result) -> Found:
        """From what stat says."""
        mode, mtime = status.st_mode, status.st_mtime_ns
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFDIR:
            size = written = changed = 0
        else:
            size, written, changed = status.st_size, mtime, status.st_ctime_ns
        return cls(
            _LAYOUT.pack(
                status.st_dev, status.st_ino, kind, mode, status.st_uid, status.st_gid, size, written, changed, mtime
            )
        )

    @property
    def identity(self) -> Identity:
        """Which entry it is."""
        return self[_IDENTITY]

    @property
    def content(self) -> bytes:
        """What a change of the entry changes, and moving it does not. Of a folder, not what is in it."""
        return self[_CONTENT]

    @property
    def changed(self) -> bytes:
        """When it was last changed in any way, moved included (ctime); the same at all times for a folder."""
        return self[_CHANGED]

    @property
    def written(self) -> bytes:
        """mtime."""
        return self[_WRITTEN]

    @property
    def device(self) -> int:
        """Of the file system that it is on."""
        return int.from_bytes(self[:8], sys.byteorder)

    @property
    def is_folder(self) -> bool:
        """Whether it can hold others."""
        return int.from_bytes(self[16:20], sys.byteorder) == stat.S_IFDIR
