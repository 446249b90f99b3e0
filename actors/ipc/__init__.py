"""Talking to other processes: Unix sockets, framing, JSON-RPC, and `IpcLink`, the peer's side of a link.

`framing` cuts a stream into bodies, `jsonrpc` makes messages of them, `wire` is one end of a connection, `sockets` and
`listener` are how it comes about. A link is an `IpcLink`; its `LinkSession` outlives it, `LocalLink` stands in for it.
"""

from .link import IpcLink, SessionLost
from .link_session import LinkSession, LinkState
from .local import LocalLink

__all__ = ["IpcLink", "LinkSession", "LinkState", "LocalLink", "SessionLost"]
