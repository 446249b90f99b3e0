"""Unix sockets: for their owner only, and not blocked by a dead one."""

import os
import socket
import stat
from pathlib import Path

import pytest
import trio

from ukemi import Runtime, child, supervisor
from ukemi.actors.events import ActorExited
from ukemi.actors.ipc import listener as listener_module
from ukemi.actors.ipc.listener import Listener
from ukemi.actors.ipc.sockets import LONGEST, BadSocketPath, SocketInUse, connect_unix, listen_unix, peer_of
from ukemi.supervisors.events import ChildRestarted

from ...expecting import expecting


async def test_a_socket_is_its_owners_only_from_the_first_moment_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, modes = tmp_path / "s", list[int]()

    def look(sock: trio.socket.SocketType, *args: int) -> None:
        assert not path.exists()  # once it is there, it listens
        (made,) = tmp_path.iterdir()
        modes.append(stat.S_IMODE(made.stat().st_mode))
        sock._sock.listen(*args)  # type: ignore[attr-defined]

    before = os.umask(0)
    try:
        monkeypatch.setattr("trio._socket._SocketType.listen", look)
        listener = await listen_unix(path)
    finally:
        os.umask(before)
    async with listener:
        assert modes == [0o600]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]


async def test_both_ends_talk_and_know_each_other(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with (
        await listen_unix(path) as listener,
        await connect_unix(path) as client,
        await listener.accept() as server,
    ):
        await client.send_all(b"hello")
        assert await server.receive_some() == b"hello"
        assert peer_of(server.socket) == (os.getpid(), os.geteuid(), os.getegid())


async def test_a_dead_owners_socket_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
        dead.listen()
    async with await listen_unix(tmp_path / "s"), await connect_unix(tmp_path / "s"):
        pass


async def test_a_live_owners_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with await listen_unix(tmp_path / "s"):
        with pytest.raises(SocketInUse, match=rf"in use by a live process \(pid {os.getpid()}\)"):
            await listen_unix(tmp_path / "s")
        async with await connect_unix(tmp_path / "s"):
            pass


@pytest.mark.parametrize("use", [listen_unix, connect_unix])
async def test_a_path_that_is_too_long_is_refused_with_its_length(tmp_path: Path, use: object) -> None:
    path = tmp_path / ("x" * (LONGEST - len(os.fsencode(tmp_path))))
    assert len(os.fsencode(path)) == LONGEST + 1
    with pytest.raises(BadSocketPath, match="108 bytes long; at most 107 fit: choose a shorter folder"):
        await use(path)  # type: ignore[operator]


async def test_the_longest_path_is_taken(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (LONGEST - 1 - len(os.fsencode(tmp_path))))
    async with await listen_unix(path), await connect_unix(path):
        pass


async def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(BadSocketPath, match="exists and is no socket"):
        await listen_unix(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "mine"


async def test_nobody_to_connect_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "s")):
        await connect_unix(tmp_path / "s")


async def test_a_listen_that_fails_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        await listen_unix(tmp_path / "missing" / "s")
    async with await listen_unix(tmp_path / "s"):
        with pytest.raises(SocketInUse):
            await listen_unix(tmp_path / "s")
    assert len(os.listdir("/proc/self/fd")) == before


# --- the actor


def listening(path: Path, hand_over: object) -> Runtime:
    return Runtime(supervisor("app", child("door", lambda: Listener(path, hand_over)), max_restarts=100))  # type: ignore[arg-type]


async def test_connections_are_handed_over(tmp_path: Path) -> None:
    send, receive = trio.open_memory_channel[trio.SocketStream](10)
    with trio.fail_after(20):
        async with (
            listening(tmp_path / "s", send.send),
            await connect_unix(tmp_path / "s") as client,
            await receive.receive() as server,
        ):
            await server.send_all(b"welcome")
            assert await client.receive_some() == b"welcome"
    assert not (tmp_path / "s").exists()


async def test_a_killed_listener_lets_go_of_its_socket_and_listens_again(tmp_path: Path) -> None:
    send, receive = trio.open_memory_channel[trio.SocketStream](10)
    with trio.fail_after(20):
        async with listening(tmp_path / "s", send.send) as runtime:
            before = len(os.listdir("/proc/self/fd"))
            async with expecting(runtime, ChildRestarted, "/app/door"):
                runtime.ref("door").kill()
            assert len(os.listdir("/proc/self/fd")) == before
            async with await connect_unix(tmp_path / "s"), await receive.receive():
                pass
            assert runtime.tree().find("door").restarts == 1


async def test_a_listener_killed_while_it_begins_to_listen_lets_go_of_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[trio.SocketListener]()

    async def killed_meanwhile(path: Path) -> trio.SocketListener:
        made.append(await listen_unix(path))
        if len(made) == 2:
            runtime.ref("door").kill()
        return made[-1]

    monkeypatch.setattr(listener_module, "listen_unix", killed_meanwhile)
    with trio.fail_after(20):
        async with listening(tmp_path / "s", None) as runtime:
            async with expecting(runtime, ChildRestarted, "/app/door"):
                runtime.ref("door").kill()
            assert [listener.socket.fileno() < 0 for listener in made] == [True, True, False]


async def test_a_hand_over_that_fails_closes_the_connection_and_is_the_listeners_failure(tmp_path: Path) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        raise RuntimeError("no room")

    with trio.fail_after(20):
        async with listening(tmp_path / "s", refuse) as runtime:
            async with expecting(runtime, ActorExited, "/app/door"), await connect_unix(tmp_path / "s") as client:
                assert await client.receive_some() == b""
            assert "no room" in runtime.events.of(ActorExited)[-1].reason


async def test_another_users_connection_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "is_own", lambda sock: False)
    async with listening(tmp_path / "s", None), await connect_unix(tmp_path / "s") as client:
        with trio.fail_after(20):
            assert await client.receive_some() == b""
