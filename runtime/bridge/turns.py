"""`Turns`: requests that are run one after the other, as they came.

Those that name the same place (a file, a terminal) stand in one line. Who leaves it before its turn has come, since it
was cancelled, makes room for nobody but those behind it.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs
import trio


@attrs.define(eq=False)
class Turn:
    """The place of one request in its line."""

    place: str
    has_come: trio.Event = attrs.field(factory=trio.Event)


class Turns:
    """The lines, by place. Pure but for the events on which those that stand in them wait."""

    def __init__(self) -> None:
        self._lines: dict[str, OrderedDict[Turn, None]] = {}

    def take(self, place: str) -> Turn:
        """Stand behind all that wait for the same place; to be left in the end, whether it has come or not."""
        line = self._lines.setdefault(place, OrderedDict())
        turn = Turn(place)
        line[turn] = None
        if len(line) == 1:
            turn.has_come.set()
        return turn

    def waiting(self, place: str) -> int:
        """How many stand there and are not yet on."""
        return max(0, len(self._lines.get(place, ())) - 1)

    def leave(self, turn: Turn) -> None:
        """It is over, or not wanted any more: whoever stands first now is next."""
        line = self._lines[turn.place]
        del line[turn]
        if line:
            next(iter(line)).has_come.set()
        else:
            del self._lines[turn.place]
