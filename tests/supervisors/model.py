"""A second, naive supervisor: what the rules say must happen, without tasks, time or actors.

Written from docs/semantics.md and OTP's rules, not from the code. It keeps every stamp, asks for no speed, and knows
for each step what must be started and stopped. `log` uses the stage's words: `+a` started, `-a` stopped, `!a` a start
that failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import attrs

FIRST_DELAY, LONGEST_DELAY = 0.125, 4.0
"""How long a failed start waits where its child declares nothing (set by the test, without jitter)."""


class GaveUp(Exception):
    """The supervisor ends."""


@attrs.define
class Pause:
    """A declared backoff."""

    initial: float
    maximum: float
    max_attempts: int | None


@attrs.define
class Kid:
    """A child, as the rules see it."""

    name: str
    restart: str
    needs: tuple[str, ...]
    pause: Pause | None
    state: str = attrs.field(default="stopped", repr=False)
    is_done: bool = attrs.field(default=False, repr=False)
    """Ended of itself, for good."""
    is_held: bool = attrs.field(default=False, repr=False)
    """Stopped only since something it needs was."""
    is_failing: bool = attrs.field(default=False, repr=False)
    """Down because of a failure, its own or another's."""
    restarts: int = attrs.field(default=0, repr=False)
    tries: int = attrs.field(default=0, repr=False)
    up_since: float = attrs.field(default=0.0, repr=False)
    due: tuple[float, int] | None = attrs.field(default=None, repr=False)
    """When the next start comes, and in which order of those that come at once."""


@attrs.define
class Model:
    strategy: str
    max_restarts: int
    within: float
    kids: dict[str, Kid]
    failures: dict[str, int] = attrs.field(factory=dict)
    log: list[str] = attrs.field(factory=list)
    now: float = 0.0
    stamps: list[float] = attrs.field(factory=list)
    gave_up: bool = False
    _order: count[int] = attrs.field(factory=count)

    # --- who needs whom

    def dependents(self, name: str) -> list[str]:
        """All that directly or indirectly need it, in start order."""
        found = {name}
        while more := {k.name for k in self.kids.values() if found & set(k.needs)} - found:
            found |= more
        return [n for n in self.kids if n in found and n != name]

    def group(self, name: str) -> list[str]:
        """All that are restarted when this one fails, without it."""
        names = list(self.kids)
        match self.strategy:
            case "one_for_one":
                return []
            case "one_for_all":
                return [n for n in names if n != name]
            case "rest_for_one":
                return names[names.index(name) + 1 :]
            case _:
                return self.dependents(name)

    def is_usable(self, name: str) -> bool:
        """Whether those that need it may run."""
        return self.kids[name].state == "running" or self.kids[name].is_done

    # --- one child

    def begin(self) -> None:
        """The first start of all."""
        for kid in self.kids.values():
            self.up(kid)

    def up(self, kid: Kid) -> bool:
        """Start it; whether that worked."""
        kid.due, kid.is_done, kid.is_held = None, False, False
        if self.failures.get(kid.name, 0) > 0:
            self.failures[kid.name] -= 1
            self.log.append(f"!{kid.name}")
            kid.state = "stopped"
            return False
        self.log.append(f"+{kid.name}")
        kid.state, kid.up_since = "running", self.now
        if kid.is_failing:
            kid.is_failing = False
            kid.restarts += 1
        return True

    def down(self, kid: Kid) -> None:
        """It stops, if it runs; a quiet time ends its row of tries."""
        kid.due = None
        if kid.state == "running":
            self.rest(kid)
            self.log.append(f"-{kid.name}")
        kid.state = "stopped"

    def rest(self, kid: Kid) -> None:
        if kid.pause is None or self.now - kid.up_since >= kid.pause.maximum:
            kid.tries = 0

    def wait(self, kid: Kid) -> None:
        """Its next start comes after a time."""
        pause = kid.pause or Pause(FIRST_DELAY, LONGEST_DELAY, None)
        if pause.max_attempts is not None and kid.tries + 1 >= pause.max_attempts:
            raise GaveUp
        delay = min(pause.maximum, pause.initial * 2**kid.tries)
        kid.tries += 1
        kid.due = (self.now + delay, next(self._order))

    # --- failures

    def ended(self, exits: Iterable[tuple[str, bool]], *, logs_end: bool) -> None:
        """These have ended of themselves at the same moment, in this order; whether abnormally."""
        failed: list[str] = []
        for name, is_abnormal in exits:
            kid = self.kids[name]
            if logs_end:
                self.log.append(f"-{name}")
            self.rest(kid)
            if kid.restart == "permanent" or (kid.restart == "transient" and is_abnormal):
                kid.state, kid.is_failing = "restarting", True
                failed.append(name)
            elif kid.restart == "temporary":
                del self.kids[name]
            else:
                kid.state, kid.is_done = "stopped", True
        covered: set[str] = set()
        for name in failed if self.strategy == "one_for_one" else [n for n in self.kids if n in failed]:
            if name in covered:
                continue
            kid = self.kids[name]
            covered |= set(self.group(name))
            if kid.pause is None:
                self.attempt()
                self.take_down(name)
            else:
                self.wait(kid)
                self.take_down(name)
        self.bring_up()

    def attempt(self) -> None:
        """One restart now; one too many within the window ends it all."""
        self.stamps.append(self.now)
        if sum(self.now - stamp <= self.within for stamp in self.stamps) > self.max_restarts:
            raise GaveUp

    def take_down(self, name: str) -> None:
        """What goes down with a failed child is stopped in reverse, to be started again."""
        group = [self.kids[n] for n in self.group(name)]
        for kid in reversed(group):
            self.down(kid)
        for kid in group:
            if kid.restart == "temporary":
                del self.kids[kid.name]
            elif all(self.is_usable(n) or self.kids[n].state == "restarting" for n in kid.needs):
                kid.state, kid.is_failing, kid.is_done = "restarting", True, False

    def bring_up(self) -> None:
        """Start what waits, as far as what it needs is up, and what fails is tried again later."""
        failed: list[Kid] = []
        if self.strategy == "one_for_all" and any(k.state == "restarting" and k.due for k in self.kids.values()):
            return
        for kid in list(self.kids.values()):
            if kid.state != "restarting":
                continue
            if kid.due is None and kid not in failed and all(self.is_usable(n) for n in kid.needs):
                if self.up(kid):
                    continue
                kid.state, kid.is_failing = "restarting", True
                failed.append(kid)
                if self.strategy != "dependents":
                    self.wait(kid)
            if self.strategy in ("one_for_all", "rest_for_one"):
                break
        if self.strategy == "dependents":
            for kid in failed:
                self.wait(kid)

    # --- time

    def next_due(self) -> float | None:
        """When the next start comes."""
        return min((kid.due[0] for kid in self.kids.values() if kid.due is not None), default=None)

    def run_due(self) -> None:
        """All starts that come now."""
        waiting = sorted((k for k in self.kids.values() if k.due and k.due[0] <= self.now), key=lambda k: k.due or ())
        for kid, due in [(kid, kid.due) for kid in waiting]:
            if kid.due == due:
                kid.due = None
                self.attempt()
                self.take_down(kid.name)
                self.bring_up()

    # --- requests; each returns the name of the error that it must be answered with

    def start_child(self, kid: Kid) -> str | None:
        if kid.name in self.kids:
            return "ChildStateError"
        if any(n not in self.kids or self.kids[n].restart == "temporary" or not self.is_usable(n) for n in kid.needs):
            return "SpecError"
        if not self.up(kid):
            return "StartFailed"
        self.kids[kid.name] = kid
        return None

    def stop_child(self, name: str) -> str | None:
        if name not in self.kids:
            return "ComponentNotFound"
        below = self.dependents(name)
        held = [n for n in below if self.kids[n].is_held or self.kids[n].state != "stopped"]
        for n in [*reversed(below), name]:
            kid = self.kids[n]
            self.down(kid)
            kid.is_done, kid.is_failing, kid.is_held = False, False, n in held
            if kid.restart == "temporary":
                del self.kids[n]
        self.bring_up()
        return None

    def restart_child(self, name: str) -> str | None:
        if name not in self.kids:
            return "ComponentNotFound"
        kid = self.kids[name]
        if kid.state != "stopped" or not all(self.is_usable(n) for n in kid.needs):
            return "ChildStateError"
        if not self.up(kid):
            return "StartFailed"
        for other in self.kids.values():
            if other.is_held and all(self.is_usable(n) or self.kids[n].state == "restarting" for n in other.needs):
                other.state = "restarting"
        self.bring_up()
        return None

    def delete_child(self, name: str) -> str | None:
        if name not in self.kids:
            return "ComponentNotFound"
        if self.kids[name].state != "stopped" or any(name in kid.needs for kid in self.kids.values()):
            return "ChildStateError"
        del self.kids[name]
        return None

    def end(self) -> None:
        """Everything stops, in reverse."""
        for kid in reversed(self.kids.values()):
            self.down(kid)
