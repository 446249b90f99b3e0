"""How a call ends: with the reply, the callee's end, or its deadline (rules M3 to M6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    ActorCrashed,
    ActorStopped,
    CallTimeout,
    Ref,
    Reject,
    Runtime,
    Supervisor,
    child,
    supervisor,
)
from ukemi.actors.events import ActorExited, DeadLetter

from .subject import WAYS, Boom, Subject, Way, alone, ask, boom, method_for


class Slow(Actor):
    """Sleeps, and writes down what it began and finished."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.log = [] if log is None else log

    async def sleep(self, seconds: float) -> str:
        self.log.append("began")
        await trio.sleep(seconds)
        self.log.append("finished")
        return "slept"

    def note(self, text: str) -> str:
        self.log.append(text)
        return text


class Front(Actor):
    """Passes a call on."""

    def __init__(self, seconds: float | str | None = "default") -> None:
        self.seconds = seconds
        self.seen: list[str] = []

    async def relay(self, seconds: float) -> str:
        slow: Ref[Slow] = self.ctx.find("slow", Slow)
        if not isinstance(self.seconds, str):
            slow = slow.within(self.seconds)
        try:
            return await slow.call(Slow.sleep, seconds)
        except CallTimeout as error:
            self.seen.append(f"{error.seconds:.6g} at {trio.current_time():.6g}")
            raise


def pair(front: Callable[[], Actor] = Front, log: list[str] | None = None, **options: Any) -> Runtime:
    return Runtime(supervisor("app", child("slow", lambda: Slow(log)), child("front", front)), **options)


@pytest.mark.rule("M4")
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_ends_with_the_reply(way: Way) -> None:
    async with alone(lambda: Subject(lambda self, n: n + 1)) as runtime:
        assert await ask(runtime.ref("it", Subject), way, 1) == 2


@pytest.mark.rule("M4", "M6")
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_to_a_crashing_actor_fails_with_its_cause(way: Way) -> None:
    async with alone(lambda: Subject(boom)) as runtime:
        with pytest.raises(ActorCrashed, match="/app/it crashed in") as caught:
            await ask(runtime.ref("it", Subject), way)
        assert type(caught.value.__cause__) is Boom
        assert caught.value.path == "/app/it"
        assert caught.value.method == method_for(way).__name__


@pytest.mark.rule("M4")
async def test_a_call_ends_with_the_callees_kill_and_names_no_cause() -> None:
    async with alone(Slow) as runtime, trio.open_nursery() as nursery:
        slow = runtime.ref("it", Slow)
        nursery.start_soon(_kill_later, slow)
        with pytest.raises(ActorCrashed, match="it was killed") as caught:
            await slow.call(Slow.sleep, 9)
        assert caught.value.__cause__ is None


async def _kill_later(ref: Ref[Any]) -> None:
    await wait_all_tasks_blocked()
    ref.kill()


@pytest.mark.rule("M4")
async def test_calls_in_hand_and_queued_end_when_the_callee_is_stopped_for_good(autojump_clock: MockClock) -> None:
    outcomes: list[str] = []

    async def call(slow: Ref[Slow], seconds: float) -> None:
        try:
            await slow.call(Slow.sleep, seconds)
        except (ActorCrashed, ActorStopped) as error:
            outcomes.append(type(error).__name__)

    async with alone(Slow, shutdown=1.0) as runtime, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(call, runtime.ref("it", Slow), 20.0)
        await wait_all_tasks_blocked()
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
    assert sorted(outcomes) == ["ActorCrashed", "ActorStopped", "ActorStopped"]


@pytest.mark.rule("M3")
async def test_a_call_has_thirty_seconds_by_default(autojump_clock: MockClock) -> None:
    async with alone(Slow) as runtime:
        start = trio.current_time()
        with pytest.raises(CallTimeout) as caught:
            await runtime.ref("it", Slow).call(Slow.sleep, 31)
        assert trio.current_time() - start == pytest.approx(30)
        assert caught.value.seconds == 30
        assert isinstance(caught.value, TimeoutError)


@pytest.mark.rule("M3")
@pytest.mark.parametrize(
    ("options", "seconds"),
    [({"call_timeout": 7.0}, 7.0), ({"timeouts": {"sleep": 4.0}}, 4.0), ({"timeouts": {"note": 4.0}}, 30.0)],
)
async def test_a_tree_may_override_the_deadline_in_general_and_by_operation(
    autojump_clock: MockClock, options: dict[str, Any], seconds: float
) -> None:
    async with alone(Slow, runtime=options) as runtime:
        start = trio.current_time()
        with pytest.raises(CallTimeout):
            await runtime.ref("it", Slow).call(Slow.sleep, 31)
        assert trio.current_time() - start == pytest.approx(seconds)


@pytest.mark.rule("M3")
async def test_within_gives_a_ref_with_another_deadline_and_leaves_the_first_as_it_was(
    autojump_clock: MockClock,
) -> None:
    async with alone(Slow) as runtime:
        slow = runtime.ref("it", Slow)
        with pytest.raises(CallTimeout, match=r"within 2 s"):
            await slow.within(2).call(Slow.sleep, 3)
        assert await slow.call(Slow.sleep, 3) == "slept"
        assert slow.within(2) == slow


@pytest.mark.rule("M3")
async def test_within_none_is_no_deadline(autojump_clock: MockClock) -> None:
    async with alone(Slow) as runtime:
        assert await runtime.ref("it", Slow).within(None).call(Slow.sleep, 1e6) == "slept"


@pytest.mark.rule("M3")
@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
async def test_within_refuses_what_is_no_time(seconds: float) -> None:
    async with alone(Slow) as runtime:
        with pytest.raises(ValueError, match="within takes seconds from 0 up"):
            runtime.ref("it", Slow).within(seconds)


@pytest.mark.rule("M3", "M5")
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_within_no_time_at_all_never_runs(way: Way) -> None:
    ran: list[int] = []
    async with alone(lambda: Subject(lambda self, n: ran.append(n))) as runtime:
        with pytest.raises(CallTimeout) as caught:
            await ask(runtime.ref("it", Subject).within(0), way)
        assert not caught.value.began
        await wait_all_tasks_blocked()
    assert ran == []


@pytest.mark.rule("M3")
async def test_trios_own_cancel_scopes_end_a_call(autojump_clock: MockClock) -> None:
    async with alone(Slow) as runtime:
        with trio.move_on_after(2) as scope:
            await runtime.ref("it", Slow).call(Slow.sleep, 9)
        assert scope.cancelled_caught


@pytest.mark.rule("M3")
@pytest.mark.parametrize(
    ("of_front", "of_its_call", "ends_at"), [(5.0, "default", 5.0), (5.0, None, 5.0), (5.0, 2.0, 2.0), (None, 4.0, 4.0)]
)
async def test_a_nested_call_has_the_time_that_remains_if_that_is_less(
    autojump_clock: MockClock, of_front: float | None, of_its_call: float | str | None, ends_at: float
) -> None:
    fronts: list[Front] = []

    def make() -> Front:
        fronts.append(Front(of_its_call))
        return fronts[-1]

    async with pair(make) as runtime:
        start = trio.current_time()
        with pytest.raises((CallTimeout, ActorCrashed)):
            await runtime.ref("front", Front).within(of_front).call(Front.relay, 60)
        await wait_all_tasks_blocked()
        assert trio.current_time() - start == pytest.approx(ends_at)
        assert fronts[0].seen == [f"{ends_at:.6g} at {start + ends_at:.6g}"]


@pytest.mark.rule("M3")
async def test_what_remains_is_counted_from_the_outer_call_not_from_the_inner(autojump_clock: MockClock) -> None:
    class Late(Front):
        async def relay(self, seconds: float) -> str:
            await trio.sleep(3)
            return await super().relay(seconds)

    fronts: list[Late] = []

    def make() -> Late:
        fronts.append(Late())
        return fronts[-1]

    async with pair(make) as runtime:
        start = trio.current_time()
        with pytest.raises(CallTimeout):
            await runtime.ref("front", Late).within(5).call(Late.relay, 60)
        await wait_all_tasks_blocked()
        assert fronts[0].seen == [f"2 at {start + 5:.6g}"]


@pytest.mark.rule("M3")
async def test_a_handler_whose_callers_time_is_up_can_call_nobody_any_more(autojump_clock: MockClock) -> None:
    log: list[str] = []
    errors: list[BaseException] = []

    class Late(Actor):
        async def relay(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            try:
                await self.ctx.find("slow", Slow).call(Slow.note, "too late")
            except CallTimeout as error:
                errors.append(error)

    async with pair(Late, log) as runtime:
        with pytest.raises(CallTimeout):
            await runtime.ref("front", Late).within(1).call(Late.relay)
        await trio.sleep(5)
    assert log == []
    assert [type(error) for error in errors] == [CallTimeout]


@pytest.mark.rule("M5")
async def test_a_call_that_times_out_in_the_queue_never_runs_and_says_so(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with alone(lambda: Slow(log)) as runtime:
        slow = runtime.ref("it", Slow)
        slow.cast(Slow.sleep, 5)
        with pytest.raises(CallTimeout, match="had not begun and never will") as caught:
            await slow.within(1).call(Slow.note, "late")
        assert not caught.value.began
        await trio.sleep(10)
    assert log == ["began", "finished"]


@pytest.mark.rule("M5")
async def test_a_call_that_times_out_in_hand_runs_to_its_end_and_says_that_it_began(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with alone(lambda: Slow(log)) as runtime:
        slow = runtime.ref("it", Slow)
        with pytest.raises(CallTimeout, match="was being handled") as caught:
            await slow.within(1).call(Slow.sleep, 5)
        assert caught.value.began
        assert log == ["began"]
        await trio.sleep(10)
        assert log == ["began", "finished"]
        assert await slow.call(Slow.note, "well") == "well"
        assert not runtime.events.of(ActorExited)


@pytest.mark.rule("M5")
async def test_a_call_that_is_cancelled_in_the_queue_never_runs(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with alone(lambda: Slow(log)) as runtime:
        slow = runtime.ref("it", Slow)
        slow.cast(Slow.sleep, 5)
        with trio.move_on_after(1):
            await slow.call(Slow.note, "late")
        await trio.sleep(10)
    assert log == ["began", "finished"]


@pytest.mark.rule("M5", "I2")
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_in_a_cancelled_scope_never_runs(way: Way) -> None:
    ran: list[int] = []
    async with alone(lambda: Subject(lambda self, n: ran.append(n))) as runtime:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ask(runtime.ref("it", Subject), way)
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
    assert ran == []


@pytest.mark.rule("M5")
async def test_a_late_reply_is_dropped_and_harms_nobody(autojump_clock: MockClock) -> None:
    async with alone(Slow) as runtime:
        slow = runtime.ref("it", Slow)
        with pytest.raises(CallTimeout):
            await slow.within(1).call(Slow.sleep, 2)
        with trio.move_on_after(0.5):
            await slow.call(Slow.sleep, 2)
        assert await slow.call(Slow.sleep, 3) == "slept"
        assert await slow.call(Slow.note, "next") == "next"


@pytest.mark.rule("M5")
async def test_a_reply_that_comes_with_the_deadline_settles_the_call_once(autojump_clock: MockClock) -> None:
    async with alone(Slow) as runtime:
        slow = runtime.ref("it", Slow)
        for _ in range(20):
            try:
                assert await slow.within(2).call(Slow.sleep, 2) == "slept"
            except CallTimeout:
                pass
        assert await slow.call(Slow.note, "next") == "next"


@pytest.mark.rule("M6")
@pytest.mark.parametrize("way", WAYS)
async def test_reject_answers_with_the_error_and_is_no_crash(way: Way) -> None:
    error = ValueError("no such thing")

    def reject(self: Subject, n: int) -> None:
        raise Reject(error)

    async with alone(lambda: Subject(reject)) as runtime:
        it = runtime.ref("it", Subject)
        with pytest.raises(ValueError, match="no such thing") as caught:
            await ask(it, way)
        assert caught.value is error
        assert (it.stats().incarnation, it.stats().crashes) == (1, 0)


@pytest.mark.rule("M6")
def test_reject_takes_an_exception() -> None:
    with pytest.raises(TypeError, match="Reject takes the exception to answer with"):
        Reject("nope")  # type: ignore[arg-type]


@pytest.mark.rule("M6", "M10")
@pytest.mark.parametrize("way", ["inline", "coroutine", "awaitable"])
async def test_a_rejected_cast_is_a_dead_letter_and_no_crash(way: Way) -> None:
    def reject(self: Subject, n: int) -> None:
        raise Reject(ValueError("no such thing"))

    async with alone(lambda: Subject(reject)) as runtime:
        it = runtime.ref("it", Subject)
        it.cast(method_for(way))
        await wait_all_tasks_blocked()
        assert [letter.why for letter in runtime.events.of(DeadLetter)] == ["rejected: ValueError: no such thing"]
        assert it.stats().crashes == 0


@pytest.mark.rule("M6")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [TypeError("mine"), AttributeError("mine"), KeyError("mine")])
async def test_an_error_inside_the_handler_is_a_crash_whatever_its_class(way: Way, error: Exception) -> None:
    def fail(self: Subject, n: int) -> None:
        raise error

    async with alone(lambda: Subject(fail)) as runtime:
        it = runtime.ref("it", Subject)
        with pytest.raises(ActorCrashed) as caught:
            await ask(it, way)
        assert caught.value.__cause__ is error
        assert it.stats().crashes == 1


@pytest.mark.rule("M6")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arguments", [(), (1, 2)])
async def test_wrong_arguments_are_the_callers_error_and_no_crash(way: Way, arguments: tuple[int, ...]) -> None:
    class Strict(Subject):
        def sync(self, n: int) -> int:  # type: ignore[override]
            return n

        async def coroutine(self, n: int) -> int:  # type: ignore[override]
            return n

        def awaitable(self, n: int) -> Any:  # type: ignore[override]
            return self.coroutine(n)

    for encode in (True, False):
        async with alone(Strict, runtime={"encode_messages": encode}) as runtime:
            it = runtime.ref("it")
            if way == "busy":
                it.cast("pause")
            with pytest.raises(TypeError, match=r"\(self, n: .int.\)"):
                await it.call(method_for(way).__name__, *arguments)
            with pytest.raises(TypeError, match=r"\(self, n: .int.\)"):
                await it.call(method_for(way).__name__, m=1)
            with pytest.raises(TypeError):
                it.cast(method_for(way).__name__, *arguments)
            with pytest.raises(TypeError):
                await it.send(method_for(way).__name__, *arguments)
            assert it.stats().crashes == 0


@pytest.mark.rule("M6")
async def test_each_caller_gets_a_fresh_actor_crashed_with_the_same_cause(autojump_clock: MockClock) -> None:
    class Deferring(Actor):
        def __init__(self) -> None:
            self.replies: list[Any] = []

        def wait(self) -> None:
            self.replies.append(self.ctx.defer())

        def boom(self) -> None:
            raise Boom

    errors: list[ActorCrashed] = []

    async def call(ref: Ref[Any], method: Any) -> None:
        with pytest.raises(ActorCrashed) as caught:
            await ref.call(method)
        errors.append(caught.value)

    async with alone(Deferring) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Deferring)
        nursery.start_soon(call, it, Deferring.wait)
        nursery.start_soon(call, it, Deferring.wait)
        await wait_all_tasks_blocked()
        nursery.start_soon(call, it, Deferring.boom)
    assert len({id(error) for error in errors}) == 3
    assert len({id(error.__cause__) for error in errors}) == 1


@pytest.mark.rule("M6")
async def test_a_crash_in_a_handler_leaves_no_caller_hanging() -> None:
    """One of the complaints in facts/supervision.md: many callers wait, the actor crashes at each."""
    crashes = 0

    async def call(it: Ref[Subject], way: Way) -> None:
        nonlocal crashes
        with pytest.raises(ActorCrashed):
            await ask(it, way)
        crashes += 1

    async with alone(lambda: Subject(boom)) as runtime:
        it = runtime.ref("it", Subject)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for way in WAYS * 10:
                    nursery.start_soon(call, it, way)
    assert crashes == 40
