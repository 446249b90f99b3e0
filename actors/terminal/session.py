"""The processes of a terminal session: everything that a shell started and that did not leave it by setsid.

A pid may pass to a stranger between one look and the next, so a process is pinned by a pidfd, looked at again and only
then signalled. The session's own id cannot pass to anybody while its leader is not reaped: the caller sees to that.
"""

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import trio


def members(leader: int) -> list[int]:
    """Return the pids of the session's running processes, `leader` included even before it has made the session."""
    return [pid for pid in _candidates(leader) if _runs(pid, leader)]


def send(pids: Iterable[int], leader: int, sig: int) -> None:
    """Send a signal to those of `pids` that still run in the session; those of another user are passed over."""
    for pid in pids:
        with _pinned(pid, leader) as pidfd:
            if pidfd is not None:
                try:
                    signal.pidfd_send_signal(pidfd, sig)
                except (ProcessLookupError, PermissionError):
                    pass  # gone meanwhile, or not ours to signal: who needs it gone looks again


async def ended(pids: Iterable[int], leader: int) -> None:
    """Wait until none of `pids` runs in the session any more. Cancelling it changes nothing."""
    for pid in pids:
        with _pinned(pid, leader) as pidfd:
            if pidfd is not None:
                await trio.lowlevel.wait_readable(pidfd)


async def kill(leader: int) -> None:
    """Kill every process of the session and wait until none is left, however fast they multiply.

    A process that SIGKILL does not end (another user's, one stuck in the kernel) makes it wait for ever: set a
    deadline. Cancelled, it has killed what it had seen.
    """
    while pids := members(leader):
        send(pids, leader, signal.SIGKILL)
        await ended(pids, leader)


def _candidates(leader: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and _belongs(int(name), leader):
            yield int(name)


def _belongs(pid: int, leader: int) -> bool:
    try:
        return pid == leader or os.getsid(pid) == leader
    except ProcessLookupError:
        return False


def _runs(pid: int, leader: int) -> bool:
    with _pinned(pid, leader) as pidfd:
        return pidfd is not None


@contextmanager
def _pinned(pid: int, leader: int) -> Iterator[int | None]:
    """Give a pidfd of a process that belongs to the session and has not ended, else None."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield pidfd if _belongs(pid, leader) and not _has_ended(pidfd) else None
    finally:
        os.close(pidfd)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
