"""`ClientSession`: what stays of a client when its connection goes.

It runs the client's requests, numbers its notifications from 1, and remembers the last ones; a client that comes back
with its session and the last number it saw gets what it missed, once, in order. Without a connection it lives on for a
time. A request that carries a `requestKey` is run once, however often it is asked.

All that a client is told passes through this actor, one message after the other: so the answer to a command comes
behind all that the command has printed, and the answer to `initialize` before anything else. It makes the frames, and
connections move them: the main one, and others that have joined it, which carry requests and their answers only. It
never waits for a client that does not read; what goes out to it, and how much at a time, is `Outlet`'s matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from itertools import count
from typing import Any, TypeAlias

import attrs
import orjson
import trio

from ...actors.actor import Actor
from ...actors.errors import ActorStopped, ComponentNotFound, MailboxFull, ResourceExhausted
from ...actors.ipc.jsonrpc import Code, Request, RpcError
from ...actors.messages import Down
from ...actors.protocol import local
from ...actors.ref import Ref
from ...actors.system import System
from ...actors.terminal.commands import OutputChunk
from ...actors.terminal.process import PtyProcess
from ...supervisors.alerts import ALERTS, AlertRaised
from ...supervisors.degradation import FEATURES, FeatureDegraded, FeatureRestored, QualityChanged
from ...supervisors.dynamic import DynamicSupervisor
from ..metrics import Metrics
from . import overview, terminal_methods  # noqa: F401  (they declare methods)
from .answers import Answer, Answers
from .backlog import Backlog
from .delivery import pass_on
from .failures import EXPECTED, as_rpc_error, cancelled, failure_data, is_failure
from .methods import METHODS, Method, parameters_of
from .outlet import Outlet
from .overview import alert_data, change_data
from .pacing import BEHIND, EVERY, FOR, Pacing

FREE_MEMORY = "ukemi.bridge.free_memory"
"""The topic on which sessions hear, with the reason, that memory is needed for what is more urgent."""
LIVES_ON = 60.0
"""Seconds that a session waits for its client to come back."""
MOST_UNDER_WAY = 4_096
"""Requests of one session that may be run at a time; one more is refused."""
LONGEST_KEY = 200
"""Bytes of the longest `requestKey`, as JSON."""
SESSION_MAILBOX = 10_000
"""Messages that may wait for a session: it never waits for a client, but many terminals may print at once."""
SLICE = 0.002
"""Seconds of answering requests at once, after which the loop turns."""

_numbers = count(1)

Asker: TypeAlias = "tuple[Ref[Any], int | str]"
"""Who waits for an answer: a connection, and the request's id there."""
Taken: TypeAlias = "tuple[int, bytes]"
"""How many requests were taken, and the answers to those that could be answered at once."""


@attrs.define(eq=False)
class _UnderWay:
    """A request that is run: who waits for it, and how to cancel it."""

    askers: list[Asker]
    scope: trio.CancelScope
    asked: bytes
    """The digest of what is asked; empty where the answer need not be kept."""


_OVER = trio.Event()
_OVER.set()


@attrs.define(eq=False)
class _Turn:
    """When a request is run: once the one before it, of the same place, is over."""

    place: str
    before: trio.Event
    over: trio.Event = attrs.field(factory=trio.Event)


class ClientSession(Actor):
    """The session of one client."""

    def __init__(self, lives_on: float = LIVES_ON) -> None:
        self._lives_on = lives_on
        self._backlog = Backlog()
        self._outlet = Outlet(self._backlog)
        self._under_way: dict[str, _UnderWay] = {}
        self._asked: dict[Asker, str] = {}
        """Who waits for an answer, and for which request under way."""
        self._turns: dict[str, _Turn] = {}
        """Of the requests that are run in order, the last."""
        self._answers = Answers()
        self._farewell: Any = None
        self._followed: set[str] = set()
        """The terminals whose output the client is told."""
        self._pacing = Pacing()
        self._slowing: Any = None
        """What looks again and again whether they have to be slowed down."""

    def on_start(self) -> None:
        """Wait for the client, but not for ever; hear what all clients are told."""
        self._expect_client()
        self.ctx.subscribe(ALERTS, self.alert)
        self.ctx.subscribe(FEATURES, self.feature)
        self.ctx.subscribe(FREE_MEMORY, self.free_memory)

    def on_down(self, down: Down) -> None:
        """A connection has ended; wait for another, if it was the main one."""
        if down.ref == self._outlet.connection:
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
            return self.ctx.find(f"{path}/{part}" if part else path)
        except ComponentNotFound:
            raise RpcError(Code.INVALID_PARAMS, f"there is no terminal {name!r}") from None

    def new_terminal_name(self) -> str:
        """A name that no terminal had before."""
        return f"t{next(_numbers)}"

    def follow_terminal(self, name: str) -> None:
        """Tell the client what is printed in a terminal, from now on."""
        self._followed.add(name)
        self.ctx.subscribe(f"{self.terminals.path}/{name}/output", self.output)

    # --- messages

    @local
    async def attach(self, connection: Ref[Any], request: Request, last_seq: int) -> None:
        """Answer `initialize`; send to this connection from now on, first what the client missed after `last_seq`.

        It takes the place of the one before, which ends: its client has come back, or has opened a second by mistake.
        """
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None
        before = self._outlet.connection
        if before is not None:
            await pass_on(before, "leave")
        gap = self._outlet.open(connection, last_seq)
        self.ctx.monitor(connection)
        await self._greet(connection, request, gap)
        await self._tell_what_waits()

    @local
    async def join(self, connection: Ref[Any], request: Request) -> None:
        """Answer `initialize` of a further connection, which is told answers only, to its own requests."""
        await self._greet(connection, request, None)

    async def _greet(self, connection: Ref[Any], request: Request, gap: tuple[int, int] | None) -> None:
        greeting = {
            "session": self.ctx.name,
            "resumed": request.params.get("session") == self.ctx.name,
            "lastSeq": self._backlog.last_seq,
            "gap": {"from": gap[0], "to": gap[1]} if gap is not None else None,
            "serverInfo": {"name": "ukemi", "version": _version()},
            "capabilities": {"terminal": True, "runtime": True},
        }
        await pass_on(connection, "tell", Answer.of(greeting).to(request.id))

    def end(self) -> None:
        """The client has said `exit`."""
        self.ctx.stop()

    @local
    def requests(self, connection: Ref[Any], requests: Sequence[Request]) -> Taken:
        """Run requests, in order; how many were taken, and the frames of what could be answered at once.

        It takes at least one, and as many as it has time for. The others' answers follow (`tell`). Where notifications
        wait to go out before the answers, the connection is answered once they have: so a client that does not read
        is not read from either.
        """
        clock = self.system.clock
        until = clock() + SLICE
        answers: list[bytes] = []
        taken = 0
        for request in requests:
            answer = self._begin(connection, request)
            taken += 1
            if answer is not None:
                answers.append(answer.to(request.id))
            if clock() > until:
                break
        data = b"".join(answers)
        if data and self._outlet.is_behind and connection == self._outlet.connection:
            self._outlet.hold(data, partial(self.ctx.defer().send, (taken, b"")))
        return taken, data

    @local
    async def cancel(self, connection: Ref[Any], id: Any) -> None:
        """The client no longer wants the answer: the operation is given up."""
        key = self._asked.get((connection, id)) if isinstance(id, int | str) else None
        if key is not None:
            self._under_way[key].scope.cancel()
            await self.finish(key, Answer(error=cancelled(self.ctx.path)))

    def forget(self, keys: Any) -> None:
        """The client will not ask again for the answers to these `requestKeys`. What is no list is passed over."""
        names = [_name_of(key) for key in keys] if isinstance(keys, list) else []
        self._answers.forget(names)
        for name in names:
            if name in self._under_way:
                self._under_way[name].asked = b""

    @local
    async def finish(self, key: str, answer: Answer) -> None:
        """A request has ended; unless it was cancelled before, those who asked are told."""
        request = self._under_way.pop(key, None)
        if request is None:
            if answer.told is not None:
                await answer.told(was_told=False)
            return
        for asker in request.askers:
            del self._asked[asker]
        if request.asked:
            self._answers.keep(key, request.asked, answer)
        for connection, id in request.askers:
            await self._answer(connection, answer.to(id))
        if answer.told is not None:
            await answer.told(was_told=True)

    async def acknowledge(self, connection: Ref[Any], notes: int) -> None:
        """A connection has sent so many bytes of notifications: there is room for more."""
        if connection == self._outlet.connection:
            self._outlet.acknowledge(notes)
            await self._tell_what_waits()
            if self._slowing is not None and self._outlet.lag < BEHIND // 4:
                self._slow_down()

    def free_memory(self, why: str) -> None:
        """Let go of what can be spared: notifications and answers that went out, and that the client may not have seen.

        If it has not, it is told of a gap when it comes back, and what it asks again is refused, not run again.
        """
        freed = self._answers.clear() + (0 if self._outlet.is_behind else self._backlog.clear())
        self.ctx.log.debug("let go of {} bytes: {}", freed, why)

    async def output(self, chunk: OutputChunk) -> None:
        """A terminal has printed something."""
        params = {"terminal": chunk.terminal, "data": chunk.data}
        if chunk.encoding != "utf-8":
            params["encoding"] = chunk.encoding
        await self.notify("terminal/output", params)

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
        await self._tell_what_waits()
        if self._slowing is None and self._outlet.lag > BEHIND:
            self._slowing = self.ctx.every(EVERY, self._slow_down)
            self._slow_down()

    # --- what goes out

    async def _tell_what_waits(self) -> None:
        """Hand over to the main connection what may go out now."""
        outlet = self._outlet
        if outlet.is_lost and outlet.connection is not None:
            lost = outlet.connection
            outlet.close()
            self._expect_client()
            await pass_on(lost, "give_up", "the client reads too slowly: notifications that it has not read are gone")
        while outlet.connection is not None and (piece := outlet.take()) is not None:
            await pass_on(outlet.connection, "tell", piece.data, piece.notes)
            for release in piece.released:
                release()

    async def _answer(self, connection: Ref[Any], data: bytes) -> None:
        if self._outlet.is_behind and connection == self._outlet.connection:
            self._outlet.hold(data)
        else:
            await pass_on(connection, "tell", data)

    def _slow_down(self) -> None:
        """Have the followed terminals wait for the client, or go on. Each looks itself whether others keep up."""
        must_wait = self._pacing.look(self._outlet.lag, self._outlet.told_bytes, trio.current_time())
        if not self._pacing.is_slowing and self._slowing is not None:
            self._slowing.cancel()
            self._slowing = None
        if must_wait or not self._pacing.is_slowing:
            for name in self._followed:
                with suppress(ComponentNotFound, ActorStopped, MailboxFull):  # the next time, if it is still there
                    pty = self.ctx.find(f"{self.terminals.path}/{name}/pty", PtyProcess)
                    pty.cast(PtyProcess.slow_down, self.ctx.path, FOR if must_wait else 0.0)

    # --- requests

    def _begin(self, connection: Ref[Any], request: Request) -> Answer | None:
        """Answer a request at once, or begin to run it. One whose `requestKey` is known is not run again.

        An id whose answer is outstanding on this connection, and a key that was another request's, are the client's
        error.
        """
        asker = (connection, request.id)
        if self._asked and asker in self._asked:
            return self._refusal(f"the id {request.id!r} is in use: its answer is outstanding on this connection")
        method, params = METHODS.get(request.method), request.params
        if "requestKey" in params:
            return self._begin_once(asker, request, method)
        if method is None or method.is_quick:
            return self._answer_at_once(request.method, method, params)
        return self._start(f"{connection.name}:{request.id!r}", asker, method, params, b"")

    def _begin_once(self, asker: Asker, request: Request, method: Method | None) -> Answer | None:
        """The same for a request with a key of its own."""
        params = dict(request.params)
        own = params.pop("requestKey")
        key, asked = _name_of(own), _digest(request.method, params)
        if len(key) > LONGEST_KEY:
            return self._refusal(f"a requestKey may have {LONGEST_KEY} bytes, as JSON; this one has {len(key)}")
        under_way, known = self._under_way.get(key), self._answers.find(key)
        before = under_way.asked if under_way is not None else known.asked if known is not None else asked
        if before != asked:
            return self._refusal(f"requestKey={own!r} was given to another request; a new request takes one of its own")
        if known is not None:
            return known.answer or self._refusal(
                f"requestKey={own!r} was answered, and the answer is no longer kept: it is not run again"
            )
        if under_way is not None:
            under_way.askers.append(asker)
            self._asked[asker] = key
            return None
        if method is not None and not method.is_quick:
            return self._start(key, asker, method, params, asked)
        answer = self._answer_at_once(request.method, method, params)
        self._answers.keep(key, asked, answer)
        return answer

    def _answer_at_once(self, name: str, method: Method | None, params: dict[str, Any]) -> Answer:
        begun = self.system.clock()
        try:
            parameters = parameters_of(name, params)
            assert method is not None
            answer = self._answer_with(method.handler(self, parameters))
        except EXPECTED as error:
            answer = Answer(error=as_rpc_error(error, self.ctx.path))
        except Exception:
            self._record(name, begun, ok=False)
            raise
        self._record(name, begun, ok=not is_failure(answer.error))
        return answer

    def _start(self, key: str, asker: Asker, method: Method, params: dict[str, Any], asked: bytes) -> Answer | None:
        """Run it as a task."""
        if len(self._under_way) >= MOST_UNDER_WAY:
            said = f"{len(self._under_way)} requests of this session are under way, at most {MOST_UNDER_WAY} may be"
            full = ResourceExhausted("requests under way", MOST_UNDER_WAY, len(self._under_way))
            return Answer(error=RpcError(Code.FAILED, said, failure_data(full, self.ctx.path)))
        scope = self.ctx.start_task(self._run, method, params, key, self._turn(method, params))
        self._under_way[key] = _UnderWay([asker], scope, asked)
        self._asked[asker] = key
        return None

    async def _run(self, method: Method, params: dict[str, Any], key: str, turn: _Turn) -> None:
        begun = self.system.clock()
        try:
            answer = await self._answer_to(method, params, turn)
        except Exception:
            self._record(method.name, begun, ok=False)
            raise
        finally:
            turn.over.set()
            if self._turns.get(turn.place) is turn:
                del self._turns[turn.place]
        self._record(method.name, begun, ok=not is_failure(answer.error))
        await pass_on(self.ctx.ref, "finish", key, answer)  # behind what was printed before

    async def _answer_to(self, method: Method, params: dict[str, Any], turn: _Turn) -> Answer:
        try:
            await turn.before.wait()
            parameters = parameters_of(method.name, params)
            return self._answer_with(await method.handler(self, parameters))
        except EXPECTED as error:
            return Answer(error=as_rpc_error(error, self.ctx.path))

    def _record(self, name: str, begun: float, *, ok: bool) -> None:
        """Each request is an operation; one that is no method is none, since there is no end of such names."""
        if name in METHODS:
            Metrics.of(self.system).record(name, self.system.clock() - begun, ok)

    def _turn(self, method: Method, params: dict[str, Any]) -> _Turn:
        """Behind the last request that this one must not overtake."""
        if method.in_order is None:
            return _Turn("", _OVER)
        place = f"{method.name.partition('/')[0]} {method.in_order} {params.get(method.in_order)!r}"
        last = self._turns.get(place)
        turn = self._turns[place] = _Turn(place, last.over if last is not None else _OVER)
        return turn

    def _answer_with(self, result: Any) -> Answer:
        answer = Answer.of(result)
        if answer.error is None:
            return answer
        return Answer(error=as_rpc_error(answer.error, self.ctx.path), told=answer.told)

    def _refusal(self, said: str) -> Answer:
        return Answer(error=as_rpc_error(RpcError(Code.INVALID_REQUEST, said), self.ctx.path))

    # --- its end

    def _expect_client(self) -> None:
        self._farewell = self.ctx.after(self._lives_on, self._forget)

    def _forget(self) -> None:
        self.ctx.stop()


@cache
def _version() -> str:
    return version("ukemi")


def _name_of(key: Any) -> str:
    """A `requestKey`, which may be any JSON value, as text."""
    return orjson.dumps(key, option=orjson.OPT_SORT_KEYS).decode()


def _digest(method: str, params: dict[str, Any]) -> bytes:
    """What tells one request from another, however large it is."""
    return hashlib.blake2b(orjson.dumps([method, params], option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
