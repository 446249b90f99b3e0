"""`Wire`: one end of a JSON-RPC stream, without any opinion on what the messages mean.

What is to be sent is queued, so that the sender never waits for the peer; where nothing waits, it is written at once,
in the sender's own turn. A peer that does not read is told by the bytes that pile up, or by the time in which it has
taken none of them, and loses its connection. It holds up nobody else.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Self

import trio

from ..errors import IpcError
from .framing import LARGEST, FrameReader, FramingError, frame
from .jsonrpc import RpcMessage, encode

MOST_UNSENT = 32 * 1024 * 1024
"""Bytes that may wait to be sent; a single message may be longer, where nothing waits."""
HIGH_WATER = 1024 * 1024
"""Bytes that wait to be sent, above which who feeds the wire should wait (`room`)."""
PATIENCE = 10.0
"""Seconds in which a peer has to take at least some of what waits for it."""
_CHUNK = 64 * 1024


class SlowPeer(IpcError):
    """The peer does not read what it is sent."""


class Wire:
    """Frames on a stream. `send` from anywhere, `run_sender` in one task, `receive` in one other.

    As a context it closes the stream when left, and does not wait for the peer. The task that receives is to hold it:
    a task of an actor ends however its actor ends, `on_stop` does not run after a kill.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        largest: int = LARGEST,
        most_unsent: int = MOST_UNSENT,
        patience: float = PATIENCE,
    ) -> None:
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._reader = FrameReader(largest)
        self._bodies: deque[bytes] = deque()
        self._broken: FramingError | None = None
        """Why there is nothing more to be had from the stream, once what came before was taken."""
        self._most_unsent = most_unsent
        self._patience = patience
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self.taken = 0
        """Bytes that the peer has taken after it had not had room for them."""
        self._more = trio.Event()
        self._empty = trio.Event()
        self._empty.set()
        self._room = trio.Event()

    # --- sending

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self._unsent_bytes

    def send(self, message: RpcMessage) -> None:
        """Send a message, or queue it. Raises SlowPeer if too much waits already."""
        self.send_frames(frame(encode(message)))

    def send_frames(self, data: bytes) -> None:
        """Send frames that are made already, or queue them. Raises SlowPeer if too much waits already."""
        waiting = self._unsent_bytes
        if not waiting and self._socket is not None:
            data = self._written(self._socket, data)
        if not data:
            return
        if waiting and waiting + len(data) > self._most_unsent:
            raise SlowPeer(f"the peer does not read: {waiting} bytes wait, at most {self._most_unsent} may")
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._empty.is_set():
            self._empty = trio.Event()
        self._more.set()

    @staticmethod
    def _written(sock: trio.socket.SocketType, data: bytes) -> bytes:
        """What is left of the data once as much was written as there is room for."""
        try:
            return data[os.write(sock.fileno(), data) :]
        except OSError:  # there is no room; or the peer has gone, as the sender will see
            return data

    async def run_sender(self) -> None:
        """Send what is queued, until cancelled.

        Raises BrokenResourceError once the peer is gone, and SlowPeer if it takes nothing for too long.
        """
        while True:
            await self._more.wait()
            self._more = trio.Event()
            while self._unsent:
                await self._send_all(self._next_piece())
            self._empty.set()

    def _next_piece(self) -> bytes:
        """The next bytes to be sent: small messages together, a large one alone."""
        pieces, size = [self._unsent.popleft()], 0
        while self._unsent and (size := size + len(pieces[-1])) < _CHUNK:
            pieces.append(self._unsent.popleft())
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _send_all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            with trio.move_on_after(self._patience) as scope:
                sent = await self._send_some(left[:_CHUNK])
            if scope.cancelled_caught:
                raise SlowPeer(f"the peer has read nothing for {self._patience:g} s: {self._unsent_bytes} bytes wait")
            left = left[sent:]
            self._unsent_bytes -= sent
            self.taken += sent
            if self._unsent_bytes <= HIGH_WATER // 2:
                self._room.set()

    async def _send_some(self, data: memoryview) -> int:
        if self._socket is None:
            await self._stream.send_all(data)
            return len(data)
        try:
            return await self._socket.send(data)
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error

    async def room(self) -> None:
        """Wait while more than `HIGH_WATER` waits to be sent, until it is half of that. No checkpoint otherwise.

        Any number of tasks may wait.
        """
        while self._unsent_bytes > HIGH_WATER:
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    async def flush(self) -> None:
        """Wait until everything queued was sent."""
        await self._empty.wait()

    # --- receiving

    @property
    def is_whole(self) -> bool:
        """Whether no frame has begun to come in that is not complete."""
        return self._reader.is_whole

    @property
    def unfinished(self) -> int:
        """Bytes of the frame that is not complete, once they all are there; 0 where its header is not."""
        return self._reader.size

    def take_up_to(self, largest: int) -> None:
        """Take bodies of so many bytes from now on."""
        self._reader.largest = largest

    async def receive_some(self) -> list[bytes] | None:
        """The bodies that come in next, none where a frame is not complete; None at the end of the stream.

        A checkpoint, but where the stream was found broken before. Raises FramingError, behind the bodies that came
        before; IpcError for a stream that ends within a frame, or what the stream raises.
        """
        if self._broken is not None:
            raise self._broken
        data = await self._stream.receive_some(_CHUNK)
        if data:
            return self._cut(bytes(data))
        if not self._reader.is_whole:
            raise IpcError(f"the stream ended in the middle of a frame, after {self._reader.pending} bytes of it")
        return None

    def _cut(self, data: bytes) -> list[bytes]:
        bodies: list[bytes] = []
        try:
            bodies.extend(self._reader.feed(data))
        except FramingError as error:
            if not bodies:
                raise
            self._broken = error
        return bodies

    async def receive(self) -> bytes | None:
        """The next body that comes in; None at the end of the stream. A checkpoint only where it has to wait.

        Raises as `receive_some` does.
        """
        while not self._bodies:
            bodies = await self.receive_some()
            if bodies is None:
                return None
            self._bodies.extend(bodies)
        return self._bodies.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self._stream)
