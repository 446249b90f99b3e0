"""The client of the debug socket, for programs that do not run on trio."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi.runtime.debug.client import Client, CommandFailed, NoRuntime, RuntimeEnded

from .debug_shop import open_shop


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Path]:
    """A socket where nobody ever answers."""
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def test_where_nobody_answers_the_client_says_so_after_its_timeout(silent: Path) -> None:
    with pytest.raises(NoRuntime, match=r"did not answer hello within 0.01 s; it may be stalled"):
        Client(silent, timeout=0.01)


def test_where_no_socket_is_the_client_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(NoRuntime, match="there is no such socket") as error:
        Client(tmp_path / "none.sock")
    assert str(tmp_path / "none.sock") in str(error.value)


def test_a_file_that_is_no_socket_is_no_runtime(tmp_path: Path) -> None:
    (tmp_path / "debug.sock").write_text("")
    with pytest.raises(NoRuntime, match="the one that did has ended"):
        Client(tmp_path / "debug.sock")


async def test_commands_from_several_threads_get_their_own_answers(tmp_path: Path) -> None:
    answers: list[int] = []

    def work(client: Client) -> None:
        args = {"actor": "counter", "method": "add", "args": [1]}
        answers.extend(client.run("call", args) for _ in range(50))

    def many() -> None:
        with Client(tmp_path / "debug.sock") as client:
            threads = [threading.Thread(target=work, args=(client,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    async with open_shop(tmp_path):
        await trio.to_thread.run_sync(many)
    assert sorted(answers) == list(range(1, 201))


async def test_events_come_beside_the_answers_and_the_end_is_told(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    ended = threading.Event()

    def watch() -> None:
        with Client(tmp_path / "debug.sock", on_event=events.append, on_end=ended.set) as client:
            client.run("trace", {"actor": "counter"})
            client.run("call", {"actor": "counter", "method": "add", "args": [1]})
            with pytest.raises(CommandFailed, match="nobody") as error:
                client.run("kill", {"actor": "nobody"})
            assert error.value.type == "ComponentNotFound"
            client.run("stop", {"actor": "shop"})
            ended.wait(10)
            with pytest.raises(RuntimeEnded):
                client.run("tree")

    async with open_shop(tmp_path):
        await trio.to_thread.run_sync(watch)
    assert [event["method"] for event in events] == ["add"]
