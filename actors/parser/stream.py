"""`StreamParser`: the parser as an actor, between a terminal's process and its commands.

It holds nothing that can't be had again: a new one asks for what was not yet acknowledged and parses that anew. What
the commands actor has seen already it recognises by its offset. It does so, too, when a part of the stream has passed
it by, or when the commands actor has begun anew.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar, Literal, TypeAlias

import attrs

from ..actor import Actor
from ..deliver import deliver
from ..errors import ActorStopped, UkemiError
from ..protocol import retryable
from ..ref import Ref
from .marker import Marker
from .parser import OVERFLOW, PARSER_ERROR, MarkerParser

Reading: TypeAlias = Literal["markers", "text", "nothing"]
"""What is looked for in a stream: markers; only what is text and what is not; or nothing, all of it is text."""


class ParserFailed(UkemiError):
    """A parser could not read what it was given; its cause says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(PARSER_ERROR.format(error))


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
    """Text, a marker, or a sequence that was only left out; `end` is the offset in the terminal's output behind it."""

    end: int
    text: bytes = b""
    marker: Marker | None = None
    skipped: bytes = b""

    @property
    def begin(self) -> int:
        """The offset at which it begins."""
        return self.end - len(self.raw)

    @property
    def raw(self) -> bytes:
        """The very bytes."""
        return self.marker.raw if self.marker is not None else self.text or self.skipped


@attrs.frozen
class Skipped:
    """A sequence that is left out of the text, whatever it says."""

    raw: bytes


Part: TypeAlias = bytes | Marker | Skipped


class StreamParser(Actor):
    """Sends lists of `Piece` to `parsed` of the actor `commands` beside it; the actor `pty` has the bytes."""

    reading: ClassVar[Reading] = "markers"

    def __init__(self, nonce: str | None = None) -> None:
        self._nonce = nonce
        self._expected = 0
        """The offset of the next byte that it has not seen."""
        self._parsed = 0
        """The offset behind what was passed on."""
        self._commands: Ref[Any]

    async def on_start(self) -> None:
        """Take up where the last incarnation was stopped."""
        self._commands = self.ctx.find("../commands")
        await self.again()

    async def again(self) -> None:
        """Parse anew what was not yet acknowledged, as if nothing had been parsed."""
        self._begin()
        with suppress(ActorStopped):  # no shell, and nothing to parse
            missed: Output = await self.ctx.find("../pty").call("not_acknowledged")
            self._expected = self._parsed = missed.offset
            if missed.data:
                await self.feed(missed)

    @retryable
    async def feed(self, output: Output) -> None:
        """Parse the next bytes. What was parsed already, since it was read again at the start, is skipped.

        Raises ParserFailed, with nothing changed: the same bytes can be given again.
        """
        if output.offset > self._expected:  # they came to another, whose place this has taken
            await self.again()
        new = output.data[max(0, self._expected - output.offset) :]
        if not new:
            return
        try:
            parts = self._parts(new)
        except Exception as error:
            self.ctx.log.error(PARSER_ERROR, error)
            raise ParserFailed(error) from error
        self._expected += len(new)
        await self._pass_on(parts)

    async def finish(self, end: int, status: int) -> None:
        """The shell has ended, with this status, and its output at this offset: nothing is held back any more."""
        if end >= self._expected:
            await self._pass_on(self._rest())
            await self._commands.send("shell_ended", end, status)

    async def _pass_on(self, parts: list[Part]) -> None:
        pieces = []
        for part in parts:
            if isinstance(part, Marker):
                self._parsed += len(part.raw)
                pieces.append(Piece(self._parsed, marker=part))
            elif isinstance(part, bytes):
                self._parsed += len(part)
                pieces.append(Piece(self._parsed, part))
            else:
                self._parsed += len(part.raw)
                pieces.append(Piece(self._parsed, skipped=part.raw))
        if pieces:
            await deliver(self._commands, "parsed", pieces, self.reading)

    # --- how it reads

    def _begin(self) -> None:
        """The stream begins anew."""
        self._parser = MarkerParser(self._nonce)
        self._overflows = 0

    def _parts(self, data: bytes) -> list[Part]:
        """What the next bytes are, as far as that is certain. Where it raises, it has changed nothing."""
        parts: list[Part] = [*self._parser.feed(data)]
        for part in parts:
            assert not isinstance(part, Marker) or part.kind  # it is read when it is asked: a fault in that is ours
        overflows = self._parser.stats().overflows
        if overflows != self._overflows:
            self._overflows = overflows
            self.ctx.log.warning(OVERFLOW)
        return parts

    def _rest(self) -> list[Part]:
        """What was held back, at the end of the stream."""
        return [*self._parser.flush()]
