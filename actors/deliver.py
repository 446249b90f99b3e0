"""To hand a message over at the least cost, where there is room; see `deliver`."""

from __future__ import annotations

from typing import Any

from .errors import MailboxFull
from .protocol import MethodKey
from .ref import Ref


async def deliver(to: Ref[Any], message: MethodKey, /, *args: Any) -> None:
    """Cast; where there is no room, wait for it.

    Unlike `send` it is no checkpoint where there is room, which counts where each link of a chain hands over. Cancelled
    while it waits, nothing was sent. Raises ActorStopped.
    """
    try:
        to.cast(message, *args)
    except MailboxFull:
        await to.send(message, *args)
