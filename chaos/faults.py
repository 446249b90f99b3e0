"""Faults, done for real: processes killed, connections cut, garbage sent.

Each is a value that says what it does, and does it once, from outside the tree that is to survive it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs
import trio

from ..actors.errors import UkemiError
from ..actors.ipc.link import IpcLink
from ..actors.ipc.sockets import connect_unix
from ..actors.ref import Ref
from ..runtime.debug.client import Client


class Fault(Protocol):
    """Something that goes wrong."""

    @property
    def what(self) -> str:
        """In a few words, for a report."""

    async def inflict(self) -> None:
        """Do it. What the victim makes of it shows later, in its events."""


@attrs.frozen
class ProcessKilled:
    """SIGKILL to a process; `find` says which when the time has come."""

    what: str
    find: Callable[[], int]

    async def inflict(self) -> None:
        """Kill it. ProcessLookupError if there is none."""
        os.kill(await trio.to_thread.run_sync(self.find), signal.SIGKILL)


@attrs.frozen
class ActorKilled:
    """An actor ended at once in another process, through its debug socket."""

    what: str
    client: Client
    path: str

    async def inflict(self) -> None:
        """Kill it. CommandFailed if there is none."""
        await trio.to_thread.run_sync(self.client.run, "kill", {"actor": self.path})


@attrs.frozen
class ConnectionCut:
    """A link's connection shut down under its feet, as a network would."""

    what: str
    link: Ref[IpcLink]

    async def inflict(self) -> None:
        """Cut it, in both directions."""
        life = self.link.cell.incarnation
        link = life.actor if life is not None else None
        if not isinstance(link, IpcLink) or not isinstance(link.stream, trio.SocketStream):
            raise UkemiError(f"{self.link.path} has no socket that could be cut")
        link.stream.socket.shutdown(socket.SHUT_RDWR)


@attrs.frozen
class GarbageSent:
    """A client that connects and sends what is no frame."""

    what: str
    path: Path
    garbage: bytes = b"GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n"

    async def inflict(self) -> None:
        """Send it, and stay until the connection is closed on us (5 s at most)."""
        async with await connect_unix(self.path) as stream:
            await stream.send_all(self.garbage)
            with trio.move_on_after(5.0):
                try:
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
