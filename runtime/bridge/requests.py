"""`Requests`: the requests of one session, from being asked to being answered.

A quick one is answered in the turn in which it was asked; any other is run as a task of the session, so that it
outlives its connection. One with a `requestKey` is run once, however often and over whichever connection it is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import orjson
import trio

from ...actors.errors import ResourceExhausted
from ...actors.ipc.jsonrpc import Code, Request, RpcError
from ...actors.ref import Ref
from ..metrics import Metrics
from .answers import Answer, Answers
from .delivery import pass_on
from .failures import EXPECTED, as_rpc_error, failure_data, is_failure
from .methods import METHODS, Method, parameters_of

if TYPE_CHECKING:
    from .session import ClientSession

MOST_UNDER_WAY = 4_096
"""Requests of one session that may wait for their answers; one more is refused."""
LONGEST_KEY = 200
"""Bytes of the longest `requestKey`, as JSON."""

Asker: TypeAlias = "tuple[Ref[Any], int | str]"
"""Who waits for an answer: a connection, and the request's id there."""


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


class Requests:
    """Of `session`, in whose turn its methods are called, and to whose `finish` it tells how a task has ended."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._under_way: dict[str, _UnderWay] = {}
        self._asked: dict[Asker, str] = {}
        """Who waits for an answer, and for which request under way."""
        self._turns: dict[str, _Turn] = {}
        """Of the requests that are run in order, the last."""
        self._answers = Answers()
        self._metrics = Metrics.of(session.system)
        self._clock = session.system.clock

    def begin(self, asker: Asker, request: Request) -> Answer | None:
        """Answer a request at once, or begin to run it. One whose `requestKey` is known is not run again.

        An id whose answer is outstanding on its connection, and a key that was another request's, are the client's
        error.
        """
        if self._asked and asker in self._asked:
            return self._refusal(f"the id {request.id!r} is in use: its answer is outstanding on this connection")
        method, params = METHODS.get(request.method), request.params
        if "requestKey" in params:
            return self._begin_once(asker, request, method)
        if method is None or method.is_quick:
            return self._answer_at_once(request.method, method, params)
        connection, id = asker
        return self._start(f"{connection.name}:{id!r}", asker, method, params, b"")

    def cancel(self, asker: Asker) -> str | None:
        """Give up what somebody has asked; its key, by which it is then to be finished. None: it is not under way."""
        key = self._asked.get(asker)
        if key is not None:
            self._under_way[key].scope.cancel()
        return key

    def finished(self, key: str, answer: Answer) -> list[Asker] | None:
        """A request has ended: who is to be told. None if it was cancelled, and all were told before."""
        request = self._under_way.pop(key, None)
        if request is None:
            return None
        for asker in request.askers:
            del self._asked[asker]
        if request.asked:
            self._answers.keep(key, request.asked, answer)
        return request.askers

    def are_waited_for_at(self, connection: Ref[Any]) -> bool:
        """Whether a request that came over this connection is under way."""
        return any(asker == connection for asker, _ in self._asked)

    def forget(self, keys: Iterable[Any]) -> None:
        """The client will not ask again for the answers to these `requestKeys`."""
        names = [_name_of(key) for key in keys]
        self._answers.forget(names)
        for name in names:
            if name in self._under_way:
                self._under_way[name].asked = b""

    def free_memory(self) -> int:
        """Let go of the answers, but not of their keys; how many bytes that were."""
        return self._answers.clear()

    # ---

    def _begin_once(self, asker: Asker, request: Request, method: Method | None) -> Answer | None:
        """`begin` for a request with a key of its own."""
        params = dict(request.params)
        own = params.pop("requestKey")
        key = _name_of(own)
        if len(key) > LONGEST_KEY:
            return self._refusal(f"a requestKey may have {LONGEST_KEY} bytes, as JSON; this one has {len(key)}")
        asked = _digest(request.method, params)
        under_way, known = self._under_way.get(key), self._answers.find(key)
        before = under_way.asked if under_way is not None else known.asked if known is not None else asked
        if before != asked:
            return self._refusal(f"requestKey={own!r} was given to another request; a new request takes one of its own")
        if known is not None:
            return known.answer or self._refusal(
                f"requestKey={own!r} was answered, and the answer is no longer kept: it is not run again"
            )
        if under_way is not None:
            if len(self._asked) >= MOST_UNDER_WAY:
                return self._too_many()
            under_way.askers.append(asker)
            self._asked[asker] = key
            return None
        if method is not None and not method.is_quick:
            return self._start(key, asker, method, params, asked)
        answer = self._answer_at_once(request.method, method, params)
        self._answers.keep(key, asked, answer)
        return answer

    def _answer_at_once(self, name: str, method: Method | None, params: dict[str, Any]) -> Answer:
        clock = self._clock
        begun = clock()
        try:
            parameters = parameters_of(name, params)
            assert method is not None
            answer = self._answer_with(method.handler(self._session, parameters))
        except EXPECTED as error:
            answer = Answer(error=as_rpc_error(error, self._path))
        except Exception:
            self._metrics.record(name, clock() - begun, ok=False)
            raise
        if method is not None:  # there is no end of the names of what is no method
            self._metrics.record(name, clock() - begun, not is_failure(answer.error))
        return answer

    def _start(self, key: str, asker: Asker, method: Method, params: dict[str, Any], asked: bytes) -> Answer | None:
        """Run it as a task."""
        if len(self._asked) >= MOST_UNDER_WAY:
            return self._too_many()
        scope = self._session.ctx.start_task(self._run, method, params, key, self._turn(method, params))
        self._under_way[key] = _UnderWay([asker], scope, asked)
        self._asked[asker] = key
        return None

    async def _run(self, method: Method, params: dict[str, Any], key: str, turn: _Turn) -> None:
        begun = self._clock()
        try:
            answer = await self._answer_to(method, params, turn)
        except Exception:
            self._metrics.record(method.name, self._clock() - begun, ok=False)
            raise
        finally:
            turn.over.set()
            if self._turns.get(turn.place) is turn:
                del self._turns[turn.place]
        self._metrics.record(method.name, self._clock() - begun, not is_failure(answer.error))
        await pass_on(self._session.ctx.ref, "finish", key, answer)  # behind what was printed before

    async def _answer_to(self, method: Method, params: dict[str, Any], turn: _Turn) -> Answer:
        try:
            await turn.before.wait()
            parameters = parameters_of(method.name, params)
            return self._answer_with(await method.handler(self._session, parameters))
        except EXPECTED as error:
            return Answer(error=as_rpc_error(error, self._path))

    def _answer_with(self, result: Any) -> Answer:
        answer = Answer.of(result)
        if answer.error is None:
            return answer
        return Answer(error=as_rpc_error(answer.error, self._path), told=answer.told)

    def _turn(self, method: Method, params: dict[str, Any]) -> _Turn:
        """Behind the last request that this one must not overtake."""
        if method.in_order is None:
            return _Turn("", _OVER)
        place = f"{method.queue} {method.in_order} {params.get(method.in_order)!r}"
        last = self._turns.get(place)
        turn = self._turns[place] = _Turn(place, last.over if last is not None else _OVER)
        return turn

    def _too_many(self) -> Answer:
        said = f"{len(self._asked)} requests of this session are under way, at most {MOST_UNDER_WAY} may be"
        full = ResourceExhausted("requests under way", MOST_UNDER_WAY, len(self._asked))
        return Answer(error=RpcError(Code.FAILED, said, failure_data(full, self._path)))

    def _refusal(self, said: str) -> Answer:
        return Answer(error=as_rpc_error(RpcError(Code.INVALID_REQUEST, said), self._path))

    @property
    def _path(self) -> str:
        return self._session.ctx.path


def _name_of(key: Any) -> str:
    """A `requestKey`, which may be any JSON value, as text."""
    return orjson.dumps(key, option=orjson.OPT_SORT_KEYS).decode()


def _digest(method: str, params: dict[str, Any]) -> bytes:
    """What tells one request from another, however large it is."""
    return hashlib.blake2b(orjson.dumps([method, params], option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
