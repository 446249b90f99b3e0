"""Every error that ukemi raises, and the two that an actor raises to say something.

`Reject` and `Ignore` are answers, not faults. The others derive from `UkemiError`, so that one `except` tells ukemi's
errors from the application's. Messages name the actor by its path, the value that was wrong, and what would be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .reasons import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .reasons import Reason


class UkemiError(Exception):
    """The base of ukemi's errors."""


class SpecError(UkemiError, ValueError):
    """A description of a child or tree that can't be right; raised when it is made."""


class Reject(Exception):
    """Raised by a handler to answer its caller with `error`, without crashing (rule M6).

    A cast that is rejected becomes a dead letter.
    """

    def __init__(self, error: Exception) -> None:
        if not isinstance(error, Exception):
            raise TypeError(f"Reject takes the exception to answer with, such as ValueError('…'), not {error!r}")
        super().__init__(error)
        self.error = error


class Ignore(Exception):
    """Raised by a factory or `on_start`: there is nothing to run; the spec is kept with no child (OTP's `ignore`)."""


class ActorCrashed(UkemiError):
    """The actor crashed or was killed while it had the caller's message in hand.

    `__cause__` is the exception itself (None after a kill), `path` the actor's, `method` the message's name.
    """

    def __init__(self, path: str, method: str, reason: Reason) -> None:
        super().__init__(f"{path} crashed in {method}: {describe(reason)}")
        self.path = path
        self.method = method
        self.reason = reason
        if isinstance(reason, BaseException):
            self.__cause__ = reason


class ActorStopped(UkemiError):
    """The actor is not there: it has stopped, is stopping, was deleted, or its supervisor gave up."""

    def __init__(self, path: str, why: str = "is not running") -> None:
        super().__init__(f"{path} {why}")
        self.path = path


class CallTimeout(UkemiError, TimeoutError):
    """A call's deadline passed. `began` says whether the actor had taken the message by then."""

    def __init__(self, path: str, method: str, seconds: float, began: bool) -> None:
        state = "it was being handled" if began else "it had not begun and never will"
        super().__init__(f"{path} did not answer {method} within {seconds:.6g} s; {state}")
        self.path = path
        self.method = method
        self.seconds = seconds
        self.began = began


class CalledItself(UkemiError):
    """A call that would close a cycle of waiting actors. `cycle` holds the paths, from the caller back to it."""

    def __init__(self, cycle: Sequence[str]) -> None:
        super().__init__(f"this call can never be answered, each waits for the next: {' -> '.join(cycle)}")
        self.cycle = tuple(cycle)


class MailboxFull(UkemiError):
    """A cast found no room. Nothing was lost: the sender still has its message."""

    def __init__(self, path: str, bound: int) -> None:
        super().__init__(f"the mailbox of {path} is full ({bound} messages wait); use send() to wait for room")
        self.path = path
        self.bound = bound


class UnknownMethod(UkemiError, AttributeError):
    """The actor has no such message."""


class ComponentNotFound(UkemiError, LookupError):
    """No actor has this name or path."""

    def __init__(self, component: str, detail: str = "") -> None:
        super().__init__(f"Component not found: {component}{detail}")
        self.component = component


class AmbiguousName(ComponentNotFound):
    """Several actors have this name; `paths` lists them."""

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        super().__init__(name, f" is the name of {len(paths)} actors; use a path: {', '.join(paths)}")
        self.paths = tuple(paths)


class StartTimeout(UkemiError, TimeoutError):
    """`on_start` took longer than the child's `start_timeout`."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(f"on_start of {path} took longer than its start_timeout of {seconds:.6g} s")
        self.path = path
        self.seconds = seconds


class HandlerTimeout(UkemiError, TimeoutError):
    """A handler took longer than the child's `handler_timeout`, and counts as hung."""

    def __init__(self, path: str, method: str, seconds: float) -> None:
        super().__init__(f"{path} hung in {method} for longer than its handler_timeout of {seconds:.6g} s")
        self.path = path
        self.method = method
        self.seconds = seconds


class CircuitOpen(UkemiError):
    """The component's circuit breaker is open: the call was not made."""

    def __init__(self, component: str) -> None:
        super().__init__(f"Circuit open: {component}")
        self.component = component


class IpcError(UkemiError):
    """A fault of the link to a peer (spec, "Error Type System")."""

    def __init__(self, message: str) -> None:
        super().__init__(f"IPC error: {message}")
        self.message = message


class ProviderError(UkemiError):
    """A fault that a provider reported; retryable when it said after how many seconds."""

    def __init__(self, provider: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"Provider error: {provider} - {message}")
        self.provider = provider
        self.message = message
        self.retry_after = retry_after


class ParseError(UkemiError):
    """Text that can't be parsed, and where."""

    def __init__(self, file: str, line: int, column: int, message: str = "") -> None:
        super().__init__(f"Parse error at {file}:{line}:{column}")
        self.file = file
        self.line = line
        self.column = column
        self.message = message


class ResourceExhausted(UkemiError):
    """A limit was reached: `current` of at most `limit`, in the resource's own unit."""

    def __init__(self, resource: str, limit: int, current: int) -> None:
        super().__init__(f"Resource exhausted: {resource}")
        self.resource = resource
        self.limit = limit
        self.current = current


class OperationTimeout(UkemiError, TimeoutError):
    """An operation took longer than its `duration`, in seconds."""

    def __init__(self, operation: str, duration: float) -> None:
        super().__init__(f"Operation timeout after {duration_text(duration)}")
        self.operation = operation
        self.duration = duration


def duration_text(seconds: float) -> str:
    """A duration as Rust's Debug prints it: `30s`, `1.5s`, `100ms`, `2.5µs`, `7ns`."""
    nanoseconds = round(seconds * 1e9)
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)):
        if nanoseconds >= size:
            whole, rest = divmod(nanoseconds, size)
            fraction = f"{rest:0{len(str(size)) - 1}}".rstrip("0")
            return f"{whole}.{fraction}{unit}" if fraction else f"{whole}{unit}"
    return f"{nanoseconds}ns"
