"""How a pass asks the disk: what is near in the loop, slice by slice; what may be far by jobs, which a thread does.

A pass is a generator (`Steps`). It yields None to pause, and a job to be sent what that gives, or thrown what it
raises. So nothing here waits for a disk that may never answer, nor knows of threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator
from functools import partial
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import attrs

from ..files.mounts import mounts_lately
from ..files.near import near_path
from .found import Found

T = TypeVar("T")

Job: TypeAlias = Callable[[], Any]
"""For a thread; touches nothing but the disk."""
Steps: TypeAlias = Generator[Job | None, Any, T]

SLICE = 1_000
"""Names that are handled at once."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE)
_DENIED = (errno.EACCES, errno.EPERM)
_UNANSWERED = (
    errno.EIO,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
)
"""What is said of a place for which another machine answers, when that does not. What is near says so of a disk that
fails."""


@attrs.frozen
class Place:
    """Where the path of a watch leads to, and what of it may be far."""

    real: str
    """The path without links."""
    is_far: bool
    far_within: frozenset[str]
    """Paths, as the watch has them, at which something far is mounted."""
    far_devices: frozenset[int]


def asked(job: Callable[[], T], *, far: bool) -> Steps[T]:
    """What a job gives, done wherever it belongs."""
    if far:
        answer: T = yield job
        return answer
    return job()


def find_place(path: str) -> Steps[Place]:
    """Where a path leads to, at this moment."""
    real = near_path(path)
    if real is None:
        real = yield partial(os.path.realpath, path)
    assert real is not None
    return place_of(path, real)


def place_of(path: str, real: str) -> Place:
    """The same of a path that is known to lead there, by the mounts that there are."""
    mounts = mounts_lately()
    return Place(
        real,
        not (mounts.is_near_place(real) and mounts.is_near_place(path)),
        frozenset(os.path.join(path, each) for each in mounts.far_within(real)),
        mounts.far_devices,
    )


def names_in(path: str, *, far: bool) -> Steps[dict[str, None]]:
    """The names in a folder, as it has them. Raises OSError."""
    if far:
        return dict.fromkeys((yield partial(os.listdir, path)))
    names: dict[str, None] = {}
    with os.scandir(path) as entries:
        while some := [entry.name for entry in islice(entries, SLICE)]:
            names.update(dict.fromkeys(some))
            if len(some) == SLICE:
                yield None
    return names


def look_at_each(paths: list[str], *, follow: bool, far: bool) -> list[Found | OSError | None]:
    """Entries as they are on disk; None for what is not there, the error for what can't be looked at."""
    found: list[Found | OSError | None] = []
    for path in paths:
        try:
            found.append(look_at_path(path, follow=follow))
        except OSError as error:
            if not is_denied(error, far=far):
                raise
            found.append(error)
    return found


def look_at_path(path: str, *, follow: bool) -> Found | None:
    """An entry as it is on disk; None if it is not there. A link is not followed, unless it is what is watched."""
    try:
        return Found.of(os.stat(path, follow_symlinks=follow))
    except OSError as error:
        if is_gone(error):
            return None
        raise


def is_gone(error: OSError) -> bool:
    """Whether it says that nothing is there."""
    return error.errno in _GONE


def is_denied(error: OSError, *, far: bool) -> bool:
    """Whether it says that something may be there, and can't be looked at: a state of that place, and no failure."""
    return error.errno in _DENIED or (far and error.errno in _UNANSWERED)
