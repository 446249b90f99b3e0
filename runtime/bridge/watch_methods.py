"""The bridge's `watch/` methods, and what a client's session knows of its watches.

A watch belongs to the session that has added it: no other hears of it, or can remove it, and it ends with that session,
however that ends. Its id is known here before the watcher has heard of it, so that nothing is missed in between; what
has changed by the time the client is told the id, is told behind it.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ...actors.errors import ResourceExhausted
from ...actors.files import Encoding
from ...actors.ipc.jsonrpc import Code, RpcError
from ...actors.shorten import short
from ...actors.watcher import Change, Changed, Watcher
from .answers import Answer
from .asking import ask
from .delivery import pass_on
from .failures import as_rpc_error
from .methods import method

if TYPE_CHECKING:
    from .session import ClientSession

MOST_WATCHES = 1_000
"""Of one session."""
LET_GO = 0.5
"""Seconds that the watcher has to take the news that a session is over."""

_numbers = count(1)


@attrs.define(eq=False)
class ClientWatches:
    """Those of one session, by id: what is to be told once its client knows the id; None: it does."""

    waiting: dict[str, list[Changed] | None] = attrs.field(factory=dict)
    is_followed: bool = False

    def take(self, event: Changed) -> bool:
        """Whether it is to be told now."""
        if event.watch not in self.waiting:
            return False  # another session's
        waiting = self.waiting[event.watch]
        if waiting is not None:
            waiting.append(event)
        return waiting is None


def changes_data(event: Changed) -> dict[str, Any]:
    """What `watch/changed` says."""
    return {"watch": event.watch, "changes": [_change_data(change) for change in event.changes]}


def _change_data(change: Change) -> dict[str, Any]:
    data: dict[str, Any] = {"path": change.path, "kind": change.kind.value}
    if change.source is not None:
        data["source"] = change.source
    if change.encoding != "utf-8":
        data["encoding"] = change.encoding
    return data


@attrs.frozen
class AddWatch:
    """Of `watch/add`. `encoding` is that of `path`: "base64" for a name that is no UTF-8."""

    path: str
    recursive: bool = False
    encoding: Encoding = "utf-8"


@method("watch/add", AddWatch)
async def add_watch(session: ClientSession, asked: AddWatch) -> Answer:
    """Tell of what changes in a file, in a folder, or (`recursive`) in all below it; the watch's id."""
    watches, watcher = session.watches, session.watcher
    if len(watches.waiting) >= MOST_WATCHES:
        error = ResourceExhausted("watches of this session", MOST_WATCHES, len(watches.waiting))
        raise as_rpc_error(error, session.ctx.path)
    if not watches.is_followed:
        watches.is_followed = True
        session.follow_watches()
        session.ctx.start_task(_let_go_at_the_end, session)
    watch = f"w{next(_numbers)}"
    watches.waiting[watch] = []
    try:
        await ask(watcher, Watcher.add, asked.path, asked.recursive, asked.encoding, watch)
    except BaseException:  # it may have been added all the same, where nobody has waited for the answer
        await _let_go(session, [watch])
        raise
    return Answer.of({"watch": watch}, told=partial(_begin, session, watch))


async def _begin(session: ClientSession, watch: str, *, was_told: bool) -> None:
    """The client knows the id, or has said that it does not want to."""
    if not was_told or watch not in session.watches.waiting:  # whoever has guessed the id may have removed it already
        await _let_go(session, [watch])
        return
    waiting, session.watches.waiting[watch] = session.watches.waiting[watch], None
    for event in waiting or ():
        await session.changed(event)


@attrs.frozen
class RemoveWatch:
    """Of `watch/remove`."""

    watch: str


@method("watch/remove", RemoveWatch)
async def remove_watch(session: ClientSession, asked: RemoveWatch) -> dict[str, Any]:
    """Tell no more of a watch; nothing is told of it behind the answer."""
    if asked.watch not in session.watches.waiting:
        raise RpcError(Code.INVALID_PARAMS, f"this session has no watch {short(asked.watch)}")
    del session.watches.waiting[asked.watch]
    await ask(session.watcher, Watcher.forget, [asked.watch])
    return {}


# --- the end


async def _let_go_at_the_end(session: ClientSession) -> None:
    try:
        await trio.sleep_forever()
    finally:
        if session.watches.waiting:
            await _let_go(session, list(session.watches.waiting))


async def _let_go(session: ClientSession, watches: list[str]) -> None:
    """Have the watcher forget these; cancelled or not."""
    for watch in watches:
        session.watches.waiting.pop(watch, None)
    with trio.CancelScope(shield=True), trio.move_on_after(LET_GO):
        await pass_on(session.watcher, Watcher.forget, watches)
