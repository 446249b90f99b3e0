"""`Wire`: one end of a JSON-RPC stream, without any opinion on what the messages mean.

What is to be sent is queued, so that the sender never waits for the peer; a peer that does not read is told from a
slow one by the bytes that pile up, and loses its connection. It holds up nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Self

import trio

from ..errors import IpcError
from .framing import LARGEST, FrameReader, frame
from .jsonrpc import RpcMessage, encode

MOST_UNSENT = 32 * 1024 * 1024
"""Bytes that may wait to be sent."""
_CHUNK = 64 * 1024


class SlowPeer(IpcError):
    """The peer does not read what it is sent."""


class Wire:
    """Frames on a stream. `send` from anywhere, `run_sender` in one task, `receive` in one other.

    As a context it closes the stream when left, and does not wait for the peer. The task that receives is to hold it:
    a task of an actor ends however its actor ends, `on_stop` does not run after a kill.
    """

    def __init__(self, stream: trio.abc.Stream, *, largest: int = LARGEST, most_unsent: int = MOST_UNSENT) -> None:
        self._stream = stream
        self._reader = FrameReader(largest)
        self._bodies: Iterator[bytes] = iter(())
        self._most_unsent = most_unsent
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._more = trio.Event()
        self._empty = trio.Event()
        self._empty.set()

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self._unsent_bytes

    def send(self, message: RpcMessage) -> None:
        """Queue a message. Raises SlowPeer if too much waits already."""
        data = frame(encode(message))
        if self._unsent_bytes + len(data) > self._most_unsent:
            raise SlowPeer(f"the peer does not read: {self._unsent_bytes} bytes wait, at most {self._most_unsent} may")
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._empty.is_set():
            self._empty = trio.Event()
        self._more.set()

    async def run_sender(self) -> None:
        """Send what is queued, until cancelled. Raises BrokenResourceError once the peer is gone."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            while self._unsent:
                data = b"".join(self._unsent)
                self._unsent.clear()
                await self._stream.send_all(data)
                self._unsent_bytes -= len(data)
            self._empty.set()

    async def receive(self) -> bytes | None:
        """The next body that comes in; None at the end of the stream. A checkpoint only where it has to wait.

        Raises FramingError, IpcError for a stream that ends within a frame, or what the stream raises.
        """
        while (body := next(self._bodies, None)) is None:
            data = await self._stream.receive_some(_CHUNK)
            if not data and self._reader.pending:
                raise IpcError(f"the stream ended in the middle of a frame, after {self._reader.pending} bytes of it")
            if not data:
                return None
            self._bodies = self._reader.feed(bytes(data))
        return body

    async def flush(self) -> None:
        """Wait until everything queued was sent."""
        await self._empty.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self._stream)
