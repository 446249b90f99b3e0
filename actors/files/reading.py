"""How a file is read, in a thread: whole, up to a bound, and never waiting for what is no regular file."""

from __future__ import annotations

import errno
import os
import stat
import time

import attrs

from .cache import Found, Signature, signature_of
from .content import PIECE, content_of
from .mounts import Mounts, mounts_now

TICK = 20_000_000
"""Nanoseconds within which two changes of a file may have the same time: two ticks of the slowest kernel clock."""
COARSE_TICK = 2_000_000_000
"""The same on file systems that know only seconds, or two of them."""

OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""How a file is opened for reading: so that nothing that turns out to be none can hold it up."""
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
CALLERS = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG}
)
"""What is wrong with what was asked for, and not with the disk."""
_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What is missing here, whatever was asked for."""
_mounts: list[Mounts] = []
"""The last known."""


@attrs.frozen
class Large:
    """A file that was not read: first there has to be room for it."""

    size: int


def read_file(
    path: str, most: int, known: Signature | None = None, *, large: int | None = None
) -> Found | Large | None:
    """What the file holds; None if it looks as `known`, `Large` if it says that it has more than `large` bytes.

    Raises OSError that names the path: IsADirectoryError of a folder, PermissionError of any other thing that is no
    file, "File too large" of one of more than `most` bytes.
    """
    before = os.stat(path)
    check_is_file(path, before)  # not opened: that alone may do something to a device
    if known is not None and signature_of(before) == known:
        return None
    began = time.time_ns()
    try:
        descriptor = os.open(path, OPEN)
        try:
            before = os.fstat(descriptor)
            check_is_file(path, before)
            check_size(path, before.st_size, most)
            if large is not None and before.st_size > large:
                return Large(before.st_size)
            pieces = _pieces(descriptor, path, most, before.st_size)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise naming(path, error, before.st_dev) from error
    says_its_size = sum(map(len, pieces)) == after.st_size
    is_reliable = says_its_size and is_settled(after, began)
    return Found(content_of(pieces), signature_of(after), is_reliable, is_near(path, after.st_dev))


def _pieces(descriptor: int, path: str, most: int, size: int) -> list[bytes]:
    """To its end, whatever size it says it has: files of the kernel's own say 0."""
    pieces = []
    total = 0
    while piece := os.read(descriptor, min(PIECE, max(size + 1 - total, 65_536))):
        pieces.append(piece)
        total += len(piece)
        check_size(path, total, most)
    return pieces


def check_is_file(path: str, status: os.stat_result) -> None:
    """Raise what says that it is something else."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        return
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", path)
    raise PermissionError(errno.EACCES, f"it is {_KINDS.get(kind, 'something else')}, not a file", path)


def check_size(path: str, size: int, most: int) -> None:
    """Raise OSError of what is too large."""
    if size > most:
        raise OSError(errno.EFBIG, f"File too large: it has {size} bytes or more, at most {most} can be", path)


def naming(path: str, error: OSError, device: int | None) -> OSError:
    """The same error, about this path. What the kernel makes up has no disk that could fail: it may not be had."""
    if device is not None and error.errno not in CALLERS | _OWN and device in _mounts_with(device).kernels:
        return PermissionError(errno.EACCES, f"the kernel makes it up, and says: {error.strerror}", path)
    return OSError(error.errno, error.strerror, path)


def is_settled(status: os.stat_result, began: int) -> bool:
    """Whether the last change of the file was so long before the reading `began` that a later one would show."""
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    tick = COARSE_TICK if changed % 1_000_000_000 == 0 else TICK
    return changed + tick < began


def is_near(path: str, device: int, *, look: bool = True) -> bool:
    """Whether a file is on a file system of this machine's own; without a `look`, as far as is known.

    Mounts come and go: the list is made again where a device is not in it.
    """
    mounts = _mounts_with(device) if look else _mounts[-1] if _mounts else None
    return mounts is not None and mounts.is_near(path, device)


def _mounts_with(device: int) -> Mounts:
    if not _mounts or device not in _mounts[-1].devices:
        _mounts[:] = [mounts_now()]
    return _mounts[-1]
