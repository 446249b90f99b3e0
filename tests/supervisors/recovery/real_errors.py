"""Errors as they really come, by what the classifier makes of them; each is made anew every time."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import trio

from ukemi import RECOVERY, IpcError, OperationTimeout, ParseError, ProviderError, ResourceExhausted
from ukemi.actors.ipc.jsonrpc import RpcError
from ukemi.actors.terminal.errors import CommandLost, CommandTimeout, ShellExited, ShellIntegrationError
from ukemi.supervisors.recovery import Kind


class GrammarBroken(Exception):
    """An application's: the parser's own state is no more to be trusted."""


class GivenUp(Exception):
    """An application's: its user did not want it any more."""


WITH_OWN_TYPES = RECOVERY.with_types(
    {GrammarBroken: Kind("Parser", "Critical"), GivenUp: Kind("UserCancelled", "Recoverable")}
)


def error(cls: Callable[..., Exception], *args: object) -> Callable[[], Exception]:
    return lambda: cls(*args)


def os_error(number: int) -> Callable[[], Exception]:
    return error(OSError, number, os.strerror(number))


def real(provoke: Callable[[], object]) -> Callable[[], Exception]:
    """What this really raises."""

    def make() -> Exception:
        try:
            provoke()
        except Exception as found:
            return found.with_traceback(None)
        raise AssertionError(provoke)

    return make


def full() -> None:
    send, _ = trio.open_memory_channel[None](0)
    send.send_nowait(None)


SHELL_ENDS = (error(ShellExited, "/bin/sh", 1), error(ShellExited, "/bin/zsh", -9))
LOST_UNBEGUN = (error(CommandLost, "/top/a", 1, False),)
LOST_BEGUN = (error(CommandLost, "/top/a", -9, True), error(ShellIntegrationError, "it marks no commands"))
DISK_FAILS = tuple(map(os_error, (errno.EIO, errno.EROFS, errno.ENODEV)))
FILE_BUSY = tuple(map(os_error, (errno.EBUSY, errno.ETXTBSY)))
LINK_GONE = (
    error(IpcError, "the peer has hung up"),
    error(trio.BrokenResourceError),
    error(trio.EndOfChannel),
    *map(os_error, (errno.EPIPE, errno.ECONNREFUSED)),
)
REQUEST_LOST = (error(EOFError), *map(os_error, (errno.ECONNRESET, errno.ETIMEDOUT, errno.ECONNABORTED)))
ENDED_EARLY = (real(lambda: json.loads('{"a": "b')), real(lambda: b"\xe2\x82".decode()))
MALFORMED = (real(lambda: json.loads("nonsense")), real(lambda: b"\xff\xff".decode()))
NO_ROOM = (error(MemoryError), error(ResourceExhausted, "handles", 10, 10), os_error(errno.ENOMEM))
TOO_MUCH = (real(full), *map(os_error, (errno.ENOSPC, errno.EMFILE, errno.EAGAIN)))
TOO_SLOW = (
    error(TimeoutError),
    error(trio.TooSlowError),
    error(OperationTimeout, "fetch", 30.0),
    error(CommandTimeout, "/t", 3.0),
)
CALLERS = (real(lambda: Path("/nowhere/at/all").read_text()), error(RpcError, -32601, "no such method"))
UNREGISTERED = (real(lambda: 1 // 0), error(ValueError, "a fault in the code"))
INTERRUPTED = (os_error(errno.EINTR), error(InterruptedError))
LIMITED = (error(ProviderError, "weather", "busy", 2.5),)
REFUSED = (error(ProviderError, "weather", "no"),)
PARSER_LOST = (error(GrammarBroken, "lost"),)
NOT_PARSED = (error(ParseError, "a.py", 3, 7),)
GIVEN_UP = (error(GivenUp),)
