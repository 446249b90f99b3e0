"""How requests were answered, and the answers that are kept for those that may be asked again.

An answer that was lost with its connection is asked for again by the request's key. A client that has it says so
(`$/forget`), and need not; so the last ones are kept, in bounds. Of older ones the key is still known: the request is
then refused, since to run it again might do again what it has done.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol

import attrs
import orjson

from ...actors.ipc.framing import LARGEST, frame
from ...actors.ipc.jsonrpc import Code, Id, Response, RpcError, encode

KEYS = 1_000
"""Answers kept for requests that may be repeated."""
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of them that are kept, but for the last one."""
LARGEST_RESULT = LARGEST - 1024
"""Bytes of the largest result, as JSON, that is told: so much as a frame may hold."""
KNOWN = 10_000
"""Keys that are known, with or without their answer; an older one counts as new."""


class Told(Protocol):
    """What is to be done once an answer was given."""

    def __call__(self, *, was_told: bool) -> Awaitable[None]:
        """`was_told`: whether there was still somebody to give it to."""


@attrs.frozen
class Answer:
    """How a request ended: the result as JSON text, or an error."""

    text: bytes = b"null"
    error: RpcError | None = None
    told: Told | None = None
    """Called in the session's turn, once behind the answer; of what is not quick."""

    @classmethod
    def of(cls, result: Any, told: Told | None = None) -> Answer:
        """The answer with this result; an error in place of one that JSON has no words for, or too large a one.

        A method that wants to know when its result was told returns one of these in place of the result.
        """
        if isinstance(result, Answer):
            return result
        try:
            text = orjson.dumps(result)
        except TypeError as error:
            return cls(error=RpcError(Code.INTERNAL_ERROR, f"the result can't be told in JSON: {error}"))
        if len(text) > LARGEST_RESULT:
            said = f"a result of {len(text)} bytes is too large; at most {LARGEST_RESULT} are told"
            return cls(error=RpcError(Code.FAILED, said))
        return cls(text, told=told)

    def to(self, id: Id) -> bytes:
        """The frame that tells it."""
        if self.error is not None:
            body = encode(Response(id, error=self.error))
            return frame(body if len(body) <= LARGEST else encode(Response(id, error=_TOO_LARGE)))
        return frame(encode(Response(id, orjson.Fragment(self.text))))

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.text) if self.error is None else len(self.error.message) + 500


_TOO_LARGE = RpcError(Code.FAILED, f"what is said of the error is too large; at most {LARGEST} bytes are told")


@attrs.frozen
class Known:
    """A request of this key was answered."""

    asked: bytes
    """The digest of what was asked."""
    answer: Answer | None
    """None where it is no longer kept."""


class Answers:
    """By key, the last ones; bounded in number and size."""

    def __init__(self, most: int = KEYS, most_bytes: int = MOST_BYTES, known: int = KNOWN) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._most_known = known
        self._kept: OrderedDict[str, Known] = OrderedDict()
        self._without: OrderedDict[str, Known] = OrderedDict()
        self._bytes = 0

    def find(self, key: str) -> Known | None:
        """What is known of a key."""
        return self._kept.get(key) or self._without.get(key)

    def keep(self, key: str, asked: bytes, answer: Answer) -> None:
        """Keep an answer; the oldest may have to go."""
        self._kept[key] = Known(asked, attrs.evolve(answer, told=None))
        self._bytes += answer.size
        while len(self._kept) > self._most or (self._bytes > self._most_bytes and len(self._kept) > 1):
            self._drop_oldest()

    def clear(self) -> int:
        """Drop all answers, and know the keys only; how many bytes that were."""
        freed = self._bytes
        while self._kept:
            self._drop_oldest()
        return freed

    def _drop_oldest(self) -> None:
        key, known = self._kept.popitem(last=False)
        assert known.answer is not None
        self._bytes -= known.answer.size
        self._without[key] = Known(known.asked, None)
        if len(self._without) > self._most_known:
            self._without.popitem(last=False)

    def forget(self, keys: Iterable[str]) -> None:
        """The client has these answers, and will not ask again."""
        for key in keys:
            known = self._kept.pop(key, None)
            if known is not None and known.answer is not None:
                self._bytes -= known.answer.size
            self._without.pop(key, None)
