"""Talking to other processes: Unix sockets, framing, JSON-RPC, and `IpcLink`, the peer's side of a link.

`framing` cuts a stream into bodies, `jsonrpc` makes messages of them, `wire` is one end of a connection, `sockets` and
`listener` are how it comes about. A `Link` is an `IpcLink`, or a `LocalLink` that stands in
for it; its `LinkSession` outlives both.
"""

from .link import IpcLink, SessionLost
from .link_session import Link, LinkSession, LinkState
from .local import LocalLink

__all__ = ["IpcLink", "Link", "LinkSession", "LinkState", "LocalLink", "SessionLost"]
