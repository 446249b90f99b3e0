"""What ukemi says: its errors, the reasons of exits, and the events of a runtime."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import ukemi
from ukemi import (
    Actor,
    ActorCrashed,
    CircuitOpen,
    Exit,
    IpcError,
    OperationTimeout,
    ParseError,
    ProviderError,
    Ref,
    ResourceExhausted,
    Runtime,
    StartFailed,
    UkemiError,
    child,
    supervisor,
)
from ukemi.actors import HandlerTimeout, Shutdown
from ukemi.actors.errors import duration_text
from ukemi.actors.events import ActorExited, ActorStarted, EventLog
from ukemi.actors.reasons import Reason, describe, is_abnormal, plain
from ukemi.actors.system import Timeouts

from .subject import Boom, Subject, alone, boom


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (IpcError("gone"), "IPC error: gone"),
        (ProviderError("p", "busy", retry_after=2.0), "Provider error: p - busy"),
        (ParseError("a.py", 3, 7, "why"), "Parse error at a.py:3:7"),
        (ResourceExhausted("memory", 10, 11), "Resource exhausted: memory"),
        (OperationTimeout("read", 1.5), "Operation timeout after 1.5s"),
        (CircuitOpen("api"), "Circuit open: api"),
        (ukemi.ComponentNotFound("api"), "Component not found: api"),
    ],
)
def test_the_errors_of_the_specification_say_what_it_says(error: UkemiError, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, UkemiError)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[
            (30.0, "30s"),
            (1.5, "1.5s"),
            (0.1, "100ms"),
            (0.0025, "2.5ms"),
            (2.5e-6, "2.5µs"),
            (7e-9, "7ns"),
            (0.0, "0ns"),
        ],
        *[(1.000000001, "1.000000001s"), (61.25, "61.25s"), (0.001001, "1.001ms")],
    ],
)
def test_durations_read_as_rust_prints_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.integers(0, 10**15))
def test_a_duration_loses_no_nanosecond_and_ends_in_no_zero(nanoseconds: int) -> None:
    text = duration_text(nanoseconds / 1e9)
    number = text.rstrip("nµms")
    size = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9}[text[len(number) :]]
    whole, _, fraction = number.partition(".")
    assert int(whole) * size + int((fraction or "0").ljust(len(str(size)) - 1, "0") or "0") == nanoseconds
    assert not (fraction and fraction.endswith("0"))


@pytest.mark.rule("X3")
def test_a_group_of_one_is_its_leaf_and_a_group_of_several_is_itself() -> None:
    leaf = Boom()
    several = ExceptionGroup("two", [Boom(), Boom()])
    assert plain(ExceptionGroup("a", [ExceptionGroup("b", [leaf])])) is leaf
    assert plain(several) is several
    assert plain(ExceptionGroup("a", [several])) is several


def test_reasons_are_normal_or_abnormal_and_read_well() -> None:
    reasons: list[Reason] = [
        Exit.NORMAL,
        Exit.SHUTDOWN,
        Shutdown("done"),
        Exit.NOPROC,
        Exit.KILLED,
        Boom("x"),
        KeyboardInterrupt(),
    ]
    assert [is_abnormal(reason) for reason in reasons] == [False, False, False, False, True, True, True]
    assert [describe(reason) for reason in reasons] == [
        *("normal", "shutdown", "shutdown: done", "noproc", "it was killed", "Boom: x", "KeyboardInterrupt"),
    ]


@pytest.mark.rule("M3")
def test_timeouts_are_by_operation_and_thirty_seconds_otherwise() -> None:
    timeouts = Timeouts(overrides={"read": 5.0})
    assert (timeouts.of("read"), timeouts.of("write")) == (5.0, 30.0)


@pytest.mark.rule("S3")
async def test_a_factory_that_makes_no_actor_is_named() -> None:
    with pytest.raises(StartFailed, match="the factory of /app/it returned 3; it must return an Actor"):
        async with alone(lambda: 3):  # type: ignore[arg-type, return-value]
            pass


async def test_an_actor_that_handles_a_message_too_long_counts_as_hung(autojump_clock: MockClock) -> None:
    class Hanging(Subject):
        async def coroutine(self, n: int = 0) -> None:
            await trio.sleep(n)

    async with alone(Hanging, handler_timeout=2.0) as runtime:
        it = runtime.ref("it", Hanging)
        await it.call(Hanging.coroutine, 1)
        with pytest.raises(ActorCrashed) as caught:
            await it.call(Hanging.coroutine, 3)
        assert isinstance(caught.value.__cause__, HandlerTimeout)
        assert "/app/it hung in coroutine for longer than its handler_timeout of 2 s" in str(caught.value)
        assert await it.call(Hanging.sync, 1) == 1
        with pytest.raises(TypeError):
            await it.call("sync", 1, 2)


async def test_an_actor_knows_its_name_path_incarnation_and_neighbours() -> None:
    seen: list[object] = []

    class Knowing(Actor):
        def on_start(self) -> None:
            ctx = self.ctx
            seen.append((ctx.name, ctx.path, ctx.incarnation, ctx.ref.path))
            other: Ref[Actor] = ctx.find("../other", Actor)
            seen.append(other.path)
            ctx.log.debug("hello")

    async with Runtime(supervisor("app", child("other", Subject), child("it", Knowing))):
        assert seen == [("it", "/app/it", 1, "/app/it"), "/app/other"]


async def test_the_event_log_remembers_counts_and_can_be_followed() -> None:
    async with alone(lambda: Subject(boom)) as runtime:
        it = runtime.ref("it", Subject)
        async with runtime.events.follow() as channel:
            it.cast(Subject.sync)
            seen = [type(await channel.receive()).__name__ for _ in range(4)]
        assert seen == ["ActorExited", "DeadLetter", "ActorStarted", "ChildRestarted"]
        it.cast(Subject.sync)
        await wait_all_tasks_blocked()
        assert len(runtime.events.of(ActorExited)) == runtime.events.counts["ActorExited"] == 2
        assert [event.incarnation for event in runtime.events.of(ActorStarted) if event.path == "/app/it"] == [1, 2, 3]
        assert len(runtime.events) == len(list(runtime.events))


async def test_a_follower_that_does_not_read_slows_nobody_and_its_loss_is_counted() -> None:
    log = EventLog()
    async with log.follow(buffer=2) as channel:
        for n in range(5):
            log.emit(ActorStarted(path=f"/{n}", incarnation=1))
        assert [(await channel.receive()).path for _ in range(2)] == ["/0", "/1"]
        assert log.counts["missed by a follower"] == 3


async def test_the_event_log_is_bounded() -> None:
    log = EventLog()
    for n in range(log.remembered + 10):
        log.emit(ActorStarted(path=f"/{n}", incarnation=1))
    assert len(log) == log.remembered
    assert next(iter(log)).path == "/10"
    assert log.counts["ActorStarted"] == log.remembered + 10


async def test_idle_actors_have_no_task_of_their_own() -> None:
    """One of the complaints in facts/supervision.md: memory at a few thousand actors."""
    before = trio.lowlevel.current_statistics().tasks_living
    children = [child(f"n{n}", Subject) for n in range(2000)]
    async with Runtime(supervisor("app", *children)) as runtime:
        for n in range(0, 2000, 100):
            await runtime.ref(f"n{n}", Subject).call(Subject.sync, n)
        assert trio.lowlevel.current_statistics().tasks_living - before < 20
