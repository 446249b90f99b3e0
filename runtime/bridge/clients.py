"""Where clients come in: how many there may be, and who takes them."""

from __future__ import annotations

import resource
from pathlib import Path

import trio

from ...actors.errors import ResourceExhausted
from ...actors.ipc.framing import frame
from ...actors.ipc.jsonrpc import Code, Response, RpcError, encode
from ...actors.ipc.listener import Listener
from ...actors.ref import Ref
from ...actors.resources import Resource, ResourceMonitor
from ...supervisors.dynamic import DynamicSupervisor
from ...supervisors.recovery import OTP
from ...supervisors.tree import child
from .connection import FAREWELL, Connection, next_connection_name
from .failures import failure_data

MOST_CLIENTS = 256
"""Connections at any time, unless told otherwise, where the process may open twice as many files."""
SPARE_FILES = 4
"""Files that are to be left for what goes on already, when one more client is let in."""
CLIENTS = OTP
"""Whatever fails in serving a client ends what serves it, so that the client sees it and comes back; an actor that went
on without the message that failed would leave a request unanswered. And what one client exhausts stops nobody else."""


def clients_at_most() -> int:
    """How many clients may be connected: no more than take half of the files that this process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CLIENTS if files == resource.RLIM_INFINITY else min(MOST_CLIENTS, files // 2)


class BridgeListener(Listener):
    """Starts a `Connection` for each client; one too many is told so, and its connection closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, self._serve)

    async def _serve(self, stream: trio.SocketStream) -> None:
        spec = child(next_connection_name(), lambda: Connection(stream), restart="temporary")
        try:
            await self._resources.call(ResourceMonitor.require, Resource.FILES, SPARE_FILES)
        except ResourceExhausted as error:
            said = f"{error.current} files are open, at most {error.limit} may be: too many for one more client"
            await self._refuse(stream, error, said)
            return
        try:
            await self._connections.call(DynamicSupervisor.start_child, spec)
        except ResourceExhausted as error:
            await self._refuse(stream, error, f"{error.current} clients are connected, at most {error.limit} may be")

    @property
    def _resources(self) -> Ref[ResourceMonitor]:
        return self.ctx.find("../resources", ResourceMonitor)

    @property
    def _connections(self) -> Ref[DynamicSupervisor]:
        return self.ctx.find("../connections", DynamicSupervisor)

    async def _refuse(self, stream: trio.SocketStream, error: ResourceExhausted, said: str) -> None:
        self.ctx.log.warning("refused a connection: {}", said)
        answer = Response(None, error=RpcError(Code.FAILED, said, failure_data(error, self.ctx.path)))
        async with stream:
            with trio.move_on_after(FAREWELL):  # it fits into an empty buffer
                try:
                    await stream.send_all(frame(encode(answer)))
                except trio.BrokenResourceError:
                    pass
