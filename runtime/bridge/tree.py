"""The bridge: what `ukemi run` starts."""

from __future__ import annotations

import resource
from pathlib import Path

import trio

from ...actors.errors import ResourceExhausted
from ...actors.ipc.framing import frame
from ...actors.ipc.jsonrpc import Code, Response, RpcError, encode
from ...actors.ipc.listener import Listener
from ...supervisors.backoff import Backoff
from ...supervisors.dynamic import DynamicSupervisor
from ...supervisors.features import Feature
from ...supervisors.recovery import OTP, RECOVERY, Restart, Row
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, dynamic_supervisor, supervisor
from ..state_dir import StateDir
from .connection import FAREWELL, Connection, next_connection_name
from .failures import failure_data

MOST_CLIENTS = 256
"""Connections at any time, where the process may open twice as many files."""
RESTARTS = 10
"""Restarts of the bridge's parts within a minute, before it is given up."""
LISTEN_AGAIN = Backoff(initial=0.1, maximum=15.0, base=10.0)
"""How soon the listener listens again after a failure, such as no file left for one more client. At most eight times a
minute, whether it fails at once or again and again after a while: so that alone never spends the bridge's restarts."""

FEATURES = (
    Feature("shell_integration", fallback="commands without exit code and folder"),
    Feature("decorations", depends_on=["shell_integration"], fallback="commands without decorations"),
    Feature("file_watching", fallback="no changes are told"),
)
"""What the quality levels turn off. All are the bridge's, not a child's: one terminal's failure is its own."""

CLIENTS = OTP
"""Whatever fails in serving a client ends what serves it, so that the client sees it and comes back; an actor that went
on without the message that failed would leave a request unanswered. And what one client exhausts stops nobody else."""

LISTENER = RECOVERY.replacing(Row("FileSystem", "Critical", Restart()), name="listener")
"""It listens again, whatever the state of the disk: nobody else could ask for it."""


def most_clients() -> int:
    """How many clients may be connected: no more than take half of the files that this process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CLIENTS if files == resource.RLIM_INFINITY else min(MOST_CLIENTS, files // 2)


def bridge_tree(folder: StateDir | Path) -> ChildSpec:
    """The bridge on the socket `bridge.sock` of a state dir, under the spec's matrix.

    bridge                 dependents: what needs a part that failed is restarted with it
    ├── terminals          a subtree for each: pty, commands, parser
    ├── sessions           what stays of a client when its connection goes
    ├── connections        one for each client, gone when it goes; needs sessions
    └── listener           accepts clients; needs connections
    """
    path = folder.bridge_socket if isinstance(folder, StateDir) else folder / "bridge.sock"
    return supervisor(
        "bridge",
        dynamic_supervisor("terminals", max_restarts=100, within=60.0),
        dynamic_supervisor("sessions", policy=CLIENTS),
        dynamic_supervisor("connections", max_children=most_clients(), depends_on=["sessions"], policy=CLIENTS),
        child(
            "listener",
            lambda: _BridgeListener(path),
            depends_on=["connections"],
            backoff=LISTEN_AGAIN,
            policy=LISTENER,
        ),
        strategy="dependents",
        max_restarts=RESTARTS,
        within=60.0,
        policy=RECOVERY,
        features=FEATURES,
    )


class _BridgeListener(Listener):
    """Starts a `Connection` for each client; one too many is told so, and its connection closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, self._serve)

    async def _serve(self, stream: trio.SocketStream) -> None:
        connections = self.ctx.find("../connections", DynamicSupervisor)
        spec = child(next_connection_name(), lambda: Connection(stream), restart="temporary")
        try:
            await connections.call(DynamicSupervisor.start_child, spec)
        except ResourceExhausted as error:
            await self._refuse(stream, error)

    async def _refuse(self, stream: trio.SocketStream, error: ResourceExhausted) -> None:
        said = f"{error.current} clients are connected, at most {error.limit} may be"
        self.ctx.log.warning("refused a connection: {}", said)
        answer = Response(None, error=RpcError(Code.FAILED, said, failure_data(error, self.ctx.path)))
        async with stream:
            with trio.move_on_after(FAREWELL):  # it fits into an empty buffer
                try:
                    await stream.send_all(frame(encode(answer)))
                except trio.BrokenResourceError:
                    pass
