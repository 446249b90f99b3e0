"""The timeout manager: whose time counts, what is refused, and blocks that are bounded by it."""

import math
from typing import Any

import pytest
import trio

from ukemi import Actor, OperationTimeout, Runtime, SpecError, UkemiError, child, supervisor
from ukemi.actors.timeouts import TimeoutInfo, Timeouts

from .subject import Subject, alone


def running(**options: Any) -> Runtime:
    return Runtime(supervisor("app", child("it", Subject)), **options)


# --- whose time counts


@pytest.mark.rule("M3")
def test_an_override_counts_before_the_operations_default_and_that_before_the_default_of_all() -> None:
    timeouts = Timeouts(10, {"read": 5, "write": 6})
    timeouts.override("read", 1)
    assert [timeouts.of(name) for name in ("read", "write", "walk")] == [1.0, 6.0, 10.0]
    timeouts.clear("read")
    timeouts.clear("walk")
    assert [timeouts.of(name) for name in ("read", "write", "walk")] == [5.0, 6.0, 10.0]


def test_nothing_said_is_thirty_seconds() -> None:
    assert Timeouts().of("read") == 30.0


def test_the_default_of_all_can_be_changed() -> None:
    timeouts = Timeouts(defaults={"read": 5})
    timeouts.default = 7
    assert (timeouts.of("read"), timeouts.of("write")) == (5.0, 7.0)


def test_what_is_declared_and_overridden_can_be_listed() -> None:
    timeouts = Timeouts(defaults={"write": 6, "read": 5})
    timeouts.override("read", math.inf)
    assert timeouts.info() == [TimeoutInfo("read", math.inf, "override"), TimeoutInfo("write", 6.0, "default")]
    assert timeouts.info_of("walk") == TimeoutInfo("walk", 30.0, "default")
    assert (dict(timeouts.defaults), dict(timeouts.overrides)) == ({"write": 6.0, "read": 5.0}, {"read": math.inf})
    with pytest.raises(TypeError):
        timeouts.overrides["read"] = -1  # type: ignore[index]


@pytest.mark.parametrize("seconds", [0, -1, math.nan, -math.inf, "5", None, True])
def test_a_wrong_time_is_refused_by_name(seconds: Any) -> None:
    timeouts = Timeouts()
    for wrong in (
        lambda: timeouts.override("read", seconds),
        lambda: Timeouts(defaults={"read": seconds}),
        lambda: Timeouts(overrides={"read": seconds}),
        lambda: Runtime(supervisor("app"), timeouts={"read": seconds}),
    ):
        with pytest.raises(SpecError, match="the timeout of 'read' must be seconds above 0, or"):
            wrong()
    with pytest.raises(SpecError, match="the default timeout must be seconds"):
        timeouts.default = seconds
    with pytest.raises(SpecError, match="the default timeout must be seconds"):
        Runtime(supervisor("app"), call_timeout=seconds)
    assert timeouts.of("read") == 30.0


@pytest.mark.parametrize("name", ["", 7, None])
def test_an_operation_is_a_name(name: Any) -> None:
    with pytest.raises(SpecError, match="an operation's name is a str, not"):
        Timeouts().override(name, 1.0)


@pytest.mark.rule("M3")
async def test_an_override_counts_for_calls_from_then_on(autojump_clock: object) -> None:
    class Deaf(Actor):
        async def listen(self) -> None:
            await trio.sleep_forever()

    async with alone(Deaf) as runtime:
        for seconds in (3.0, 4.0):
            runtime.timeouts.override("listen", seconds)
            begun = trio.current_time()
            with pytest.raises(TimeoutError):
                await runtime.ref("it").call("listen")
            assert trio.current_time() - begun == pytest.approx(seconds)


# --- bounding a block


async def test_a_block_that_takes_too_long_is_cancelled_with_its_name_and_time(autojump_clock: object) -> None:
    async with running(timeouts={"read": 1.5}) as runtime:
        limit = runtime.timeouts.limit("read")
        with pytest.raises(OperationTimeout, match=r"^Operation timeout after 1\.5s$") as error, limit:
            await trio.sleep_forever()
        assert (error.value.operation, error.value.duration) == ("read", 1.5)
        assert len(runtime.system.timers) == 0


async def test_a_block_that_ends_in_time_leaves_no_timer(autojump_clock: object) -> None:
    async with running() as runtime:
        with runtime.timeouts.limit("read"):
            await trio.sleep(29)
        with pytest.raises(KeyError), runtime.timeouts.limit("read"):
            raise KeyError
        assert len(runtime.system.timers) == 0


async def test_no_limit_is_none(autojump_clock: object) -> None:
    async with running(timeouts={"read": math.inf}) as runtime:
        with runtime.timeouts.limit("read"):
            await trio.sleep(80_000)


async def test_what_the_block_raises_on_its_way_out_is_raised(autojump_clock: object) -> None:
    async with running() as runtime:
        with pytest.raises(KeyError), runtime.timeouts.limit("read"):
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError


async def test_cancellation_from_elsewhere_is_left_alone(autojump_clock: object) -> None:
    async with running() as runtime:
        with trio.move_on_after(3) as outer, runtime.timeouts.limit("read"):
            await trio.sleep_forever()
        assert outer.cancelled_caught
        assert len(runtime.system.timers) == 0


async def test_of_two_limits_the_shorter_one_ends_its_own_block(autojump_clock: object) -> None:
    async with running(timeouts={"inner": 1, "outer": 2}) as runtime:
        timeouts = runtime.timeouts
        with timeouts.limit("outer"):
            with pytest.raises(OperationTimeout) as error, timeouts.limit("inner"):
                await trio.sleep_forever()
            assert error.value.operation == "inner"
        with pytest.raises(OperationTimeout) as error, timeouts.limit("outer"), timeouts.limit("read"):
            await trio.sleep_forever()
        assert error.value.operation == "outer"


async def test_time_that_has_passed_can_be_lengthened(autojump_clock: object) -> None:
    asked: list[tuple[str, float, int]] = []

    def twice(operation: str, seconds: float, lengthened: int) -> float | None:
        asked.append((operation, seconds, lengthened))
        return 2.0 if lengthened < 2 else None

    async with running(timeouts={"read": 1}) as runtime:
        begun = trio.current_time()
        with pytest.raises(OperationTimeout, match="after 5s"), runtime.timeouts.limit("read", on_expiry=twice):
            await trio.sleep_forever()
        assert trio.current_time() - begun == pytest.approx(5.0)
        assert asked == [("read", 1.0, 0), ("read", 3.0, 1), ("read", 5.0, 2)]
        with runtime.timeouts.limit("read", on_expiry=twice):
            await trio.sleep(4.5)
        assert len(runtime.system.timers) == 0


async def test_the_timeouts_own_hook_is_asked_where_a_limit_has_none(autojump_clock: object) -> None:
    async with running(timeouts={"read": 1}) as runtime:
        runtime.timeouts.on_expiry = lambda operation, seconds, lengthened: math.inf
        with runtime.timeouts.limit("read"):
            await trio.sleep(80_000)


@pytest.mark.parametrize("more", [-1.0, math.nan, "2", True])
async def test_a_hook_that_answers_wrongly_gives_no_time_and_harms_nobody(autojump_clock: object, more: Any) -> None:
    async with running(timeouts={"read": 1}) as runtime:
        limit = runtime.timeouts.limit("read", on_expiry=lambda *_: more)
        with pytest.raises(OperationTimeout) as error, limit:
            await trio.sleep_forever()
        assert "more time for 'read' must be seconds above 0" in str(error.value.__cause__)
        assert await runtime.ref("it").call(Subject.sync, 1) == 1


async def test_a_hook_that_raises_ends_the_block_and_harms_nobody(autojump_clock: object) -> None:
    def hook(*_: object) -> float:
        raise ValueError("of no use")

    async with running(timeouts={"read": 1}) as runtime:
        with pytest.raises(OperationTimeout) as error, runtime.timeouts.limit("read", on_expiry=hook):
            await trio.sleep_forever()
        assert isinstance(error.value.__cause__, ValueError)
        with pytest.raises(OperationTimeout), runtime.timeouts.limit("read"):
            await trio.sleep_forever()


async def test_an_actor_bounds_what_it_does(autojump_clock: object) -> None:
    class Reader(Actor):
        async def read(self) -> None:
            with self.ctx._incarnation.cell.system.timeouts.limit("disk"):
                await trio.sleep_forever()

    async with Runtime(supervisor("app", child("it", Reader)), timeouts={"disk": 0.25}) as runtime:
        with pytest.raises(UkemiError) as error:
            await runtime.ref("it").call("read")
        assert str(error.value.__cause__) == "Operation timeout after 250ms"


async def test_outside_a_running_runtime_nothing_could_end_the_block() -> None:
    runtime = running()

    def refused() -> None:
        limit = runtime.timeouts.limit("read")
        with pytest.raises(UkemiError, match="'read' can only be limited while the runtime runs"), limit:
            pytest.fail("the block began")

    refused()
    async with runtime:
        pass
    refused()
