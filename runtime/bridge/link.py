"""A link to a peer, declared: what reconnects it, and what runs in its place while the peer can't be reached."""

from __future__ import annotations

from pathlib import Path

from ...actors.ipc.link import Connect, IpcLink
from ...actors.ipc.link_session import LinkSession
from ...actors.ipc.local import MOST_WAITING, LocalLink
from ...supervisors.backoff import Backoff
from ...supervisors.recovery import RECOVERY, Policy
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child

RECONNECT = Backoff(initial=0.1, maximum=5.0)
"""How soon a link is connected again: within 5 s of the peer's return, the spec's time for an IPC disconnect."""
ROOM = 1_000
"""Messages that may come in while `most_waiting` wait, before a caller has to wait to be heard."""


def link_spec(
    name: str,
    path: Path | str | None = None,
    *,
    connect: Connect | None = None,
    session: LinkSession | None = None,
    connections: int = 1,
    most_waiting: int = MOST_WAITING,
    backoff: Backoff = RECONNECT,
    policy: Policy = RECOVERY,
    feature: str | None = None,
) -> ChildSpec:
    """An `IpcLink` to the socket `path` (or to what `connect` reaches) as a child of any supervisor.

    A connection that fails is made again, and what was under way is asked again, once; after five tries in a row it
    degrades to local mode: a `LocalLink` keeps up to `most_waiting` requests and notifications for the peer, in order,
    and the link is tried again beside it. More are refused with ResourceExhausted. `feature` is what is degraded
    meanwhile. A peer that can't be reached at the start is no failure: the tree starts in local mode.
    """
    known = session if session is not None else LinkSession()
    peer = str(path) if path is not None else "the peer"
    return child(
        name,
        lambda: IpcLink(path, connect=connect, session=known, connections=connections),
        fallback={"local mode": lambda: LocalLink(known, most_waiting, peer)},
        backoff=backoff,
        policy=policy,
        feature=feature,
        mailbox=most_waiting + ROOM,
    )
