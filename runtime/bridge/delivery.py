"""How the bridge's actors hand messages to each other."""

from __future__ import annotations

from typing import Any

from ...actors.deliver import deliver
from ...actors.errors import ActorStopped
from ...actors.protocol import MethodKey
from ...actors.ref import Ref


async def pass_on(to: Ref[Any], message: MethodKey, *args: Any) -> None:
    """Deliver; nothing where nobody is there.

    Who cares has a monitor, and what a client is told it is told again when it is back.
    """
    try:
        await deliver(to, message, *args)
    except ActorStopped:
        pass
