"""Which policy each part of the bridge is under, and what that means where the matrix as such would harm others."""

import errno
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from ukemi import Policy, Runtime
from ukemi.actors.errors import ActorStopped, MailboxFull, ParseError, ResourceExhausted
from ukemi.actors.events import ActorExited, ActorStarted, Event
from ukemi.actors.parser.stream import StreamParser
from ukemi.actors.terminal.marked import MarkedCommands
from ukemi.actors.terminal.process import PtyProcess
from ukemi.runtime.bridge import terminals as terminals_module
from ukemi.runtime.bridge.files import STORAGE
from ukemi.runtime.bridge.methods import METHODS
from ukemi.runtime.bridge.terminals import PARTS, SHELL
from ukemi.runtime.bridge.tree import BRIDGE, LISTENER, bridge_tree
from ukemi.runtime.bridge.watching import watcher_policy
from ukemi.supervisors.alerts import AlertRaised
from ukemi.supervisors.events import ChildRestarted
from ukemi.supervisors.recovery import OTP, Alert, Case, Restart, classify, decide
from ukemi.supervisors.recovery.guard import Guard

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE, expecting
from .test_bridge_recovers import connected, new_client_works, no_more_files, session_of, works


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path) as bridge:
        yield bridge


def policy_of(runtime: Runtime, path: str) -> Policy:
    guard = runtime.ref(path).cell.recovery
    assert isinstance(guard, Guard)
    return guard.policy


async def test_each_part_is_under_its_declared_policy(bridge: Bridge, tmp_path: Path) -> None:
    assert bridge_tree(tmp_path).tree.policy is BRIDGE
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        (connection,) = await bridge.runtime.ref("connections").call("children")
        policies = {
            "/bridge/listener": LISTENER,
            "/bridge/watcher": watcher_policy(BRIDGE),
            "/bridge/storage/worker-1": STORAGE,
            "/bridge/resources": BRIDGE,
            await session_of(bridge): OTP,
            connection.ref.path: OTP,
            f"/bridge/terminals/{terminal}/pty": SHELL,
            f"/bridge/terminals/{terminal}/commands": PARTS,
            f"/bridge/terminals/{terminal}/parser": PARTS,
        }
        for path, policy in policies.items():
            assert policy_of(bridge.runtime, path) == policy, path


@pytest.mark.parametrize(
    "error",
    [
        MailboxFull("/bridge/x", 1),
        ActorStopped("/bridge/x"),
        ParseError("f", 1, 1),
        ResourceExhausted("memory", 1, 1),
        MemoryError(),
        OSError(errno.EIO, "disk"),
        KeyError("a fault"),
    ],
)
def test_a_part_of_a_terminal_that_fails_over_a_message_never_goes_on_without_it(error: Exception) -> None:
    for tried in range(20):
        case = Case(failure=classify(error), tried=tried, has_message=True)
        assert decide(PARTS, case) == Restart()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN])
def test_a_shell_that_can_not_be_started_for_want_of_files_is_tried_four_times_and_then_its_user_told(
    number: int,
) -> None:
    failure = classify(OSError(number, "no"))
    actions = [decide(SHELL, Case(failure=failure, tried=tried)) for tried in range(6)]
    assert actions == [Restart()] * 4 + [Alert()] * 2


# --- faults in the middle of a terminal's messages, put in


def failing_once(function: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """The function, which raises this the first time."""
    left = [error]

    def fails(*args: Any) -> Any:
        if left:
            raise left.pop()
        return function(*args)

    return fails


@pytest.mark.parametrize("error", [ActorStopped("/x"), MailboxFull("/x", 1), KeyError("x")], ids=repr)
@pytest.mark.parametrize(("kind", "method"), [(MarkedCommands, "_printed"), (StreamParser, "_pass_on")])
async def test_what_fails_between_shell_and_command_costs_no_byte_and_hangs_nobody(
    bridge: Bridge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Any],
    method: str,
    error: Exception,
) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        await works(client, terminal)
        part = "commands" if kind is MarkedCommands else "parser"
        async with expecting(bridge.runtime, ActorExited, f"/bridge/terminals/{terminal}/{part}"):
            with monkeypatch.context() as patched:
                patched.setattr(kind, method, failing_once(getattr(kind, method), error))
                id = await client.ask("terminal/execute", terminal=terminal, command="echo on")
                with nullcontext() if kind is StreamParser else suppress(Failed):  # its command in hand is lost
                    assert (await client.answer(id))["output"] == "on\r\n"
        await works(client, terminal)


async def test_a_kill_that_fails_for_want_of_files_ends_the_shell_all_the_same(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)

        async def kill_session(_: Any, shell: int | None = None) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(PtyProcess._ukemi_methods.own["kill_session"], "function", kill_session)
        async with expecting(bridge.runtime, ChildRestarted, f"/bridge/terminals/{terminal}/parser"):
            bridge.runtime.ref(f"/bridge/terminals/{terminal}/pty").cast("kill_session")
        await works(client, terminal)
        assert bridge.runtime.features.quality.level == 3


# --- clients


@pytest.mark.parametrize("error", [MemoryError, RecursionError, KeyError])
async def test_a_request_whose_handler_fails_ends_its_clients_session_and_nothing_else(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def fail(*_: Any) -> dict[str, Any]:
        raise error("too much")

    async with bridge.client() as other:
        terminal = await other.terminal(tmp_path)
        client = await bridge.connect()
        async with client.stream:
            await client.request("initialize")
            with monkeypatch.context() as patched:
                patched.setitem(METHODS, "terminal/list", attrs.evolve(METHODS["terminal/list"], handler=fail))
                await client.ask("terminal/list")
                await client.closed()
        if error is MemoryError:  # which everybody feels: all that can be freed is, and terminals do with less
            done = await other.request("terminal/execute", terminal=terminal, command="echo works")
            assert (done["mode"], "works" in done["output"]) == ("no integration", True)
        else:
            await works(other, terminal)
            await new_client_works(bridge, tmp_path)
        known = {each["operation"]: each for each in (await other.request("runtime/metrics"))["operations"]}
        assert known["terminal/list"]["failures"] == 1
        assert not bridge.runtime.is_stopping


async def test_garbage_from_one_client_again_and_again_degrades_nothing_and_alerts_nobody(bridge: Bridge) -> None:
    async with bridge.client() as client:
        for _ in range(20):
            other = await bridge.connect()
            async with other.stream:
                await other.stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
                with pytest.raises(Failed) as caught:
                    await other.answer(None)
                assert caught.value.data["category"] == "Network"
                await other.closed()
        health = await client.request("runtime/health")
        assert (health["score"], health["alerts"], health["down"]) == (1.0, [], [])
        assert bridge.runtime.tree().find("connections").restarts == 0


# --- the listener


@pytest.mark.cell("Resource/Recoverable: then")
async def test_no_file_for_more_clients_lowers_the_quality_which_those_that_are_there_are_told(
    bridge: Bridge, tmp_path: Path
) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        with trio.socket.socket(trio.socket.AF_UNIX) as one_too_many, no_more_files():
            await connected(one_too_many, bridge)
            await client.until(lambda: client.notes != [])
        assert client.notes[0]["params"] == {
            "feature": "decorations",
            "state": "degraded",
            "because": "quality",
            "seq": 1,
        }
        await works(client, terminal)
        assert bridge.runtime.events.of(AlertRaised) == []
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            await connected(sock, bridge)
            other = Client(trio.SocketStream(sock))
            await other.request("initialize")
            await works(other, terminal)


# --- what is stopped by hand


async def test_what_a_shell_prints_while_its_parser_is_stopped_is_parsed_once_there_is_one(
    bridge: Bridge, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        id = await client.ask("terminal/execute", terminal=terminal, command="echo begun; cat go; touch done")
        await client.output(terminal, "begun")
        parts = bridge.runtime.ref(f"/bridge/terminals/{terminal}")
        await parts.call("stop_child", "parser")
        await trio.to_thread.run_sync((tmp_path / "go").write_text, "printed\n")
        with trio.fail_after(PATIENCE):
            while not (tmp_path / "done").exists():
                await trio.sleep(0.001)
        await parts.call("restart_child", "parser")
        assert (await client.answer(id))["output"] == "begun\r\nprinted\r\n"
        assert bridge.runtime.tree().find(f"/bridge/terminals/{terminal}/pty").restarts == 0


async def test_a_shell_that_ends_while_its_parser_is_stopped_is_restarted(bridge: Bridge, tmp_path: Path) -> None:
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        await works(client, terminal)
        parts, pty = f"/bridge/terminals/{terminal}", f"/bridge/terminals/{terminal}/pty"
        await bridge.runtime.ref(parts).call("stop_child", "parser")
        async with expecting(bridge.runtime, ChildRestarted, pty):
            os.kill(await bridge.runtime.ref(pty).call("pid"), signal.SIGKILL)
        assert "SIGKILL" in bridge.runtime.events.of(ChildRestarted)[-1].reason
        await works(client, terminal)


async def test_a_shell_that_ends_while_what_needs_it_starts_holds_nobody_up(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminals_module, "PART_START", 0.1)
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        await works(client, terminal)
        pty, kills = bridge.runtime.ref(f"/bridge/terminals/{terminal}/pty"), [1]

        def kill_once_started(event: Event) -> None:
            if isinstance(event, ActorStarted) and event.path == pty.path and kills:
                kills.pop()
                pty.kill()

        end = bridge.runtime.events.listen(kill_once_started)
        async with expecting(bridge.runtime, ChildRestarted, f"/bridge/terminals/{terminal}/parser"):
            pty.kill()
        end()
        assert kills == []
        await works(client, terminal)
