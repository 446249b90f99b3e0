"""The debug socket: whatever a client does, it gets an answer or is let go, and harms nobody else."""

import stat
from pathlib import Path

import orjson
import pytest
import trio

from ukemi import Runtime
from ukemi.runtime.debug import server
from ukemi.runtime.debug.lines import LONGEST_LINE

from .debug_shop import Client, Counter, Shop, open_shop


async def clients_gone(runtime: Runtime, left: int = 0) -> None:
    connections = runtime.ref("/ukemi/debug-connections")
    while len(await connections.call("children")) > left:
        await trio.sleep(0.001)


async def test_the_socket_is_for_its_owner_only_and_goes_with_the_runtime(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        assert stat.S_IMODE(shop.path.stat().st_mode) == 0o600
    assert not shop.path.exists()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"\xff\xfe\x00\n",
        b"tree\n",
        b"[1, 2]\n",
        b"null\n",
        b'{"id": 7}\n',
        b'{"id": 7, "command": 5}\n',
        b'{"id": 7, "command": "destroy"}\n',
        b'{"id": 7, "command": "tree", "args": []}\n',
        b'{"id": 7, "command": "tree", "args": {"nobody": 1}}\n',
        b'{"id": 7, "command": "info"}\n',
        b'{"id": 7, "command": "info", "args": {"actor": 5}}\n',
        b'{"id": 7, "command": "call", "args": {"actor": "counter", "method": "add", "args": 2}}\n',
        b'{"id": 7, "command": "trace", "args": {"actor": "counter", "switch": "maybe"}}\n',
        b'{"id": 7, "command": "events", "args": {"last": -1}}\n',
        b'{"id": 7, "command": "events", "args": {"last": true}}\n',
        b"[" * 100_000 + b"\n",
    ],
)
async def test_garbage_gets_a_one_line_error_and_the_next_command_its_answer(tmp_path: Path, garbage: bytes) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await client.send(garbage)
        answer = await client.answer()
        assert answer["error"]["type"] == "BadCommand"
        assert "\n" not in answer["error"]["message"]
        assert answer["id"] == (7 if b'"id"' in garbage else None)
        assert await client.ok("call", actor="counter", method="add", args=[2]) == 2


async def test_an_unknown_command_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        message = await client.error("destroy")
        assert message.startswith("there is no command 'destroy'; the commands are: alerts, call, cast, circuit, ")


async def test_a_line_that_is_too_long_is_dropped_and_the_next_one_answered(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send, b"x" * (3 * LONGEST_LINE) + b'\n{"id": 1, "command": "names"}\n')
        assert f"at most {LONGEST_LINE} bytes" in (await client.answer())["error"]["message"]
        assert (await client.answer())["id"] == 1


async def test_a_line_may_come_in_pieces_and_several_at_once(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        request = {"id": 1, "command": "call", "args": {"actor": "counter", "method": "add", "args": [1]}}
        line = orjson.dumps(request) + b"\n"
        for byte in line[:-1]:
            await client.send(bytes([byte]))
        await client.send(b"\n" + line * 40)
        assert [(await client.answer())["ok"] for _ in range(41)] == list(range(1, 42))


async def test_a_half_line_before_the_end_is_still_answered(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await client.send(b'{"id": 1, "command": "names", "args": {"prefix": "co"}}')
        await client.stream.send_eof()
        assert (await client.answer())["ok"] == ["counter"]
        with pytest.raises(EOFError):
            await client.line()
        await clients_gone(shop.runtime)


async def test_a_client_that_leaves_ends_its_connection_normally(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        async with shop.client() as client:
            await client.ok("trace", actor="counter")
        await clients_gone(shop.runtime)
        assert not shop.runtime.ref("counter").cell.traced
        assert nothing_crashed(shop)


async def test_a_client_that_leaves_in_the_middle_of_a_command_harms_nobody(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as other:
        for number in range(20):
            async with shop.client() as client:
                add = b'{"id": 1, "command": "call", "args": {"actor": "counter", "method": "add", "args": [1]}}\n'
                await client.send(b'{"id": 0, "command": "tree"}\n' * number + add)
        await clients_gone(shop.runtime, left=1)
        assert await other.ok("call", actor="counter", method="add", args=[0]) <= 20
        assert nothing_crashed(shop)


async def test_a_client_that_does_not_read_its_events_is_let_go_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "UNSENT", 10_000)
    async with open_shop(tmp_path) as shop, shop.client() as slow, shop.client() as other:
        await slow.ok("trace", actor="counter")
        while len(await shop.runtime.ref("/ukemi/debug-connections").call("children")) == 2:
            assert await other.ok("call", actor="counter", method="add", args=[1]) > 0
        assert not shop.runtime.ref("counter").cell.traced
        assert nothing_crashed(shop)


async def test_a_client_that_does_not_read_its_answers_holds_up_only_itself(tmp_path: Path) -> None:
    async def flood(client: Client) -> None:
        while True:
            await client.send(b'{"id": 1, "command": "hello"}\n')

    async with (
        open_shop(tmp_path) as shop,
        shop.client() as slow,
        shop.client() as other,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(flood, slow)
        for n in range(200):
            assert await other.ok("call", actor="counter", method="add", args=[1]) == n + 1
        nursery.cancel_scope.cancel()


async def test_a_command_that_waits_can_be_cancelled_and_holds_up_no_other_client(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client, shop.client() as other:
        await client.send(b'{"id": 1, "command": "call", "args": {"actor": "counter", "method": "wait"}}\n')
        assert await other.ok("names", prefix="co") == ["counter"]
        await client.send(b'{"cancel": 1}\n')
        answer = await client.answer()
        assert (answer["id"], answer["error"]["type"]) == (1, "Cancelled")
        assert await client.ok("names", prefix="co") == ["counter"]


async def test_a_request_may_be_cancelled_before_it_is_begun(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        wait = b'{"id": 1, "command": "call", "args": {"actor": "counter", "method": "wait"}}\n'
        await client.send(wait + b'{"cancel": 1}\n')
        assert (await client.answer())["error"]["type"] == "Cancelled"


async def test_more_clients_than_allowed_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CLIENTS", 1)
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await client.ok("names")
        async with shop.client() as second:
            assert "1 clients are connected already" in (await second.answer())["error"]["message"]
        assert await client.ok("names", prefix="co") == ["counter"]


async def test_the_listener_and_the_connections_come_back_after_a_kill(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        async with shop.client() as client:
            await client.send(b'{"command": "kill", "args": {"actor": "/ukemi/debug-connections"}}\n')
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                while True:
                    await client.answer()
        listener = shop.runtime.ref("/ukemi/debug-listener")
        while (listener.stats().incarnation, listener.stats().state) != (2, "running"):
            await trio.sleep(0.001)
        async with shop.client() as client:
            assert await client.ok("names", prefix="co") == ["counter"]


async def test_the_runtime_stops_while_clients_are_connected_and_busy(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        await client.send(b'{"id": 1, "command": "call", "args": {"actor": "counter", "method": "wait"}}\n')
        await client.stream.send_all(b"")
        await shop.runtime.stop()
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            while True:
                await client.line()


def nothing_crashed(shop: Shop) -> bool:
    return shop.runtime.ref("counter", Counter).stats().crashes == 0 and not any(
        getattr(event, "abnormal", False) for event in shop.runtime.events
    )
