"""The bridge: what `ukemi run` starts."""

from __future__ import annotations

from pathlib import Path

from ...supervisors.backoff import Backoff
from ...supervisors.features import Feature
from ...supervisors.recovery import OTP, RECOVERY, Restart, Row
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, dynamic_supervisor, supervisor
from ..state_dir import StateDir
from .clients import BridgeListener, clients_at_most

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


def bridge_tree(folder: StateDir | Path, *, most_clients: int | None = None) -> ChildSpec:
    """The bridge on the socket `bridge.sock` of a state dir, under the spec's matrix.

    bridge                 dependents: what needs a part that failed is restarted with it
    ├── terminals          a subtree for each: pty, commands, parser
    ├── sessions           what stays of a client when its connection goes
    ├── connections        one for each client, gone when it goes; needs sessions
    └── listener           accepts clients; needs connections

    `most_clients` are connected at any time; None: as many as `clients_at_most` says.
    """
    most = clients_at_most() if most_clients is None else most_clients
    path = folder.bridge_socket if isinstance(folder, StateDir) else folder / "bridge.sock"
    return supervisor(
        "bridge",
        dynamic_supervisor("terminals", max_restarts=100, within=60.0),
        dynamic_supervisor("sessions", policy=CLIENTS),
        dynamic_supervisor("connections", max_children=most, depends_on=["sessions"], policy=CLIENTS),
        child(
            "listener",
            lambda: BridgeListener(path),
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
