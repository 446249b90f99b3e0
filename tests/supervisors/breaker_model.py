"""What a circuit does, told naively: calls are objects, and so is the time of one state in which they began."""

from __future__ import annotations

import math

import attrs

from ukemi.supervisors.recovery.actions import CircuitBreak


@attrs.define(eq=False)
class Call:
    """One that was let through, in this era."""

    era: object


@attrs.define(eq=False)
class Model:
    settings: CircuitBreak
    now: float = 0.0
    state: str = "closed"
    era: object = attrs.Factory(object)
    failures: int = 0
    good: int = 0
    probe: Call | None = None
    until: float = 0.0
    openings: int = 0
    """Since it was closed last, but for those by hand."""
    opened: int = 0
    forced: bool = False
    last_failure: str = ""
    told: list[str] = attrs.Factory(list)
    """The news that are due, in order; that it is half-open is news when there is a probe."""

    def advance(self, seconds: float) -> None:
        self.now += seconds
        if self.state == "open" and self.now >= self.until:
            self.state, self.era, self.good, self.probe, self.forced = "half-open", object(), 0, None, False

    def call(self) -> Call | None:
        if self.state == "open" or self.probe is not None:
            return None
        call = Call(self.era)
        if self.state == "half-open":
            self.probe = call
            self.tell("half-open")
        return call

    def went_well(self, call: Call) -> bool:
        """Whether that closed it."""
        if call is self.probe:
            self.failures, self.probe = 0, None
            self.good += 1
            if self.good == self.settings.successes:
                self.close()
                return True
        elif self.state == "closed" and call.era is self.era:
            self.failures = 0
        return False

    def went_wrong(self, call: Call, error: str) -> bool:
        """Whether that opened it."""
        if call is self.probe:
            self.fail(error)
        elif self.state == "closed" and call.era is self.era:
            self.fail(error, self.settings.failures)
        else:
            return False
        return self.state == "open"

    def was_given_up(self, call: Call) -> None:
        if call is self.probe:
            self.probe = None

    def trip(self, error: str) -> bool:
        if self.state == "open":
            return False
        self.fail(error)
        return True

    def fail(self, error: str, allowed: int = 0) -> None:
        self.failures += 1
        self.last_failure = error
        if self.failures >= allowed:
            wanted = self.settings.duration * self.settings.growth**self.openings
            seconds = min(wanted, max(self.settings.duration, self.settings.longest))
            self.openings += 1
            self.open(self.now + seconds, forced=False)

    def open(self, until: float, *, forced: bool) -> None:
        if self.state != "open":
            self.opened += 1
        self.state, self.era, self.probe, self.until, self.forced = "open", object(), None, until, forced
        self.told.append("open")

    def close(self) -> None:
        self.state, self.era, self.probe, self.forced = "closed", object(), None, False
        self.failures = self.openings = 0
        self.tell("closed")

    def tell(self, state: str) -> None:
        if (self.told or ["closed"])[-1] != state:
            self.told.append(state)

    def facts(self) -> dict[str, object]:
        """What the circuit's info must say."""
        left = (None if self.until == math.inf else self.until - self.now) if self.state == "open" else 0.0
        return {
            "state": self.state,
            "seconds_left": left,
            "forced": self.forced,
            "failures": self.failures,
            "opened": self.opened,
            "last_failure": self.last_failure,
        }
