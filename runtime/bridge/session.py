"""`ClientSession`: what stays of a client when its connection goes.

It runs the client's requests (`Requests`), numbers its notifications from 1, and remembers the last ones; a client that
comes back with its session and the last number it saw gets what it missed, once, in order. Without a connection it
lives on for a time. A request that carries a `requestKey` is run once, however often it is asked.

All that a client is told passes through this actor, one message after the other: so the answer to a command comes
behind all that the command has printed, and the answer to `initialize` before anything else. It makes the frames, and
connections move them: the main one, and others that have joined it, which carry requests and their answers only. It
never waits for a client that does not read; what goes out to it, and how much at a time, is `Outlet`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import count
from typing import Any, TypeAlias

import trio

from ...actors.actor import Actor
from ...actors.deferred import Reply
from ...actors.errors import ActorStopped, ComponentNotFound, MailboxFull
from ...actors.files import FileStore
from ...actors.ipc.jsonrpc import Code, Request, RpcError
from ...actors.messages import Down
from ...actors.protocol import local
from ...actors.reasons import Reason
from ...actors.ref import Ref
from ...actors.resources import Resource, ResourceMonitor
from ...actors.shorten import short
from ...actors.system import System
from ...actors.terminal.printing import OutputChunk
from ...actors.watcher import Changed, Watcher
from ...supervisors.alerts import ALERTS, AlertRaised
from ...supervisors.degradation import FEATURES, FeatureDegraded, FeatureRestored, QualityChanged
from ...supervisors.dynamic import DynamicSupervisor
from . import file_methods, overview, terminal_methods  # noqa: F401  (they declare methods)
from .allowance import Share
from .answers import Answer
from .away import Away
from .backlog import Backlog
from .delivery import pass_on
from .failures import cancelled
from .followed import Followed
from .outlet import PIECE, Outlet
from .overview import alert_data, change_data
from .pacing import BEHIND, EVERY, FOR, Pacing
from .requests import Requests, UnderWay
from .watch_methods import ClientWatches, changes_data

FREE_MEMORY = "ukemi.bridge.free_memory"
"""The topic on which sessions hear, with the reason, that memory is needed for what is more urgent."""
LIVES_ON = 60.0
"""Seconds that a session waits for its client to come back."""
SESSION_MAILBOX = 10_000
"""Messages that may wait for a session: it never waits for a client, but many terminals may print at once."""
MOST_FORGOTTEN = 20_000
"""Keys that a client may forget at a time: more than are ever known."""
SLICE = 0.002
"""Seconds of answering requests at once, after which the loop turns."""

_numbers = count(1)

Taken: TypeAlias = "tuple[int, bytes]"
"""How many requests were taken, and the answers to those that could be answered at once."""


class ClientSession(Actor):
    """The session of one client."""

    def __init__(self, lives_on: float = LIVES_ON) -> None:
        self._lives_on = lives_on
        self._backlog = Backlog()
        self._outlet = Outlet(self._backlog)
        """To the main connection."""
        self._joined: dict[Ref[Any], Outlet] = {}
        """To the others."""
        self._requests: Requests
        self._held_back: list[Callable[[], object]] = []
        """What lets connections go on, once fewer requests wait."""
        self._is_used = False
        """Whether anything was ever asked for in it."""
        self._farewell: Any = None
        self.followed: Followed
        self.watches = ClientWatches()
        self._pacing = Pacing()
        self._slowing: Any = None
        """What looks again and again whether they have to be slowed down."""

    def on_start(self) -> None:
        """Wait for the client, but not for ever; hear what all clients are told."""
        self._requests = Requests(self)
        self.followed = Followed(self.ctx, self.terminals.path, self.output, self.screen)
        self._farewell = self.ctx.after(self._lives_on, self._forget)  # its client is about to be heard of
        self.ctx.subscribe(ALERTS, self.alert)
        self.ctx.subscribe(FEATURES, self.feature)
        self.ctx.subscribe(FREE_MEMORY, self.free_memory)

    def on_stop(self, reason: Reason) -> None:
        """Nobody's client is away any more."""
        Away.of(self.system).remove(self.ctx.ref)

    def on_down(self, down: Down) -> None:
        """A connection has ended; wait for another, if it was the last. Or a terminal is closed."""
        if down.ref.path == f"{self.terminals.path}/{down.ref.name}":
            self.followed.leave(down.ref.name)
            return
        connection = down.ref
        self._requests.left(connection)
        self._let_go_on()
        if connection in self._joined:
            self._joined.pop(connection).close()
        elif connection == self._outlet.connection:
            self._outlet.close()
        self._expect_client()

    # --- for the methods

    @property
    def system(self) -> System:
        """What all actors of this runtime share."""
        return self.ctx._incarnation.cell.system

    @property
    def terminals(self) -> Ref[DynamicSupervisor]:
        """The supervisor of all terminals."""
        return self.ctx.find("../../terminals", DynamicSupervisor)

    def terminal(self, name: str, part: str = "") -> Ref[Any]:
        """A terminal, or a part of it. RpcError if there is none of this name."""
        path = f"{self.terminals.path}/{name}"
        try:
            if "/" in name:
                raise ComponentNotFound(name)
            return self.ctx.find(f"{path}/{part}" if part else path)
        except ComponentNotFound:
            raise RpcError(Code.INVALID_PARAMS, f"there is no terminal {short(name)}") from None

    @property
    def files(self) -> Ref[FileStore]:
        """Who reads and writes files."""
        return self.ctx.find("../../storage/files", FileStore)

    @property
    def watcher(self) -> Ref[Watcher]:
        """Who watches them."""
        return self.ctx.find("../../watcher")

    async def require(self, resource: Resource, amount: int) -> None:
        """Raise the ResourceExhausted of the limit that leaves no room for so much more."""
        monitor = self.ctx.find("../../resources", ResourceMonitor)
        await monitor.call(ResourceMonitor.require, resource, amount)

    def follow_watches(self) -> None:
        """Hear what changes below what is watched, whoever watches it."""
        self.ctx.subscribe(f"{self.watcher.path}/changed", self.changed)

    def new_terminal_name(self) -> str:
        """A name that no terminal had before."""
        return f"t{next(_numbers)}"

    # --- messages

    @local
    async def attach(self, connection: Ref[Any], request: Request, last_seq: int, is_only: bool = False) -> None:
        """Answer `initialize`; send to this connection from now on, first what the client missed after `last_seq`.

        It takes the place of the one before, which ends: its client has come back, or has opened a second by mistake.
        One that `is_only` is never given up: its terminals wait as long as it takes, and gaps are told.
        """
        self._pacing.is_patient = is_only
        before = self._outlet.connection
        if before is not None:
            await pass_on(before, "leave")
        gap = self._outlet.open(connection, last_seq, tells_gaps=is_only)
        await self._greet(self._outlet, connection, request, gap)
        await self._tell_what_waits(self._outlet)

    @local
    async def join(self, connection: Ref[Any], request: Request) -> None:
        """Answer `initialize` of a further connection, which is told answers only, to its own requests."""
        outlet = self._joined[connection] = Outlet(Backlog())
        outlet.open(connection)
        await self._greet(outlet, connection, request, None)

    async def _greet(self, outlet: Outlet, connection: Ref[Any], request: Request, gap: tuple[int, int] | None) -> None:
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None
            Away.of(self.system).remove(self.ctx.ref)
        self.ctx.monitor(connection)
        greeting = {
            "session": self.ctx.name,
            "resumed": request.params.get("session") == self.ctx.name,
            "lastSeq": self._backlog.last_seq,
            "gap": {"from": gap[0], "to": gap[1]} if gap is not None else None,
            "serverInfo": {"name": "ukemi", "version": _version()},
            "capabilities": {"terminal": True, "file": True, "watch": True, "runtime": True},
        }
        data = Answer.of(greeting).to(request.id)
        outlet.sent(len(data))
        await pass_on(connection, "tell", data)

    def end(self) -> None:
        """The client has said `exit`, or it is away, and there are too many sessions."""
        self.ctx.stop()

    @local
    def requests(self, connection: Ref[Any], requests: Sequence[Request]) -> Taken:
        """Run requests, in order; how many were taken, and the frames of what could be answered at once.

        It takes at least one, and as many as it has time for. The others' answers follow (`tell`). Where answers have
        to wait before they go out, the connection is answered once they have, and so it is where too many requests wait
        for their answers to be made: a client that does not read is not read from either.
        """
        self._is_used = True
        clock = self.system.clock
        until = clock() + SLICE
        answers: list[bytes] = []
        taken = size = 0
        for request in requests:
            answer = self._requests.begin((connection, request.id), request)
            taken += 1
            if answer is not None:
                answers.append(answer.to(request.id))
                size += len(answers[-1])
            if size > PIECE or clock() > until:
                break
        outlet, data = self._outlet_to(connection), b"".join(answers)
        if outlet is not None and outlet.is_busy and (data or outlet.is_full):
            outlet.hold(lambda: data, len(data), partial(self.ctx.defer().send, (taken, b"")))
            return taken, data
        if self._requests.is_full:
            self._held_back.append(partial(self._go_on, self.ctx.defer(), outlet, (taken, data)))
        elif outlet is not None:
            outlet.sent(len(data))
        return taken, data

    def _go_on(self, reply: Reply, outlet: Outlet | None, taken: Taken) -> None:
        if outlet is not None:
            outlet.sent(len(taken[1]))
        reply.send(taken)

    @local
    async def cancel(self, connection: Ref[Any], id: Any) -> None:
        """The client no longer wants the answer: the operation is given up."""
        request = self._requests.cancel((connection, id)) if isinstance(id, int | str) else None
        if request is not None:
            await self._finish(request, Answer(error=cancelled(self.ctx.path)), None)

    @local
    def owes(self, connection: Ref[Any]) -> bool:
        """Whether an answer is to go out over this connection."""
        return self._requests.are_waited_for_at(connection)

    def forget(self, keys: Any) -> None:
        """The client will not ask again for the answers to these `requestKeys`. What is no list is passed over."""
        if isinstance(keys, list):
            self._requests.forget(keys[:MOST_FORGOTTEN])

    @local
    async def finish(self, request: UnderWay, answer: Answer) -> None:
        """A request has ended; unless it was given up before, those who asked are told."""
        await self._finish(request, answer, request.share)

    async def _finish(self, request: UnderWay, answer: Answer, share: Share | None) -> None:
        askers = self._requests.finished(request, answer)
        outlets = [(outlet, id) for at, id in askers or () if (outlet := self._outlet_to(at)) is not None]
        release = share.give_back if share is not None else None
        if share is not None:
            share.weigh(answer.size, len(outlets))
            if not outlets:
                share.give_back()
        for outlet, id in outlets:
            outlet.hold(partial(answer.to, id), answer.size, release)
            await self._tell_what_waits(outlet)
        self._let_go_on()
        if answer.told is not None:
            await answer.told(was_told=askers is not None)

    def _let_go_on(self) -> None:
        if self._held_back and not self._requests.is_full:
            held_back, self._held_back = self._held_back, []
            for go_on in held_back:
                go_on()

    async def acknowledge(self, connection: Ref[Any], size: int) -> None:
        """A connection has sent so many bytes: there is room for more."""
        outlet = self._outlet_to(connection)
        if outlet is None:
            return
        outlet.acknowledge(size)
        await self._tell_what_waits(outlet)
        if outlet is self._outlet and self._slowing is not None and outlet.lag < BEHIND // 4:
            self._slow_down()

    def free_memory(self, why: str) -> None:
        """Let go of what can be spared: notifications and answers that went out, and that the client may not have seen.

        If it has not, it is told of a gap when it comes back, and what it asks again is refused, not run again.
        """
        freed = self._requests.free_memory() + (0 if self._outlet.is_behind else self._backlog.clear())
        self.ctx.log.debug("let go of {} bytes: {}", freed, why)

    async def output(self, chunk: OutputChunk) -> None:
        """A command in a terminal has printed something."""
        await self.notify("terminal/output", _printed(chunk))

    async def screen(self, chunk: OutputChunk) -> None:
        """A terminal has printed something else: a prompt, what is typed."""
        await self.notify("terminal/screen", _printed(chunk))

    async def changed(self, event: Changed) -> None:
        """Something has changed below what is watched, by this client or another."""
        if self.watches.take(event):
            await self.notify("watch/changed", changes_data(event))

    async def alert(self, alert: AlertRaised) -> None:
        """Somebody has raised an alert."""
        await self.notify("runtime/alert", alert_data(alert))

    async def feature(self, event: FeatureDegraded | FeatureRestored | QualityChanged) -> None:
        """A feature was degraded or restored. The quality level, which comes here too, shows in the features."""
        if not isinstance(event, QualityChanged):
            await self.notify("runtime/feature", change_data(event))

    async def notify(self, name: str, params: dict[str, Any]) -> None:
        """Number a notification, remember it, and send it if there is a connection."""
        self._backlog.add(name, params)
        await self._tell_what_waits(self._outlet)
        if self._slowing is None and self._outlet.lag > BEHIND:
            self._slowing = self.ctx.every(EVERY, self._slow_down)
            self._slow_down()

    # --- what goes out

    def _outlet_to(self, connection: Ref[Any]) -> Outlet | None:
        """What goes to a connection of this session; None if it is one no more."""
        return self._outlet if connection == self._outlet.connection else self._joined.get(connection)

    async def _tell_what_waits(self, outlet: Outlet) -> None:
        """Hand over to a connection what may go out now."""
        if outlet.is_lost and outlet.connection is not None:
            lost = outlet.connection
            outlet.close()
            self._expect_client()
            await pass_on(lost, "give_up", "the client reads too slowly: notifications that it has not read are gone")
        while outlet.connection is not None and (piece := outlet.take()) is not None:
            await pass_on(outlet.connection, "tell", piece.data)
            for release in piece.released:
                release()

    def _slow_down(self) -> None:
        """Have the followed terminals wait for the client, or go on. Each looks itself whether others keep up."""
        must_wait = self._pacing.look(self._outlet.lag, self._outlet.told_bytes, trio.current_time())
        if not self._pacing.is_slowing and self._slowing is not None:
            self._slowing.cancel()
            self._slowing = None
        if must_wait or not self._pacing.is_slowing:
            self.followed.slow_down(FOR if must_wait else 0.0)

    # --- its end

    def _expect_client(self) -> None:
        """Unless there is a connection, wait for one."""
        if self._outlet.connection is None and not self._joined and self._farewell is None:
            self._farewell = self.ctx.after(self._lives_on, self._forget)
            too_many = Away.of(self.system).add(self.ctx.ref, is_used=self._is_used)
            if too_many is not None:
                with suppress(ActorStopped, MailboxFull):
                    too_many.cast(ClientSession.end)

    def _forget(self) -> None:
        self.ctx.stop()


@cache
def _version() -> str:
    from importlib.metadata import version  # takes 15 ms, for which no start has to wait

    return version("ukemi")


def _printed(chunk: OutputChunk) -> dict[str, Any]:
    params = {"terminal": chunk.terminal, "data": chunk.data}
    return params if chunk.encoding == "utf-8" else {**params, "encoding": chunk.encoding}
