"""`Listener`: an actor that accepts connections and hands each one over.

It holds the socket, nothing else. What becomes of a connection is decided by `hand_over`, which is given the stream and
takes it; usually it starts an actor for it under a dynamic supervisor. If it fails, so does the listener, and the
stream is closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from ..actor import Actor
from .sockets import is_own, listen_unix


class Listener(Actor):
    """Listens on a Unix socket at `path`. Connections of other users are refused."""

    def __init__(self, path: Path, hand_over: Callable[[trio.SocketStream], Awaitable[object]]) -> None:
        self.path = path
        self._hand_over = hand_over
        self.accepted = 0
        self.refused = 0
        self._listening = trio.Event()

    async def on_start(self) -> None:
        """Listen; raises what `listen_unix` raises."""
        self.ctx.start_task(self._accept)
        await self._listening.wait()

    async def _accept(self) -> None:
        """Listen and accept. This task has the socket from its first moment on, and is joined also after a kill."""
        listener = await listen_unix(self.path)
        try:
            self._listening.set()
            while True:
                await self._take(await listener.accept())
        finally:
            self.path.unlink(missing_ok=True)
            await trio.aclose_forcefully(listener)

    async def _take(self, stream: trio.SocketStream) -> None:
        if not is_own(stream.socket):
            self.refused += 1
            self.ctx.log.warning("refused a connection of another user")
            await trio.aclose_forcefully(stream)
            return
        self.accepted += 1
        try:
            await self._hand_over(stream)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
