"""What each band of resource pressure does, as data: the rows that a tree declares, and which of them are due.

A row says from which band on it holds, what is done, how often while it lasts, and what is done on the way back:

    when("moderate", tell("files", "resize", 0.5), back=tell("files", "resize", 2.0), times=3, of=["memory"])

All is checked when it is made, and pure; `Relief` (pressure.py) carries it out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import attrs

from ..actors.actor import Actor
from ..actors.errors import SpecError
from ..actors.protocol import is_message_name
from ..actors.resources.pressure import Band, Resource

A = TypeVar("A", bound=Actor)
P = ParamSpec("P")


@attrs.frozen
class Tell:
    """A message to an actor."""

    actor: str
    method: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.actor}.{self.method}({', '.join(map(repr, self.args))})"


@attrs.frozen
class LowerQuality:
    """The runtime's quality goes down by so many levels; it comes up by itself, one at a time, once it is quiet."""

    levels: int = 1

    def __str__(self) -> str:
        return f"quality down {self.levels}"


@attrs.frozen
class ThrottleMail:
    """An actor's mail is let through at so many messages a second, for as long as the row holds."""

    actor: str
    rate: float

    def __str__(self) -> str:
        return f"{self.actor} at {self.rate:g} messages/s"


@attrs.frozen
class Announce:
    """Why it is done is published on a topic, for all who have something to give up: actors that come and go."""

    topic: str

    def __str__(self) -> str:
        return f"announce {self.topic}"


Doing: TypeAlias = Tell | LowerQuality | ThrottleMail | Announce


@attrs.frozen
class Row:
    """One row: made by `when`."""

    at: Band
    do: Doing
    back: Tell | None
    times: int | None
    every: float
    of: tuple[Resource, ...]

    def __str__(self) -> str:
        return f"at {self.at}: {self.do}"


def tell(actor: str, method: Callable[Concatenate[A, P], object] | str, /, *args: P.args, **kwargs: P.kwargs) -> Tell:
    """Call a method of the actor of this name or path; `../name` is a sibling of the Relief.

    The arguments are given by position. SpecError if it can't be a message.
    """
    name = method if isinstance(method, str) else getattr(method, "__name__", repr(method))
    if kwargs:
        raise SpecError(f"tell({actor!r}, {name!r}, …): {', '.join(kwargs)} must be given by position")
    _check_actor(f"tell({actor!r}, {name!r})", actor)
    if not name.isidentifier() or not is_message_name(name):
        raise SpecError(f"tell({actor!r}, {name!r}): the method must be a message, which has a public name")
    return Tell(actor, name, args)


def lower_quality(levels: int = 1) -> LowerQuality:
    """Lower the quality by 1 to 3 levels."""
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= 3:
        raise SpecError(f"lower_quality: levels={levels!r} must be a whole number from 1 to 3")
    return LowerQuality(levels)


def announce(topic: str) -> Announce:
    """Publish on this topic why something is to be given up, as text."""
    if not isinstance(topic, str) or not topic:
        raise SpecError(f"announce: topic={topic!r} must be a topic's name")
    return Announce(topic)


def throttle(actor: str, rate: float) -> ThrottleMail:
    """Let an actor's mail through at `rate` messages a second. Of a dynamic supervisor: new children, new work."""
    _check_actor(f"throttle({actor!r})", actor)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise SpecError(f"throttle({actor!r}): rate={rate!r} must be a finite number above 0")
    return ThrottleMail(actor, float(rate))


def when(
    at: Band | str,
    do: Doing,
    *,
    back: Tell | None = None,
    times: int | None = 1,
    every: float = 0.0,
    of: Iterable[Resource | str] = (),
) -> Row:
    """Do this while the pressure is in the band `at` or a worse one.

    - `back`: told as often as `do` was done, one at each measurement, once the band is a better one again.
    - `times`: how often it is done while that lasts, once at each measurement; None: at each.
    - `every`: seconds between two times, on the way back as well, where that is longer than between measurements.
    - `of`: the resources whose pressure counts (`memory`, `cpu`, `files`, `processes`); none named: the worst of all.

    A throttle holds as long as the row does, and needs neither.
    """
    try:
        band = Band(at)
    except ValueError:
        raise SpecError(f"when({at!r}, …): the band must be moderate, high or critical") from None
    where = f"when({band.value!r}, {do})"
    if band is Band.NORMAL:
        raise SpecError(f"{where}: the band must be moderate, high or critical; at normal nothing is to be done")
    if not isinstance(do, Doing):
        raise SpecError(f"{where}: do={do!r} must be made by tell, announce, lower_quality or throttle")
    if back is not None and not (isinstance(back, Tell) and isinstance(do, Tell)):
        raise SpecError(f"{where}: back={back!r} must be made by tell, and only a tell has a way back of its own")
    is_count = isinstance(times, int) and not isinstance(times, bool) and times >= 1
    if not (is_count or (times is None and back is None)):
        raise SpecError(f"{where}: times={times!r} must be a whole number from 1 up, or None where it has no `back`")
    if isinstance(every, bool) or not isinstance(every, int | float) or not 0 <= every < math.inf:
        raise SpecError(f"{where}: every={every!r} must be a finite number of seconds from 0 up")
    return Row(band, do, back, times, float(every), _check_resources(where, of))


def check_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows; SpecError for what is none."""
    checked = tuple(rows)
    for row in checked:
        if not isinstance(row, Row):
            raise SpecError(f"{row!r} must be made by when(…)")
    return checked


@attrs.frozen
class Due:
    """Something that is to be done now."""

    index: int
    row: Row
    is_back: bool = False
    """Whether it is on the way back."""
    is_again: bool = False
    """Whether it only makes sure that a throttle still holds."""

    def __str__(self) -> str:
        return f"{self.row} (on the way back)" if self.is_back else str(self.row)


class Course:
    """How far each row has been carried out. Times are seconds, and never go back."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)
        self._done = [0] * len(self.rows)
        self._last = [-math.inf] * len(self.rows)

    @property
    def is_over(self) -> bool:
        """Whether nothing has to be taken back."""
        return not any(self._done)

    @property
    def in_force(self) -> tuple[Row, ...]:
        """The rows that were carried out and not yet taken back."""
        return tuple(row for row, done in zip(self.rows, self._done, strict=True) if done)

    def done(self, index: int) -> int:
        """How often a row was carried out and not taken back; of one without a number of times, whether it was."""
        return self._done[index]

    def due(self, band_of: Callable[[Row], Band], now: float, under_way: Collection[int] = ()) -> list[Due]:
        """What is to be done now, in the order of the rows; it counts as done. `under_way`: rows to be left alone."""
        found = []
        for index, row in enumerate(self.rows):
            if index not in under_way:
                due = self._due(index, row, band_of(row).rank >= row.at.rank, now)
                if due is not None:
                    found.append(due)
        return found

    def let_go(self) -> list[ThrottleMail]:
        """The throttles that are in force, which count as taken back."""
        found = []
        for index, row in enumerate(self.rows):
            if isinstance(row.do, ThrottleMail) and self._done[index]:
                self._done[index] = 0
                found.append(row.do)
        return found

    def failed(self, due: Due) -> None:
        """It was not done after all: it is due again at the next measurement."""
        self._done[due.index] = max(0, self._done[due.index] + (1 if due.is_back else -1))
        self._last[due.index] = -math.inf

    def _due(self, index: int, row: Row, holds: bool, now: float) -> Due | None:
        done, is_time = self._done[index], now - self._last[index] >= row.every
        is_throttle = isinstance(row.do, ThrottleMail)
        if holds:
            if not is_throttle and (not is_time or (row.times is not None and done >= row.times)):
                return None
            self._done[index] = 1 if is_throttle or row.times is None else done + 1
        else:
            if done and row.back is None and not is_throttle:
                self._done[index] = 0
                return None
            if not done or not (is_throttle or is_time):
                return None
            self._done[index] = done - 1
        self._last[index] = now
        return Due(index, row, is_back=not holds, is_again=is_throttle and holds and done > 0)


# --- checks


def _check_actor(where: str, actor: object) -> None:
    if not isinstance(actor, str) or not actor.strip("./"):
        raise SpecError(f"{where}: the actor must be a name or a path, not {actor!r}")


def _check_resources(where: str, of: Iterable[Resource | str]) -> tuple[Resource, ...]:
    if isinstance(of, str):
        raise SpecError(f"{where}: of={of!r} must be a list of resources, such as [{of!r}]")
    try:
        return tuple(Resource(each) for each in of)
    except ValueError as error:
        raise SpecError(f"{where}: {error}; they are {', '.join(Resource)}") from None
