"""The other end of the debug socket, for programs that do not run on trio.

A thread of its own reads what comes: answers go to those who wait for them, events to `on_event`, the end to `on_end`
(both are called in that thread). Whatever goes wrong is a `ClientError` with a message in one line.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import orjson

from ...actors.errors import UkemiError
from .commands import Hello
from .declaring import converter
from .lines import LONGEST_ANSWER, LineSplitter, TooLong

CONNECT_TIMEOUT = 5.0
"""Seconds in which a runtime has to accept a connection and say hello."""


class ClientError(UkemiError):
    """Something about the debug socket; the base of the others."""


class NoRuntime(ClientError):
    """Nobody is at the socket, or nobody answers."""


class RuntimeEnded(ClientError):
    """The runtime has closed the connection."""


class CommandFailed(ClientError):
    """The runtime answered with an error, whose class there is `type`."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


def connect(path: Path, timeout: float) -> socket.socket:
    """A connection to the socket; NoRuntime says why there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        match error:
            case FileNotFoundError():
                why = "there is no such socket"
            case ConnectionRefusedError():
                why = "the one that did has ended"
            case PermissionError():
                why = "or it is another user's (permission denied)"
            case _:
                why = error.strerror or str(error)
        raise NoRuntime(f"no runtime listens at {path}: {why}") from None
    sock.settimeout(None)
    return sock


class Client:
    """A connection to a running tree. Use as a context; `hello` says who is there.

    Raises NoRuntime if nobody answers within `timeout` seconds. May be used by several threads.
    """

    def __init__(
        self,
        path: Path,
        *,
        timeout: float = CONNECT_TIMEOUT,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._path = path
        self._on_event = on_event
        self._on_end = on_end
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, SimpleQueue[dict[str, Any] | None]] = {}
        self.has_ended = False
        self._sock = connect(path, timeout)
        threading.Thread(target=self._read, name="ukemi debug client", daemon=True).start()
        try:
            self.hello = converter.structure(self.run("hello", timeout=timeout), Hello)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave. Harmless when repeated."""
        self._on_end = None
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is closed already
            pass
        self._sock.close()

    def run(self, command: str, args: dict[str, Any] | None = None, *, timeout: float | None = None) -> Any:
        """Run a command and return its answer.

        Raises CommandFailed, RuntimeEnded, or NoRuntime after `timeout` seconds. A KeyboardInterrupt while it waits
        gives the command up.
        """
        number, answers = next(self._numbers), SimpleQueue[dict[str, Any] | None]()
        with self._lock:
            self._waiting[number] = answers
        try:
            self._send({"id": number, "command": command, "args": args or {}})
            answer = None if self.has_ended and answers.empty() else answers.get(timeout=timeout)
        except Empty:
            self._send({"cancel": number})
            raise NoRuntime(
                f"the runtime at {self._path} did not answer {command} within {timeout:.6g} s; it may be stalled"
            ) from None
        except KeyboardInterrupt:
            self._send({"cancel": number})
            raise
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if answer is None:
            raise RuntimeEnded(f"the runtime at {self._path} has ended")
        if "error" in answer:
            raise CommandFailed(answer["error"]["type"], answer["error"]["message"])
        return answer["ok"]

    def _send(self, request: dict[str, Any]) -> None:
        with self._lock:
            try:
                self._sock.sendall(orjson.dumps(request) + b"\n")
            except OSError:  # the reading thread sees the end as well, and tells of it
                pass

    def _read(self) -> None:
        splitter = LineSplitter(2 * LONGEST_ANSWER)
        while data := self._receive():
            for line in splitter.feed(data):
                if not isinstance(line, TooLong):
                    self._take(orjson.loads(line))
        with self._lock:
            self.has_ended = True
            for answers in self._waiting.values():
                answers.put(None)
        if self._on_end is not None:
            self._on_end()

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(65536)
        except OSError:
            return b""

    def _take(self, line: dict[str, Any]) -> None:
        if "event" in line:
            if self._on_event is not None:
                self._on_event(line["event"])
            return
        with self._lock:
            chosen = list(self._waiting.values()) if line["id"] is None else [self._waiting.get(line["id"])]
        for answers in chosen:
            if answers is not None:
                answers.put(line)
