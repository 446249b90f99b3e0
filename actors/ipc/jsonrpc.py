"""JSON-RPC 2.0 messages, without batches (the LSP base protocol has none).

What a message may hold is bounded, beside its size: a few bytes are enough to nest deeper than anybody can look, and a
frame of lists in lists would take the parser seconds.
"""

from __future__ import annotations

import enum
from typing import Any, TypeAlias

import attrs
import orjson

from ..errors import UkemiError
from ..shorten import cut, short

Id: TypeAlias = int | str | None

MOST_VALUES = 250_000
"""Values in a body, unless told otherwise: about 0.1 s of parsing."""
MOST_DEPTH = 128
"""How deep they may be nested."""
LONGEST_ID = 1_000
"""Characters of an id, which is to be repeated in the answer."""
LONGEST_SAID = 1_000
"""Characters of what is said of a bad message."""


class Code(enum.IntEnum):
    """The error codes of JSON-RPC and LSP that are used here."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    NOT_INITIALIZED = -32002
    REQUEST_CANCELLED = -32800
    FAILED = -32000
    """The request was understood, and failed; `data` says how."""


class RpcError(UkemiError):
    """An error answer; `data` may say more."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class BadMessage(RpcError):
    """A message that is none; `id` is the request's that it may have been, for the answer."""

    def __init__(self, code: int, message: str, id: Id = None) -> None:
        super().__init__(code, cut(message, LONGEST_SAID))
        self.id = id


@attrs.frozen
class Request:
    """Asks for an answer."""

    id: int | str
    method: str
    params: dict[str, Any]


@attrs.frozen
class Notification:
    """Asks for none."""

    method: str
    params: dict[str, Any]


@attrs.frozen
class Response:
    """The answer: a result, or an error."""

    id: Id
    result: Any = None
    error: RpcError | None = None


RpcMessage: TypeAlias = Request | Notification | Response


def encode(message: RpcMessage) -> bytes:
    """A message as JSON. Raises TypeError for what JSON has no words for."""
    if isinstance(message, Response):
        error = message.error
        if error is None:
            return orjson.dumps({"jsonrpc": "2.0", "id": message.id, "result": message.result})
        told = {"code": int(error.code), "message": error.message, "data": error.data}
        return orjson.dumps({"jsonrpc": "2.0", "id": message.id, "error": told})
    if isinstance(message, Request):
        data = {"jsonrpc": "2.0", "id": message.id, "method": message.method, "params": message.params}
        return orjson.dumps(data)
    return orjson.dumps({"jsonrpc": "2.0", "method": message.method, "params": message.params})


def decode(body: bytes, most_values: int = MOST_VALUES) -> RpcMessage:
    """The message in a body. Raises BadMessage, which is the answer that the sender is to be given."""
    if len(body) > most_values and has_more_values(body, most_values):
        raise BadMessage(Code.INVALID_REQUEST, f"the body holds more than {most_values} values")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadMessage(Code.PARSE_ERROR, f"the body is no JSON: {error}") from None
    if isinstance(data, list):
        raise BadMessage(Code.INVALID_REQUEST, "batches are not taken: each message comes in a frame of its own")
    if not isinstance(data, dict) or data.get("jsonrpc") != "2.0":
        raise BadMessage(Code.INVALID_REQUEST, 'a message is an object with "jsonrpc": "2.0"')
    id = data.get("id")
    if type(id) is not int and type(id) is not str and id is not None:
        raise BadMessage(Code.INVALID_REQUEST, f"the id {short(id)} must be a whole number or a string")
    if type(id) is str and len(id) > LONGEST_ID:
        said = f"an id may have {LONGEST_ID} characters; {short(id, 50)} has {len(id)}"
        raise BadMessage(Code.INVALID_REQUEST, said)
    if len(body) > MOST_DEPTH and body.count(b"[") + body.count(b"{") > MOST_DEPTH and _is_too_deep(data):
        raise BadMessage(Code.INVALID_REQUEST, f"the body is nested more than {MOST_DEPTH} deep", id)
    return _call(data, id) if "method" in data else _response(data, id)


def has_more_values(body: bytes, most: int = MOST_VALUES) -> bool:
    """Whether there are more values in a body than that, without parsing it; one that is no JSON may have any number.

    There is one behind each comma, and each bracket but the empty ones'. Those within strings are looked at only where
    there are many.
    """
    if len(body) <= most or sum(map(body.count, _BEFORE_VALUES)) <= most:
        return False
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > 4 * most:  # two for a string, and no more than two strings for a value
        return True
    outside = b"".join(plain.split(b'"')[::2])
    return sum(map(outside.count, _BEFORE_VALUES)) > most


_BEFORE_VALUES = (b",", b"[", b"{")


def _is_too_deep(data: Any) -> bool:
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            return True
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = [each for each in inner if isinstance(each, dict | list)]
    return False


def _call(data: dict[str, Any], id: Id) -> Request | Notification:
    method, params = data["method"], data.get("params")
    if not isinstance(method, str):
        raise BadMessage(Code.INVALID_REQUEST, f"the method {short(method)} must be a string", id)
    if params is None:
        params = {}
    elif not isinstance(params, dict):
        raise BadMessage(Code.INVALID_PARAMS, "params must be an object, with the parameters by name", id)
    if id is not None:
        return Request(id, method, params)
    if "id" in data:
        raise BadMessage(Code.INVALID_REQUEST, "the id of a request can't be null")
    return Notification(method, params)


def _response(data: dict[str, Any], id: Id) -> Response:
    error = data.get("error")
    if error is None and "result" not in data:
        raise BadMessage(Code.INVALID_REQUEST, "a message has a method, a result or an error", id)
    if error is None:
        return Response(id, data["result"])
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        raise BadMessage(Code.INVALID_REQUEST, "an error is an object with a code and a message", id)
    return Response(id, error=RpcError(error["code"], str(error.get("message", "")), error.get("data")))
