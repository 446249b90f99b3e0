"""What a bridge's clients are told of how well it does: alerts and features as they come, and answers when they ask."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi.actors.events import ActorStarted, DeadLetter
from ukemi.runtime.bridge.overview import overall_score
from ukemi.supervisors.alerts import AlertRaised, raise_alert
from ukemi.supervisors.events import ChildRestarted, FellBack
from ukemi.supervisors.feature_states import FeatureState

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE, expecting


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path) as bridge:
        yield bridge


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


def alert(bridge: Bridge, message: str, severity: str = "Critical") -> None:
    raise_alert(bridge.runtime.system, path="/bridge/listener", severity=severity, message=message, kind="test")


def told(client: Client, method: str) -> list[dict[str, Any]]:
    """The notifications of this method, without their numbers."""
    notes = [note["params"] for note in client.notes if note["method"] == method]
    return [{key: value for key, value in params.items() if key != "seq"} for params in notes]


async def kill_shell(bridge: Bridge, terminal: str) -> None:
    os.kill(await bridge.runtime.ref(f"/bridge/terminals/{terminal}/pty").call("pid"), signal.SIGKILL)


async def kill_for_good(bridge: Bridge, terminal: str) -> None:
    """Kill a shell until it stays down: the matrix restarts it once, and once more, and then tells the user."""
    for _ in range(2):
        async with expecting(bridge.runtime, ChildRestarted, f"/bridge/terminals/{terminal}/parser"):
            await kill_shell(bridge, terminal)
    async with expecting(bridge.runtime, AlertRaised, f"/bridge/terminals/{terminal}/pty"):
        await kill_shell(bridge, terminal)


async def state_of(client: Client, terminal: str, state: str) -> None:
    """Wait until a terminal is in this state."""
    with trio.fail_after(PATIENCE):
        while True:
            states = {each["terminal"]: each["state"] for each in (await client.request("terminal/list"))["terminals"]}
            if states[terminal] == state:
                return


async def runs(client: Client, terminal: str, command: str) -> str:
    output: str = (await client.request("terminal/execute", terminal=terminal, command=command))["output"]
    return output


# --- a shell that dies again and again


@pytest.mark.cell("Terminal/Critical: first", "Terminal/Critical: then")
async def test_a_shell_that_dies_again_and_again_is_restarted_then_the_user_is_told(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal, other = await client.terminal(tmp_path), await client.terminal(tmp_path)
    await kill_for_good(bridge, terminal)
    await client.until(lambda: told(client, "runtime/alert") != [])
    assert told(client, "runtime/alert") == [
        {
            "severity": "Critical",
            "component": f"/bridge/terminals/{terminal}/pty",
            "message": "ShellExited: bash has ended: Process terminated by signal SIGKILL",
        }
    ]
    await state_of(client, terminal, "stopped")
    with pytest.raises(Failed, match="is not running") as caught:
        await runs(client, terminal, "echo lost")
    assert caught.value.data["category"] == "Terminal"
    assert caught.value.data["severity"] == "Warning"
    assert await runs(client, other, "echo well") == "well\r\n"


async def test_a_terminal_that_is_down_is_started_by_hand_with_its_name_and_folder(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path)
    await runs(client, terminal, "mkdir sub; cd sub")
    await kill_for_good(bridge, terminal)
    await state_of(client, terminal, "stopped")
    assert await client.request("terminal/restart", terminal=terminal) == {}
    assert await runs(client, terminal, "pwd") == f"{tmp_path}/sub\r\n"
    await state_of(client, terminal, "running")


async def test_a_terminal_that_is_down_can_be_closed(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    await kill_for_good(bridge, terminal)
    await client.request("terminal/close", terminal=terminal)
    assert (await client.request("terminal/list"))["terminals"] == []


async def test_commands_that_wait_for_a_shell_that_is_given_up_are_answered(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path)
    for _ in range(2):
        async with expecting(bridge.runtime, ChildRestarted, f"/bridge/terminals/{terminal}/parser"):
            await kill_shell(bridge, terminal)
    running = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
    await client.output(terminal, "begun")
    async with bridge.client() as other:
        waiting = await other.ask("terminal/execute", terminal=terminal, command="echo never")
        with trio.fail_after(PATIENCE):
            while bridge.runtime.ref(f"/bridge/terminals/{terminal}/commands").stats().waiting == 0:
                await trio.sleep(0.001)
        await kill_shell(bridge, terminal)
        with pytest.raises(Failed, match="SIGKILL") as lost:
            await client.answer(running)
        assert (lost.value.data["severity"], lost.value.data["retryable"]) == ("Recoverable", False)
        with pytest.raises(Failed, match="commands"):
            await other.answer(waiting)


async def test_a_shell_that_hangs_is_replaced_by_hand(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    hanging = await client.ask("terminal/execute", terminal=terminal, command="trap '' INT; echo begun; sleep 1000")
    await client.output(terminal, "begun")
    await client.request("terminal/restart", terminal=terminal)
    with pytest.raises(Failed):
        await client.answer(hanging)
    assert await runs(client, terminal, "echo on") == "on\r\n"


async def test_a_terminal_that_is_not_there_can_not_be_restarted(client: Client) -> None:
    with pytest.raises(Failed, match="there is no terminal 'no'") as caught:
        await client.request("terminal/restart", terminal="no")
    assert caught.value.code == -32602


async def test_a_shell_whose_folder_is_gone_is_replaced_by_the_least_one_until_the_folder_is_back(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    terminal = await client.terminal(tmp_path, cwd=str(tmp_path / "sub"))
    await runs(client, terminal, "true")
    (tmp_path / "sub").rmdir()
    async with expecting(bridge.runtime, FellBack, f"/bridge/terminals/{terminal}/pty"):
        await kill_shell(bridge, terminal)
    answer = await client.request("terminal/execute", terminal=terminal, command="pwd; echo $TERM")
    assert (answer["output"], answer["exitCode"], answer["mode"]) == (f"{tmp_path}\r\ndumb\r\n", None, "minimal")
    (tmp_path / "sub").mkdir()
    await client.request("terminal/restart", terminal=terminal)
    answer = await client.request("terminal/execute", terminal=terminal, command="pwd")
    assert (answer["output"], answer["mode"]) == (f"{tmp_path}/sub\r\n", "full")


# --- alerts and features, as they come


async def test_an_alert_reaches_every_client_with_a_number(bridge: Bridge, client: Client) -> None:
    async with bridge.client() as other:
        alert(bridge, "fire", "Warning")
        for each in (client, other):
            await each.until(lambda each=each: each.notes != [])
            (note,) = each.notes
            assert note == {
                "jsonrpc": "2.0",
                "method": "runtime/alert",
                "params": {"severity": "Warning", "component": "/bridge/listener", "message": "fire", "seq": 1},
            }


async def test_an_alert_that_is_no_text_harms_no_client(tmp_path: Path) -> None:
    async with running_bridge(tmp_path, encode=False) as bridge, bridge.client() as client:
        alert(bridge, "a \udcff b")
        await client.until(lambda: client.notes != [])
        assert told(client, "runtime/alert")[0]["message"] == "a \\udcff b"
        assert (await client.request("runtime/health"))["alerts"][0]["message"] == "a \\udcff b"


async def test_a_client_that_comes_back_gets_the_alerts_it_missed_once_and_in_order(bridge: Bridge) -> None:
    client = await bridge.connect()
    async with client.stream:
        session = (await client.request("initialize"))["session"]
        alert(bridge, "one")
        alert(bridge, "two")
        await client.until(lambda: len(client.notes) == 2)
    for n in ("three", "four"):
        alert(bridge, n)
    bridge.runtime.features.set_quality(2)
    again = await bridge.connect()
    async with again.stream:
        answer = await again.request("initialize", session=session, lastSeq=2)
        assert (answer["resumed"], answer["lastSeq"], answer["gap"]) == (True, 5, None)
        alert(bridge, "five")
        await again.until(lambda: len(again.notes) == 4)
        await again.request("terminal/list")
        assert [note["params"]["seq"] for note in again.notes] == [3, 4, 5, 6]
        assert [each["message"] for each in told(again, "runtime/alert")] == ["three", "four", "five"]
        assert again.notes[2]["method"] == "runtime/feature"


async def test_each_feature_that_the_quality_turns_off_is_told_and_each_that_comes_back(
    bridge: Bridge, client: Client
) -> None:
    features = bridge.runtime.features
    features.set_quality(0)
    await client.until(lambda: len(client.notes) == 3)
    assert told(client, "runtime/feature") == [
        {"feature": "shell_integration", "state": "degraded", "because": "quality"},
        {"feature": "decorations", "state": "degraded", "because": "quality"},
        {"feature": "file_watching", "state": "degraded", "because": "quality"},
    ]
    features.set_quality(2)
    await client.until(lambda: len(client.notes) == 5)
    assert [(each["feature"], each["state"]) for each in told(client, "runtime/feature")[3:]] == [
        ("shell_integration", "whole"),
        ("file_watching", "whole"),
    ]


async def test_decorations_go_with_shell_integration(bridge: Bridge, client: Client) -> None:
    bridge.runtime.features.degrade("shell_integration", "manual")
    await client.until(lambda: len(client.notes) == 2)
    assert told(client, "runtime/feature")[1] == {
        "feature": "decorations",
        "state": "degraded",
        "because": "shell_integration is degraded",
    }


async def test_a_session_that_has_ended_is_told_nothing_more(bridge: Bridge, client: Client) -> None:
    other = await bridge.connect()
    async with other.stream:
        await other.request("initialize")
        await other.notify("exit")
        await other.closed()
    letters = len(bridge.runtime.events.of(DeadLetter))
    alert(bridge, "fire")
    await client.until(lambda: client.notes != [])
    assert other.notes == []
    assert len(bridge.runtime.events.of(DeadLetter)) == letters


# --- what is asked


async def test_features_tells_the_state_of_each_and_the_quality(bridge: Bridge, client: Client) -> None:
    answer = await client.request("runtime/features")
    assert [(each["feature"], each["state"]) for each in answer["features"]] == [
        ("shell_integration", "whole"),
        ("decorations", "whole"),
        ("file_watching", "whole"),
    ]
    assert answer["quality"] == {
        "level": 3,
        "of": 3,
        "turnedOff": [],
        "pinned": False,
        "pressure": None,
        "risesIn": None,
    }
    bridge.runtime.features.lower_quality()
    answer = await client.request("runtime/features")
    assert answer["features"][1]["reasons"] == ["quality"]
    assert answer["quality"]["turnedOff"] == ["decorations"]
    assert 0 < answer["quality"]["risesIn"] <= 30


async def test_health_is_whole_at_first_and_tells_what_is_not(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    answer = await client.request("runtime/health")
    assert (answer["score"], answer["alerts"], answer["down"]) == (1.0, [], [])
    terminal = await client.terminal(tmp_path)
    await kill_for_good(bridge, terminal)
    await state_of(client, terminal, "stopped")
    bridge.runtime.features.set_quality(2)
    answer = await client.request("runtime/health")
    assert 0 < answer["score"] < 2 / 3
    assert [each["component"] for each in answer["down"]] == [
        f"/bridge/terminals/{terminal}/{part}" for part in ("pty", "commands", "parser")
    ]
    assert answer["alerts"][0]["component"] == f"/bridge/terminals/{terminal}/pty"
    assert answer["alerts"][0]["ago"] >= 0
    assert (answer["quality"]["level"], answer["quality"]["pinned"]) == (2, True)


async def test_each_request_is_an_operation_and_what_fails_is_counted(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    await runs(client, terminal, "true")
    with pytest.raises(Failed):
        await runs(client, terminal, "exit 3")
    with pytest.raises(Failed):
        await client.request("terminal/execute", terminal="no", command="true")  # the client's own mistake
    for n in range(40):
        with pytest.raises(Failed):
            await client.request(f"no/such/{n}")
    answer = await client.request("runtime/metrics")
    known = {each["operation"]: each for each in answer["operations"]}
    assert {name: (each["count"], each["failures"]) for name, each in known.items()} == {
        "initialize": (1, 0),
        "terminal/create": (1, 0),
        "terminal/execute": (3, 1),
    }
    assert 0 < known["terminal/execute"]["p50"] <= known["terminal/execute"]["p99"] <= known["terminal/execute"]["p999"]
    one = await client.request("runtime/metrics", operation="terminal/execute")
    assert one["operations"] == [known["terminal/execute"]]
    with pytest.raises(Failed, match="no operation 'walk' was recorded; those that were: initialize, "):
        await client.request("runtime/metrics", operation="walk")


async def test_a_cancelled_request_is_no_operation(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    id = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
    await client.output(terminal, "begun")
    await client.notify("$/cancelRequest", id=id)
    with pytest.raises(Failed) as caught:
        await client.answer(id)
    assert (caught.value.data["category"], caught.value.data["severity"]) == ("UserCancelled", "Info")
    known = {each["operation"] for each in (await client.request("runtime/metrics"))["operations"]}
    assert "terminal/execute" not in known


async def test_the_tree_tells_of_fallbacks_and_circuits(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    parts = bridge.runtime.ref(f"/bridge/terminals/{terminal}")
    await parts.call("open_circuit", "pty", 1000.0)
    tree = await client.request("runtime/tree")
    (terminals,) = [child for child in tree["children"] if child["name"] == "terminals"]
    pty = terminals["children"][0]["children"][0]
    assert (pty["state"], pty["fallback"], pty["circuit"]["state"]) == ("open", None, "open")
    assert 0 < pty["circuit"]["seconds_left"] <= 1000
    with pytest.raises(Failed):
        await runs(client, terminal, "true")
    async with expecting(bridge.runtime, ActorStarted, f"/bridge/terminals/{terminal}/parser"):
        await parts.call("close_circuit", "pty")
    assert await runs(client, terminal, "echo on") == "on\r\n"


# --- the score


def feature(score: float | None = None, *, degraded: bool = False) -> FeatureState:
    return FeatureState(
        feature="f",
        degraded=degraded,
        score=score,
        threshold=0.5,
        reasons=(),
        because_of=None,
        fallback=None,
        since=0.0,
    )


@pytest.mark.parametrize(
    ("states", "components", "down", "score"),
    [
        ([], 10, 0, 1.0),
        ([], 10, 5, 0.5),
        ([feature(), feature(degraded=True)], 10, 0, 0.5),
        ([feature(0.6), feature()], 10, 0, 0.8),
        ([feature(0.9, degraded=True)], 10, 0, 0.0),
        ([feature(), feature(degraded=True)], 10, 5, 0.25),
    ],
)
def test_the_score_is_what_is_left_of_the_features_times_what_runs(
    states: list[FeatureState], components: int, down: int, score: float
) -> None:
    assert overall_score(states, components=components, down=down) == pytest.approx(score)
