"""What a client is told of an error: the classifier's word, a code, and a message that names the root."""

import errno
from pathlib import Path
from typing import Any

import pytest

from ukemi.actors.errors import ActorCrashed, ActorStopped, CircuitOpen, ComponentNotFound, ResourceExhausted
from ukemi.actors.ipc.framing import FramingError
from ukemi.actors.ipc.jsonrpc import Code, RpcError
from ukemi.actors.terminal.errors import CommandLost, CommandTimeout
from ukemi.runtime.bridge.failures import as_rpc_error, cancelled, failure_data, is_failure
from ukemi.supervisors.errors import StartFailed

from ..bridge import Failed, running_bridge

T1 = "/bridge/terminals/t1"
SESSION = "/bridge/sessions/s"


def circuit_open() -> CircuitOpen:
    error = CircuitOpen(f"{T1}/pty")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    return error


@pytest.mark.parametrize(
    ("error", "data"),
    [
        (CommandTimeout(T1, 0.1), ("Timeout", "Recoverable", True, False, T1)),
        (CommandLost(T1, -9, began=True), ("Terminal", "Recoverable", False, True, T1)),
        (CommandLost(T1, -9, began=False), ("Terminal", "Recoverable", True, True, T1)),
        (ActorStopped(f"{T1}/commands"), ("Terminal", "Warning", False, False, f"{T1}/commands")),
        (ActorStopped("/bridge/sessions"), ("Unknown", "Warning", False, False, "/bridge/sessions")),
        (ActorCrashed(f"{T1}/pty", "write", KeyError("x")), ("Terminal", "Critical", False, False, f"{T1}/pty")),
        (ActorCrashed(f"{T1}/pty", "write", ValueError("x")), ("Terminal", "Critical", False, False, f"{T1}/pty")),
        (StartFailed(T1, ValueError("cols")), ("Terminal", "Warning", False, False, T1)),
        (StartFailed(T1, FileNotFoundError(errno.ENOENT, "x")), ("FileSystem", "Warning", False, False, T1)),
        (StartFailed(T1, OSError(errno.EMFILE, "x")), ("Resource", "Recoverable", True, False, T1)),
        (ResourceExhausted("clients", 2, 2), ("Resource", "Critical", True, False, SESSION)),
        (circuit_open(), ("Resource", "Warning", True, False, f"{T1}/pty")),
        (FramingError("?"), ("Network", "Critical", False, True, SESSION)),
        (ComponentNotFound("x"), ("Unknown", "Warning", False, False, SESSION)),
        (ValueError("x"), ("Unknown", "Warning", False, False, SESSION)),
        (RpcError(Code.METHOD_NOT_FOUND, "x"), ("Unknown", "Warning", False, False, SESSION)),
    ],
)
def test_a_client_is_told_what_kind_of_failure_it_is(error: Exception, data: tuple[Any, ...]) -> None:
    names = ("category", "severity", "retryable", "fallbackAvailable", "component")
    assert failure_data(error, SESSION) == dict(zip(names, data, strict=True))
    assert all(type(value) in (str, bool) for value in failure_data(error, SESSION).values())


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            CommandLost(T1, 3, began=False),
            -32000,
            f"the shell of {T1} has ended before the command began: Exit code: 3",
        ),
        (StartFailed(T1, ValueError("cols must be above 0")), -32602, f"{T1}: cols must be above 0"),
        (StartFailed(T1, StartFailed(f"{T1}/pty", ValueError("no"))), -32602, f"{T1}: no"),
        (ActorCrashed(T1, "write", ValueError("of its own")), -32000, f"{T1}: of its own"),
        (ActorCrashed(T1, "write", KeyError()), -32000, f"{T1}: KeyError"),
        (ValueError("a \udcff b"), -32602, "a \\udcff b"),
        (RpcError(Code.METHOD_NOT_FOUND, "no such"), -32601, "no such"),
    ],
)
def test_the_code_says_whose_mistake_it_is_and_the_message_names_the_root(
    error: Exception, code: int, message: str
) -> None:
    told = as_rpc_error(error, SESSION)
    assert (told.code, told.message) == (code, message)
    assert is_failure(told) == (code == -32000)


def test_an_error_that_says_more_itself_is_left_as_it_is() -> None:
    error = RpcError(Code.FAILED, "x", {"mine": 1})
    told = as_rpc_error(error, SESSION)
    assert (told.code, told.message, told.data) == (Code.FAILED, "x", {"mine": 1})


def test_a_cancelled_request_has_failed_of_nothing() -> None:
    told = cancelled(SESSION)
    assert told.code == -32800
    assert told.data["category"] == "UserCancelled"
    assert told.data["component"] == SESSION
    assert not is_failure(told)
    assert not is_failure(None)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("file/read", {}),
        ("file/read", {"path": 5}),
        ("file/read", {"path": "a\0b"}),
        ("file/read", {"path": "x", "more": 1}),
        ("file/write", {"path": "x", "data": "!", "encoding": "base64"}),
        ("watch/add", {"path": "!!", "encoding": "base64"}),
        ("watch/remove", {"watch": "w99"}),
        ("terminal/create", {"cols": -1}),
        ("terminal/close", {"terminal": "t99"}),
        ("runtime/metrics", {"operation": 5}),
    ],
)
async def test_a_wrong_parameter_is_the_same_failure_whoever_finds_it(
    method: str, params: dict[str, Any], tmp_path: Path
) -> None:
    async with running_bridge(tmp_path) as bridge, bridge.client() as client:
        with pytest.raises(Failed) as caught:
            await client.request(method, **params)
    assert caught.value.code == Code.INVALID_PARAMS
    assert (caught.value.data["category"], caught.value.data["severity"]) == ("Unknown", "Warning")
