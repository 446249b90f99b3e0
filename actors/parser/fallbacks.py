"""What reads a terminal's output in place of a parser that fails: it finds no markers, and can hardly fail itself.

`SkippingParser` takes out of the text what may be a marker, with the simplest means; `PassingParser` leaves all as it
is. Both say so with each piece, so that nobody waits for a marker.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from .stream import Part, Reading, Skipped, StreamParser

LONGEST: Final = 4096
"""Bytes of a sequence, beyond which it is text."""
_SEQUENCE: Final = re.compile(rb"(\x1b\](?:633|133|7|9|1337);[^\x07\x1b]*(?:\x07|\x1b\\))")
_OPEN: Final = re.compile(rb"\x1b(?:\][^\x07\x1b]*\x1b?)?\Z")


class SkippingParser(StreamParser):
    """Skips markers: the sequences that may be some are left out, and nothing is read from them."""

    reading: ClassVar[Reading] = "text"

    def _begin(self) -> None:
        self._held = b""

    def _parts(self, data: bytes) -> list[Part]:
        data = self._held + data
        found = _OPEN.search(data, max(0, len(data) - LONGEST))
        end = found.start() if found is not None else len(data)
        self._held = data[end:]
        return _split(data[:end])

    def _rest(self) -> list[Part]:
        held, self._held = self._held, b""
        return _split(held)


def _split(data: bytes) -> list[Part]:
    parts: list[Part] = []
    for number, each in enumerate(_SEQUENCE.split(data)):
        if each:
            parts.append(Skipped(each) if number % 2 else each)
    return parts


class PassingParser(StreamParser):
    """Raw passthrough: everything is text."""

    reading: ClassVar[Reading] = "nothing"

    def _begin(self) -> None:
        pass

    def _parts(self, data: bytes) -> list[Part]:
        return [data]

    def _rest(self) -> list[Part]:
        return []
