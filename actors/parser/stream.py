"""`StreamParser`: the parser as an actor, between a terminal's process and its commands.

It holds nothing that can't be had again: a new one asks for what was not yet acknowledged and parses that anew. What
the commands actor has seen already it recognises by its offset.
"""

from __future__ import annotations

from typing import Any

import attrs

from ..actor import Actor
from ..deliver import deliver
from ..ref import Ref
from .marker import Marker
from .parser import OVERFLOW, PARSER_ERROR, MarkerParser


@attrs.frozen
class Output:
    """Bytes of a terminal's output, and the offset at which they begin."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset behind them."""
        return self.offset + len(self.data)


@attrs.frozen
class Piece:
    """Text, or a marker; `end` is the offset in the terminal's output behind it."""

    end: int
    text: bytes = b""
    marker: Marker | None = None

    @property
    def begin(self) -> int:
        """The offset at which it begins."""
        return self.end - len(self.text if self.marker is None else self.marker.raw)


class StreamParser(Actor):
    """Sends lists of `Piece` to `parsed` of the actor `commands` beside it; the actor `pty` has the bytes."""

    def __init__(self, nonce: str | None = None) -> None:
        self._parser = MarkerParser(nonce)
        self._expected = 0
        self._parsed = 0
        self._overflows = 0
        self._commands: Ref[Any]

    async def on_start(self) -> None:
        """Take up where the last incarnation was stopped."""
        self._commands = self.ctx.find("../commands")
        missed: Output = await self.ctx.find("../pty").call("not_acknowledged")
        self._expected = self._parsed = missed.offset
        if missed.data:
            await self.feed(missed)

    async def feed(self, output: Output) -> None:
        """Parse the next bytes. What was parsed already, since it was read again at the start, is skipped."""
        new = output.data[max(0, self._expected - output.offset) :]
        if not new:
            return
        self._expected += len(new)
        try:
            parts = self._parser.feed(new)
        except Exception as error:
            self.ctx.log.error(PARSER_ERROR, error)
            raise
        await self._pass_on(parts)
        overflows = self._parser.stats().overflows
        if overflows != self._overflows:
            self._overflows = overflows
            self.ctx.log.warning(OVERFLOW)

    async def finish(self, end: int, status: int) -> None:
        """The shell has ended, with this status, and its output at this offset: nothing is held back any more."""
        if end >= self._expected:
            await self._pass_on(self._parser.flush())
            await self._commands.send("shell_ended", end, status)

    async def _pass_on(self, parts: list[bytes | Marker]) -> None:
        pieces = []
        for part in parts:
            marker = part if isinstance(part, Marker) else None
            text = part if isinstance(part, bytes) else b""
            self._parsed += len(text if marker is None else marker.raw)
            pieces.append(Piece(self._parsed, text, marker))
        if pieces:
            await deliver(self._commands, "parsed", pieces)
