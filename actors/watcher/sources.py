"""The seam between a watcher and whatever knows that something has changed.

A source only says where to look: what has changed is found by comparing the disk with the snapshot. So a source may
tell too much, twice or in any order; what it must not do is to tell too little without saying so.
"""

from __future__ import annotations

import sys
from typing import Protocol

from .looking import Steps
from .snapshot import Node, Watch


class Source(Protocol):
    """Marks what is to be looked at, in the watches themselves (`Watch.look`, `everything`, `adrift`)."""

    tells_all: bool
    """Whether each entry that comes or goes in a folder that is attended to is told, sooner or later."""

    def attend(self, node: Node, *, far: bool) -> Steps[None]:
        """From now on tell of changes in this folder, which may be `far`; once more does no harm.

        Raises the system's OSError, and ResourceExhausted where there is no room for more.
        """

    def forget(self, node: Node) -> None:
        """Tell no more of this folder."""

    def anchor(self, watch: Watch) -> Steps[None]:
        """From now on tell when one of the folders that lead to the root, by its `place`, is made, moved or deleted.
        Raises like `attend`."""

    def release(self, watch: Watch) -> Steps[None]:
        """Tell no more of this watch."""

    def drain(self) -> bool:
        """Mark what has changed by now; whether there may be more. Never waits; raises OSError."""

    async def wait(self) -> None:
        """Wait until something has changed."""

    def check(self) -> None:
        """Raise OSError if it can't tell of anything any more."""

    def close(self) -> None:
        """Give everything back."""


def open_source() -> Source:
    """The best that this system has. Raises OSError, and ResourceExhausted where a limit is reached."""
    if sys.platform == "linux":
        from .inotify import Inotify

        return Inotify()
    from .portable import Portable  # type: ignore[unreachable, unused-ignore]

    return Portable()
