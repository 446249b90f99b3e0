"""What the bridge does about resource pressure, band by band (spec, "Memory Management"), and takes back afterwards.

| band | what is done |
|---|---|
| moderate | the file cache is halved, at each measurement, down to its floor |
| high | it is cleared, connections that nobody uses are closed, memory is given back, the quality goes down a level |
| critical | everything that can be freed is; the quality goes down to the least; new work is let in slowly |

Only what is short is met: since the CPU is busy no cache is cleared, no quality is lost and no file is kept waiting;
only new terminals are let in slowly. The critical band is also what is done at once where an actor has failed for want
of memory (`Relief`).
"""

from __future__ import annotations

from ...actors.files import FileStore
from ...actors.resources import Resource, Trimmer
from ..relief import Row, announce, lower_quality, tell, throttle, when
from .connection import CLOSE_IDLE
from .session import FREE_MEMORY

STORE = "../storage/files"
HALVINGS = 6
"""From the cache's capacity to its floor."""
BACK = 8.0
"""How many times larger it may be again at each measurement afterwards: all is as before within 30 s (the spec's)."""
AGAIN = 30.0
"""Seconds between two times that what has filled again is cleared."""
NEW_TERMINALS = 10.0
"""A second, while the pressure is critical; and so on."""
NEW_CONNECTIONS = 10.0
FILES = 100.0

_SPACE = (Resource.MEMORY,)
_COUNTED = (Resource.MEMORY, Resource.FILES, Resource.PROCESSES)


def relief_rows(*, takes_clients: bool = True) -> tuple[Row, ...]:
    """The rows of a bridge; one that serves a single client has no connections to close, or to let in slowly."""
    return (*_ROWS, *_FEWER_CLIENTS) if takes_clients else _ROWS


_ROWS = (
    when(
        "moderate",
        tell(STORE, FileStore.resize, 0.5),
        back=tell(STORE, FileStore.resize, BACK),
        times=HALVINGS,
        of=_SPACE,
    ),
    when("high", tell(STORE, FileStore.clear), times=None, every=AGAIN, of=_SPACE),
    when("high", tell("../trimmer", Trimmer.trim), times=None, every=AGAIN, of=_SPACE),
    when("high", lower_quality(), of=_COUNTED),
    when("critical", lower_quality(3), of=_COUNTED),
    when("critical", announce(FREE_MEMORY), times=None, every=AGAIN, of=_SPACE),
    when("critical", tell("../trimmer", Trimmer.trim_all), times=None, every=AGAIN, of=_SPACE),
    when("critical", throttle("../terminals", NEW_TERMINALS)),
    when("critical", throttle(STORE, FILES), of=_COUNTED),
)
_FEWER_CLIENTS = (
    when("high", announce(CLOSE_IDLE), times=None, every=AGAIN, of=(Resource.MEMORY, Resource.FILES)),
    when("critical", throttle("../connections", NEW_CONNECTIONS), of=_COUNTED),
)
