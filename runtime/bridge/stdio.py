"""The bridge for one client, on standard input and output: `ukemi run --stdio`.

What the client says comes in on standard input, and what it is told goes out on standard output; nothing else does,
since whatever else this process prints goes to standard error from then on. When the client says `exit`, or closes its
end, the whole runtime ends.
"""

from __future__ import annotations

import os

import attrs
import trio

from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child
from .clients import CLIENTS
from .connection import Connection


@attrs.define(eq=False)
class Stdio:
    """The two streams of a process, before and while they serve a client."""

    was_shut_down: bool = False
    """Whether the client has asked for `shutdown` before it went, as LSP wants it to."""

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
        return child("client", lambda: _OnlyClient(self), restart="temporary", significant=True, policy=CLIENTS)


class _OnlyClient(Connection):
    def __init__(self, stdio: Stdio) -> None:
        super().__init__(stdio.open(), sessions="../sessions")
        self._stdio = stdio

    def shut_down(self) -> None:
        super().shut_down()
        self._stdio.was_shut_down = True
