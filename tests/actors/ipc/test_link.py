"""`IpcLink` against a real bridge, over real sockets."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import memory_stream_pair

from ukemi import Actor, ActorCrashed, Backoff, IpcError, Ref, Runtime, StartFailed, child, supervisor
from ukemi.actors.events import ActorExited, ActorStarted
from ukemi.actors.ipc import IpcLink, LinkSession
from ukemi.actors.ipc.framing import FrameReader, frame
from ukemi.actors.ipc.jsonrpc import Notification, Request, Response, RpcError, decode, encode
from ukemi.actors.ipc.sockets import connect_unix
from ukemi.supervisors.events import ChildRestarted

from ...bridge import Bridge, running_bridge
from ...expecting import PATIENCE, expecting


class Ear(Actor):
    """Hears what the link publishes."""

    def __init__(self, topic: str = "/app/link/terminal/output") -> None:
        self._topic = topic
        self.heard: list[Any] = []

    def on_start(self) -> None:
        self.ctx.subscribe(self._topic, self.hear)

    def hear(self, params: dict[str, Any]) -> None:
        self.heard.append(params)

    def all(self) -> list[Any]:
        return self.heard


@attrs.frozen
class App:
    """An application with a link to a bridge."""

    runtime: Runtime
    session: LinkSession
    lines: list[trio.SocketStream]

    def cut(self) -> None:
        """Cut the line."""
        self.lines[-1].socket.shutdown(trio.socket.SHUT_RDWR)

    @property
    def link(self) -> Ref[IpcLink]:
        return self.runtime.ref("link", IpcLink).within(PATIENCE)

    async def request(self, method: str, **params: Any) -> Any:
        return await self.link.call(IpcLink.request, method, params)

    async def terminal(self, home: Path) -> str:
        answer = await self.request("terminal/create", cwd=str(home), env={"HOME": str(home)})
        name: str = answer["terminal"]
        return name

    async def heard(self) -> list[Any]:
        found: list[Any] = await self.runtime.ref("ear").call("all")
        return found


@asynccontextmanager
async def app(socket: Path) -> AsyncIterator[App]:
    session, lines = LinkSession(), list[trio.SocketStream]()

    async def connect() -> trio.abc.Stream:
        lines.append(await connect_unix(socket))
        return lines[-1]

    link = child("link", lambda: IpcLink(connect=connect, session=session), backoff=Backoff(0.01, 0.05))
    async with Runtime(supervisor("app", child("ear", Ear), link, max_restarts=1000)) as runtime:
        yield App(runtime, session, lines)


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path) as bridge:
        yield bridge


async def test_a_request_is_answered_with_its_result_or_its_error(bridge: Bridge, tmp_path: Path) -> None:
    async with app(bridge.socket) as here:
        terminal = await here.terminal(tmp_path)
        assert (await here.request("terminal/execute", terminal=terminal, command="echo hi"))["output"] == "hi\r\n"
        with pytest.raises(RpcError, match="there is no terminal 'no'"):
            await here.request("terminal/execute", terminal="no", command="true")
        assert here.runtime.tree().find("link").restarts == 0


async def test_it_is_connected_again_by_its_supervisor_and_takes_its_session_up(bridge: Bridge) -> None:
    async with app(bridge.socket) as here:
        first = here.session.id
        for times in range(1, 4):
            async with expecting(here.runtime, ChildRestarted, "/app/link"):
                here.cut()
            assert (await here.request("terminal/list"))["terminals"] == []
            assert (here.session.id, here.session.resumed) == (first, times)


async def test_what_is_asked_while_it_is_down_waits_and_goes_out_in_order(bridge: Bridge, tmp_path: Path) -> None:
    async with app(bridge.socket) as here:
        terminal = await here.terminal(tmp_path)
        asked, answers = list[str](), list[str]()

        async def ask(n: int) -> None:
            asked.append(str(n))
            answer = await here.request("terminal/execute", terminal=terminal, command=f"echo {n}; echo {n} >> asked")
            answers.append(answer["output"])

        async with expecting(bridge.runtime, ActorExited, "/bridge/listener"):
            bridge.runtime.ref("/bridge/connections").kill()  # takes the listener with it
        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(ask, n)
        assert sorted(answers) == [f"{n}\r\n" for n in range(10)]
        assert (tmp_path / "asked").read_text().split() == asked


async def test_a_request_under_way_fails_when_the_connection_does_and_may_be_asked_again_by_its_key(
    bridge: Bridge, tmp_path: Path
) -> None:
    async with app(bridge.socket) as here:
        terminal = await here.terminal(tmp_path)
        command = {"terminal": terminal, "command": "echo ran >> runs; cat fifo", "requestKey": "once"}
        os.mkfifo(tmp_path / "fifo")
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ActorCrashed) as caught:
                    await here.link.call(IpcLink.request, "terminal/execute", command)
                assert isinstance(caught.value.__cause__, IpcError)

            nursery.start_soon(ask)
            with trio.fail_after(PATIENCE):
                writer = await trio.to_thread.run_sync(os.open, tmp_path / "fifo", os.O_WRONLY)
            here.cut()
        async with trio.open_nursery() as nursery:

            async def finish() -> None:
                os.write(writer, b"done")
                os.close(writer)

            nursery.start_soon(finish)
            answer = await here.link.call(IpcLink.request, "terminal/execute", command)
        assert answer["output"] == "done"
        assert (tmp_path / "runs").read_text() == "ran\n"


async def test_notifications_come_once_and_in_order_however_often_the_connection_fails(
    bridge: Bridge, tmp_path: Path
) -> None:
    async with app(bridge.socket) as here:
        terminal = await here.terminal(tmp_path)
        command = {
            "terminal": terminal,
            "command": "for n in {1..2000}; do echo line $n; ((n % 100)) || read -t 0.01; done; read < fifo",
            "requestKey": "1",
        }
        os.mkfifo(tmp_path / "fifo")
        gate = os.open(tmp_path / "fifo", os.O_RDWR)  # so that no answer comes before the last cut, however slow it is

        async def ask() -> None:
            with pytest.raises(ActorCrashed):
                await here.link.call(IpcLink.request, "terminal/execute", command)

        for _ in range(5):
            async with trio.open_nursery() as nursery, expecting(here.runtime, ChildRestarted, "/app/link"):
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                here.cut()
        os.write(gate, b"\n")
        await here.link.call(IpcLink.request, "terminal/execute", command)
        os.close(gate)
        wanted = "".join(f"line {n}\r\n" for n in range(1, 2001))
        with trio.fail_after(PATIENCE):
            while "".join(note["data"] for note in await here.heard()) != wanted:
                await trio.lowlevel.checkpoint()
        seqs = [note["seq"] for note in await here.heard()]
        assert seqs == list(range(1, len(seqs) + 1))
        assert here.session.missed == 0


async def test_a_link_to_a_bridge_that_was_started_anew_begins_a_new_session(tmp_path: Path) -> None:
    async def run(ended: trio.Event, task_status: trio.TaskStatus[Bridge]) -> None:
        async with running_bridge(tmp_path) as bridge:
            task_status.started(bridge)
            await ended.wait()

    async def say(word: str) -> None:
        terminal = await here.terminal(tmp_path)
        await here.request("terminal/execute", terminal=terminal, command=f"echo {word}")

    async with trio.open_nursery() as nursery:
        ended = [trio.Event(), trio.Event()]
        bridge: Bridge = await nursery.start(run, ended[0])
        async with app(bridge.socket) as here:
            await say("one")
            first = here.session.id
            async with expecting(here.runtime, ActorExited, "/app/link"):
                ended[0].set()
            await nursery.start(run, ended[1])
            await say("two")
            assert here.session.id != first
            with trio.fail_after(PATIENCE):
                while [note["data"] for note in await here.heard()] != ["one\r\n", "two\r\n"]:
                    await trio.lowlevel.checkpoint()
        ended[1].set()


async def test_a_first_connection_that_fails_is_a_failed_start(tmp_path: Path) -> None:
    with pytest.raises(
        StartFailed, match=r"/app/link could not be started: .*none\.sock can't be reached: No such file"
    ):
        async with Runtime(supervisor("app", child("link", lambda: IpcLink(tmp_path / "none.sock")))):
            pass


@pytest.mark.parametrize("connections", [0, -1, 1.5, True, "2"])
def test_a_link_needs_at_least_one_connection(connections: Any) -> None:
    with pytest.raises(ValueError, match="must be a whole number from 1 up"):
        IpcLink("path", connections=connections)


def test_a_link_needs_one_way_to_connect() -> None:
    with pytest.raises(ValueError, match="the path of a socket, or a function that connects"):
        IpcLink()


# --- against a peer that the test plays


class Peer:
    """The other end of a link, by hand."""

    def __init__(self) -> None:
        self._connected = trio.open_memory_channel[trio.StapledStream](10)
        self._reader = FrameReader()
        self._bodies: list[bytes] = []
        self.stream: Any = None

    async def connect(self) -> trio.abc.Stream:
        here, there = memory_stream_pair()
        await self._connected[0].send(there)
        return here

    async def accept(self, **answer: Any) -> Request:
        """Answer `initialize`; its request."""
        with trio.fail_after(PATIENCE):
            self.stream = await self._connected[1].receive()
        self._reader = FrameReader()
        request = await self.read()
        assert isinstance(request, Request)
        assert request.method == "initialize"
        await self.write(Response(request.id, {"session": "s", "gap": None, **answer}))
        return request

    async def read(self) -> Any:
        with trio.fail_after(PATIENCE):
            while not self._bodies:
                self._bodies += self._reader.feed(await self.stream.receive_some())
        return decode(self._bodies.pop(0))

    async def write(self, message: Any) -> None:
        await self.stream.send_all(frame(encode(message)))


def linked(peer: Peer, session: LinkSession | None = None) -> Runtime:
    session = session if session is not None else LinkSession()
    link = child("link", lambda: IpcLink(connect=peer.connect, session=session))
    return Runtime(supervisor("app", child("ear", lambda: Ear("/app/link/*")), link, max_restarts=100))


@asynccontextmanager
async def running(runtime: Runtime, peer: Peer) -> AsyncIterator[Runtime]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.accept)
        async with runtime:
            yield runtime


async def test_a_session_is_resumed_from_the_last_notification_and_a_gap_is_counted() -> None:
    peer, session = Peer(), LinkSession()
    async with running(linked(peer, session), peer) as runtime:
        await peer.write(Notification("note", {"seq": 1}))
        await peer.write(Notification("note", {"seq": 2}))
        await peer.write(Notification("note", {"seq": 2}))
        await peer.write(Notification("unnumbered", {}))
        async with expecting(runtime, ActorStarted, "/app/link"):
            await peer.stream.aclose()
            request = await peer.accept(gap={"from": 3, "to": 7})
        assert request.params["session"] == "s"
        assert request.params["lastSeq"] == 2
        assert (session.resumed, session.missed) == (1, 5)
        heard = [(each["method"], each["params"].get("seq")) for each in await runtime.ref("ear").call("all")]
        assert heard == [("note", 1), ("note", 2), ("unnumbered", None)]


async def test_a_peer_that_refuses_to_initialize_is_a_failure_that_says_so() -> None:
    peer = Peer()
    async with trio.open_nursery() as nursery:

        async def refuse() -> None:
            peer.stream = await peer._connected[1].receive()
            request = await peer.read()
            await peer.write(Response(request.id, error=RpcError(-32000, "not today")))

        nursery.start_soon(refuse)
        with pytest.raises(StartFailed, match="the peer refused to initialize: not today"):
            async with linked(peer):
                pass


async def test_a_peer_that_does_not_answer_initialize_is_a_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ukemi.actors.ipc.link.ANSWER_WITHIN", 0.02)
    with pytest.raises(StartFailed, match=r"the peer has not answered initialize within 0\.02 s"):
        async with linked(Peer()):
            pass


async def test_a_peer_that_says_what_is_no_message_is_the_links_failure() -> None:
    peer = Peer()
    async with running(linked(peer), peer) as runtime:
        async with expecting(runtime, ActorStarted, "/app/link"):
            await peer.stream.send_all(frame(b"[]"))
            await peer.accept()
        assert "the peer has sent what is no message" in runtime.events.of(ActorExited)[-1].reason


async def test_a_connection_that_the_peer_closes_while_it_is_idle_is_opened_again_when_there_is_use_for_it() -> None:
    peer, session = Peer(), LinkSession()
    link = child("link", lambda: IpcLink(connect=peer.connect, session=session, connections=2))
    runtime = Runtime(supervisor("app", link, max_restarts=0))
    async with running(runtime, peer) as runtime, trio.open_nursery() as nursery:
        ask = runtime.ref("link", IpcLink).within(PATIENCE).call
        main, reader = peer.stream, peer._reader
        for _ in range(2):
            peer.stream, peer._reader = main, reader
            nursery.start_soon(ask, IpcLink.request, "one", {}, "first lane")
            first = await peer.read()
            nursery.start_soon(ask, IpcLink.request, "two", {}, "second lane")
            request = await peer.accept()
            assert request.params == {"clientInfo": {"name": "ukemi.IpcLink"}, "session": "s", "join": True}
            second = await peer.read()
            await peer.write(Response(second.id, "two"))
            with trio.fail_after(PATIENCE):
                while (await ask(IpcLink.state)).unanswered > 1:
                    await trio.lowlevel.checkpoint()
            await peer.stream.aclose()
            with trio.fail_after(PATIENCE):
                while (await ask(IpcLink.state)).connections > 1:
                    await trio.lowlevel.checkpoint()
            peer.stream, peer._reader = main, reader
            await peer.write(Response(first.id, "one"))
            with trio.fail_after(PATIENCE):
                while (await ask(IpcLink.state)).unanswered:
                    await trio.lowlevel.checkpoint()
        assert runtime.tree().find("link").restarts == 0


async def test_a_peer_that_closes_before_it_has_answered_is_a_failed_start() -> None:
    peer = Peer()
    async with trio.open_nursery() as nursery:

        async def close() -> None:
            stream = await peer._connected[1].receive()
            await stream.aclose()

        nursery.start_soon(close)
        with pytest.raises(StartFailed):
            async with linked(peer):
                pass


async def test_a_link_refuses_requests_and_passes_over_answers_to_nothing() -> None:
    peer = Peer()
    async with running(linked(peer), peer) as runtime:
        await peer.write(Response(99, "what"))
        await peer.write(Request("a", "do", {}))
        answer = await peer.read()
        assert answer.id == "a"
        assert answer.error.message == "a link takes no requests"
        assert runtime.tree().find("link").restarts == 0


async def test_what_it_is_told_to_tell_reaches_the_peer() -> None:
    peer = Peer()
    async with running(linked(peer), peer) as runtime:
        runtime.ref("link", IpcLink).cast(IpcLink.notify, "exit")
        assert await peer.read() == Notification("exit", {})


async def test_a_killed_link_closes_its_connection() -> None:
    peer = Peer()
    async with running(linked(peer), peer) as runtime:
        old = peer.stream
        async with expecting(runtime, ActorStarted, "/app/link"):
            runtime.ref("link").kill()
            await peer.accept()
        with trio.fail_after(PATIENCE):
            assert await old.receive_some() == b""


async def test_a_link_killed_while_it_connects_closes_its_connection() -> None:
    peer, made = Peer(), list[Any]()

    async def killed_meanwhile() -> trio.abc.Stream:
        if made:
            return await Peer.connect(peer)
        made.extend(memory_stream_pair())
        runtime.ref("link").kill()
        return made[0]  # type: ignore[no-any-return]

    runtime = linked(peer)
    async with running(runtime, peer):
        peer.connect = killed_meanwhile  # type: ignore[method-assign]
        async with expecting(runtime, ActorStarted, "/app/link"):
            runtime.ref("link").kill()
            await peer.accept()
        with trio.fail_after(PATIENCE):
            assert await made[1].receive_some() == b""
