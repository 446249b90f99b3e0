"""Talking to other processes: Unix sockets, framing, JSON-RPC, and `IpcLink`, the peer's side of a link."""
