"""What a terminal prints, told to whoever follows it: in order, on two topics.

`<path>/output` has what commands print, `<path>/screen` all else: prompts, what is typed and echoed. Together they are
everything that a terminal emulator has to be fed with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from .capture import TextStream

if TYPE_CHECKING:
    from ..context import Context

Channel: TypeAlias = Literal["output", "screen"]


@attrs.frozen
class OutputChunk:
    """What has just been printed in a terminal."""

    terminal: str
    data: str
    encoding: str


class Printer:
    """Publishes. What comes together on one channel is told at once, so that many small pieces make no flood."""

    def __init__(self, ctx: Context, path: str, terminal: str) -> None:
        self._ctx = ctx
        self._path = path
        self._terminal = terminal
        self._channel: Channel = "screen"
        self._stream = TextStream()
        self._fresh: list[bytes] = []

    def add(self, channel: Channel, text: bytes) -> None:
        """Take some more. A change of channel tells what came before, to its end."""
        if channel != self._channel:
            self.flush(final=True)
            self._channel = channel
        self._fresh.append(text)

    def flush(self, *, final: bool = False) -> None:
        """Tell what was taken; the first half of a character waits for the other, unless this is the end."""
        if not self._fresh and not final:
            return
        text = self._stream.feed(b"".join(self._fresh), final=final)
        self._fresh.clear()
        if text is not None:
            chunk = OutputChunk(self._terminal, text.data, text.encoding)
            self._ctx.publish(f"{self._path}/{self._channel}", chunk)
