"""What a request may hold, and how long the answer to a wrong one may be: bounded, whoever asks."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ukemi.actors.ipc.framing import LARGEST, FrameReader
from ukemi.actors.ipc.jsonrpc import MOST_DEPTH, MOST_VALUES, Code, RpcError
from ukemi.runtime.bridge.answers import Answer
from ukemi.runtime.bridge.failures import LONGEST, as_rpc_error

from ..bridge import Bridge, Client, Failed, running_bridge

LONG = "x" * 100_000


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path, encode=False) as bridge:
        yield bridge


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


def nested(depth: int) -> Any:
    return orjson.Fragment(b"[" * depth + b"]" * depth)


async def failure(client: Client, method: str, id: Any = 7, **params: Any) -> Failed:
    """How a request fails; the connection goes on."""
    await client.raw(orjson.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
    with pytest.raises(Failed) as caught:
        await client.answer(id)
    assert await client.request("runtime/ping") == {}
    return caught.value


@pytest.mark.parametrize(
    ("method", "params", "said"),
    [
        ("x" * 100_000, {}, "there is no method 'xxx"),
        ("file/read", {"path": [LONG] * 100}, "must be a string"),
        ("file/read", {"path": LONG}, "File name too long"),
        ("file/write", {"path": "/tmp/x", "data": "", "encoding": LONG}, "must be 'utf-8' or 'base64'"),
        ("runtime/ping", {LONG: 1}, "unknown parameter 'xxx"),
        ("runtime/ping", {str(n): n for n in range(1000)}, "unknown parameter '0', '1', '10', '100', '101'; it takes"),
        ("runtime/metrics", {"operation": LONG}, "no operation 'xxx"),
        ("runtime/metrics", {"operation": [LONG]}, "must be a string"),
        ("terminal/close", {"terminal": LONG}, "there is no terminal 'xxx"),
        ("terminal/create", {"cwd": f"/{LONG}"}, "xxx"),
        ("terminal/create", {"env": {LONG: "\0"}}, "can't hold a NUL"),
        ("terminal/create", {"env": dict.fromkeys(map(str, range(10_000)), 7)}, "7 must be a string, as the value of"),
        ("watch/remove", {"watch": LONG}, "this session has no watch 'xxx"),
        ("watch/add", {"path": LONG}, "File name too long"),
        ("initialize", {}, "has been initialized already"),
    ],
)
async def test_what_is_said_of_a_wrong_request_is_short(
    client: Client, method: str, params: dict[str, Any], said: str
) -> None:
    failed = await failure(client, method, **params)
    assert said in str(failed)
    assert len(str(failed)) <= LONGEST


@pytest.mark.parametrize(
    "params", [{"lastSeq": LONG[:50_000]}, {"join": LONG[:50_000]}, {"session": LONG[:50_000], "join": True}]
)
async def test_what_is_said_of_a_wrong_initialize_is_short(bridge: Bridge, params: dict[str, Any]) -> None:
    client = await bridge.connect()
    async with client.stream:
        with pytest.raises(Failed) as caught:
            await client.request("initialize", **params)
        assert len(str(caught.value)) <= LONGEST


@pytest.mark.parametrize("error", [ValueError(LONG), OSError(2, LONG), RpcError(Code.FAILED, LONG)])
def test_whatever_an_error_says_its_answer_is_short(error: Exception) -> None:
    assert len(as_rpc_error(error, "/x").message) <= LONGEST


def test_an_error_that_says_more_than_a_frame_may_hold_is_told_without_it() -> None:
    answer = Answer(error=RpcError(Code.FAILED, "no", data=["x" * LARGEST]))
    (body,) = FrameReader().feed(answer.to(7))
    told = orjson.loads(body)
    assert (told["id"], "too large" in told["error"]["message"]) == (7, True)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("runtime/ping", {"requestKey": nested(300)}),
        ("runtime/ping", {"requestKey": 1, "x": nested(300)}),
        ("file/read", {"path": nested(1000)}),
        ("runtime/metrics", {"operation": nested(1000)}),
        ("terminal/create", {"env": {"A": nested(1000)}}),
    ],
)
async def test_a_request_that_is_nested_too_deep_is_refused(
    client: Client, method: str, params: dict[str, Any]
) -> None:
    failed = await failure(client, method, **params)
    assert (failed.code, str(failed)) == (-32600, f"the body is nested more than {MOST_DEPTH} deep")


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":%s,"method":"runtime/ping"}' % (b"[" * 1000 + b"]" * 1000),
        b'{"jsonrpc":"2.0","method":"$/forget","params":{"requestKeys":[%s]}}' % (b"[" * 300 + b"]" * 300),
        b'{"jsonrpc":"2.0","id":"%s","method":"runtime/ping"}' % (b"x" * 100_000),
        b'{"jsonrpc":"2.0","id":7,"method":"runtime/ping","params":{"a":[%s[]]}}' % (b"[]," * MOST_VALUES),
    ],
)
async def test_what_has_no_id_that_could_be_told_is_answered_without_one(client: Client, body: bytes) -> None:
    await client.raw(body)
    with pytest.raises(Failed):
        await client.answer(None)
    assert await client.request("runtime/ping") == {}


async def test_a_request_may_be_nested_as_deep_as_is_stated(client: Client) -> None:
    deepest = nested(MOST_DEPTH - 2)
    for params in ({"requestKey": deepest}, {"requestKey": 1, "x": deepest}, {"x": deepest}):
        failed = await failure(client, "file/read", **params)
        assert failed.code in (-32600, -32602)
        assert "nested" not in str(failed)


async def test_what_lies_in_a_string_is_no_value_however_much_it_looks_like_one(client: Client, tmp_path: Path) -> None:
    text = '[],{"a": "\\"}, [\\\\' * 100_000
    await client.request("file/write", path=str(tmp_path / "code"), data=text)
    assert (tmp_path / "code").read_text() == text


async def test_more_keys_than_are_ever_known_may_be_forgotten_at_once(client: Client) -> None:
    await client.notify("$/forget", requestKeys=list(range(100_000)))
    assert await client.request("runtime/ping") == {}
