"""An editor as others write it: the bridge in a process of its own, spoken to with a JSON-RPC library that is not ours.

The library is `python-lsp-jsonrpc`, blocking and with threads, as of the Python language server.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pylsp_jsonrpc.dispatchers import MethodDispatcher
from pylsp_jsonrpc.endpoint import Endpoint
from pylsp_jsonrpc.streams import JsonRpcStreamReader, JsonRpcStreamWriter

from ..expecting import PATIENCE

NOTIFICATIONS = (
    "terminal/output",
    "terminal/screen",
    "watch/changed",
    "runtime/alert",
    "runtime/feature",
)


class Heard(MethodDispatcher):
    """Takes the notifications, and keeps them in order."""

    def __init__(self) -> None:
        self.all: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def __getitem__(self, method: str) -> Any:
        if method not in NOTIFICATIONS:
            raise KeyError(method)
        return lambda params: self.all.put((method, params))


class Editor:
    """One client. `ask` waits for the result; what the bridge tells meanwhile is in `heard`."""

    def __init__(self, reads: Any, writes: Any, hang_up: Callable[[], object], **greeting: Any) -> None:
        self.heard = Heard()
        self._hang_up = hang_up
        self._reader = JsonRpcStreamReader(reads)
        self._writer = JsonRpcStreamWriter(writes)
        self._endpoint = Endpoint(self.heard, self._writer.write)
        self._listener = threading.Thread(target=self._reader.listen, args=(self._endpoint.consume,), daemon=True)
        self._listener.start()
        self.greeting = self.ask("initialize", clientInfo={"name": "somebody else's"}, **greeting)

    def begin(self, method: str, **params: Any) -> Any:
        """A request; the future of its result."""
        return self._endpoint.request(method, params)

    def ask(self, method: str, **params: Any) -> Any:
        """A request; its result. Raises the library's JsonRpcException."""
        return self.begin(method, **params).result(PATIENCE)

    def tell(self, method: str, **params: Any) -> None:
        """A notification."""
        self._endpoint.notify(method, params)

    def hear(self, method: str) -> dict[str, Any]:
        """The next notification of this method; others are passed over."""
        until = time.monotonic() + PATIENCE
        while True:
            name, params = self.heard.all.get(timeout=max(0.0, until - time.monotonic()))
            if name == method:
                return params

    def hear_until(self, method: str, end: str) -> str:
        """What these notifications carry, until it ends so."""
        text = ""
        while not text.endswith(end):
            text += self.hear(method)["data"]
        return text

    def execute(self, terminal: str, command: str, **params: Any) -> Any:
        """Run a command; how it ended."""
        return self.ask("terminal/execute", terminal=terminal, command=command, **params)

    def close(self) -> None:
        """Hang up."""
        self._hang_up()
        self._listener.join(PATIENCE)
        self._writer.close()
        self._reader.close()
        self._endpoint.shutdown()


class Bridge:
    """`ukemi run` as a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "bridge.sock"
        command = [sys.executable, "-m", "ukemi", "run", "--state-dir", str(folder), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))

    def connect(self, **greeting: Any) -> Editor:
        """A client more, which says this when it introduces itself."""
        sock = self._dial()
        with sock:  # the files keep it open
            reads, writes = sock.makefile("rb"), sock.makefile("wb")
            both_ways = sock.dup()

        def hang_up() -> None:
            with both_ways:
                both_ways.shutdown(socket.SHUT_RDWR)

        return Editor(reads, writes, hang_up, **greeting)

    def wait_until_up(self) -> None:
        """It listens."""
        self._dial().close()

    def command(self, *words: str) -> str:
        """What `ukemi` says to this from another terminal; it has to end well."""
        command = [sys.executable, "-m", "ukemi", *words, "--state-dir", str(self.socket.parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _dial(self) -> socket.socket:
        until = time.monotonic() + PATIENCE
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(self.socket))
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.01)  # another process has no event to wait for
            else:
                return sock


@contextmanager
def bridge(folder: Path) -> Iterator[Bridge]:
    """A bridge that is up, and is stopped in order at the end; it has to end well."""
    running = Bridge(folder)
    try:
        running.wait_until_up()
        yield running
        running.process.send_signal(signal.SIGTERM)
        out, err = running.process.communicate(timeout=PATIENCE)
        assert running.process.returncode == 0, (out, err)
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.communicate()
