"""Clients that read slowly or not at all: they wait, are waited for as long as is stated, and hold up nobody."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from ukemi.actors.events import ActorExited
from ukemi.runtime.bridge import connection, pacing, session
from ukemi.runtime.bridge import stdio as stdio_module
from ukemi.runtime.bridge.allowance import MOST_ANSWERS
from ukemi.runtime.bridge.backlog import Backlog
from ukemi.runtime.bridge.methods import METHODS, method
from ukemi.runtime.bridge.outlet import Outlet
from ukemi.runtime.bridge.pacing import BEHIND, PATIENCE, Pacing
from ukemi.runtime.bridge.session import ClientSession
from ukemi.runtime.bridge.stdio import OnlyClient, Stdio
from ukemi.supervisors.alerts import AlertRaised

from ..bridge import Bridge, Client, running_bridge
from ..expecting import PATIENCE as LONG
from ..expecting import expecting
from .peers import Numbered

MUCH = 6_000_000
"""Bytes: more than these bridges keep for a client."""
PRINT = f"yes 0123456789 | head -c {MUCH}"


@pytest.fixture
async def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    """It keeps less for a client than usual, and waits for it however slow the machine is."""
    monkeypatch.setattr(Backlog.__init__, "__defaults__", (10_000, 3 * 2**20))
    monkeypatch.setattr(Outlet.__init__, "__defaults__", (2**18,))
    for module in (pacing, session):
        monkeypatch.setattr(module, "BEHIND", 2**18)
    monkeypatch.setattr(connection, "PATIENCE", 1000.0)
    monkeypatch.setattr(pacing, "PATIENCE", 1000.0)
    async with running_bridge(tmp_path, encode=False) as bridge:
        yield bridge


@pytest.fixture
async def impatient_bridge(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    """One that waits for nobody as long as usual."""
    monkeypatch.setattr(connection, "PATIENCE", 0.5)
    monkeypatch.setattr(pacing, "PATIENCE", 0.2)
    return bridge


async def works(client: Client, terminal: str, word: str = "works") -> None:
    answer = await client.request("terminal/execute", terminal=terminal, command=f"echo {word}")
    assert (answer["output"], answer["exitCode"]) == (f"{word}\r\n", 0)


def printed(client: Client, terminal: str) -> int:
    return sum(len(note["params"]["data"]) for note in client.notes if note["params"].get("terminal") == terminal)


@pytest.fixture
async def made() -> AsyncIterator[list[int]]:
    """The requests `test/large` that were run: each is answered with a million characters."""
    made = list[int]()

    @method("test/large", Numbered, only_reads=True, may_be_large=True)
    async def large(session: ClientSession, asked: Numbered) -> str:
        made.append(asked.n)
        await trio.lowlevel.checkpoint()
        return "x" * 1_000_000

    yield made
    del METHODS["test/large"]


async def test_a_client_that_reads_as_fast_as_it_can_may_ask_for_any_amount_at_once(
    bridge: Bridge, made: list[int]
) -> None:
    count = 60
    async with bridge.client() as main, bridge.client(session=main.session, join=True) as joined:
        for client in (main, joined):
            ids = [await client.ask("test/large", n=n) for n in range(count)]
            for id in ids:
                assert len(await client.answer(id)) == 1_000_000
    assert sorted(made) == sorted([*range(count)] * 2)


async def test_of_what_a_client_asks_that_does_not_read_no_more_is_made_than_is_stated(
    bridge: Bridge, made: list[int]
) -> None:
    count = 60
    async with bridge.client() as slow, bridge.client() as other:
        ids = [await slow.ask("test/large", n=n) for n in range(count)]
        with trio.fail_after(LONG):
            while len(made) < 3 or await other.request("runtime/ping") != {}:
                await trio.sleep(0.001)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(made) * 1_000_000 < MOST_ANSWERS + 16 * 1_000_000 + 3_000_000
        for id in ids:
            assert len(await slow.answer(id)) == 1_000_000
        assert len(made) == count


async def test_answers_that_can_be_given_at_once_wait_for_a_slow_client_too(bridge: Bridge, made: list[int]) -> None:
    answers = list[int]()

    @method("test/long", Numbered)
    def long(session: ClientSession, asked: Numbered) -> str:
        answers.append(asked.n)
        return "x" * 1_000_000

    try:
        async with bridge.client() as slow, bridge.client() as other:
            ids = [await slow.ask("test/long", n=n % 2, requestKey=n % 2) for n in range(100)]
            with trio.fail_after(LONG):
                while not answers or await other.request("runtime/ping") != {}:
                    await trio.sleep(0.001)
            for id in ids:
                assert len(await slow.answer(id)) == 1_000_000
    finally:
        del METHODS["test/long"]


async def test_a_client_that_reads_again_after_both_its_answers_and_its_notifications_have_waited_is_heard(
    bridge: Bridge, tmp_path: Path
) -> None:
    (tmp_path / "big").write_text("x" * 3_000_000)
    async with bridge.client() as slow, bridge.client() as other:
        terminal = await slow.terminal(tmp_path)
        await slow.ask(
            "terminal/execute", terminal=terminal, command="yes | head -c 700000; read; yes | head -c 700000"
        )
        reads = [await slow.ask("file/read", path=str(tmp_path / "big")) for _ in range(2)]
        pings = [await slow.ask("runtime/ping") for _ in range(2)]
        await other.request("terminal/write", terminal=terminal, data="\n")
        await trio.testing.wait_all_tasks_blocked(0.05)
        for id in (*reads, *pings):
            await slow.answer(id)
        for _ in range(3):
            assert await slow.request("runtime/ping") == {}


async def test_a_client_that_stops_reading_for_a_while_gets_all_of_it_in_order_since_its_terminal_waits(
    bridge: Bridge, tmp_path: Path
) -> None:
    async with bridge.client() as slow, bridge.client() as other:
        terminal, others = await slow.terminal(tmp_path), await other.terminal(tmp_path)
        id = await slow.ask("terminal/execute", terminal=terminal, command=PRINT)
        pty: Any = bridge.runtime.ref(f"/bridge/terminals/{terminal}/pty").cell.incarnation
        with trio.fail_after(LONG):
            while pty.actor._brake.left(1, trio.current_time()) <= 0:
                await works(other, others)
        assert pty.actor._shell.read < MUCH
        await slow.answer(id)
        seqs = [note["params"]["seq"] for note in slow.notes]
        assert seqs == list(range(1, len(seqs) + 1))
        assert printed(slow, terminal) == MUCH + MUCH // 11  # each newline is two


async def test_a_client_that_comes_back_soon_enough_has_missed_nothing_since_its_terminal_has_waited(
    bridge: Bridge, tmp_path: Path
) -> None:
    client = await bridge.connect()
    async with client.stream:
        name = (await client.request("initialize"))["session"]
        terminal = await client.terminal(tmp_path)
        pty: Any = bridge.runtime.ref(f"/bridge/terminals/{terminal}/pty").cell.incarnation
        await client.ask("terminal/execute", terminal=terminal, command=PRINT, requestKey="k")
        await client.until(lambda: client.notes != [])
    seen = client.notes[-1]["params"]["seq"]
    with trio.fail_after(LONG):
        while pty.actor._brake.left(1, trio.current_time()) <= 0:
            await trio.sleep(0.001)
    again = await bridge.connect()
    async with again.stream:
        answer = await again.request("initialize", session=name, lastSeq=seen)
        assert answer["gap"] is None
        await again.request("terminal/execute", terminal=terminal, command=PRINT, requestKey="k")
        seqs = [note["params"]["seq"] for note in (*client.notes, *again.notes)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert printed(client, terminal) + printed(again, terminal) == MUCH + MUCH // 11


async def test_a_client_that_does_not_read_is_disconnected_others_are_told_and_held_up_by_nothing(
    impatient_bridge: Bridge, tmp_path: Path
) -> None:
    bridge = impatient_bridge
    async with bridge.client() as other:
        slow = await bridge.connect()
        name = (await slow.request("initialize"))["session"]
        terminal, others = await slow.terminal(tmp_path), await other.terminal(tmp_path)
        async with expecting(bridge.runtime, AlertRaised, await connection_of(bridge, slow)):
            await slow.ask("terminal/execute", terminal=terminal, command=PRINT, requestKey="k")
            await works(other, others)
        await other.until(lambda: any(note["method"] == "runtime/alert" for note in other.notes))
        (told,) = [note["params"] for note in other.notes if note["method"] == "runtime/alert"]
        assert told["severity"] == "Warning"
        assert "disconnected a client" in told["message"]
        await works(other, terminal, "after")  # it does not wait for who has gone
        await slow.closed()
        await slow.stream.aclose()
        again = await bridge.connect()
        async with again.stream:
            answer = await again.request("initialize", session=name, lastSeq=0)
            assert answer["resumed"]
            assert answer["gap"]["from"] == 1
            await again.request("terminal/execute", terminal=terminal, command=PRINT, requestKey="k")
            seqs = [note["params"]["seq"] for note in again.notes]
            assert seqs == list(range(answer["gap"]["to"] + 1, answer["gap"]["to"] + 1 + len(seqs)))


async def connection_of(bridge: Bridge, client: Client) -> str:
    """The path of the last connection that was made, which is this client's."""
    children = await bridge.runtime.ref("connections").call("children")
    return str(children[-1].ref.path)


async def test_a_client_that_does_not_read_does_not_hold_up_who_follows_the_same_terminal(
    bridge: Bridge, tmp_path: Path
) -> None:
    async with bridge.client() as slow, bridge.client() as other:
        terminal = await slow.terminal(tmp_path)
        await works(slow, terminal)
        answer = await other.request("terminal/execute", terminal=terminal, command=PRINT)
        assert answer["exitCode"] == 0
        assert printed(other, terminal) == MUCH + MUCH // 11


async def test_a_client_that_asks_and_does_not_read_the_answers_is_not_read_from_either_and_then_disconnected(
    impatient_bridge: Bridge,
) -> None:
    bridge = impatient_bridge
    async with bridge.client() as other:
        flooding = await bridge.connect()
        await flooding.request("initialize")
        path = await connection_of(bridge, flooding)
        frame = framed({"id": 1, "method": "runtime/tree"})
        sent = 0
        async with expecting(bridge.runtime, ActorExited, path):
            with trio.fail_after(LONG):
                try:
                    while True:
                        await flooding.stream.send_all(frame * 100)
                        sent += 100
                except trio.BrokenResourceError:
                    pass
        (reason,) = [event.reason for event in bridge.runtime.events.of(ActorExited) if event.path == path]
        assert "the peer has read nothing for 0.5 s" in reason
        assert sent < 100_000
        assert (await other.request("runtime/ping")) == {}
        await flooding.stream.aclose()


async def test_a_client_that_reads_nothing_while_it_is_told_nothing_is_let_be(bridge: Bridge) -> None:
    async with bridge.client() as client:
        await trio.sleep(0.05)
        assert await client.request("runtime/ping") == {}


@attrs.define(eq=False)
class OnStream(Stdio):
    """The only client's streams are a socket."""

    stream: Any = None

    def open(self) -> Any:
        return self.stream

    @staticmethod
    def is_waited_for(bridge: Bridge) -> bool:
        """Whether something waits to be taken by the client."""
        life = bridge.runtime.ref("/bridge/client").cell.incarnation
        assert life is not None
        assert isinstance(life.actor, OnlyClient)
        return bool(life.actor._wire.unsent)


async def test_the_only_client_is_not_waited_for_once_it_has_closed_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: list[int]
) -> None:
    monkeypatch.setattr(stdio_module, "PATIENCE", 0.0)
    monkeypatch.setattr(stdio_module, "LOOK_EVERY", 0.2)
    (from_client, to_bridge), (from_bridge, to_client) = os.pipe(), os.pipe()
    streams = trio.StapledStream(trio.lowlevel.FdStream(to_client), trio.lowlevel.FdStream(from_client))
    stdio, answers = OnStream(stream=streams, into=from_client), trio.lowlevel.FdStream(from_bridge)
    async with running_bridge(tmp_path, encode=False, stdio=stdio) as bridge, answers:
        async with trio.lowlevel.FdStream(to_bridge) as client:
            await client.send_all(framed({"id": 0, "method": "initialize", "params": {}}))
            for n in range(5):
                await client.send_all(framed({"id": n, "method": "test/large", "params": {"n": n}}))
            with trio.fail_after(LONG):
                while len(made) < 5 or not stdio.is_waited_for(bridge):
                    await trio.sleep(0.001)
            for n in range(5, 7):
                await client.send_all(framed({"id": n, "method": "runtime/ping", "params": {}}))
                await trio.testing.wait_all_tasks_blocked(0.05)
            assert stdio.is_waited_for(bridge)
        with trio.fail_after(LONG):
            await bridge.runtime.wait()


async def test_the_only_client_of_a_bridge_is_waited_for_as_long_as_it_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module, name in [(connection, "PATIENCE"), (pacing, "PATIENCE"), (connection, "INITIALIZE_WITHIN")]:
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(connection, "FRAME_WITHIN", 0.0)
    monkeypatch.setattr(Backlog.__init__, "__defaults__", (10_000, 3 * 2**20))
    here, there = trio.socket.socketpair()
    stdio, client = OnStream(stream=trio.SocketStream(there)), Client(trio.SocketStream(here))
    async with running_bridge(tmp_path, encode=False, stdio=stdio) as bridge, client.stream:
        hello = framed({"id": 0, "method": "initialize", "params": {}})
        for part in (hello[:50], hello[50:]):
            await client.stream.send_all(part)
            await trio.testing.wait_all_tasks_blocked()
        await client.answer(0)
        terminal = await client.terminal(tmp_path, shell="bash")
        id = await client.ask("terminal/execute", terminal=terminal, command=PRINT)
        with trio.fail_after(LONG):
            while not stdio.is_waited_for(bridge):
                await trio.sleep(0.001)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await client.answer(id))["exitCode"] == 0
        assert printed(client, terminal) == MUCH // 11 * 12 + MUCH % 11
        assert not [note for note in client.notes if note["method"] == "runtime/gap"]


def framed(message: dict[str, Any]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


# --- when terminals wait


def test_terminals_wait_while_the_client_is_behind_and_makes_progress() -> None:
    it = Pacing()
    assert not it.look(BEHIND, 0, 0.0)
    assert it.look(BEHIND + 1, 0, 0.0)
    for second in range(1, 100):
        assert it.look(BEHIND * 4, told=second, now=float(second))
    assert it.look(BEHIND // 2, 100, 100.0)
    assert not it.look(BEHIND // 4, 100, 100.0)
    assert not it.look(BEHIND // 2, 100, 100.0)


def test_terminals_wait_for_the_only_client_however_long_it_takes_nothing() -> None:
    it = Pacing()
    it.is_patient = True
    assert all(it.look(BEHIND * 2, 5, now) for now in (0.0, PATIENCE, 1000 * PATIENCE))


def test_terminals_do_not_wait_for_a_client_that_takes_nothing_until_it_does() -> None:
    it = Pacing()
    assert it.look(BEHIND * 2, 5, 0.0)
    assert it.look(BEHIND * 2, 5, PATIENCE - 0.1)
    assert not it.look(BEHIND * 2, 5, PATIENCE)
    assert it.is_slowing
    assert it.look(BEHIND * 2, 6, PATIENCE + 1)
