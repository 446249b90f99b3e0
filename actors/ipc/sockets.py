"""Unix sockets that only their owner can reach, and that a dead owner does not block."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import struct
from pathlib import Path

import trio

from ..errors import UkemiError

LONGEST = 107
"""Bytes that fit into a Unix socket's address on Linux."""
BACKLOG = 1024


class SocketInUse(UkemiError, OSError):
    """A live process listens on the path already."""


class BadSocketPath(UkemiError, OSError):
    """Nothing can listen on the path."""


def check_path(path: Path) -> None:
    """Raise BadSocketPath if no socket can be made there."""
    size = max(len(os.fsencode(path)), len(os.fsencode(path.parent)) + len("/.abcd"))  # it has another name at first
    if size > LONGEST:
        raise BadSocketPath(
            f"the socket path {path} is {size} bytes long; at most {LONGEST} fit: choose a shorter folder"
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BadSocketPath(f"{path} exists and is no socket; remove it, or choose another folder")


async def listen_unix(path: Path) -> trio.SocketListener:
    """Listen on a path, with mode 0600 from the first moment on; once it is there, it listens.

    A socket that nobody listens on any more is taken over. Raises SocketInUse if somebody does, BadSocketPath if the
    path can't be used, other OSErrors as they are. Cancelled, nothing is left open.
    """
    check_path(path)
    temporary = path.with_name(f".{secrets.token_hex(2)}")
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            await _check_stale(path)
        os.fchmod(sock.fileno(), 0o600)  # before bind, so that there is no moment with a wider mode
        await sock.bind(str(temporary))
        sock.listen(BACKLOG)
        temporary.rename(path)
    except BaseException:
        sock.close()
        temporary.unlink(missing_ok=True)
        raise
    return trio.SocketListener(sock)


async def _check_stale(path: Path) -> None:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            await probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        pid, _, _ = peer_of(probe)
        raise SocketInUse(f"{path} is in use by a live process (pid {pid})")


async def connect_unix(path: Path) -> trio.SocketStream:
    """Connect to a listener; the OSError names the path if that fails. Cancelled, nothing is left open."""
    check_path(path)
    try:
        return await trio.open_unix_socket(str(path))
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None


def peer_of(sock: trio.socket.SocketType) -> tuple[int, int, int]:
    """Process, user and group id of the process at the other end of a Unix socket."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", data)
    return pid, uid, gid


def is_own(sock: trio.socket.SocketType) -> bool:
    """Whether the other end belongs to this process's user, or to root."""
    return peer_of(sock)[1] in (os.geteuid(), 0)
