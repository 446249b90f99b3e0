"""Which errors come how often: counted by key and by minute, in bounded room; and which of them may be reported.

The key of an error is where it happened and its class. All is pure: whoever counts says what time it is, in seconds
on trio's clock, and how to tell that to people.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TypeAlias

import attrs

from ..supervisors.recovery.failure import Failure

KEYS = 100
"""Keys that are told apart; beyond, the one that was seen longest ago is forgotten."""
MINUTES = 60
"""Minutes that are told apart."""
RATE = 5
"""Errors of one key that are reported in each second."""
RATE_OF_ALL = 50
"""Errors that are reported in each second."""

Key: TypeAlias = tuple[str, str]
"""The actor's path, and the class of the error."""


@attrs.frozen
class ErrorAggregate:
    """The errors of one key."""

    path: str
    error: str
    """The error's class."""
    message: str
    """What the last one that was looked at said."""
    category: str
    severity: str
    """Of that one, as classified; empty, as long as none was looked at."""
    count: int
    handled: int
    """Those that its policy has met without a crash."""
    held_back: int
    """Crashes that were counted only, not reported."""
    action: str | None
    """What the policy named last, if there is one."""
    first_seen: str
    last_seen: str
    by_minute: tuple[int, ...]
    """Of the last hour, oldest first; the last is the present minute."""


@attrs.define(eq=False)
class Tally:
    """What is counted of one key."""

    key: Key
    first_seen: float
    last_seen: float
    count: int = 0
    handled: int = 0
    held_back: int = 0
    unreported: int = 0
    """Held back since the last report."""
    action: str | None = None
    message: str = ""
    category: str = ""
    severity: str = ""
    second: int = -1
    """The second in which it was last reported, and how often in that."""
    reported: int = 0
    minute: int = 0
    minutes: array[int] = attrs.field(factory=lambda: array("I", bytes(4 * MINUTES)))
    """A ring; the place of a minute is its number's."""

    def add(self, now: float) -> None:
        """One more."""
        self.count += 1
        self.last_seen = now
        self.go_to(now)
        self.minutes[self.minute % MINUTES] += 1

    def go_to(self, now: float) -> None:
        """Empty the places of the minutes that have begun since."""
        minute = int(now // 60)
        for begun in range(max(self.minute + 1, minute - MINUTES + 1), minute + 1):
            self.minutes[begun % MINUTES] = 0
        self.minute = max(self.minute, minute)

    def learn(self, failure: Failure, message: str) -> None:
        """What is known of the last one."""
        self.category, self.severity, self.message = failure.category, failure.severity, message

    def aggregate(self, now: float, told: Callable[[float], str]) -> ErrorAggregate:
        """As plain data, with times as `told` has them."""
        self.go_to(now)
        begins = (self.minute + 1) % MINUTES
        return ErrorAggregate(
            path=self.key[0],
            error=self.key[1],
            message=self.message,
            category=self.category,
            severity=self.severity,
            count=self.count,
            handled=self.handled,
            held_back=self.held_back,
            action=self.action,
            first_seen=told(self.first_seen),
            last_seen=told(self.last_seen),
            by_minute=tuple(self.minutes[begins:] + self.minutes[:begins]),
        )


class Tallies:
    """The errors of one runtime by key, the one seen last at the end."""

    def __init__(self) -> None:
        self.forgotten = 0
        """Keys that had to make room."""
        self._tallies: dict[Key, Tally] = {}
        self._second = -1
        self._reported = 0

    def __len__(self) -> int:
        return len(self._tallies)

    def count(self, key: Key, now: float) -> Tally:
        """One more error of this key."""
        tally = self._tallies.pop(key, None)
        if tally is None:
            tally = Tally(key, now, now, minute=int(now // 60))
            if len(self._tallies) >= KEYS:
                del self._tallies[next(iter(self._tallies))]
                self.forgotten += 1
        self._tallies[key] = tally
        tally.add(now)
        return tally

    def take_back(self, tally: Tally) -> None:
        """The last one of this key that was handled has turned out to be one that is counted elsewhere."""
        tally.count -= 1
        tally.handled -= 1
        place = tally.minute % MINUTES
        tally.minutes[place] = max(0, tally.minutes[place] - 1)
        if not tally.count:
            self._tallies.pop(tally.key, None)

    def may_report(self, tally: Tally, now: float) -> bool:
        """Whether the error that was just counted is to be reported. One that is not is held back."""
        second = int(now)
        if second != self._second:
            self._second, self._reported = second, 0
        if second != tally.second:
            tally.second, tally.reported = second, 0
        if tally.reported >= RATE or self._reported >= RATE_OF_ALL:
            self.hold_back(tally)
            return False
        tally.reported += 1
        self._reported += 1
        return True

    def hold_back(self, tally: Tally) -> None:
        """This one is only counted."""
        tally.held_back += 1
        tally.unreported += 1

    def aggregates(self, now: float, told: Callable[[float], str]) -> list[ErrorAggregate]:
        """All keys, the one seen last at the end."""
        return [tally.aggregate(now, told) for tally in self._tallies.values()]
