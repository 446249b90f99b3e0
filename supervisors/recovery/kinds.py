"""What each type of error is: its category, its severity, and whether it may pass by itself. One table.

A rule is a `Kind`, or a function that looks at the error and returns one (None: ask the next class of its MRO). Types
whose modules an application may never import are named, so that they cost nothing until then.

Severity says what there is to do. Critical: what failed can't go on as it is. Recoverable: trying again, or another
way, may help. Warning: nothing is wrong with what raised it, the error is its caller's matter. Retryable are the
spec's (timeouts, a provider that says when, exhausted resources, timed out, aborted, reset, unexpected end), and what
says of itself that it passes: interrupted, busy, full, incomplete.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Callable, Mapping
from json import JSONDecodeError
from typing import Any, TypeAlias

import attrs
import trio

from ...actors.errors import (
    ActorStopped,
    CallTimeout,
    CircuitOpen,
    ComponentNotFound,
    HandlerTimeout,
    IpcError,
    MailboxFull,
    OperationTimeout,
    ParseError,
    ProviderError,
    ResourceExhausted,
    SpecError,
    StartTimeout,
)
from ..errors import ChildStateError
from .failure import Category, Severity


def category_of(value: str) -> Category:
    """A category by its value; SpecError for what is none."""
    try:
        return Category(value)
    except ValueError:
        raise SpecError(f"category={value!r} must be one of {', '.join(Category)}") from None


def severity_of(value: str) -> Severity:
    """A severity by its value; SpecError for what is none."""
    try:
        return Severity(value)
    except ValueError:
        raise SpecError(f"severity={value!r} must be one of {', '.join(Severity)}") from None


@attrs.frozen
class Kind:
    """What is known of an error by its type."""

    category: Category = attrs.field(converter=category_of)
    severity: Severity = attrs.field(converter=severity_of)
    retryable: bool = False
    """Whether it is one that may pass by itself."""
    fallback: bool = False
    """Whether it is one that something else may answer in spite of: a cache, another mode, a simpler parser."""
    retry_after: float | None = None
    """Seconds after which to try again; 0 for at once."""

    def __attrs_post_init__(self) -> None:
        for option in ("retryable", "fallback"):
            if not isinstance(getattr(self, option), bool):
                raise SpecError(f"Kind: {option}={getattr(self, option)!r} must be True or False")
        if self.retry_after is not None and sane_seconds(self.retry_after) is None:
            raise SpecError(f"Kind: retry_after={self.retry_after!r} must be a finite number from 0 up, or None")


Rule: TypeAlias = Kind | Callable[[Any], Kind | None]
Key: TypeAlias = type[BaseException] | tuple[str, str]
"""A class, or a class's module and name."""


def sane_seconds(value: object) -> float | None:
    """Seconds from 0 up; None for whatever else an error may say."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(value)


UNKNOWN = Kind(Category.UNKNOWN, Severity.CRITICAL)
"""An error that nobody has registered: a fault in the code, for all one knows."""
CALLERS = Kind(Category.UNKNOWN, Severity.WARNING)
"""What was asked for is not there, or not in a state to be asked: the asker's matter."""
CANCELLED = Kind(Category.USER_CANCELLED, Severity.INFO)
NO_LINK = Kind(Category.NETWORK, Severity.CRITICAL, fallback=True)
"""There is no connection any more, or none could be made: connect again."""
REQUEST_LOST = Kind(Category.NETWORK, Severity.RECOVERABLE, retryable=True)
"""One request failed, and the next may not."""
REQUEST_REFUSED = Kind(Category.NETWORK, Severity.RECOVERABLE)
DISK_FAILS = Kind(Category.FILE_SYSTEM, Severity.CRITICAL)
FILE_FAILS = Kind(Category.FILE_SYSTEM, Severity.RECOVERABLE, fallback=True)
FILE_BUSY = Kind(Category.FILE_SYSTEM, Severity.RECOVERABLE, retryable=True, fallback=True)
INTERRUPTED = attrs.evolve(FILE_BUSY, retry_after=0.0)
WRONG_FILE = Kind(Category.FILE_SYSTEM, Severity.WARNING)
"""Not there, not allowed, not of that kind: a cached copy would be a wrong answer."""
NO_MEMORY = Kind(Category.RESOURCE, Severity.CRITICAL, retryable=True)
TOO_MUCH = Kind(Category.RESOURCE, Severity.RECOVERABLE, retryable=True)
"""A limit that is felt by what is asked for now; less of it helps."""
TOO_SLOW = Kind(Category.TIMEOUT, Severity.RECOVERABLE, retryable=True)
HANGS = Kind(Category.TIMEOUT, Severity.CRITICAL, retryable=True)
INCOMPLETE = Kind(Category.PARSER, Severity.RECOVERABLE, retryable=True, fallback=True)
"""It may be parsed once there are more bytes of it."""
MALFORMED = Kind(Category.PARSER, Severity.RECOVERABLE, fallback=True)
PARSER_FAILS = Kind(Category.PARSER, Severity.CRITICAL, fallback=True)
NO_SHELL = Kind(Category.TERMINAL, Severity.CRITICAL)
"""The shell has ended, or none can be started."""
SHELL_FAILS = Kind(Category.TERMINAL, Severity.RECOVERABLE, fallback=True)
NO_PROCESS = Kind(Category.TERMINAL, Severity.WARNING)


def _provider(error: ProviderError) -> Kind:
    return REQUEST_REFUSED if sane_seconds(error.retry_after) is None else REQUEST_LOST


def _command_lost(error: Any) -> Kind:
    """A command has effects: it is given again only if it is known not to have begun."""
    return attrs.evolve(SHELL_FAILS, retryable=error.began is False)


def _parser_failed(error: BaseException) -> Kind:
    """What is wrong with the bytes may pass once there are more of them; any other fault is the parser's own."""
    return attrs.evolve(MALFORMED, retryable=True) if isinstance(error.__cause__, UnicodeError) else PARSER_FAILS


def _json(error: JSONDecodeError) -> Kind:
    ended_early = error.pos >= len(error.doc) or error.msg.startswith("Unterminated string")
    return INCOMPLETE if ended_early else MALFORMED


def _unicode(error: UnicodeError) -> Kind:
    return INCOMPLETE if getattr(error, "reason", None) == "unexpected end of data" else MALFORMED


def _lookup(error: socket.gaierror) -> Kind:
    return REQUEST_LOST if error.errno == socket.EAI_AGAIN else NO_LINK


_ERRNO: dict[int, Kind] = {
    **dict.fromkeys((errno.EINTR,), INTERRUPTED),
    **dict.fromkeys((errno.EBUSY, errno.ETXTBSY), FILE_BUSY),
    **dict.fromkeys((errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO), DISK_FAILS),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY), WRONG_FILE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG, errno.EXDEV), WRONG_FILE),
    **dict.fromkeys((errno.ENOMEM,), NO_MEMORY),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EAGAIN), TOO_MUCH),
    **dict.fromkeys((errno.ETIMEDOUT, errno.ECONNABORTED, errno.ECONNRESET), REQUEST_LOST),
    **dict.fromkeys((errno.EPIPE, errno.ESHUTDOWN, errno.ENOTCONN, errno.ECONNREFUSED, errno.ENETRESET), NO_LINK),
    **dict.fromkeys((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN), NO_LINK),
    **dict.fromkeys((errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ENOTSOCK, errno.EDESTADDRREQ), NO_LINK),
    **dict.fromkeys((errno.ESRCH, errno.ECHILD), NO_PROCESS),
}
_ERRNO_OF_CLASS: dict[type[BaseException], int] = {
    BlockingIOError: errno.EAGAIN,
    ChildProcessError: errno.ECHILD,
    ConnectionAbortedError: errno.ECONNABORTED,
    BrokenPipeError: errno.EPIPE,
    ConnectionRefusedError: errno.ECONNREFUSED,
    ConnectionResetError: errno.ECONNRESET,
    FileExistsError: errno.EEXIST,
    FileNotFoundError: errno.ENOENT,
    InterruptedError: errno.EINTR,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
    PermissionError: errno.EACCES,
    ProcessLookupError: errno.ESRCH,
}
"""For those that were raised without a number."""


def _os_error(error: OSError) -> Kind:
    number = error.errno
    if number is None:
        number = next((_ERRNO_OF_CLASS[cls] for cls in type(error).__mro__ if cls in _ERRNO_OF_CLASS), None)
    if number is None and isinstance(error, TimeoutError):
        return TOO_SLOW
    if number is None and isinstance(error, ConnectionError):
        return NO_LINK
    if number == errno.ETIMEDOUT and isinstance(error.filename, str | bytes | os.PathLike):
        return FILE_BUSY  # a file on another machine
    return _ERRNO.get(number, FILE_FAILS) if number is not None else FILE_FAILS


KINDS: Mapping[Key, Rule] = {
    IpcError: NO_LINK,
    ProviderError: _provider,
    ParseError: Kind(Category.PARSER, Severity.INFO),
    ResourceExhausted: NO_MEMORY,
    OperationTimeout: TOO_SLOW,
    CallTimeout: TOO_SLOW,
    HandlerTimeout: HANGS,
    StartTimeout: HANGS,
    MailboxFull: TOO_MUCH,
    CircuitOpen: CALLERS,
    ActorStopped: CALLERS,
    ComponentNotFound: CALLERS,
    ChildStateError: CALLERS,
    ("ukemi.actors.ipc.jsonrpc", "RpcError"): Kind(Category.NETWORK, Severity.WARNING),  # the link is well
    ("ukemi.actors.ipc.sockets", "SocketInUse"): NO_LINK,
    ("ukemi.actors.ipc.sockets", "BadSocketPath"): NO_LINK,
    ("ukemi.actors.terminal.errors", "CommandTimeout"): TOO_SLOW,
    ("ukemi.actors.terminal.errors", "CommandLost"): _command_lost,
    ("ukemi.actors.terminal.errors", "ShellIntegrationError"): SHELL_FAILS,
    ("ukemi.actors.terminal.errors", "ShellNotStarted"): SHELL_FAILS,
    ("ukemi.actors.terminal.errors", "ShellExited"): NO_SHELL,
    ("ukemi.actors.terminal.errors", "ShellLeft"): NO_PROCESS,
    ("ukemi.actors.terminal.errors", "ShellReplaced"): Kind(Category.TERMINAL, Severity.INFO),
    ("ukemi.actors.terminal.errors", "NoShells"): NO_SHELL,
    ("ukemi.actors.parser.stream", "ParserFailed"): _parser_failed,
    trio.Cancelled: CANCELLED,
    KeyboardInterrupt: CANCELLED,
    trio.TooSlowError: TOO_SLOW,
    trio.BrokenResourceError: NO_LINK,
    trio.ClosedResourceError: NO_LINK,
    trio.EndOfChannel: NO_LINK,
    trio.BusyResourceError: TOO_MUCH,
    trio.WouldBlock: TOO_MUCH,
    ("subprocess", "TimeoutExpired"): TOO_SLOW,
    ("ssl", "SSLError"): NO_LINK,
    socket.gaierror: _lookup,
    socket.herror: NO_LINK,
    OSError: _os_error,
    EOFError: REQUEST_LOST,
    MemoryError: NO_MEMORY,
    RecursionError: UNKNOWN,  # the code's fault or its input's: neither room nor patience helps
    UnicodeError: _unicode,
    JSONDecodeError: _json,
    ("cattrs.errors", "BaseValidationError"): MALFORMED,
    ("cattrs.errors", "ForbiddenExtraKeysError"): MALFORMED,
}
