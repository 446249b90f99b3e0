"""How often what has been tried: of one message, and of one child. Pure; the time is passed in, in seconds.

Tries are counted by the row of the policy that they belong to, so that all failures which one row is about share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import attrs

from .failure import Category, Severity

Key: TypeAlias = tuple[Category | None, Severity | None]
"""A row's."""

QUIET = 5.0
"""Seconds without a failure after which the tries of a child count from 0 again."""

MOST_KEPT = 10
"""How often in a row a message is given to another incarnation."""
MOST_ENDS = 100
"""How often at all, within a while each, though others were answered meanwhile."""
AWHILE = 30.0
"""Seconds after which that an actor has ended with a message in its hands is no fault of the message."""

_NONE: Mapping[Key, int] = MappingProxyType({})


@attrs.frozen
class History:
    """Of one message that has failed. It travels with the message, from one incarnation to the next."""

    tries: Mapping[Key, int] = _NONE
    deferred: int = 0
    """How often it was deferred, and when that was first done."""
    deferred_since: float | None = None
    kept: int = 0
    """How often it was given to another incarnation, since the one before had ended with it in its hands; and when that
    was last done."""
    kept_at: float | None = None
    ends: int = 0
    """The same, whatever else was done in between."""

    def tried(self, key: Key) -> int:
        """How often, under this row."""
        return self.tries.get(key, 0)

    def again(self, key: Key) -> History:
        """With one try more under this row."""
        return attrs.evolve(self, tries={**self.tries, key: self.tried(key) + 1})

    def defer(self, now: float) -> History:
        """Deferred once more."""
        since = self.deferred_since if self.deferred_since is not None else now
        return attrs.evolve(self, deferred=self.deferred + 1, deferred_since=since)

    def keep(self, now: float, *, own: bool, moved_on: bool = False) -> History | None:
        """Given to another incarnation; None, if that has been done too often and did not help.

        `own`: it was this message that failed. Else it was in the hands of an actor that has failed of something else,
        and counts anew after a while, and where the actor has `moved_on`: it has got others done with this one in its
        hands.
        """
        is_recent = self.kept_at is not None and now - self.kept_at <= AWHILE
        is_row = own or (is_recent and not moved_on)
        kept = self.kept + 1 if is_row else 1
        ends = self.ends + 1 if own or is_recent else 1
        if kept > MOST_KEPT or ends > MOST_ENDS:
            return None
        return attrs.evolve(self, kept=kept, kept_at=now, ends=ends)


class Tries:
    """Of one child, whatever the message. They count from 0 again after a quiet time."""

    __slots__ = ("_last", "_tries")

    def __init__(self) -> None:
        self._tries: dict[Key, int] = {}
        self._last = 0.0

    def failed(self, now: float) -> None:
        """The child has failed."""
        if now - self._last >= QUIET:
            self._tries.clear()
        self._last = now

    def tried(self, key: Key) -> int:
        """How often, under this row."""
        return self._tries.get(key, 0)

    def again(self, key: Key) -> None:
        """Once more."""
        self._tries[key] = self.tried(key) + 1

    def clear(self) -> None:
        """What was before does not count any more."""
        self._tries.clear()
