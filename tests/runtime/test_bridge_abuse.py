"""What clients may do to a bridge without harming others: floods, half-said things, nonsense, crowds."""

import resource
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ukemi.actors.ipc.framing import FrameReader, frame
from ukemi.runtime.bridge import connection, requests, session
from ukemi.runtime.bridge.allowance import Incoming

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE
from .peers import Ran, counted


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path, encode=False) as bridge:
        yield bridge


@pytest.fixture
async def ran() -> AsyncIterator[Ran]:
    with counted() as ran:
        yield ran


def framed(id: Any, method: str, **params: Any) -> bytes:
    return frame(orjson.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))


async def answers_of(client: Client, data: bytes, count: int) -> list[Any]:
    """Send all of it, and read meanwhile: so many answers, as they come."""
    reader, found = FrameReader(), list[Any]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.stream.send_all, data)
        with trio.fail_after(PATIENCE):
            while len(found) < count:
                found += map(orjson.loads, reader.feed(bytes(await client.stream.receive_some(2**20))))
    return found


# --- floods


async def test_a_hundred_thousand_requests_at_once_are_each_answered_once_in_order(bridge: Bridge) -> None:
    count = 100_000
    async with bridge.client() as flooding, bridge.client() as other:
        data = b"".join(framed(n, "runtime/ping") for n in range(count))
        round_trips = 0

        async def go_on() -> None:
            nonlocal round_trips
            while True:
                assert await other.request("runtime/ping") == {}
                round_trips += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on)
            answers = await answers_of(flooding, data, count)
            nursery.cancel_scope.cancel()
        assert [answer["id"] for answer in answers] == list(range(count))
        assert round_trips > 20


async def test_a_flood_of_requests_that_take_a_while_is_answered_each_once(bridge: Bridge) -> None:
    count = 20_000
    async with bridge.client() as flooding:
        answers = await answers_of(flooding, b"".join(framed(n, "terminal/list") for n in range(count)), count)
        assert sorted(answer["id"] for answer in answers) == list(range(count))
        assert all(answer["result"] == {"terminals": []} for answer in answers)


async def test_more_requests_than_may_be_run_at_a_time_are_refused_with_the_bound(
    bridge: Bridge, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_UNDER_WAY", 10)
    ran.gate.append(trio.Event())
    async with bridge.client() as client, bridge.client() as other:
        ids = [await client.ask("test/slow", n=n) for n in range(11)]
        with pytest.raises(
            Failed, match="requests of this session that are under way: 10, and at most 10 may be"
        ) as caught:
            await client.answer(ids[-1])
        assert (caught.value.data["category"], caught.value.data["retryable"]) == ("Resource", True)
        assert await client.request("test/quick", n=1) == 2
        theirs = await other.ask("test/slow", n=99)
        ran.gate[0].set()
        assert [await client.answer(id) for id in ids[:-1]] == [2 * n for n in range(10)]
        assert await other.answer(theirs) == 198
        assert await client.request("test/slow", n=5) == 10


async def test_the_same_request_asked_again_and_again_is_bounded_too(
    bridge: Bridge, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_UNDER_WAY", 10)
    ran.gate.append(trio.Event())
    async with bridge.client() as client:
        ids = [await client.ask("test/slow", n=1, requestKey="k") for _ in range(11)]
        with pytest.raises(Failed, match="requests of this session that are under way: 10, and at most 10 may be"):
            await client.answer(ids[-1])
        ran.gate[0].set()
        assert [await client.answer(id) for id in ids[:-1]] == [2] * 10
        assert ran.order == [1]


async def test_a_batch_is_refused_with_what_is_taken_in_its_place(bridge: Bridge) -> None:
    async with bridge.client() as client:
        await client.raw(b'[{"jsonrpc": "2.0", "id": 1, "method": "runtime/ping"}]')
        with pytest.raises(Failed, match="batches are not taken: each message comes in a frame of its own") as caught:
            await client.answer(None)
        assert caught.value.code == -32600
        assert await client.request("runtime/ping") == {}


# --- what is never finished


@pytest.mark.parametrize("said", [b"", b"Content-", b"Content-Length: 100\r\n\r\n{", framed(1, "runtime/ping")])
async def test_who_does_not_say_who_it_is_is_told_so_and_let_go(
    bridge: Bridge, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "INITIALIZE_WITHIN", 0.05)
    client = await bridge.connect()
    async with client.stream, bridge.client() as other:
        await client.stream.send_all(said)
        with pytest.raises(Failed, match=r"no initialize came within 0\.05 s"):
            await client.answer(None)
        await client.closed()
        await trio.sleep(0.06)
        assert await other.request("runtime/ping") == {}  # who has said it may take its time


async def test_who_does_not_end_a_frame_is_told_so_and_let_go_and_may_come_back(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FRAME_WITHIN", 0.05)
    client = await bridge.connect()
    async with client.stream:
        made = await client.request("initialize")
        await client.stream.send_all(b"Content-Length: 100\r\n\r\n{")
        with pytest.raises(Failed, match=r"a frame was not ended within 0\.05 s"):
            await client.answer(None)
        await client.closed()
    async with bridge.client(session=made["session"]) as again:
        assert await again.request("runtime/ping") == {}


async def test_a_large_frame_is_taken_only_from_who_has_said_who_it_is(bridge: Bridge) -> None:
    client = await bridge.connect()
    async with client.stream, bridge.client() as other:
        await client.stream.send_all(b"Content-Length: 100000\r\n\r\n{")
        with pytest.raises(Failed, match="a frame of 100000 bytes is too large; at most 65536 are taken"):
            await client.answer(None)
        await client.closed()
        await other.stream.send_all(frame(b" " * 100_000 + b'{"jsonrpc": "2.0", "id": 7, "method": "runtime/ping"}'))
        assert await other.answer(7) == {}


async def test_large_frames_that_are_not_ended_are_read_no_further_than_all_of_them_may_come_in(
    bridge: Bridge,
) -> None:
    incoming = Incoming.of(bridge.runtime.system)
    incoming._most = 1_000_000
    whole = frame(b'{"jsonrpc": "2.0", "id": 7, "method": "runtime/ping", "params": {%s}}' % (b" " * 600_000))
    clients = [await bridge.connect() for _ in range(3)]
    for client in clients:
        await client.request("initialize")
        await client.stream.send_all(whole[:100_000])
    first, second, third = clients
    async with first.stream, second.stream, third.stream, bridge.client() as other:
        await trio.testing.wait_all_tasks_blocked()
        assert incoming._taken == len(whole)
        assert await other.request("runtime/ping") == {}
        await first.stream.send_all(whole[100_000:])
        assert await first.answer(7) == {}
        await second.stream.aclose()  # in the middle
        await third.stream.send_all(whole[100_000:])
        assert await third.answer(7) == {}
        await trio.testing.wait_all_tasks_blocked()
        assert incoming._taken == 0


async def test_of_requests_that_wait_with_much_to_write_no_more_are_taken_than_is_stated(
    bridge: Bridge, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_TEXT", 1_000_000)
    async with bridge.client() as client, trio.open_nursery() as nursery:
        path = str(bridge.folder / "file")
        data = b"".join(framed(n, "file/write", path=path, data=str(n) * 300_000) for n in range(10))
        nursery.start_soon(client.stream.send_all, data)
        for n in range(10):
            assert await client.answer(n) == {}
        assert Path(path).read_text() == "9" * 300_000


async def test_what_waits_for_a_command_of_which_nobody_knows_the_end_is_refused_and_holds_up_nothing(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_TEXT", 1_000)
    async with bridge.client() as client:
        terminal = await client.terminal(bridge.folder)
        running = await client.ask("terminal/execute", terminal=terminal, command="cat")
        await client.ask("terminal/execute", terminal=terminal, command=f"echo {'x' * 900}")
        wanted = "characters in the requests of this session that are under way: 9[0-9]{2}, and at most 1000 may be"
        with pytest.raises(Failed, match=wanted) as caught:
            await client.request("terminal/execute", terminal=terminal, command=f"echo {'y' * 900}")
        assert (caught.value.data["category"], caught.value.data["retryable"]) == ("Resource", True)
        await client.request("file/write", path=str(bridge.folder / "a"), data="z" * 900)
        await client.request("terminal/interrupt", terminal=terminal)
        assert (await client.answer(running))["exitCode"] == 130


async def test_a_large_frame_of_which_nothing_more_comes_makes_room_for_others(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALLED", 0.05)
    client = await bridge.connect()
    async with client.stream:
        await client.request("initialize")
        await client.stream.send_all(frame(b" " * 200_000)[:100_000])
        with pytest.raises(Failed, match=r"nothing came for 0\.05 s of a frame that had begun"):
            await client.answer(None)
        await client.closed()
    await trio.testing.wait_all_tasks_blocked()
    assert Incoming.of(bridge.runtime.system)._taken == 0


async def test_who_is_not_read_from_is_not_late_with_what_it_has_begun(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first frame and a part of the second come at once; the session takes its time over the first."""
    monkeypatch.setattr(connection, "FRAME_WITHIN", 1.0)
    take, taking, go_on = connection.Connection._take, trio.Event(), trio.Event()

    async def take_slowly(self: connection.Connection, bodies: Sequence[bytes]) -> None:
        taking.set()
        await go_on.wait()
        await take(self, bodies)

    async with bridge.client() as client:
        monkeypatch.setattr(connection.Connection, "_take", take_slowly)
        first, second = framed(7, "runtime/ping"), framed(8, "runtime/ping")
        await client.stream.send_all(first + second[:40])
        await taking.wait()
        await client.stream.send_all(second[40:])
        await trio.sleep(1.1)
        go_on.set()
        assert await client.answer(7) == {}
        assert await client.answer(8) == {}


async def test_a_client_that_vanishes_in_the_middle_of_anything_leaves_nothing(bridge: Bridge, ran: Ran) -> None:
    stream = framed(0, "initialize") + framed(1, "test/slow", n=1) + framed(2, "test/quick", n=2)
    for at in range(0, len(stream) + 1, 3):
        client = await bridge.connect()
        await client.stream.send_all(stream[:at])
        await client.stream.aclose()
    with trio.fail_after(PATIENCE):
        while bridge.runtime.tree().find("connections").children:
            await trio.sleep(0.001)
    async with bridge.client() as client:
        assert await client.request("runtime/ping") == {}
    assert all(node.restarts == 0 for node in bridge.runtime.tree().walk())


# --- crowds


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 4096:
        pytest.skip(f"the process may open no more than {before[1]} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
async def test_a_thousand_clients_are_served_at_once_and_one_more_is_told_how_many_there_are(tmp_path: Path) -> None:
    count = 1000
    async with running_bridge(tmp_path, encode=False, most_clients=count) as bridge:
        clients = list[Client]()

        async def come() -> None:
            client = await bridge.connect()
            await client.request("initialize")
            clients.append(client)

        async def ask(client: Client) -> None:
            assert await client.request("runtime/ping") == {}

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(come)
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(ask, client)
        more = await bridge.connect()
        async with more.stream:
            with pytest.raises(Failed, match="1000 clients are connected, at most 1000 may be"):
                await more.answer(None)
        for client in clients:
            await client.stream.aclose()
        with trio.fail_after(PATIENCE):
            while bridge.runtime.tree().find("connections").children:
                await trio.sleep(0.01)
        async with bridge.client() as client:
            await ask(client)


async def test_connections_that_nobody_uses_can_be_closed_and_their_clients_come_back(bridge: Bridge) -> None:
    idle = await bridge.connect()
    async with idle.stream:
        made = await idle.request("initialize")
        first: Any = (await bridge.runtime.ref("connections").call("children"))[0].ref.cell.incarnation
        async with bridge.client() as busy:
            bridge.runtime.system.topics.publish(connection.CLOSE_IDLE, "high")
            assert await idle.request("runtime/ping") == {}
            first.actor._last_used -= connection.IDLE
            bridge.runtime.system.topics.publish(connection.CLOSE_IDLE, "high")
            await idle.closed()
            assert await busy.request("runtime/ping") == {}
    async with bridge.client(session=made["session"]) as again:
        assert await again.request("runtime/ping") == {}


async def test_a_connection_on_which_an_answer_is_waited_for_is_not_idle(bridge: Bridge, ran: Ran) -> None:
    ran.gate.append(trio.Event())
    async with bridge.client() as client:
        id = await client.ask("test/slow", n=1)
        await client.until(lambda: client.notes != [])
        it: Any = (await bridge.runtime.ref("connections").call("children"))[0].ref.cell.incarnation
        it.actor._last_used -= connection.IDLE
        bridge.runtime.system.topics.publish(connection.CLOSE_IDLE, "high")
        await trio.testing.wait_all_tasks_blocked()
        ran.gate[0].set()
        assert await client.answer(id) == 2


async def test_a_session_can_let_go_of_what_it_keeps_and_then_states_the_gap_and_runs_nothing_twice(
    bridge: Bridge, ran: Ran
) -> None:
    client = await bridge.connect()
    async with client.stream:
        made = await client.request("initialize")
        assert await client.request("test/slow", n=1, requestKey="k") == 2
    bridge.runtime.system.topics.publish(session.FREE_MEMORY, "critical")
    again = await bridge.connect()
    async with again.stream:
        answer = await again.request("initialize", session=made["session"], lastSeq=0)
        assert answer["gap"] == {"from": 1, "to": 1}
        with pytest.raises(Failed, match="was answered, and the answer is no longer kept: it is not run again"):
            await again.request("test/slow", n=1, requestKey="k")
    assert ran.order == [1]


# --- nonsense

word = st.sampled_from(
    [
        b"Content-Length: ", b"content-length:5", b"\r\n", b"\r\n\r\n", b"{", b"}", b'"jsonrpc":"2.0"', b'"id":1', b",",
        b"\x00", b"\xff", b"9" * 30, b"null", framed(1, "runtime/ping"), framed(None, "x"),
        framed("a", "terminal/list"),
        framed(0, "initialize"), framed(0, "initialize", session=[]), frame(b""), frame(b"[]"), frame(b"{}"),
        frame(b'{"jsonrpc":"2.0","method":"exit"}'), frame(b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":[]}'),
        frame(b'{"jsonrpc":"2.0","method":"$/forget","params":{"requestKeys":[{}]}}'),
        framed(2, "terminal/create", cols=[]),
    ]
)  # fmt: skip


@given(st.lists(word | st.binary(max_size=30), max_size=12), st.booleans())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_bytes_come_they_are_answered_or_end_their_connection_and_harm_nobody(
    pieces: list[bytes], greets: bool
) -> None:
    async def throw() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with running_bridge(Path(folder), encode=False) as bridge, bridge.client() as other:
                client = await bridge.connect()
                async with client.stream:
                    if greets:
                        await client.request("initialize")
                    try:
                        await client.stream.send_all(b"".join(pieces))
                        await client.stream.send_eof()
                    except trio.BrokenResourceError:
                        pass
                    with trio.fail_after(PATIENCE):
                        try:
                            while await client.stream.receive_some():
                                pass
                        except trio.BrokenResourceError:
                            pass
                assert await other.request("runtime/ping") == {}
                nodes = list(bridge.runtime.tree().walk())
                assert all(node.restarts == 0 for node in nodes)

    trio.run(throw)
