"""JSON-RPC messages as bytes and back."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.ipc.jsonrpc import (
    MOST_DEPTH,
    BadMessage,
    Code,
    Notification,
    Request,
    Response,
    RpcError,
    RpcMessage,
    decode,
    encode,
    has_more_values,
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


@given(st.lists(plain, max_size=8), st.integers(0, 60))
def test_more_values_than_a_bound_are_found_without_parsing(values: list[Any], most: int) -> None:
    def count(value: Any) -> int:
        """Values in lists and objects, and a bracket for each of these: what is counted, or less."""
        if isinstance(value, dict):
            return sum(map(count, value.values())) + bool(value)
        if isinstance(value, list):
            return sum(map(count, value)) + bool(value)
        return 1

    assert has_more_values(orjson.dumps(values), most) or count(values) <= 2 * most + 1


@given(st.text(st.sampled_from('",[]{}\\ a'), max_size=60))
def test_what_is_in_strings_does_not_count(text: str) -> None:
    assert not has_more_values(orjson.dumps([text, {text: text}]), 4)


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: [1, inner, {}]])
def test_a_body_that_is_nested_too_deep_is_a_bad_message_with_its_id(wrap: Any) -> None:
    deep: Any = 1
    for _ in range(MOST_DEPTH):
        deep = wrap(deep)
    with pytest.raises(BadMessage, match=f"nested more than {MOST_DEPTH} deep") as caught:
        decode(orjson.dumps({"jsonrpc": "2.0", "id": 7, "method": "a", "params": {"deep": deep}}))
    assert (caught.value.code, caught.value.id) == (Code.INVALID_REQUEST, 7)


def test_what_is_said_of_a_bad_message_is_short() -> None:
    for wrong in ({"id": ["x" * 9_000] * 900}, {"id": "x" * 9_000}, {"id": 1, "method": ["x" * 9_000]}):
        with pytest.raises(BadMessage) as caught:
            decode(orjson.dumps({"jsonrpc": "2.0", **wrong}))
        assert len(caught.value.message) < 1000
