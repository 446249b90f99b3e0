"""The bridge for one client, on standard input and output: `ukemi run --stdio`.

What the client says comes in on standard input, and what it is told goes out on standard output; nothing else does,
since whatever else this process prints goes to standard error from then on. When the client says `exit`, or closes its
end, the whole runtime ends; one that is suspended is waited for. Several may run beside each other: each has a state
folder of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import trio

from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child
from ..state_dir import free_state_dir
from .clients import CLIENTS
from .connection import Connection

STATE = "bridge-stdio"
"""The state folder, if none is named; with a number where others live in it."""


def serve_stdio(*, state_dir: Path | None = None, **options: Any) -> bool:
    """Run the bridge for the client on standard input and output; `options` are `launch.run`'s.

    Whether the client had asked for `shutdown` before it went, as LSP wants it to.
    """
    from ..launch import run
    from .tree import bridge_tree

    stdio = Stdio()
    folder = state_dir if state_dir is not None else free_state_dir(STATE)
    run(lambda folder: bridge_tree(folder, stdio=stdio), name="bridge", state_dir=folder, **options)
    return stdio.was_shut_down


@attrs.define(eq=False)
class Stdio:
    """The two streams of a process, and the one client that they serve."""

    was_shut_down: bool = False
    """Whether the client has asked for `shutdown`."""

    def open(self) -> trio.StapledStream[trio.lowlevel.FdStream, trio.lowlevel.FdStream]:
        """Take both away from everything else in this process."""
        into, out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return trio.StapledStream(trio.lowlevel.FdStream(out), trio.lowlevel.FdStream(into))

    def child(self) -> ChildSpec:
        """Its connection, beside the sessions, with whose end the supervisor ends.

        It does not depend on the sessions, lest it be stopped with them and the runtime go on without a client: it ends
        by itself when its session has.
        """
        return child("client", lambda: OnlyClient(self), restart="temporary", significant=True, policy=CLIENTS)


class OnlyClient(Connection):
    """The connection of the one client."""

    def __init__(self, stdio: Stdio) -> None:
        super().__init__(stdio.open(), sessions="../sessions", is_only=True)
        self._stdio = stdio

    def shut_down(self) -> None:
        """As `Connection.shut_down`, and it is remembered."""
        super().shut_down()
        self._stdio.was_shut_down = True
