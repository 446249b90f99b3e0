"""A circuit: whether to call what may be broken, decided by how the calls before went (after Pekko's breaker).

Pure: time comes in as `now`, in seconds, never less than before; there is no clock, no task and no hook in it. A
supervisor keeps one for a child, and `CircuitBreaker` puts one around any awaitable.

- *closed*: all calls are let through. Failures in a row are counted, any success ends the row, and at
  `settings.failures` of them it opens.
- *open*: none is, for `settings.duration` seconds.
- *half-open*: one at a time is, the probe. `settings.successes` good ones close it; one that fails opens it again, each
  time for `settings.growth` times as long, up to `settings.longest` seconds (but no shorter than `duration`). Closing
  it takes the growth back.

Each change of state begins a new *generation*, and so does the end of a probe. `admit` gives the generation as a token,
which the call hands back when it ends: only in the generation in which it began does its result count, and a probe's
only once. So what was begun before it opened, and answers while it is open or half-open, changes nothing.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import attrs

from .recovery.actions import CircuitBreak

CircuitState: TypeAlias = Literal["closed", "open", "half-open"]

EARLY = 1e-6
"""By so many seconds a probe may come too soon: a timer set to `seconds_left` does, by what is lost in rounding."""


@attrs.frozen(kw_only=True)
class CircuitInfo:
    """What is told of a circuit; plain data."""

    name: str
    state: CircuitState
    """`half-open` as soon as a probe may be made, whether or not one has been."""
    since: float | None
    """When that began, on the clock that `now` is from; None: it was so from the beginning."""
    seconds_left: float | None
    """Until a probe may be made; 0.0 where it is not open, None where it stays open until it is closed by hand."""
    forced: bool
    """Whether it was opened by hand."""
    failures: int
    """In a row."""
    opened: int
    """How often it has opened, ever."""
    generation: int
    last_failure: str
    """What it said; empty before the first."""


@attrs.define(eq=False)
class Circuit:
    """One circuit, closed at first."""

    settings: CircuitBreak
    name: str = ""
    state: CircuitState = attrs.field(default="closed", init=False)
    """As of the last change: what `state_at` and `info` tell is up to date."""
    generation: int = attrs.field(default=1, init=False)
    failures: int = attrs.field(default=0, init=False)
    opened: int = attrs.field(default=0, init=False)
    open_until: float | None = attrs.field(default=None, init=False)
    """While it is open, when the next probe may be made: infinity where it waits to be closed by hand."""
    since: float | None = attrs.field(default=None, init=False)
    forced: bool = attrs.field(default=False, init=False)
    last_failure: str = attrs.field(default="", init=False)
    _is_probed: bool = attrs.field(default=False, init=False)
    _good_probes: int = attrs.field(default=0, init=False)
    _next_opening: float = attrs.field(init=False)
    """How many seconds it will be open the next time."""

    def __attrs_post_init__(self) -> None:
        self._next_opening = self.settings.duration

    def admit(self, now: float) -> int | None:
        """Ask to make a call. Its token, to be handed back in exactly one of the next three; or None: refused."""
        if self.state == "closed":
            return self.generation
        self._look(now)
        if self.state == "open" or self._is_probed:
            return None
        self._is_probed = True
        return self.generation

    def succeeded(self, token: int, now: float) -> bool:
        """The call went well; whether that closed it."""
        if token != self.generation:
            return False
        self.failures = 0
        if self.state == "closed":
            return False
        self._good_probes += 1
        if self._good_probes < self.settings.successes:
            self._end_probe()
            return False
        self._close(now)
        return True

    def failed(self, token: int, now: float, error: str = "") -> bool:
        """The call went wrong, and this is what it said; whether that opened it."""
        if token != self.generation:
            return False
        self._note_failure(error)
        if self.state == "closed" and self.failures < self.settings.failures:
            return False
        self._open(now)
        return True

    def abandoned(self, token: int) -> None:
        """The call was given up: neither a success nor a failure. If it was the probe, another may be made."""
        if self.state == "half-open" and token == self.generation:
            self._end_probe()

    def trip(self, now: float, error: str = "") -> bool:
        """Open it at once, as the last of the failures that it bears would; False where it was open already."""
        self._look(now)
        if self.state == "open":
            return False
        self._note_failure(error)
        self._open(now)
        return True

    def force_open(self, now: float, seconds: float | None = None) -> None:
        """Open it by hand: for a time, and then come the probes; or, with None, until it is closed by hand.

        That is no failure, and makes no later opening longer.
        """
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"force_open: seconds={seconds!r} must be a finite number above 0, or None for no end")
        self._look(now)
        if self.state != "open":
            self.opened += 1
        self._change("open", now)
        self.open_until = math.inf if seconds is None else now + seconds
        self.forced = True

    def force_closed(self, now: float) -> None:
        """Close it by hand, as if it were new: its failures count from 0, and what is under way does not."""
        self._look(now)
        self._close(now)

    def state_at(self, now: float) -> CircuitState:
        """The state, in which an open circuit whose time is up is half-open."""
        return "half-open" if self._is_due(now) else self.state

    def info(self, now: float) -> CircuitInfo:
        """All of it. Asking changes nothing."""
        is_due = self._is_due(now)
        until = None if is_due else self.open_until
        return CircuitInfo(
            name=self.name,
            state=self.state_at(now),
            since=self.open_until if is_due else self.since,
            seconds_left=None if until == math.inf else 0.0 if until is None else until - now,
            forced=self.forced and not is_due,
            failures=self.failures,
            opened=self.opened,
            generation=self.generation + is_due,
            last_failure=self.last_failure,
        )

    def _look(self, now: float) -> None:
        """Half-open, if its time is up."""
        if self.open_until is not None and self._is_due(now):
            self._change("half-open", self.open_until)

    def _is_due(self, now: float) -> bool:
        return self.open_until is not None and now >= self.open_until - EARLY

    def _note_failure(self, error: str) -> None:
        self.failures += 1
        self.last_failure = error

    def _end_probe(self) -> None:
        self.generation += 1
        self._is_probed = False

    def _open(self, now: float) -> None:
        seconds = self._next_opening
        longest = max(self.settings.duration, self.settings.longest)
        self._next_opening = min(longest, seconds * self.settings.growth)
        self.opened += 1
        self._change("open", now)
        self.open_until = now + seconds

    def _close(self, now: float) -> None:
        self.failures = 0
        self._next_opening = self.settings.duration
        self._change("closed", now)

    def _change(self, state: CircuitState, now: float) -> None:
        self.state = state
        self.generation += 1
        self.open_until = None
        self.forced = False
        self.since = now
        self._is_probed = False
        self._good_probes = 0
