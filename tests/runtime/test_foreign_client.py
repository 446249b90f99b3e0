"""The bridge, driven on its socket and on stdio with a JSON-RPC library of others: python-lsp-jsonrpc."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import attrs
import pytest
import trio

from ..bridge import running_bridge
from ..expecting import PATIENCE

streams = pytest.importorskip("pylsp_jsonrpc.streams", reason="python-lsp-jsonrpc is not installed")
endpoints = pytest.importorskip("pylsp_jsonrpc.endpoint", reason="python-lsp-jsonrpc is not installed")


@attrs.define(eq=False)
class Foreign:
    """A client in threads."""

    endpoint: Any
    told: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)

    def request(self, method: str, **params: Any) -> Any:
        return self.endpoint.request(method, params).result(PATIENCE)

    def until(self, is_so: Callable[[], bool]) -> bool:
        """Wait until it is so; whether it was in time."""
        by = monotonic() + PATIENCE
        while not is_so() and monotonic() < by:
            threading.Event().wait(0.001)
        return is_so()

    def printed(self, terminal: str) -> str:
        return "".join(params["data"] for _, params in self.told if params.get("terminal") == terminal)


@contextmanager
def foreign(reads: Any, writes: Any) -> Iterator[Foreign]:
    """A client on two files; what it was told is noted."""
    reader, writer = streams.JsonRpcStreamReader(reads), streams.JsonRpcStreamWriter(writes)
    told = list[tuple[str, dict[str, Any]]]()

    class Notes(dict[str, Any]):
        def __getitem__(self, method: str) -> Any:
            return lambda params: told.append((method, params))

    endpoint = endpoints.Endpoint(Notes(), writer.write)
    thread = threading.Thread(target=reader.listen, args=(endpoint.consume,), daemon=True)
    thread.start()
    try:
        yield Foreign(endpoint, told)
    finally:
        endpoint.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        reader.close()
        writer.close()


def drive(client: Foreign, home: Path) -> None:
    """A session from its beginning to its end."""
    assert client.request("initialize", clientInfo={"name": "pylsp_jsonrpc"})["serverInfo"]["name"] == "ukemi"
    terminal = client.request("terminal/create", cwd=str(home), env={"HOME": str(home)})["terminal"]
    ran = client.request("terminal/execute", terminal=terminal, command="echo \N{SNOWMAN} a; (exit 3)")
    assert (ran["output"], ran["exitCode"]) == ("\N{SNOWMAN} a\r\n", 3)
    assert client.printed(terminal) == "\N{SNOWMAN} a\r\n"
    assert [each["terminal"] for each in client.request("terminal/list")["terminals"]] == [terminal]
    assert client.request("runtime/tree")["name"] == "bridge"
    assert client.request("runtime/health")["score"] == 1.0
    assert client.request("runtime/features")["features"]
    assert client.request("runtime/metrics", operation="terminal/execute")["operations"][0]["count"] == 1

    with pytest.raises(Exception, match="there is no terminal 'no'") as caught:
        client.request("terminal/execute", terminal="no", command="true")
    assert caught.value.data["severity"] == "Warning"  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="there is no method 'no/such'"):
        client.request("no/such")

    running = client.endpoint.request("terminal/execute", {"terminal": terminal, "command": "echo begun; sleep 1000"})
    assert client.until(lambda: "begun" in client.printed(terminal))
    client.endpoint.notify("$/cancelRequest", {"id": next(iter(client.endpoint._server_request_futures))})
    with pytest.raises(Exception, match="cancelled"):
        running.result(PATIENCE)
    asked = [client.endpoint.request("runtime/ping", {}) for _ in range(200)]
    assert [each.result(PATIENCE) for each in asked] == [{}] * 200
    assert client.request("terminal/close", terminal=terminal) == {}
    assert client.request("shutdown") is None
    client.endpoint.notify("exit")


async def test_a_foreign_client_on_the_socket_gets_by(tmp_path: Path) -> None:
    def connect_and_drive(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            with foreign(sock.makefile("rb"), sock.makefile("wb")) as client:
                drive(client, tmp_path)

    async with running_bridge(tmp_path) as bridge:
        with trio.fail_after(2 * PATIENCE):
            await trio.to_thread.run_sync(connect_and_drive, bridge.socket)


def test_a_foreign_client_on_stdio_gets_by_and_the_bridge_ends_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ukemi", "run", "--stdio"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as bridge:
        with foreign(bridge.stdout, bridge.stdin) as client:
            drive(client, tmp_path)
        assert bridge.wait(PATIENCE) == 0
