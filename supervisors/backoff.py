"""How long to wait before a restart."""

from __future__ import annotations

import math
from random import Random

import attrs

from ..actors.errors import SpecError


@attrs.frozen
class Backoff:
    """Exponential backoff, in seconds: `initial`, then `base` times as long each time, up to `maximum`.

    A random part of up to `jitter` (0.1 is 10 %) is added after the cap, against a thundering herd (spec, "Smart Retry
    System"). `max_attempts` bounds all tries in a row, the first start too; None for no bound. The row ends, and the
    count starts again, once the child has run for `maximum` seconds (Pekko's auto-reset).
    """

    initial: float
    maximum: float
    base: float = 2.0
    jitter: float = 0.1
    max_attempts: int | None = None

    def __attrs_post_init__(self) -> None:
        for name, least in (("initial", 0.0), ("maximum", self.initial), ("base", 1.0), ("jitter", 0.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value < math.inf:
                raise SpecError(f"Backoff: {name}={value!r} must be a finite number of at least {least}")
        tries = self.max_attempts
        if tries is not None and (not isinstance(tries, int) or isinstance(tries, bool) or tries < 1):
            raise SpecError(f"Backoff: max_attempts={tries!r} must be a whole number of at least 1, or None")

    def delay(self, attempt: int, random: Random) -> float:
        """Seconds to wait before try number `attempt`, counted from 0."""
        try:
            pause = min(self.maximum, self.initial * self.base**attempt)
        except OverflowError:
            pause = self.maximum
        return pause + pause * self.jitter * random.random()


START_BACKOFF = Backoff(initial=0.1, maximum=5.0)
"""For a restart whose start fails, where the child declares nothing (spec, "Component Restart")."""
