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
from .allowance import MOST_ANSWERS, PRESUMED, Allowance, Share
from .answers import Answer, Answers
from .delivery import pass_on
from .failures import EXPECTED, as_rpc_error, failure_data, is_failure
from .methods import METHODS, Method, parameters_of
from .turns import Turn, Turns

if TYPE_CHECKING:
    from .session import ClientSession

MOST_UNDER_WAY = 4_096
"""Requests of one session that may wait for their answers; one more is refused."""
MOST_LARGE = 1_000
"""Of those whose answers may be large, above which no further requests should be taken: they wait for each other."""
MOST_TEXT = 32 * 1024 * 1024
"""Characters in the parameters of those that end by themselves, above which no further requests should be taken either;
and in those of all others, of which one more is refused."""
LONGEST_KEY = 200
"""Bytes of the longest `requestKey`, as JSON."""

Asker: TypeAlias = "tuple[Ref[Any], int | str]"
"""Who waits for an answer: a connection, and the request's id there."""


@attrs.define(eq=False)
class UnderWay:
    """A request that is run: what it is, who waits for it, and how to cancel it."""

    key: str
    method: Method
    params: dict[str, Any]
    askers: list[Asker]
    asked: bytes
    """The digest of what is asked; empty where it has no key of its own."""
    is_kept: bool
    """Whether its answer has to be kept."""
    turn: Turn | None
    """When it is run, if in order."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Of its task."""
    share: Share | None = None
    """What its answer takes of all that may be made, if it may be large."""
    text: int = attrs.field(init=False)
    """Characters in its parameters."""

    def __attrs_post_init__(self) -> None:
        self.text = _text_in(self.params)


class Requests:
    """Of `session`, in whose turn its methods are called, and to whose `finish` it tells how a task has ended."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._under_way: dict[str, UnderWay] = {}
        self._asked: dict[Asker, str] = {}
        """Who waits for an answer, and for which request under way."""
        self._turns = Turns()
        self._allowance = Allowance(MOST_ANSWERS)
        self._large = 0
        """How many of those under way have an answer that may be large."""
        self._text = {True: 0, False: 0}
        """Characters in the parameters of those under way, by whether they end by themselves."""
        self._answers = Answers()
        self._metrics = Metrics.of(session.system)
        self._clock = session.system.clock

    def begin(self, asker: Asker, request: Request) -> Answer | None:
        """Answer a request at once, or begin to run it. One whose `requestKey` is known is not run again, unless it
        only reads.

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

    @property
    def is_full(self) -> bool:
        """Whether no further requests should be taken for now."""
        return self._large > MOST_LARGE or self._text[True] > MOST_TEXT

    def cancel(self, asker: Asker) -> UnderWay | None:
        """Give up what somebody has asked; it is then to be finished. None: it is not under way."""
        key = self._asked.get(asker)
        if key is None:
            return None
        request = self._under_way[key]
        request.scope.cancel()
        return request

    def finished(self, request: UnderWay, answer: Answer) -> list[Asker] | None:
        """A request has ended: who is to be told. None if it was given up, and all were told before."""
        if self._under_way.get(request.key) is not request:
            return None
        self._is_over(request)
        for asker in request.askers:
            del self._asked[asker]
        if request.is_kept:
            self._answers.keep(request.key, request.asked, answer)
        return request.askers

    def left(self, connection: Ref[Any]) -> None:
        """A connection has ended: nobody waits there any more. What only reads, and nobody waits for, is given up."""
        for asker in [asker for asker in self._asked if asker[0] == connection]:
            request = self._under_way[self._asked.pop(asker)]
            request.askers.remove(asker)
            if not request.askers and request.method.only_reads:
                self._is_over(request)
                request.scope.cancel()

    def are_waited_for_at(self, connection: Ref[Any]) -> bool:
        """Whether a request that came over this connection is under way."""
        return any(asker == connection for asker, _ in self._asked)

    def forget(self, keys: Iterable[Any]) -> None:
        """The client will not ask again for the answers to these `requestKeys`."""
        names = [_name_of(key) for key in keys]
        self._answers.forget(names)
        for name in names:
            if name in self._under_way:
                self._under_way[name].is_kept = False

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
                return self._too_much("requests of this session that are under way", MOST_UNDER_WAY, len(self._asked))
            under_way.askers.append(asker)
            self._asked[asker] = key
            return None
        if method is not None and not method.is_quick:
            return self._start(key, asker, method, params, asked)
        answer = self._answer_at_once(request.method, method, params)
        if method is not None and not method.only_reads:
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
        """Run it as a task. `asked` is its digest, if it has a key of its own."""
        place = self._place_of(method, params)
        refusal = self._too_much_with(method, params, place)
        if refusal is not None:
            return refusal
        turn = self._turns.take(place) if place is not None else None
        is_kept = bool(asked) and not method.only_reads
        request = UnderWay(key, method, params, [asker], asked, is_kept, turn)
        request.scope = self._session.ctx.start_task(self._run, request)
        self._under_way[key] = request
        self._large += method.may_be_large
        self._text[method.ends_by_itself] += request.text
        self._asked[asker] = key
        return None

    def _is_over(self, request: UnderWay) -> None:
        del self._under_way[request.key]
        self._large -= request.method.may_be_large
        self._text[request.method.ends_by_itself] -= request.text

    async def _run(self, request: UnderWay) -> None:
        try:
            answer = await self._answer_in_turn(request)
            await pass_on(self._session.ctx.ref, "finish", request, answer)  # behind what was printed before
        except BaseException:
            if request.share is not None:
                request.share.give_back()
            raise

    async def _answer_in_turn(self, request: UnderWay) -> Answer:
        begun, name = self._clock(), request.method.name
        try:
            answer = await self._answer_to(request)
        except Exception:
            self._metrics.record(name, self._clock() - begun, ok=False)
            raise
        finally:
            if request.turn is not None:
                self._turns.leave(request.turn)
        self._metrics.record(name, self._clock() - begun, not is_failure(answer.error))
        return answer

    async def _answer_to(self, request: UnderWay) -> Answer:
        try:
            if request.turn is not None:
                await request.turn.has_come.wait()
            if request.method.may_be_large:
                request.share = await self._allowance.take(PRESUMED)
            parameters = parameters_of(request.method.name, request.params)
            return self._answer_with(await request.method.handler(self._session, parameters))
        except EXPECTED as error:
            return Answer(error=as_rpc_error(error, self._path))

    def _answer_with(self, result: Any) -> Answer:
        answer = Answer.of(result)
        if answer.error is None:
            return answer
        return Answer(error=as_rpc_error(answer.error, self._path), told=answer.told)

    def _place_of(self, method: Method, params: dict[str, Any]) -> str | None:
        """Where this one must not overtake others."""
        place = params.get(method.in_order) if method.in_order is not None else None
        if not isinstance(place, str):
            return None  # what has to have one, and has none, will be refused
        return f"{method.queue} {method.in_order} {place}"

    def _too_much_with(self, method: Method, params: dict[str, Any], place: str | None) -> Answer | None:
        """The refusal of one more, if that were too many."""
        if len(self._asked) >= MOST_UNDER_WAY:
            return self._too_much("requests of this session that are under way", MOST_UNDER_WAY, len(self._asked))
        if place is not None and method.most_waiting is not None:
            waiting = self._turns.waiting(place)
            if waiting >= method.most_waiting:
                return self._too_much(
                    f"{method.name} of this session that waits its turn", method.most_waiting, waiting
                )
        text = self._text[False]
        if not method.ends_by_itself and text and text + _text_in(params) > MOST_TEXT:
            return self._too_much("characters in the requests of this session that are under way", MOST_TEXT, text)
        return None

    def _too_much(self, of: str, most: int, used: int) -> Answer:
        full = ResourceExhausted(of, most, used)
        said = f"{full}: {used}, and at most {most} may be"
        return Answer(error=RpcError(Code.FAILED, said, failure_data(full, self._path)))

    def _refusal(self, said: str) -> Answer:
        return Answer(error=as_rpc_error(RpcError(Code.INVALID_REQUEST, said), self._path))

    @property
    def _path(self) -> str:
        return self._session.ctx.path


def _text_in(params: dict[str, Any]) -> int:
    return sum(len(value) for value in params.values() if isinstance(value, str))


def _name_of(key: Any) -> str:
    """A `requestKey`, which may be any JSON value, as text."""
    return orjson.dumps(key, option=orjson.OPT_SORT_KEYS).decode()


def _digest(method: str, params: dict[str, Any]) -> bytes:
    """What tells one request from another, however large it is."""
    return hashlib.blake2b(orjson.dumps([method, params], option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
