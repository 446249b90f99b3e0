"""How the bridge's methods ask its parts, so that an error names the part that it comes from."""

from __future__ import annotations

from typing import Any

from ...actors.protocol import MethodKey
from ...actors.ref import Ref
from .failures import EXPECTED, as_rpc_error


async def ask(part: Ref[Any], message: MethodKey, *args: Any) -> Any:
    """Call; what it may fail of is raised as the RpcError that the client is to be told."""
    try:
        return await part.call(message, *args)
    except EXPECTED as error:
        raise as_rpc_error(error, part.path) from error
