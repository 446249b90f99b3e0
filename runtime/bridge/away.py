"""`Away`: the sessions whose clients are away, of which there may not be any number.

One too many has the oldest end. Those in which nothing was ever asked go first: so who connects and leaves again and
again takes the place of nobody who has something to come back for.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ...actors.ref import Ref
from ...actors.system import System

MOST = 1_000
"""Sessions without a connection."""


class Away:
    """Pure; one for all sessions of a bridge."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._used: OrderedDict[Ref[Any], None] = OrderedDict()
        self._unused: OrderedDict[Ref[Any], None] = OrderedDict()

    @classmethod
    def of(cls, system: System) -> Away:
        """That of this system; made when it is first asked for."""
        return system.only(cls, cls)

    def add(self, session: Ref[Any], *, is_used: bool) -> Ref[Any] | None:
        """The client of a session is away; the session that has to end for it, if any."""
        too_many = None
        if len(self._used) + len(self._unused) >= self._most:
            too_many, _ = (self._unused or self._used).popitem(last=False)
        (self._used if is_used else self._unused)[session] = None
        return too_many

    def remove(self, session: Ref[Any]) -> None:
        """It is back, or its session has ended."""
        self._used.pop(session, None)
        self._unused.pop(session, None)
