"""The bridge as its clients see it: every method, every error, over a real socket, with real shells."""

import base64
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ukemi.runtime.bridge.methods import METHODS

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    before = len(os.listdir("/proc/self/fd"))
    async with running_bridge(tmp_path) as bridge:
        yield bridge
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


async def failure(client: Client, method: str, **params: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        await client.request(method, **params)
    return caught.value


# --- beginning and ending


async def test_the_socket_is_its_owners_only(bridge: Bridge) -> None:
    assert stat.S_IMODE(bridge.socket.stat().st_mode) == 0o600


async def test_initialize_tells_the_session_and_what_the_server_can(bridge: Bridge) -> None:
    async with (await bridge.connect()).stream as stream:
        client = Client(stream)
        answer = await client.request("initialize", clientInfo={"name": "test"})
        assert answer["serverInfo"]["name"] == "ukemi"
        assert answer["capabilities"] == {"terminal": True, "file": True, "watch": True, "runtime": True}
        assert (answer["resumed"], answer["lastSeq"], answer["gap"]) == (False, 0, None)
        assert len(answer["session"]) >= 16


async def test_nothing_is_answered_before_initialize_and_that_only_once(bridge: Bridge) -> None:
    client = await bridge.connect()
    async with client.stream:
        assert (await failure(client, "runtime/tree")).code == -32002
        assert (await failure(client, "shutdown")).code == -32002
        await client.notify("$/cancelRequest", id=1)
        assert (await failure(client, "initialize", lastSeq=-1)).code == -32602
        assert (await failure(client, "initialize", lastSeq=True)).code == -32602
        await client.request("initialize")
        assert (await failure(client, "initialize")).code == -32600
        assert await client.request("shutdown") is None


async def test_exit_ends_the_session_and_the_connection(bridge: Bridge) -> None:
    client = await bridge.connect()
    async with client.stream:
        session = (await client.request("initialize"))["session"]
        await client.notify("exit")
        await client.closed()
    again = await bridge.connect()
    async with again.stream:
        answer = await again.request("initialize", session=session, lastSeq=5)
        assert answer["session"] != session
        assert (answer["resumed"], answer["gap"]) == (False, None)


async def test_exit_without_initialize_ends_the_connection(bridge: Bridge) -> None:
    client = await bridge.connect()
    async with client.stream:
        await client.notify("exit")
        await client.closed()


@pytest.mark.parametrize("name", ["../terminals", "", "x/../y", 7, None, "/bridge", "no such"])
async def test_a_session_that_is_none_is_a_new_one(bridge: Bridge, name: Any) -> None:
    client = await bridge.connect()
    async with client.stream:
        answer = await client.request("initialize", session=name)
        assert not answer["resumed"]
        assert answer["session"] != name


# --- terminals


async def test_a_command_is_answered_with_output_exit_code_and_folder(client: Client, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    terminal = await client.terminal(tmp_path)
    answer = await client.request("terminal/execute", terminal=terminal, command="cd sub; echo hello; (exit 3)")
    assert answer.pop("duration") >= 0
    assert answer == {
        "output": "hello\r\n",
        "encoding": "utf-8",
        "exitCode": 3,
        "cwd": f"{tmp_path}/sub",
        "mode": "full",
        "truncated": False,
    }


async def test_a_terminal_is_made_as_asked(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path, shell="bash", cols=100, rows=30, env={"COLOUR": "teal"})
    answer = await client.request("terminal/execute", terminal=terminal, command="stty size; echo $COLOUR; pwd")
    assert answer["output"] == f"30 100\r\nteal\r\n{tmp_path}\r\n"


async def test_all_that_a_command_prints_is_told_before_its_answer(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    for n in range(30):
        id = await client.ask("terminal/execute", terminal=terminal, command=f"echo one {n}; echo two {n}")
        await client.answer(id)
        assert client.order[-1] == id
        assert client.printed(terminal).endswith(f"one {n}\r\ntwo {n}\r\n")
    assert [note["params"]["seq"] for note in client.notes] == list(range(1, len(client.notes) + 1))


async def test_output_that_is_no_text_comes_as_base64(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    answer = await client.request("terminal/execute", terminal=terminal, command=r"printf 'a\xffb'")
    assert (base64.b64decode(answer["output"]), answer["encoding"]) == (b"a\xffb", "base64")
    assert client.notes[0]["params"]["encoding"] == "base64"


async def test_a_folder_that_is_no_text_is_told_as_well_as_it_can_be(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/a\xffb")
    async with running_bridge(tmp_path, encode=False) as bridge, bridge.client() as client:
        terminal = await client.terminal(tmp_path)
        answer = await client.request("terminal/execute", terminal=terminal, command=r"cd $'a\xffb'")
        assert answer["cwd"] == f"{tmp_path}/a\ufffdb"


async def test_a_clients_commands_run_in_the_order_in_which_it_asked(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    ids = [await client.ask("terminal/execute", terminal=terminal, command=f"echo {n} >> ran") for n in range(30)]
    for id in ids:
        await client.answer(id)
    assert (tmp_path / "ran").read_text().split() == [str(n) for n in range(30)]


async def test_terminals_are_listed_and_closed(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    one, two = await client.terminal(tmp_path), await client.terminal(tmp_path)
    assert (await client.request("terminal/list"))["terminals"] == [
        {"terminal": one, "state": "running"},
        {"terminal": two, "state": "running"},
    ]
    pid = await bridge.runtime.ref(f"/bridge/terminals/{one}/pty").call("pid")
    under_way = await client.ask("terminal/execute", terminal=one, command="sleep 1000")
    assert await client.request("terminal/close", terminal=one) == {}
    with pytest.raises(Failed, match=r"stopped before it answered|was deleted") as caught:
        await client.answer(under_way)  # which had begun, or still waited
    assert caught.value.data["category"] == "Terminal"
    assert [each["terminal"] for each in (await client.request("terminal/list"))["terminals"]] == [two]
    assert not Path(f"/proc/{pid}/exe").exists()
    assert (await failure(client, "terminal/close", terminal=one)).code == -32602


async def test_a_timeout_is_kept_and_the_terminal_goes_on(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    failed = await failure(client, "terminal/execute", terminal=terminal, command="sleep 1000", timeout=0.1)
    assert str(failed) == "Command execution timed out after 100ms"
    assert failed.data == {
        "category": "Timeout",
        "severity": "Recoverable",
        "retryable": True,
        "fallbackAvailable": False,
        "component": f"/bridge/terminals/{terminal}",
    }
    assert (await client.request("terminal/execute", terminal=terminal, command="echo on"))["output"] == "on\r\n"


async def test_a_shell_that_exits_under_a_command_is_named_as_the_reason(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    failed = await failure(client, "terminal/execute", terminal=terminal, command="exit 3")
    assert str(failed) == f"the shell of /bridge/terminals/{terminal} has ended: Exit code: 3"
    assert failed.data["category"] == "Terminal"
    assert failed.data["component"] == f"/bridge/terminals/{terminal}"
    assert not failed.data["retryable"]
    assert (await client.request("terminal/execute", terminal=terminal, command="echo on"))["output"] == "on\r\n"


async def test_another_clients_output_is_told_to_who_uses_the_terminal(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    terminal = await client.terminal(tmp_path)
    async with bridge.client() as other:
        await other.request("terminal/execute", terminal=terminal, command="echo from other")
        assert other.printed(terminal) == "from other\r\n"
        await client.request("terminal/execute", terminal=terminal, command="echo from first")
        assert await client.output(terminal, "first") == "from first\r\n"


# --- errors


@pytest.mark.parametrize(
    ("method", "params", "said"),
    [
        ("terminal/execute", {"terminal": "no", "command": "x"}, "there is no terminal 'no'"),
        ("terminal/execute", {"terminal": "../sessions", "command": "x"}, "there is no terminal"),
        ("terminal/close", {"terminal": "no"}, "there is no terminal 'no'"),
        ("terminal/execute", {"command": "x"}, "'terminal' is missing"),
        ("terminal/execute", {"terminal": 7, "command": "x"}, "7 must be a string"),
        ("terminal/execute", {"terminal": "t", "command": "x", "timeout": 0}, "must be seconds above 0"),
        ("terminal/execute", {"terminal": "t", "command": "x", "timeout": "1"}, "'1' must be a number"),
        ("terminal/execute", {"terminal": "t", "command": "x", "timeout": True}, "True must be a number"),
        ("terminal/execute", {"terminal": "t", "command": "x\0"}, "can't hold a NUL"),
        (
            "terminal/execute",
            {"terminal": "t", "command": "x", "more": 1, "less": 2},
            "terminal/execute: unknown parameter 'less', 'more'; it takes: command, terminal, timeout",
        ),
        ("terminal/create", {"bogus": 1}, "unknown parameter 'bogus'; it takes: cols, cwd, env, rows, screen, shell"),
        ("terminal/create", {"bogus": 1, "cols": "x"}, "'x' must be a whole number @ params.cols"),
        ("terminal/create", {"cols": 80.5}, "80.5 must be a whole number"),
        ("terminal/create", {"cols": 0}, "cols must be from 1 to 65535, not 0"),
        ("terminal/create", {"cwd": "/no/such"}, "Working directory '/no/such' does not exist."),
        ("terminal/create", {"rows": 65_536}, "rows must be from 1 to 65535, not 65536"),
        ("terminal/create", {"screen": "yes"}, "'yes' must be true or false"),
        ("terminal/create", {"shell": ""}, "shell='' must be a shell's name or path"),
        ("terminal/create", {"shell": "a\0b/bash"}, "shell='a\\x00b/bash' can't hold a NUL"),
        ("terminal/create", {"cwd": "/tmp\0"}, "cwd='/tmp\\x00' can't hold a NUL"),
        ("terminal/create", {"env": {"A": 7}}, "7 must be a string"),
        ("terminal/create", {"env": {"A": "\0"}}, "A='\\x00' can't hold a NUL"),
        ("terminal/create", {"env": {"A=B": "x"}}, "'A=B' can't be the name of a variable"),
        ("terminal/write", {"terminal": "no", "data": "x"}, "there is no terminal 'no'"),
        ("terminal/write", {"terminal": "no", "data": "x", "encoding": "base64"}, "data is no base64"),
        ("terminal/write", {"terminal": "no", "data": "x", "encoding": "latin"}, "must be 'utf-8' or 'base64'"),
        ("terminal/resize", {"terminal": "no", "cols": 1, "rows": 1}, "there is no terminal 'no'"),
        ("terminal/resize", {"terminal": "no", "cols": 1}, "'rows' is missing"),
        ("terminal/interrupt", {"terminal": "no"}, "there is no terminal 'no'"),
        ("terminal/list", {"what": 1}, "terminal/list: unknown parameter 'what'; it takes none"),
        ("runtime/tree", {"what": 1}, "runtime/tree: unknown parameter 'what'; it takes none"),
    ],
)
async def test_a_wrong_parameter_is_named_and_harms_nobody(
    bridge: Bridge, client: Client, method: str, params: dict[str, Any], said: str
) -> None:
    failed = await failure(client, method, **params)
    assert said in str(failed)
    assert failed.code == -32602
    assert not any(word in str(failed) for word in ("\n", "constructor", "could not be started"))
    assert (await client.request("terminal/list"))["terminals"] == []
    assert all(node.restarts == 0 for node in bridge.runtime.tree().walk())


async def test_an_unknown_method_lists_those_that_there_are(client: Client) -> None:
    failed = await failure(client, "terminal/nothing")
    assert failed.code == -32601
    assert all(name in str(failed) for name in METHODS)


@pytest.mark.parametrize(
    ("body", "code", "id"),
    [
        (b"not json", -32700, None),
        (b"[]", -32600, None),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "shutdown"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "shutdown"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": "x", "method": "shutdown", "params": [1]}', -32602, "x"),
        (b"", -32700, None),
    ],
)
async def test_a_body_that_is_no_message_is_answered_and_harms_nobody(
    client: Client, body: bytes, code: int, id: Any
) -> None:
    await client.raw(body)
    with pytest.raises(Failed) as caught:
        await client.answer(id)
    assert caught.value.code == code
    assert (await client.request("terminal/list"))["terminals"] == []


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 10_000, b"Content-Length: 99999999999\r\n\r\n", b"Content-Length: x\r\n\r\n"],
)
async def test_a_stream_that_makes_no_sense_ends_with_its_error_and_harms_nobody(
    bridge: Bridge, client: Client, garbage: bytes
) -> None:
    async with bridge.client() as other:
        await other.stream.send_all(garbage)
        with pytest.raises(Failed) as caught:
            await other.answer(None)
        assert caught.value.code == -32700
        await other.closed()
    assert (await client.request("terminal/list"))["terminals"] == []


async def test_half_a_frame_and_then_nothing_harms_nobody(bridge: Bridge, client: Client) -> None:
    other = await bridge.connect()
    await other.stream.send_all(b"Content-Length: 100\r\n\r\n{")
    assert (await client.request("terminal/list"))["terminals"] == []
    await other.stream.aclose()
    assert (await client.request("terminal/list"))["terminals"] == []
    with trio.fail_after(PATIENCE):
        while len(bridge.runtime.tree().find("connections").children) > 1:
            await trio.sleep(0.001)


async def test_a_frame_that_comes_byte_by_byte_is_a_frame(client: Client) -> None:
    body = b'{"jsonrpc": "2.0", "id": "slow", "method": "terminal/list"}'
    for byte in b"Content-Length: %d\r\n\r\n%b" % (len(body), body):
        await client.stream.send_all(bytes([byte]))
    assert (await client.answer("slow"))["terminals"] == []


async def test_notifications_and_answers_that_nobody_knows_are_passed_over(client: Client) -> None:
    await client.notify("no/such", a=1)
    await client.notify("$/cancelRequest", id="no such")
    await client.notify("$/cancelRequest")
    await client.send({"id": 77, "result": None})
    assert (await client.request("terminal/list"))["terminals"] == []


# --- cancelling


async def test_a_cancelled_command_is_interrupted_and_answered_as_cancelled(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    id = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
    await client.output(terminal, "begun")
    await client.notify("$/cancelRequest", id=id)
    with pytest.raises(Failed) as caught:
        await client.answer(id)
    assert caught.value.code == -32800
    assert (await client.request("terminal/execute", terminal=terminal, command="echo on"))["output"] == "on\r\n"


async def test_a_request_with_a_key_is_cancelled_by_its_id(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    id = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000", requestKey="k")
    await client.output(terminal, "begun")
    await client.notify("$/cancelRequest", id=id)
    with pytest.raises(Failed) as caught:
        await client.answer(id)
    assert caught.value.code == -32800


async def test_a_command_cancelled_before_its_turn_never_runs_and_the_one_that_runs_goes_on(
    bridge: Bridge, client: Client, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    terminal = await client.terminal(tmp_path)
    running = await client.ask("terminal/execute", terminal=terminal, command="echo begun; cat go")
    await client.output(terminal, "begun")
    mine = await client.ask("terminal/execute", terminal=terminal, command="echo mine >> ran")
    async with bridge.client() as other:
        theirs = await other.ask("terminal/execute", terminal=terminal, command="echo theirs >> ran")
        await trio.testing.wait_all_tasks_blocked(0.01)
        for asked, id in ((client, mine), (other, theirs)):
            await asked.notify("$/cancelRequest", id=id)
            with pytest.raises(Failed) as caught:
                await asked.answer(id)
            assert caught.value.code == -32800
        await trio.to_thread.run_sync((tmp_path / "go").write_text, "done")
        assert (await client.answer(running))["output"].endswith("done")
        await client.request("terminal/execute", terminal=terminal, command="true")
    assert not (tmp_path / "ran").exists()


# --- requests that may be repeated


async def test_an_id_whose_answer_is_outstanding_can_not_be_used_again_until_it_came(
    client: Client, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    terminal = await client.terminal(tmp_path)
    id = await client.ask("terminal/execute", terminal=terminal, command="echo begun; cat go")
    await client.output(terminal, "begun")
    for method in ("runtime/tree", "terminal/list", "terminal/execute"):
        await client.send({"id": id, "method": method, "params": {"requestKey": "k"}})
        with pytest.raises(Failed, match=f"the id {id} is in use") as caught:
            await client.answer(id)
        assert caught.value.code == -32600
    await client.send({"id": str(id), "method": "terminal/list"})  # another id
    await client.answer(str(id))
    await trio.to_thread.run_sync((tmp_path / "go").write_text, "done")
    assert (await client.answer(id))["output"] == "begun\r\ndone"
    await client.send({"id": id, "method": "terminal/list"})
    assert (await client.answer(id))["terminals"] != []


async def test_an_id_is_its_connections_own(bridge: Bridge, client: Client) -> None:
    async with bridge.client() as other:
        for each in (client, other):
            await each.send({"id": "same", "method": "terminal/list"})
        for each in (client, other):
            assert (await each.answer("same"))["terminals"] == []


async def test_an_id_whose_request_was_cancelled_can_be_used_again(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    id = await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
    await client.output(terminal, "begun")
    await client.notify("$/cancelRequest", id=id)
    with pytest.raises(Failed):
        await client.answer(id)
    await client.send({"id": id, "method": "terminal/execute", "params": {"terminal": terminal, "command": "echo on"}})
    assert (await client.answer(id))["output"] == "on\r\n"


async def test_a_key_of_another_request_is_refused_while_that_runs_and_afterwards(
    client: Client, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    terminal = await client.terminal(tmp_path)
    asked: dict[str, Any] = {"terminal": terminal, "command": "echo begun; cat go", "requestKey": "k"}
    id = await client.ask("terminal/execute", **asked)
    await client.output(terminal, "begun")
    for is_over in (False, True):
        if is_over:
            await trio.to_thread.run_sync((tmp_path / "go").write_text, "done")
            answer = await client.answer(id)
        for method, params in [("terminal/list", {"requestKey": "k"}), ("terminal/execute", {**asked, "timeout": 9})]:
            failed = await failure(client, method, **params)
            assert (failed.code, "requestKey='k' was given to another request" in str(failed)) == (-32600, True)
    assert await client.request("terminal/execute", **asked) == answer


async def test_a_request_with_a_key_is_run_once_however_often_it_is_asked(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    asked = {"terminal": terminal, "command": "echo ran >> ran; echo out", "requestKey": "k"}
    ids = [await client.ask("terminal/execute", **asked) for _ in range(5)]
    answers = [await client.answer(id) for id in ids]
    answers.append(await client.request("terminal/execute", **asked))
    assert all(answer == answers[0] for answer in answers)
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_keys_belong_to_their_session(bridge: Bridge, client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    asked = {"terminal": terminal, "command": "echo ran >> ran", "requestKey": "k"}
    await client.request("terminal/execute", **asked)
    async with bridge.client() as other:
        await other.request("terminal/execute", **asked)
    assert (tmp_path / "ran").read_text() == "ran\nran\n"


async def test_an_error_is_remembered_by_its_key_too(client: Client) -> None:
    for _ in range(2):
        assert (await failure(client, "terminal/close", terminal="no", requestKey="k")).code == -32602


async def test_a_key_is_any_json_of_a_bounded_length(client: Client) -> None:
    assert (await client.request("terminal/list", requestKey=[1, "two"]))["terminals"] == []
    assert (await failure(client, "terminal/list", requestKey="k" * 199)).code == -32600


# --- the tree


async def test_the_tree_is_told_with_its_states(client: Client, tmp_path: Path) -> None:
    terminal = await client.terminal(tmp_path)
    tree = await client.request("runtime/tree")
    assert (tree["name"], tree["kind"], tree["state"]) == ("bridge", "Supervisor", "running")
    terminals = next(node for node in tree["children"] if node["name"] == "terminals")
    assert [node["name"] for node in terminals["children"]] == [terminal]
    assert [node["kind"] for node in terminals["children"][0]["children"]] == [
        "PtyProcess",
        "MarkedCommands",
        "StreamParser",
    ]
