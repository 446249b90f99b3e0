"""How a disk is asked without the loop's waiting for another machine: in the loop only what is known to be near.

A path is followed name by name, as long as each is near by the mounts that there are; so it is known where it leads to,
and nobody else was asked. What is far may never answer, and is asked in a thread, which is left alone when nobody waits
for it any more.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

import trio

from .mounts import mounts_lately

T = TypeVar("T")

_MOST_LINKS = 40
"""Of which the kernel follows no more either."""


def near_path(path: str) -> str | None:
    """Where an absolute path leads to, without links, whether or not there is something; None if any of it may be far.

    Of links that lead in a circle, one of them.
    """
    mounts = mounts_lately()
    real, links = "/", 0
    left = path.split("/")[::-1]
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            real = os.path.dirname(real)
            continue
        step = os.path.join(real, name)
        if not mounts.is_near_place(step):
            return None
        try:
            link = os.readlink(step)
        except OSError:  # it is none, or not there
            real = step
            continue
        links += 1
        if links > _MOST_LINKS:
            return step
        if link.startswith("/"):
            real = "/"
        left.extend(link.split("/")[::-1])
    return real if mounts.is_near_place(real) else None


async def ask_disk(path: str, question: Callable[[], T], threads: trio.CapacityLimiter) -> T:
    """The answer to a question about what is at an absolute path; raises what that raises. Cancelled at any time.

    OSError ETIMEDOUT if all threads wait already.
    """
    if near_path(path) is not None:
        return question()
    return await ask_in_thread(path, question, threads)


async def ask_in_thread(path: str, question: Callable[[], T], threads: trio.CapacityLimiter) -> T:
    """The same of what may be far."""
    if threads.available_tokens < 1:
        raise OSError(errno.ETIMEDOUT, f"the disk has not answered {threads.total_tokens:g} threads", path)
    return await trio.to_thread.run_sync(question, abandon_on_cancel=True, limiter=threads)
