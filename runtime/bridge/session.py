"""`ClientSession`: what stays of a client when its connection goes.

It runs the client's requests, numbers its notifications from 1, and remembers the last ones; a client that comes back
with its session and the last number it saw gets what it missed, once, in order. Without a connection it lives on for a
time. A request that carries a `requestKey` is run once, however often it is asked.

All that a client is told passes through this actor, one message after the other: so the answer to a command comes
behind all that the command has printed, and the answer to `initialize` before anything else.
"""

from __future__ import annotations

import hashlib
from collections import deque
from importlib.metadata import version
from itertools import count
from typing import Any, TypeAlias

import attrs
import orjson
import trio

from ...actors.actor import Actor
from ...actors.errors import ComponentNotFound
from ...actors.ipc.jsonrpc import Code, Request, Response, RpcError
from ...actors.messages import Down
from ...actors.protocol import local
from ...actors.ref import Ref
from ...actors.system import System
from ...actors.terminal.commands import OutputChunk
from ...supervisors.alerts import ALERTS, AlertRaised
from ...supervisors.degradation import FEATURES, FeatureDegraded, FeatureRestored, QualityChanged
from ...supervisors.dynamic import DynamicSupervisor
from ..metrics import Metrics
from . import overview, terminal_methods  # noqa: F401  (they declare methods)
from .backlog import Backlog
from .delivery import pass_on
from .failures import EXPECTED, as_rpc_error, cancelled, is_failure
from .methods import METHODS, parameters_of
from .overview import alert_data, change_data

LIVES_ON = 60.0
"""Seconds that a session waits for its client to come back."""
KEYS = 1_000
"""Answers kept for requests that may be repeated."""

_numbers = count(1)

Asker: TypeAlias = "tuple[Ref[Any], int | str]"
"""Who waits for an answer: a connection, and the request's id there."""


@attrs.frozen
class Answer:
    """How a request ended."""

    result: Any = None
    error: RpcError | None = None


@attrs.define(eq=False)
class _UnderWay:
    """A request that is run: who waits for it, and how to cancel it."""

    askers: list[Asker]
    scope: trio.CancelScope
    asked: bytes
    """The digest of what is asked."""


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
        self._connection: Ref[Any] | None = None
        self._backlog = Backlog()
        self._under_way: dict[str, _UnderWay] = {}
        self._asked: dict[Asker, str] = {}
        """Who waits for an answer, and for which request under way."""
        self._turns: dict[str, _Turn] = {}
        """Of the requests that are run in order, the last."""
        self._answered: dict[str, tuple[bytes, Answer]] = {}
        self._keys: deque[str] = deque()
        self._farewell: Any = None

    def on_start(self) -> None:
        """Wait for the client, but not for ever; hear what all clients are told."""
        self._expect_client()
        self.ctx.subscribe(ALERTS, self.alert)
        self.ctx.subscribe(FEATURES, self.feature)

    def on_down(self, down: Down) -> None:
        """A connection has ended; wait for another, if it was the last one."""
        if down.ref == self._connection:
            self._connection = None
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
        self.ctx.subscribe(f"{self.terminals.path}/{name}/output", self.output)

    # --- messages

    @local
    async def attach(self, connection: Ref[Any], request: Request, last_seq: int) -> None:
        """Answer `initialize`; send to this connection from now on, first what the client missed after `last_seq`."""
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None
        self._connection = connection
        self.ctx.monitor(connection)
        missed = self._backlog.after(last_seq)
        greeting = {
            "session": self.ctx.name,
            "resumed": request.params.get("session") == self.ctx.name,
            "lastSeq": self._backlog.last_seq,
            "gap": {"from": missed.gap[0], "to": missed.gap[1]} if missed.gap is not None else None,
            "serverInfo": {"name": "ukemi", "version": version("ukemi")},
            "capabilities": {"terminal": True, "runtime": True},
        }
        await pass_on(connection, "tell", Response(request.id, greeting))
        for note in missed.notifications:
            await pass_on(connection, "tell", note)

    def end(self) -> None:
        """The client has said `exit`."""
        self.ctx.stop()

    @local
    async def request(self, connection: Ref[Any], request: Request) -> None:
        """Run a request and tell the connection its answer. One whose `requestKey` is known is not run again.

        An id whose answer is outstanding on this connection, and a key that was another request's, are the client's
        error.
        """
        asker = (connection, request.id)
        if asker in self._asked:
            said = f"the id {request.id!r} is in use: its answer is outstanding on this connection"
            await self._refuse(asker, said)
            return
        params = dict(request.params)
        own_key = params.pop("requestKey", None)
        key = f"key:{own_key!r}" if own_key is not None else f"{connection.name}:{request.id!r}"
        asked = _digest(request.method, params) if own_key is not None else b""
        under_way, answered = self._under_way.get(key), self._answered.get(key)
        before = under_way.asked if under_way is not None else answered[0] if answered is not None else asked
        if before != asked:
            said = f"requestKey={own_key!r} was given to another request; a new request takes a key of its own"
            await self._refuse(asker, said)
        elif answered is not None:
            await self._answer([asker], answered[1])
        elif under_way is not None:
            under_way.askers.append(asker)
            self._asked[asker] = key
        else:
            turn = self._turn(request.method, params)
            scope = self.ctx.start_task(self._run, request.method, params, key, turn)
            self._under_way[key] = _UnderWay([asker], scope, asked)
            self._asked[asker] = key

    @local
    async def cancel(self, connection: Ref[Any], id: Any) -> None:
        """The client no longer wants the answer: the operation is given up."""
        key = self._asked.get((connection, id)) if isinstance(id, int | str) else None
        if key is not None:
            self._under_way[key].scope.cancel()
            await self.finish(key, Answer(error=cancelled(self.ctx.path)))

    @local
    async def finish(self, key: str, answer: Answer) -> None:
        """A request has ended; unless it was cancelled before, those who asked are told."""
        request = self._under_way.pop(key, None)
        if request is None:
            return
        for asker in request.askers:
            del self._asked[asker]
        if key.startswith("key:"):
            self._answered[key] = (request.asked, answer)
            self._keys.append(key)
            if len(self._keys) > KEYS:
                del self._answered[self._keys.popleft()]
        await self._answer(request.askers, answer)

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
        note = self._backlog.add(name, params)
        if self._connection is not None:
            await pass_on(self._connection, "tell", note)

    # ---

    async def _run(self, name: str, params: dict[str, Any], key: str, turn: _Turn) -> None:
        begun = self.system.clock()
        try:
            answer = await self._answer_to(name, params, turn)
        except Exception:
            self._record(name, begun, ok=False)
            raise
        finally:
            turn.over.set()
            if self._turns.get(turn.place) is turn:
                del self._turns[turn.place]
        self._record(name, begun, ok=not is_failure(answer.error))
        await pass_on(self.ctx.ref, "finish", key, answer)  # behind what was printed before

    async def _answer_to(self, name: str, params: dict[str, Any], turn: _Turn) -> Answer:
        try:
            await turn.before.wait()
            parameters = parameters_of(name, params)
            return Answer(await METHODS[name].handler(self, parameters))
        except EXPECTED as error:
            return Answer(error=as_rpc_error(error, self.ctx.path))

    def _record(self, name: str, begun: float, *, ok: bool) -> None:
        """Each request is an operation; one that is no method is none, since there is no end of such names."""
        if name in METHODS:
            Metrics.of(self.system).record(name, self.system.clock() - begun, ok)

    def _turn(self, name: str, params: dict[str, Any]) -> _Turn:
        """Behind the last request that this one must not overtake."""
        parameter = METHODS[name].in_order if name in METHODS else None
        if parameter is None:
            return _Turn("", _OVER)
        place = f"{name} {params.get(parameter)!r}"
        last = self._turns.get(place)
        turn = self._turns[place] = _Turn(place, last.over if last is not None else _OVER)
        return turn

    async def _answer(self, askers: list[Asker], answer: Answer) -> None:
        for connection, id in askers:
            await pass_on(connection, "tell", Response(id, answer.result, answer.error))

    async def _refuse(self, asker: Asker, said: str) -> None:
        error = as_rpc_error(RpcError(Code.INVALID_REQUEST, said), self.ctx.path)
        await self._answer([asker], Answer(error=error))

    def _expect_client(self) -> None:
        self._farewell = self.ctx.after(self._lives_on, self._forget)

    def _forget(self) -> None:
        self.ctx.stop()


def _digest(method: str, params: dict[str, Any]) -> bytes:
    """What tells one request from another, however large it is."""
    return hashlib.blake2b(orjson.dumps([method, params], option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
