"""`Allowance`: how much of a session's answers may be made before they can go out.

An answer may be large, and nobody knows how large before it is made. So a request whose answer may be large waits for a
share before it is run, and has it until its answer was handed over to the connection: a client that does not read makes the
bridge hold a few answers, and not all that it has asked for.
"""

from __future__ import annotations

import attrs
import trio

MOST = 8 * 1024 * 1024
"""Bytes of answers that are made, or wait to go out, above which no further one is made."""
PRESUMED = 512 * 1024
"""Bytes that an answer counts while it is made: so many at a time can be."""


@attrs.define(eq=False)
class Share:
    """What one answer takes of it."""

    _of: Allowance
    size: int
    _holders: int = 1

    def weigh(self, size: int, holders: int) -> None:
        """The answer is made: so many bytes, which wait to go to so many."""
        self._holders = holders
        self._of.change(size - self.size)
        self.size = size

    def give_back(self) -> None:
        """One holder has no need of it any more."""
        self._holders -= 1
        if self._holders <= 0:
            self._of.change(-self.size)
            self.size = 0


class Allowance:
    """Of one session. Shares are given in the order in which they were asked for."""

    def __init__(self, most: int = MOST, presumed: int = PRESUMED) -> None:
        self._most = most
        self._presumed = presumed
        self._taken = 0
        self._waiting = trio.lowlevel.ParkingLot()

    async def take(self) -> Share:
        """A share, once there is one; to be given back. A checkpoint only where it has to wait.

        Cancelled, nothing is taken.
        """
        if self._waiting or not self._has_room:
            await self._waiting.park()  # `change` has taken it for who it wakes
        else:
            self._taken += self._presumed
        return Share(self, self._presumed)

    def change(self, by: int) -> None:
        """So many bytes more, or less, are taken."""
        self._taken += by
        while self._waiting and self._has_room:
            self._taken += self._presumed
            self._waiting.unpark()

    @property
    def _has_room(self) -> bool:
        return not self._taken or self._taken + self._presumed <= self._most
