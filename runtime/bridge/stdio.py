"""The bridge for one client, on standard input and output: `ukemi run --stdio`.

What the client says comes in on standard input, and what it is told goes out on standard output; nothing else does,
since whatever else this process prints goes to standard error from then on. When the client says `exit`, or closes its
end, the whole runtime ends; one that is suspended is waited for. Several may run beside each other: each has a state
folder of its own.
"""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import attrs
import trio

from ...actors.ipc.wire import PATIENCE
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child
from ..state_dir import free_state_dir
from .clients import CLIENTS
from .connection import Connection

STATE = "bridge-stdio"
"""The state folder, if none is named; with a number where others live in it."""
LOOK_EVERY = 1.0
"""Seconds between two looks whether the client has closed its end."""


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
    into: int | None = None
    """The descriptor from which the client is read."""

    def open(self) -> trio.StapledStream[trio.lowlevel.FdStream, trio.lowlevel.FdStream]:
        """Take both away from everything else in this process."""
        into, out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self.into = into
        return trio.StapledStream(trio.lowlevel.FdStream(out), trio.lowlevel.FdStream(into))

    @property
    def is_closed(self) -> bool:
        """Whether the client has closed its end; to be seen before all that came was read."""
        if self.into is None:
            return False
        poll = select.poll()
        poll.register(self.into, 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def child(self) -> ChildSpec:
        """Its connection, beside the sessions, with whose end the supervisor ends.

        It does not depend on the sessions, lest it be stopped with them and the runtime go on without a client: it ends
        by itself when its session has.
        """
        return child("client", lambda: OnlyClient(self), restart="temporary", significant=True, policy=CLIENTS)


class OnlyClient(Connection):
    """The connection of the one client.

    While that takes nothing, nothing is read from it, so that the end of the input would not be seen: it is looked for.
    """

    def __init__(self, stdio: Stdio) -> None:
        super().__init__(stdio.open(), sessions="../sessions", is_only=True)
        self._stdio = stdio
        self._taken, self._since = 0, 0.0
        """What the client had taken, and since when it has been no more."""

    def on_start(self) -> None:
        """Begin to serve."""
        super().on_start()
        self.ctx.every(LOOK_EVERY, self.look)

    def look(self) -> None:
        """End for a client that has closed its end, and takes nothing any more."""
        taken, now = self._wire.taken, trio.current_time()
        if taken != self._taken or not self._stdio.is_closed:
            self._taken, self._since = taken, now
        elif now - self._since >= PATIENCE:
            self.ctx.stop()

    def shut_down(self) -> None:
        """As `Connection.shut_down`, and it is remembered."""
        super().shut_down()
        self._stdio.was_shut_down = True
