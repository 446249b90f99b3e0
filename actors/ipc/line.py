"""`Line`: one connection of a link, and what was asked over it."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from ..deferred import Reply
from .framing import frame
from .wire import HIGH_WATER, Wire


@attrs.define(eq=False)
class Asked:
    """A request that is not answered yet."""

    id: int
    message: str
    """The message to the link, by its key."""
    lane: str
    key: Any
    """The `requestKey` under which the peer knows it."""
    body: bytes
    reply: Reply


@attrs.define(eq=False)
class Line:
    """Requests are sent once the peer has answered `initialize`; until then they wait here."""

    is_main: bool
    stream: trio.abc.Stream | None = None
    wire: Wire | None = None
    is_open: bool = False
    asked: dict[int, Asked] = attrs.field(factory=dict)
    scope: trio.CancelScope | None = None
    """Around the task that holds it."""

    def ask(self, request: Asked) -> None:
        """Send a request, now or once it is open."""
        self.asked[request.id] = request
        if self.is_open:
            self.send(request.body)

    def opened(self) -> None:
        """The peer has answered `initialize`."""
        self.is_open = True
        for request in self.asked.values():
            self.send(request.body)

    def send(self, body: bytes) -> None:
        """Send a message."""
        assert self.wire is not None
        self.wire.send_frames(frame(body))

    @property
    def is_full(self) -> bool:
        """Whether the peer does not read as fast as it is asked."""
        return self.wire is not None and self.wire.unsent > HIGH_WATER
