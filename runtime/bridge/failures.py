"""Errors as the bridge's clients see them: a JSON-RPC error whose `data` says what kind of failure it is."""

from __future__ import annotations

from typing import Any

from ...actors.errors import (
    ActorCrashed,
    CallTimeout,
    ComponentNotFound,
    IpcError,
    MailboxFull,
    OperationTimeout,
    ResourceExhausted,
    UkemiError,
)
from ...actors.ipc.jsonrpc import Code, RpcError
from ...actors.reasons import describe
from ...actors.terminal.commands import CommandLost, CommandTimeout
from ...supervisors.errors import StartFailed

EXPECTED = (UkemiError, OSError, ValueError)
"""What an operation may fail of, and its client is told. Anything else is a fault of the bridge itself."""


def as_rpc_error(error: Exception, component: str) -> RpcError:
    """What a client is told: the root of the failure. `component` is the path of what was asked."""
    if isinstance(error, RpcError):
        return error
    cause = root_of(error)
    wrong_value = isinstance(cause, ComponentNotFound | FileNotFoundError | PermissionError | ValueError)
    message = str(cause) or describe(cause)
    return RpcError(
        Code.INVALID_PARAMS if wrong_value else Code.FAILED,
        message if cause is error else f"{getattr(error, 'path', component)}: {message}",
        failure_data(error, component),
    )


def failure_data(error: Exception, component: str) -> dict[str, Any]:
    """`{category, severity, retryable, fallbackAvailable, component}` of an error."""
    category, severity, retryable = _kind_of(root_of(error))
    return {
        "category": category,
        "severity": severity,
        "retryable": retryable,
        "fallbackAvailable": False,
        "component": getattr(error, "path", component),
    }


def root_of(error: BaseException) -> BaseException:
    """What made an actor crash, or its start fail; any other error itself."""
    while isinstance(error, ActorCrashed | StartFailed) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _kind_of(error: BaseException) -> tuple[str, str, bool]:
    match error:
        case CommandTimeout() | CallTimeout() | OperationTimeout():
            return "Timeout", "Recoverable", True
        case ResourceExhausted() | MailboxFull():
            return "Resource", "Critical", True
        case IpcError():
            return "Network", "Recoverable", False
        case CommandLost(began=began):
            return "Terminal", "Critical", not began
        case ComponentNotFound() | ValueError():
            return "Terminal", "Recoverable", False
        case OSError():
            return "FileSystem", "Recoverable", False
        case _:
            return "Terminal", "Critical", False
