"""The bridge: what `ukemi run` starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...actors.files import FileState
from ...actors.resources import Found, ResourceMonitor, Trimmer, find_sources
from ...actors.watcher import Watches
from ...supervisors.backoff import Backoff
from ...supervisors.features import Feature
from ...supervisors.recovery import RECOVERY, Restart, Row, Stop
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child, dynamic_supervisor, supervisor
from ..pressure import Relief
from ..state_dir import StateDir
from .bands import relief_rows
from .clients import CLIENTS, BridgeListener, clients_at_most
from .files import STORAGE, files_spec
from .stdio import Stdio
from .watching import watcher_spec

RESTARTS = 10
"""Restarts of the bridge's parts within a minute, before it is given up."""
LISTEN_AGAIN = Backoff(initial=0.1, maximum=15.0, base=10.0)
"""How soon the listener listens again after a failure, such as no file left for one more client. At most eight times a
minute, whether it fails at once or again and again after a while: so that alone never spends the bridge's restarts."""

FEATURES = (
    Feature("shell_integration", fallback="commands without exit code and folder"),
    Feature("decorations", depends_on=["shell_integration"], fallback="commands without decorations"),
)
"""What the quality levels turn off, beside what the watcher provides. These are the bridge's, not a child's: one
terminal's failure is its own."""

BRIDGE = RECOVERY.replacing(
    Row("Resource", "Critical", Restart(), Stop(runtime=True), 0, called=("Free resources", "Graceful shutdown")),
    name="bridge",
)
"""The matrix. To free resources is to restart what has failed, which lets go of all that it held, while `relief` frees
what the others can do without."""

LISTENER = BRIDGE.replacing(Row("FileSystem", "Critical", Restart()), name="listener")
"""It listens again, whatever the state of the disk: nobody else could ask for it."""


def bridge_tree(
    folder: StateDir | Path,
    *,
    most_clients: int | None = None,
    stdio: Stdio | None = None,
    find: Callable[[], Found] = find_sources,
) -> ChildSpec:
    """The bridge on the socket `bridge.sock` of a state dir, under the spec's matrix.

    bridge                 dependents: what needs a part that failed is restarted with it
    ├── resources          measures how short memory, CPU, files and processes are
    ├── trimmer            gives memory back
    ├── storage            files, and the workers that take the disk's time
    ├── watcher            provides file_watching; falls back to off, or to polling
    ├── terminals          a subtree for each: pty, commands, parser
    ├── sessions           what stays of a client when its connection goes
    ├── connections        one for each client, gone when it goes; needs sessions
    ├── listener           accepts clients; needs connections, and asks resources
    └── relief             does what is declared for each band of pressure; needs resources

    `most_clients` are connected at any time; None: as many as `clients_at_most` says. With `stdio` there is one client
    in place of connections and listener, with which all ends. `find` gives what the resources are measured by.
    """
    state_dir = folder.path if isinstance(folder, StateDir) else folder
    files = FileState(state_dir / "writes", monitor="../../resources")
    watches = Watches()
    takes_clients = stdio is None
    return supervisor(
        "bridge",
        child("resources", lambda: ResourceMonitor(find=find)),
        child("trimmer", Trimmer),
        files_spec(files, policy=STORAGE),
        watcher_spec(watches, BRIDGE),
        dynamic_supervisor("terminals", max_restarts=100, within=60.0),
        dynamic_supervisor("sessions", policy=CLIENTS),
        *([stdio.child()] if stdio is not None else _clients(state_dir / "bridge.sock", most_clients)),
        child("relief", lambda: Relief(relief_rows(takes_clients=takes_clients)), depends_on=["resources"]),
        strategy="dependents",
        max_restarts=RESTARTS,
        within=60.0,
        policy=BRIDGE,
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
