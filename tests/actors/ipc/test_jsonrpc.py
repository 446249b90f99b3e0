"""JSON-RPC messages as bytes and back."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.ipc.jsonrpc import (
    BadMessage,
    Code,
    Notification,
    Request,
    Response,
    RpcError,
    RpcMessage,
    decode,
    encode,
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
whole = st.integers(-(2**53), 2**53)
plain = st.recursive(st.none() | st.booleans() | whole | words, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
params = st.dictionaries(words, plain, max_size=3)
messages = (
    st.builds(Request, whole | words, words, params)
    | st.builds(Notification, words, params)
    | st.builds(Response, st.none() | whole | words, plain)
)


def fault(body: bytes) -> int | None:
    """The code that the sender is to be told, if it is a bad message."""
    try:
        decode(body)
    except BadMessage as error:
        return error.code
    return None


@given(messages)
def test_a_message_is_the_same_after_its_journey(message: RpcMessage) -> None:
    assert decode(encode(message)) == message


@given(whole, words, plain)
def test_an_error_travels_with_its_code_message_and_data(code: int, said: str, data: Any) -> None:
    back = decode(encode(Response(1, error=RpcError(code, said, data))))
    assert isinstance(back, Response)
    assert back.error is not None
    assert (back.id, back.error.code, back.error.message, back.error.data) == (1, code, said, data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_bad_one(body: bytes) -> None:
    assert fault(body) in (None, Code.PARSE_ERROR, Code.INVALID_REQUEST)


@given(st.dictionaries(st.sampled_from(["id", "method", "params", "result", "error"]), plain | params))
def test_any_object_is_a_message_or_a_bad_one(data: dict[str, Any]) -> None:
    assert fault(orjson.dumps({"jsonrpc": "2.0", **data})) in (None, Code.INVALID_REQUEST, Code.INVALID_PARAMS)


@pytest.mark.parametrize(
    ("body", "code", "id"),
    [
        (b"{", Code.PARSE_ERROR, None),
        (b'"\\ud800"', Code.PARSE_ERROR, None),
        (b"[" * 5000, Code.PARSE_ERROR, None),
        (b"[]", Code.INVALID_REQUEST, None),
        (b'{"id": 1, "method": "a"}', Code.INVALID_REQUEST, None),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "a"}', Code.INVALID_REQUEST, None),
        (b'{"jsonrpc": "2.0", "id": true, "method": "a"}', Code.INVALID_REQUEST, None),
        (b'{"jsonrpc": "2.0", "id": null, "method": "a"}', Code.INVALID_REQUEST, None),
        (b'{"jsonrpc": "2.0", "id": 7, "method": null}', Code.INVALID_REQUEST, 7),
        (b'{"jsonrpc": "2.0", "id": 7, "method": 8}', Code.INVALID_REQUEST, 7),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "a", "params": [1]}', Code.INVALID_PARAMS, 7),
        (b'{"jsonrpc": "2.0", "id": 7}', Code.INVALID_REQUEST, 7),
        (b'{"jsonrpc": "2.0", "id": 7, "error": "no"}', Code.INVALID_REQUEST, 7),
        (b'{"jsonrpc": "2.0", "id": 7, "error": {"code": "no"}}', Code.INVALID_REQUEST, 7),
    ],
)
def test_a_bad_message_is_answered_with_its_code_and_where_it_is_known_its_id(
    body: bytes, code: Code, id: int | None
) -> None:
    with pytest.raises(BadMessage) as caught:
        decode(body)
    assert (caught.value.code, caught.value.id) == (code, id)


@pytest.mark.parametrize("params", ["", ', "params": null', ', "params": {}'])
def test_parameters_may_be_left_out(params: str) -> None:
    assert decode(f'{{"jsonrpc": "2.0", "id": "a", "method": "m"{params}}}'.encode()) == Request("a", "m", {})


def test_what_json_has_no_words_for_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        encode(Response(1, {"file": "\udcff"}))
