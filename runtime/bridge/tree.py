"""The bridge: what `ukemi run` starts."""

from __future__ import annotations

from pathlib import Path

from ...supervisors.backoff import Backoff
from ...supervisors.features import Feature
from ...supervisors.recovery import RECOVERY, Restart, Row
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, dynamic_supervisor, supervisor
from ..state_dir import StateDir
from .clients import CLIENTS, BridgeListener, clients_at_most
from .stdio import Stdio

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

LISTENER = RECOVERY.replacing(Row("FileSystem", "Critical", Restart()), name="listener")
"""It listens again, whatever the state of the disk: nobody else could ask for it."""


def bridge_tree(folder: StateDir | Path, *, most_clients: int | None = None, stdio: Stdio | None = None) -> ChildSpec:
    """The bridge on the socket `bridge.sock` of a state dir, under the spec's matrix.

    bridge                 dependents: what needs a part that failed is restarted with it
    ├── terminals          a subtree for each: pty, commands, parser
    ├── sessions           what stays of a client when its connection goes
    ├── connections        one for each client, gone when it goes; needs sessions
    └── listener           accepts clients; needs connections

    `most_clients` are connected at any time; None: as many as `clients_at_most` says. With `stdio` there is one client
    in place of connections and listener, with which all ends.
    """
    path = folder.bridge_socket if isinstance(folder, StateDir) else folder / "bridge.sock"
    return supervisor(
        "bridge",
        dynamic_supervisor("terminals", max_restarts=100, within=60.0),
        dynamic_supervisor("sessions", policy=CLIENTS),
        *([stdio.child()] if stdio is not None else _clients(path, most_clients)),
        strategy="dependents",
        max_restarts=RESTARTS,
        within=60.0,
        policy=RECOVERY,
        features=FEATURES,
        auto_shutdown="never" if stdio is None else "any_significant",
    )


def _clients(path: Path, most: int | None) -> list[ChildSpec]:
    return [
        dynamic_supervisor(
            "connections",
            max_children=clients_at_most() if most is None else most,
            depends_on=["sessions"],
            policy=CLIENTS,
        ),
        child(
            "listener",
            lambda: BridgeListener(path),
            depends_on=["connections"],
            backoff=LISTEN_AGAIN,
            policy=LISTENER,
        ),
    ]
