"""By when a call has to be answered (rule M3)."""

from __future__ import annotations

from .incarnation import Incarnation
from .messages import Call
from .turn import Turn


def set_deadline(call: Call, timeout: float | None, me: Turn | None) -> None:
    """In `timeout` seconds (None: as the runtime's timeouts say), or its caller's own time if that has less left.

    `me` is whose turn it is.
    """
    system = call.cell.system
    seconds = timeout
    if seconds is None:
        seconds = system.timeouts.of(call.method)
        call.is_default = True
    now = system.now()
    call.seconds = seconds
    call.deadline = now + seconds
    if type(me) is Incarnation and me.current is not None:
        asked = me.current[3]
        if asked is not None and asked.deadline <= call.deadline and asked.seconds > 0:
            call.seconds, call.deadline, call.is_inherited = asked.deadline - now, asked.deadline, True
