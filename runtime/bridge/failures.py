"""Errors as the bridge's clients see them: a JSON-RPC error whose `data` says what kind of failure it is.

What kind it is, the classifier says, as it does for the policies; so that a client is told of the same failure that
the tree has met.
"""

from __future__ import annotations

import errno
from typing import Any

import attrs

from ...actors.errors import ActorCrashed, ComponentNotFound, UkemiError
from ...actors.ipc.jsonrpc import Code, RpcError
from ...actors.reasons import describe
from ...actors.shorten import cut
from ...supervisors.errors import StartFailed
from ...supervisors.recovery import Category, Failure, Severity, classify

EXPECTED = (UkemiError, OSError, ValueError)
"""What an operation may fail of, and its client is told. Anything else is a fault of the bridge itself."""

LONGEST = 1_000
"""Characters of a message that a client is told."""
TERMINALS = "/bridge/terminals/"
"""Where the components are whose failures are a terminal's, where no more is known."""

_WRONG_VALUES = (ComponentNotFound, ValueError)
_WRONG_FILES = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_WRONG_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG)
_CANCELLED = Failure(
    category=Category.USER_CANCELLED, severity=Severity.INFO, retryable=False, error="Cancelled", message=""
)


def as_rpc_error(error: Exception, component: str) -> RpcError:
    """What a client is told: the root of the failure. `component` is the path of what was asked."""
    if isinstance(error, RpcError):
        data = error.data if error.data is not None else failure_data(error, component)
        return RpcError(error.code, _text(error.message), data)
    cause = root_of(error)
    message = str(cause) or describe(cause)
    return RpcError(
        Code.INVALID_PARAMS if _is_askers(error) else Code.FAILED,
        _text(message if cause is error else f"{getattr(error, 'path', component)}: {message}"),
        failure_data(error, component),
    )


def failure_data(error: Exception, component: str) -> dict[str, Any]:
    """`{category, severity, retryable, fallbackAvailable, component}` of an error."""
    failure = classify(error, component)
    if isinstance(error, RpcError):  # it is the bridge that answers so, no peer of its
        failure = attrs.evolve(failure, category=Category.UNKNOWN)
    if failure.category is Category.UNKNOWN:
        is_terminals = failure.component.startswith(TERMINALS)
        failure = attrs.evolve(
            failure,
            category=Category.TERMINAL if is_terminals else Category.UNKNOWN,
            severity=Severity.WARNING if _is_askers(error) else failure.severity,
        )
    return _data_of(failure)


def cancelled(component: str) -> RpcError:
    """The answer to a request that its client has cancelled."""
    data = _data_of(attrs.evolve(_CANCELLED, component=component))
    return RpcError(Code.REQUEST_CANCELLED, "the request was cancelled", data)


def is_failure(error: RpcError | None) -> bool:
    """Whether an answer tells of a failure; what the client has asked wrongly, or has cancelled, is none."""
    return error is not None and error.code in (Code.FAILED, Code.INTERNAL_ERROR)


def root_of(error: BaseException) -> BaseException:
    """What made an actor crash, or its start fail; any other error itself."""
    while isinstance(error, ActorCrashed | StartFailed) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_askers(error: BaseException) -> bool:
    """Whether what was asked for is wrong, not who was asked: that has not crashed of it."""
    if isinstance(error, ActorCrashed):
        return False
    root = root_of(error)
    return isinstance(root, _WRONG_VALUES + _WRONG_FILES) or getattr(root, "errno", None) in _WRONG_NAMES


def _data_of(failure: Failure) -> dict[str, Any]:
    return {
        "category": failure.category.value,
        "severity": failure.severity.value,
        "retryable": failure.retryable,
        "fallbackAvailable": failure.fallback_available,
        "component": failure.component,
    }


def _text(said: str) -> str:
    """As JSON can carry it, and not too long: a file's name may hold what is no UTF-8, a parameter anything."""
    return cut(said, LONGEST).encode("utf-8", "backslashreplace").decode()
