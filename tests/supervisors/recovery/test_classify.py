"""What each error is: ukemi's own, Python's, trio's, an application's, and those that stand for others."""

from __future__ import annotations

import errno
import importlib
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Callable

import attrs
import cattrs
import orjson
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ukemi import (
    ActorCrashed,
    ActorStopped,
    AmbiguousName,
    CalledItself,
    CallTimeout,
    ChildStateError,
    CircuitOpen,
    ComponentNotFound,
    Exit,
    IpcError,
    MailboxFull,
    OperationTimeout,
    ParseError,
    ProviderError,
    Reject,
    ResourceExhausted,
    SpecError,
    StartFailed,
    SupervisorGaveUp,
)
from ukemi.actors.errors import HandlerTimeout, StartTimeout
from ukemi.actors.ipc.framing import FramingError
from ukemi.actors.ipc.jsonrpc import RpcError
from ukemi.actors.ipc.sockets import SocketInUse
from ukemi.actors.ipc.wire import SlowPeer
from ukemi.actors.terminal.errors import CommandLost, CommandTimeout, ShellExited, ShellIntegrationError
from ukemi.supervisors.recovery import Category, Classifier, Failure, Kind, Severity, classify
from ukemi.supervisors.recovery.classify import DEFAULT, LONGEST
from ukemi.supervisors.recovery.kinds import KINDS


def raised(function: Callable[..., object], *args: object) -> Exception:
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("it raises nothing")


def os_error(number: int, filename: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), filename)


@attrs.define
class Point:
    x: int


RETRYABLE, NOT = True, False

OWN = [
    (IpcError("gone"), "Network", "Critical", NOT),
    (FramingError("no header"), "Network", "Critical", NOT),
    (SlowPeer("does not read"), "Network", "Critical", NOT),
    (SocketInUse("in use"), "Network", "Critical", NOT),
    (RpcError(-32000, "no"), "Network", "Warning", NOT),
    (ProviderError("p", "busy", retry_after=2.0), "Network", "Recoverable", RETRYABLE),
    (ProviderError("p", "no"), "Network", "Recoverable", NOT),
    (ParseError("a.py", 1, 2), "Parser", "Info", NOT),
    (ResourceExhausted("memory", 1, 2), "Resource", "Critical", RETRYABLE),
    (MailboxFull("/a", 3), "Resource", "Recoverable", RETRYABLE),
    (OperationTimeout("read", 1.5), "Timeout", "Recoverable", RETRYABLE),
    (CallTimeout("/a", "m", 1.0, began=True), "Timeout", "Recoverable", RETRYABLE),
    (CommandTimeout("/t", 1.0), "Timeout", "Recoverable", RETRYABLE),
    (HandlerTimeout("/a", "m", 1.0), "Timeout", "Critical", RETRYABLE),
    (StartTimeout("/a", 1.0), "Timeout", "Critical", RETRYABLE),
    (CircuitOpen("/a"), "Unknown", "Warning", NOT),
    (ActorStopped("/a"), "Unknown", "Warning", NOT),
    (ComponentNotFound("a"), "Unknown", "Warning", NOT),
    (AmbiguousName("a", ["/a", "/b/a"]), "Unknown", "Warning", NOT),
    (ChildStateError("a", "running"), "Unknown", "Warning", NOT),
    (CalledItself(["/a", "/a"]), "Unknown", "Critical", NOT),
    (SpecError("wrong"), "Unknown", "Critical", NOT),
    (CommandLost("/t", -9, began=False), "Terminal", "Recoverable", RETRYABLE),
    (CommandLost("/t", -9, began=True), "Terminal", "Recoverable", NOT),
    (ShellIntegrationError("no marker"), "Terminal", "Recoverable", NOT),
    (ShellExited("bash", 1), "Terminal", "Critical", NOT),
]
PYTHONS = [
    (os_error(errno.EINTR), "FileSystem", "Recoverable", RETRYABLE),
    (InterruptedError(), "FileSystem", "Recoverable", RETRYABLE),
    (os_error(errno.EBUSY), "FileSystem", "Recoverable", RETRYABLE),
    (os_error(errno.ETIMEDOUT, "/net/file"), "FileSystem", "Recoverable", RETRYABLE),
    (os_error(errno.EINVAL), "FileSystem", "Recoverable", NOT),
    (OSError("gone"), "FileSystem", "Recoverable", NOT),
    (os_error(errno.EIO), "FileSystem", "Critical", NOT),
    (os_error(errno.EROFS), "FileSystem", "Critical", NOT),
    (os_error(errno.ENOENT), "FileSystem", "Warning", NOT),
    (FileNotFoundError(), "FileSystem", "Warning", NOT),
    (os_error(errno.EACCES), "FileSystem", "Warning", NOT),
    (os_error(errno.EPERM), "FileSystem", "Warning", NOT),
    (IsADirectoryError(), "FileSystem", "Warning", NOT),
    (os_error(errno.ETIMEDOUT), "Network", "Recoverable", RETRYABLE),
    (os_error(errno.ECONNABORTED), "Network", "Recoverable", RETRYABLE),
    (os_error(errno.ECONNRESET), "Network", "Recoverable", RETRYABLE),
    (ConnectionResetError(), "Network", "Recoverable", RETRYABLE),
    (EOFError(), "Network", "Recoverable", RETRYABLE),
    (socket.gaierror(socket.EAI_AGAIN, "try again"), "Network", "Recoverable", RETRYABLE),
    (socket.gaierror(socket.EAI_NONAME, "unknown"), "Network", "Critical", NOT),
    (os_error(errno.EPIPE), "Network", "Critical", NOT),
    (BrokenPipeError(), "Network", "Critical", NOT),
    (os_error(errno.ECONNREFUSED, "/run/bridge.sock"), "Network", "Critical", NOT),
    (ConnectionError("lost"), "Network", "Critical", NOT),
    (os_error(errno.EHOSTUNREACH), "Network", "Critical", NOT),
    (os_error(errno.EADDRINUSE), "Network", "Critical", NOT),
    (ssl.SSLError(1, "bad certificate"), "Network", "Critical", NOT),
    (os_error(errno.ENOSPC), "Resource", "Recoverable", RETRYABLE),
    (os_error(errno.EDQUOT), "Resource", "Recoverable", RETRYABLE),
    (os_error(errno.EMFILE), "Resource", "Recoverable", RETRYABLE),
    (os_error(errno.ENFILE), "Resource", "Recoverable", RETRYABLE),
    (BlockingIOError(), "Resource", "Recoverable", RETRYABLE),
    (os_error(errno.ENOMEM), "Resource", "Critical", RETRYABLE),
    (MemoryError(), "Resource", "Critical", RETRYABLE),
    (ProcessLookupError(), "Terminal", "Warning", NOT),
    (TimeoutError(), "Timeout", "Recoverable", RETRYABLE),
    (subprocess.TimeoutExpired("ls", 1.0), "Timeout", "Recoverable", RETRYABLE),
    (raised(b"\xff".decode), "Parser", "Recoverable", NOT),
    (raised(b"\xe2\x82".decode), "Parser", "Recoverable", RETRYABLE),
    (raised("\udcff".encode), "Parser", "Recoverable", NOT),
    (raised(json.loads, "{]"), "Parser", "Recoverable", NOT),
    (raised(json.loads, '{"a": 1'), "Parser", "Recoverable", RETRYABLE),
    (raised(json.loads, '{"a": "b'), "Parser", "Recoverable", RETRYABLE),
    (raised(orjson.loads, b"{]"), "Parser", "Recoverable", NOT),
    (raised(orjson.loads, b'{"a": 1'), "Parser", "Recoverable", RETRYABLE),
    (raised(cattrs.structure, {"x": "one"}, Point), "Parser", "Recoverable", NOT),
    (raised(cattrs.structure, [1, "one"], list[int]), "Parser", "Recoverable", NOT),
    (KeyboardInterrupt(), "UserCancelled", "Info", NOT),
    (RecursionError(), "Unknown", "Critical", NOT),
    (ZeroDivisionError(), "Unknown", "Critical", NOT),
    (SystemExit(1), "Unknown", "Critical", NOT),
    (trio.BrokenResourceError(), "Network", "Critical", NOT),
    (trio.ClosedResourceError(), "Network", "Critical", NOT),
    (trio.EndOfChannel(), "Network", "Critical", NOT),
    (trio.BusyResourceError(), "Resource", "Recoverable", RETRYABLE),
    (trio.WouldBlock(), "Resource", "Recoverable", RETRYABLE),
    (trio.TooSlowError(), "Timeout", "Recoverable", RETRYABLE),
]


@pytest.mark.parametrize(("error", "category", "severity", "retryable"), OWN + PYTHONS, ids=repr)
def test_an_error_is_of_its_kind(error: BaseException, category: str, severity: str, retryable: bool) -> None:
    failure = classify(error)
    assert (failure.category, failure.severity, failure.retryable) == (category, severity, retryable)
    assert (failure.error, failure.message) == (type(error).__name__, str(error))


async def test_a_cancelled_operation_is_the_users() -> None:
    failures: list[Failure] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep(1)
        except trio.Cancelled as error:
            failures.append(classify(error))
            raise
    assert [failure.category for failure in failures] == [Category.USER_CANCELLED]


def test_the_table_names_only_classes_that_there_are() -> None:
    for key in KINDS:
        if not isinstance(key, type):
            module, name = key
            assert issubclass(getattr(importlib.import_module(module), name), BaseException)


def test_whatever_timed_out_was_reset_or_ended_too_early_is_retryable_as_the_specification_says() -> None:
    for error in (
        OperationTimeout("read", 1.0),
        ProviderError("p", "busy", retry_after=0.0),
        ResourceExhausted("memory", 1, 2),
        *map(os_error, (errno.ETIMEDOUT, errno.ECONNABORTED, errno.ECONNRESET)),
        EOFError(),
    ):
        assert classify(error).retryable, error


def test_an_interrupted_call_is_tried_again_at_once() -> None:
    assert classify(InterruptedError()).retry_after == 0.0


def test_what_an_error_says_of_when_to_try_again_is_in_the_failure() -> None:
    assert classify(ProviderError("p", "busy", retry_after=2)).retry_after == 2.0

    class Shedding(Exception):
        retry_after = 7.5

    assert classify(Shedding()).retry_after == 7.5


@pytest.mark.parametrize("nonsense", [-1.0, float("nan"), float("inf"), "soon", True])
def test_a_time_to_try_again_that_is_none_is_not_believed(nonsense: object) -> None:
    failure = classify(ProviderError("p", "busy", retry_after=nonsense))  # type: ignore[arg-type]
    assert (failure.retry_after, failure.retryable) == (None, False)


# --- errors that stand for others


def test_a_crash_is_what_the_actor_crashed_of_and_the_actors() -> None:
    failure = classify(ActorCrashed("/app/db", "query", IpcError("gone")), "/app/api")
    assert (failure.category, failure.error, failure.message) == ("Network", "IpcError", "IPC error: gone")
    assert failure.component == "/app/db"


def test_a_crash_that_has_travelled_is_the_first_ones() -> None:
    inner = ActorCrashed("/app/db", "query", MemoryError("no room"))
    failure = classify(ActorCrashed("/app/api", "order", inner), "/app/web")
    assert (failure.category, failure.message, failure.component) == ("Resource", "no room", "/app/db")


def test_an_actor_that_was_killed_has_failed_for_an_unknown_reason() -> None:
    failure = classify(ActorCrashed("/app/db", "query", Exit.KILLED))
    assert (failure.category, failure.severity, failure.component) == ("Unknown", "Critical", "/app/db")


def test_a_start_that_failed_is_what_it_failed_of() -> None:
    inner = StartFailed("/app/sub/db", ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    failure = classify(StartFailed("/app/sub", inner))
    assert (failure.category, failure.severity, failure.component) == ("Network", "Critical", "/app/sub/db")


def test_a_supervisor_that_gave_up_has_failed_of_its_childs_last_error() -> None:
    failure = classify(SupervisorGaveUp("/app", "/app/db", "too often", os_error(errno.EIO)))
    assert (failure.category, failure.severity, failure.component) == ("FileSystem", "Critical", "/app")


def test_a_rejection_is_what_it_answers_with() -> None:
    assert classify(Reject(MemoryError())).error == "MemoryError"


def test_a_group_is_its_worst_member() -> None:
    group = ExceptionGroup(
        "several", [ParseError("a", 1, 1), ExceptionGroup("more", [TimeoutError("slow"), os_error(errno.EIO)])]
    )
    assert classify(group).category is Category.FILE_SYSTEM


def test_of_equally_bad_members_the_first_counts() -> None:
    assert classify(ExceptionGroup("two", [IpcError("a"), MemoryError()])).message == "IPC error: a"
    assert classify(ExceptionGroup("two", [MemoryError("m"), IpcError("a")])).message == "m"


def test_a_crash_within_a_group_counts_as_what_it_crashed_of() -> None:
    group = ExceptionGroup("two", [TimeoutError(), ActorCrashed("/app/db", "query", IpcError("gone"))])
    assert (classify(group).error, classify(group).component) == ("IpcError", "/app/db")


def test_the_callers_of_an_open_circuit_are_warned_of_what_opened_it() -> None:
    error = CircuitOpen("/app/api")
    error.__cause__ = ActorCrashed("/app/api", "get", IpcError("gone"))
    failure = classify(error, "/app/web")
    assert (failure.category, failure.severity, failure.component) == ("Network", "Warning", "/app/api")
    assert (failure.error, failure.message) == ("CircuitOpen", "Circuit open: /app/api")


def test_a_ring_of_causes_has_an_end() -> None:
    crash, circuit = ActorCrashed("/a", "m", Exit.KILLED), CircuitOpen("/b")
    crash.__cause__, circuit.__cause__ = circuit, crash
    assert classify(crash).severity in Severity
    alone = ActorCrashed("/a", "m", Exit.KILLED)
    alone.__cause__ = alone
    assert classify(alone).component == "/a"


def test_a_chain_of_any_length_is_followed() -> None:
    error: Exception = IpcError("gone")
    for _ in range(5_000):
        error = ExceptionGroup("one", [ActorCrashed("/a", "m", error)])
    assert classify(error).error == "IpcError"


def test_what_python_itself_has_noticed_late_is_what_it_should_have_noticed() -> None:
    late = SystemError("<class 'New'> returned a result with an exception set")
    assert classify(late).category == "Unknown"
    late.__cause__ = MemoryError()
    failure = classify(late)
    assert (failure.category, failure.severity, failure.error) == ("Resource", "Critical", "MemoryError")


# --- whether it had begun


def test_an_errors_own_word_that_it_had_not_begun_counts() -> None:
    assert classify(CommandLost("/t1", -9, began=False), "/t1/commands").begun is False
    assert classify(CommandLost("/t1", -9, began=True), "/t1/commands").begun is True
    assert classify(ValueError()).begun is None


def test_that_another_actors_call_had_not_begun_says_nothing_of_the_caller() -> None:
    """The handler that made the call may have had effects before it."""
    error = CallTimeout("/app/db", "query", 1.0, began=False)
    assert classify(error, "/app/api").begun is None
    assert classify(ActorCrashed("/app/db", "query", error), "/app/api").begun is None
    assert classify(error, "/app/db").begun is False
    assert classify(error).begun is False


def test_what_an_actor_crashed_of_had_begun() -> None:
    assert classify(ActorCrashed("/app/db", "query", ValueError())).begun is True
    assert classify(ActorCrashed("/app/db", "query", Exit.KILLED)).begun is True


def test_a_call_that_a_circuit_kept_back_had_not_begun() -> None:
    assert classify(CircuitOpen("/app/db")).begun is False
    assert classify(CircuitOpen("/app/db"), "/app/api").begun is None


def test_what_an_application_calls_a_path_is_no_actors() -> None:
    class BadFile(Exception):
        path = "/etc/passwd"

    assert classify(BadFile(), "/app/files").component == "/app/files"


# --- an application's own


class ShopError(Exception):
    pass


class SoldOut(ShopError):
    def __init__(self, again_in: float) -> None:
        self.again_in = again_in


SHOP = DEFAULT.extended(
    {
        ShopError: Kind("Resource", "Recoverable"),
        SoldOut: lambda error: Kind("Resource", "Recoverable", retryable=True, retry_after=error.again_in),
    }
)


def test_an_application_registers_its_types_and_the_nearest_decides() -> None:
    class Refund(ShopError):
        pass

    assert SHOP.classify(Refund()).category is Category.RESOURCE
    assert SHOP.classify(Refund()).retry_after is None
    assert SHOP.classify(SoldOut(3.0)).retry_after == 3.0
    assert DEFAULT.classify(ShopError()).category is Category.UNKNOWN


def test_an_application_may_know_better_than_the_table() -> None:
    strict = DEFAULT.extended({TimeoutError: Kind("Network", "Critical")})
    assert strict.classify(TimeoutError()).category is Category.NETWORK
    assert strict.classify(OperationTimeout("read", 1.0)).category is Category.TIMEOUT


def test_a_function_may_leave_an_error_to_its_base_classes() -> None:
    known = DEFAULT.extended({FileNotFoundError: lambda _: None})
    assert known.classify(FileNotFoundError()) == classify(FileNotFoundError())


def test_a_catch_all_does_not_hide_what_stands_behind_an_error() -> None:
    known = DEFAULT.extended({Exception: Kind("Timeout", "Warning")})
    assert known.classify(ValueError()).category is Category.TIMEOUT
    assert known.classify(ExceptionGroup("one", [IpcError("gone")])).category is Category.NETWORK
    assert known.classify(ActorCrashed("/a", "m", IpcError("gone"))).category is Category.NETWORK


def test_a_group_that_is_registered_is_not_opened() -> None:
    class Batch(ExceptionGroup[Exception]):
        pass

    known = DEFAULT.extended({Batch: Kind("Parser", "Info")})
    assert known.classify(Batch("batch", [MemoryError()])).severity is Severity.INFO


def test_a_function_that_fails_is_told_of_and_the_worst_assumed() -> None:
    failing = DEFAULT.extended({ShopError: lambda error: error.nothing, SoldOut: lambda _: 3})  # type: ignore[arg-type, return-value]
    failure = failing.classify(ShopError("sorry"))
    assert (failure.category, failure.severity) == ("Unknown", "Critical")
    assert failure.message.startswith("sorry (and classifying it failed: AttributeError: 'ShopError' object has no")
    assert "must return a Kind or None" in failing.classify(SoldOut(1.0)).message


def test_what_stands_for_others_may_be_registered_itself() -> None:
    known = DEFAULT.extended({BaseExceptionGroup: Kind("Parser", "Info"), ActorCrashed: Kind("Parser", "Info")})
    assert known.classify(ExceptionGroup("one", [MemoryError()])).severity is Severity.INFO
    assert known.classify(ActorCrashed("/a", "m", MemoryError())).severity is Severity.INFO


def test_classifiers_are_values() -> None:
    kind = Kind("Network", "Critical")
    assert DEFAULT.extended({ShopError: kind}) == DEFAULT.extended({ShopError: kind}) != DEFAULT
    assert repr(Classifier(())) == "<Classifier of 0 types>"
    assert hash(DEFAULT.extended({ShopError: kind})) == hash(DEFAULT.extended({ShopError: kind}))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        DEFAULT.known = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Kind("Netwrk", "Critical"), "category='Netwrk' must be one of Terminal, FileSystem, Network"),
        (lambda: Kind("Network", "Fatal"), "severity='Fatal' must be one of Critical, Recoverable, Warning, Info"),
        (lambda: Kind("Network", "Critical", retryable=1), "Kind: retryable=1 must be True or False"),
        (lambda: Kind("Network", "Critical", retry_after=-1.0), "retry_after=-1.0 must be a finite number from 0 up"),
        (lambda: DEFAULT.extended({3: Kind("Network", "Critical")}), "3 must be a class of exceptions"),
        (lambda: DEFAULT.extended({int: Kind("Network", "Critical")}), "int'> must be a class of exceptions"),
        (lambda: DEFAULT.extended({ShopError: "Network"}), "ShopError: 'Network' must be a Kind"),
        (lambda: DEFAULT.extended({ShopError: Kind}), "must be a Kind"),
        (lambda: DEFAULT.extended([ShopError]), "must be a dict from classes of exceptions"),
    ],
)
def test_what_can_not_be_registered_is_refused_by_name(make: Callable[[], object], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert said in str(caught.value)


# --- whatever is thrown at it


class Hostile(Exception):
    def __str__(self) -> str:
        raise ValueError("no")

    @property
    def began(self) -> bool:
        raise ValueError("no")

    @property
    def retry_after(self) -> float:
        raise KeyError("no")


def test_an_error_whose_own_methods_raise_is_classified_all_the_same() -> None:
    assert classify(Hostile()).message == "<Hostile, whose str raises ValueError>"


def test_a_message_is_bounded_and_can_be_encoded() -> None:
    assert len(classify(ValueError("x" * 100_000)).message) == LONGEST
    assert classify(ValueError("\udcff")).message == "\\udcff"


leaves = st.sampled_from([error for error, *_ in OWN + PYTHONS if isinstance(error, Exception)])
errors = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda several: ExceptionGroup("several", several)),
        inner.map(lambda error: ActorCrashed("/app/a", "m", error)),
        inner.map(lambda error: StartFailed("/app/b", error)),
        inner.map(Reject),
    ),
    max_leaves=12,
)


@given(errors, st.sampled_from(["", "/app", "/app/a"]))
def test_every_error_is_classified_and_no_better_than_its_best_part(error: Exception, component: str) -> None:
    failure = classify(error, component)
    assert isinstance(failure, Failure)
    assert failure == classify(error, component)
    assert failure.severity.rank == min(DEFAULT.kind_of(leaf).severity.rank for leaf in leaves_of(error))


def leaves_of(error: BaseException) -> list[BaseException]:
    if isinstance(error, Reject):
        return leaves_of(error.error)
    if isinstance(error, cattrs.BaseValidationError):
        return [error]
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves_of(each)]
    if isinstance(error, ActorCrashed | StartFailed) and error.__cause__ is not None:
        return leaves_of(error.__cause__)
    return [error]


def test_a_classifier_of_nothing_knows_nothing() -> None:
    assert Classifier(()).classify(IpcError("gone")).category is Category.UNKNOWN
