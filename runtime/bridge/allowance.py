"""`Allowance`: bytes that may be taken at a time, by whoever is to have them next.

What a session answers may be large, and nobody knows how large before it is made. So a request whose answer may be
waits for a share before it is run, and has it until its answer was handed over to the connection: a client that does
not read makes the bridge hold a few answers, and not all that it has asked for. And what clients say may be large: a
frame that has begun waits for a share before it is read on (`Incoming`), so that those that are ended late don't add
up.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs
import trio

from ...actors.system import System

MOST_ANSWERS = 8 * 1024 * 1024
"""Bytes of a session's answers that are made, or wait to go out, above which no further one is made."""
PRESUMED = 2 * 1024 * 1024
"""Bytes that an answer counts while it is made: so many at a time can be."""
MOST_INCOMING = 64 * 1024 * 1024
"""Bytes of all clients' large frames that have begun and are not ended."""


@attrs.define(eq=False)
class Share:
    """What was taken by one."""

    _of: Allowance
    size: int
    _holders: int = 1

    def weigh(self, size: int, holders: int) -> None:
        """It is so many bytes in truth, and so many hold it from now on."""
        self._holders = holders
        self._of.change(size - self.size)
        self.size = size

    def give_back(self) -> None:
        """One holder has no need of it any more. After the last one's, it does nothing."""
        self._holders -= 1
        if self._holders <= 0:
            self._of.change(-self.size)
            self.size = 0


class Allowance:
    """Shares are given in the order in which they were asked for; a single one may be larger than all of it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: OrderedDict[trio.Event, int] = OrderedDict()

    async def take(self, size: int) -> Share:
        """A share of this size, once there is one; to be given back. A checkpoint only where it has to wait.

        Cancelled, nothing is taken.
        """
        if self._waiting or not self._has(size):
            await self._wait_for(size)
        else:
            self._taken += size
        return Share(self, size)

    async def _wait_for(self, size: int) -> None:
        turn = trio.Event()
        self._waiting[turn] = size
        try:
            await turn.wait()
        except BaseException:
            was_given = self._waiting.pop(turn, None) is None
            self.change(-size if was_given else 0)
            raise

    def change(self, by: int) -> None:
        """So many bytes more, or less, are taken."""
        self._taken += by
        while self._waiting:
            turn, size = next(iter(self._waiting.items()))
            if not self._has(size):
                break
            del self._waiting[turn]
            self._taken += size
            turn.set()

    def _has(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._most


class Incoming(Allowance):
    """Of large frames, from all clients."""

    @classmethod
    def of(cls, system: System) -> Incoming:
        """That of this system; made when it is first asked for."""
        return system.only(cls, lambda: cls(MOST_INCOMING))
