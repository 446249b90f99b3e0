"""How a small file is read in the loop: only if that takes nothing but memory, and the kernel gives its word for it.

A look-up that would have to ask a disk or a server is refused by openat2 (RESOLVE_CACHED), and so is a read of what is
not in the page cache (RWF_NOWAIT). A thread takes longer to be woken than all of this. Whatever is refused or goes
wrong here is for `reading`, in a thread, which can wait and knows what to say.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import time

from .cache import Found, signature_of
from .content import content_of
from .reading import OPEN, is_near, is_settled

MOST = 128 * 1024
"""Bytes; copying more is no small matter for the loop."""

_OPENAT2 = 437
"""The system call's number, which is the same on all machines that Linux runs on but Alpha."""
_AT_FDCWD = -100
_RESOLVE_CACHED = 0x20


class _How(ctypes.Structure):
    """`struct open_how`."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _system_call() -> ctypes._NamedFuncPointer | None:
    """To call openat2 with; None where there is none."""
    if sys.platform != "linux" or not hasattr(os, "RWF_NOWAIT"):
        return None
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_How), ctypes.c_size_t)
    function.restype = ctypes.c_long
    descriptor = function(_OPENAT2, _AT_FDCWD, b"/", _PATH_ONLY, ctypes.sizeof(_How))
    if descriptor < 0:
        return None if ctypes.get_errno() != errno.EAGAIN else function
    os.close(descriptor)
    return function


_PATH_ONLY = _How(getattr(os, "O_PATH", 0) | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
_openat2 = _system_call()


def read_at_once(path: str, most: int = MOST) -> Found | None:
    """What the file holds, if it can be told at once, and it has no more than `most` bytes."""
    place = look_up_at_once(path)
    if place is None:
        return None
    try:
        status = os.fstat(place)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_size > min(most, MOST)
            or not is_near(path, status.st_dev, look=False)
        ):
            return None
        began = time.time_ns()
        descriptor = os.open(f"/proc/self/fd/{place}", OPEN)
        try:
            data = bytearray(status.st_size + 1)  # one more, to see the end
            size = os.preadv(descriptor, (data,), 0, os.RWF_NOWAIT)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    finally:
        os.close(place)
    if size != after.st_size:
        return None
    return Found(content_of((bytes(data[:size]),)), signature_of(after), is_settled(after, began), is_near=True)


def look_up_at_once(path: str) -> int | None:
    """A descriptor of what the path names, not opened, if the kernel knows it without asking anybody."""
    if _openat2 is None:
        return None
    place: int = _openat2(_OPENAT2, _AT_FDCWD, os.fsencode(path), _PATH_ONLY, ctypes.sizeof(_How))
    return place if place >= 0 else None
