"""What becomes of a message that has failed, action by action, through a real tree."""

from __future__ import annotations

import errno

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ActorCrashed,
    Alert,
    Backoff,
    CallTimeout,
    Cancel,
    CircuitBreak,
    CircuitOpen,
    Defer,
    Extend,
    Fallback,
    OperationTimeout,
    Policy,
    ProviderError,
    ResourceExhausted,
    Restart,
    Resume,
    Retry,
    Row,
    Runtime,
    Throttle,
    child,
    retryable,
    supervisor,
)
from ukemi.actors.events import ActorExited, DeadLetter
from ukemi.supervisors import AlertRaised, Recovered
from ukemi.supervisors.degradation import Degradation
from ukemi.supervisors.recovery.actions import Action

from .patients import Patient, Ward, make

EXACT = Backoff(initial=1.0, maximum=4.0, jitter=0.0)
both_ways = pytest.mark.parametrize("method", ["once", "once_async"])
again_both_ways = pytest.mark.parametrize("method", ["again", "again_async"])


@pytest.fixture
def ward() -> Ward:
    return Ward()


def reset() -> OSError:
    return OSError(errno.ECONNRESET, "connection reset")


def tree(ward: Ward, policy: object, **options: object) -> Runtime:
    return Runtime(supervisor("top", child("a", make(ward), policy=policy, **options)))  # type: ignore[arg-type]


@both_ways
@pytest.mark.rule("S10")
async def test_resume_keeps_the_state_and_gives_the_caller_the_error_itself(ward: Ward, method: str) -> None:
    async with tree(ward, Resume()) as runtime:
        ref = runtime.ref("a")
        assert await ref.call("who") == "own 1"
        ward.fail("once", ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await ref.call(method)
        assert await ref.call("who") == "own 3"
        assert ref.stats().incarnation == 1


async def test_a_cast_that_is_resumed_is_a_dead_letter(ward: Ward) -> None:
    async with tree(ward, Resume()) as runtime:
        ward.fail("once", ValueError("no"))
        runtime.ref("a").cast("once")
        await wait_all_tasks_blocked()
        (letter,) = runtime.events.of(DeadLetter)
        assert letter.why == "failed: ValueError: no"


@again_both_ways
async def test_retry_gives_the_message_again_after_each_pause_and_answers_its_caller(
    ward: Ward, autojump_clock: MockClock, method: str
) -> None:
    async with tree(ward, Retry(EXACT, attempts=3)) as runtime:
        ref = runtime.ref("a")
        ward.fail("again", reset(), reset(), reset())
        assert await ref.call(method, "x") == "own 4"
        assert trio.current_time() == 1 + 2 + 4
        assert ward.take() == ["+own", *["again x"] * 4]
        assert ref.stats().crashes == 0
        assert [event.attempt for event in runtime.events.of(Recovered)] == [1, 2, 3]


@again_both_ways
async def test_what_fails_after_all_its_tries_is_a_crash(ward: Ward, autojump_clock: MockClock, method: str) -> None:
    async with tree(ward, Retry(EXACT, attempts=2)) as runtime:
        ward.fail("again", *[reset() for _ in range(3)])
        with pytest.raises(ActorCrashed) as caught:
            await runtime.ref("a").call(method)
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        assert await runtime.ref("a").call(method) == "own 1"


async def test_a_retried_message_keeps_its_place_and_later_mail_waits(ward: Ward, autojump_clock: MockClock) -> None:
    async with tree(ward, Retry(EXACT)) as runtime:
        ref = runtime.ref("a")
        ward.fail("again", reset())
        ref.cast("again", "first")
        ref.cast("once", "second")
        await wait_all_tasks_blocked()
        assert ref.stats().waiting == 2
        ref.cast("once", "third")
        await trio.sleep(2)
        assert ward.take() == ["+own", "again first", "again first", "once second", "once third"]


async def test_while_a_message_waits_to_be_given_again_its_actor_still_stops_and_heeds_its_timers(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with tree(ward, Retry(Backoff(100.0, 100.0))) as runtime:
        ref = runtime.ref("a", Patient)
        ward.fail("again", reset())
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(Exception, match=r"stopped before it answered|is not running"):
                    await ref.within(None).call(Patient.again)

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            await runtime.ref("top").call("stop_child", "a")
        assert trio.current_time() == 0


async def test_a_message_that_is_not_declared_retryable_is_not_given_again(ward: Ward) -> None:
    async with tree(ward, Retry(EXACT)) as runtime:
        ward.fail("once", reset())
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call("once")
        await wait_all_tasks_blocked()
        assert ward.take() == ["+own", "once", "-own", "+own"]


async def test_an_error_that_does_not_pass_is_not_tried_again(ward: Ward) -> None:
    async with tree(ward, Retry(EXACT)) as runtime:
        ward.fail("again", ZeroDivisionError())
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call("again")


async def test_what_is_known_not_to_have_begun_is_given_again_whatever_its_method(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class NotBegun(ConnectionResetError):
        began = False

    async with tree(ward, Retry(EXACT)) as runtime:
        ward.fail("once", NotBegun(errno.ECONNRESET, "reset"))
        assert await runtime.ref("a").call("once") == "own 2"


async def test_what_the_error_says_of_when_to_try_again_counts_for_more(ward: Ward, autojump_clock: MockClock) -> None:
    async with tree(ward, Retry(EXACT)) as runtime:
        ward.fail("again", ProviderError("p", "busy", retry_after=2.5))
        await runtime.ref("a").call("again")
        assert trio.current_time() == 2.5


@again_both_ways
async def test_a_retry_never_outlives_its_callers_deadline(ward: Ward, autojump_clock: MockClock, method: str) -> None:
    async with tree(ward, Policy((Row(None, None, Retry(EXACT), Resume()),))) as runtime:
        ref = runtime.ref("a")
        ward.fail("again", *[reset() for _ in range(5)])
        with pytest.raises(ConnectionResetError):
            await ref.within(2.5).call(method)
        assert trio.current_time() == 1.0, "the second pause would have ended after the deadline"


async def test_a_caller_that_goes_away_takes_its_message_along(ward: Ward, autojump_clock: MockClock) -> None:
    async with tree(ward, Retry(Backoff(100.0, 100.0))) as runtime:
        ref = runtime.ref("a")
        ward.fail("again", reset())
        with trio.move_on_after(1):
            await ref.within(None).call("again", "mine")
        assert await ref.call("who") == "own 2"
        assert trio.current_time() == 1.0
        assert ward.take() == ["+own", "again mine"]


async def test_a_message_that_waits_is_given_to_the_next_incarnation(ward: Ward, autojump_clock: MockClock) -> None:
    async with tree(ward, Retry(EXACT)) as runtime:
        ref = runtime.ref("a")
        ward.fail("again", reset())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.call, "again", "x")
            await wait_all_tasks_blocked()
            ref.kill()
        assert trio.current_time() == 1.0
        assert ward.take() == ["+own", "again x", "+own", "again x"]


@pytest.mark.parametrize("method", ["read", "read_async"])
async def test_fallback_lets_another_method_answer_and_tells_it_why(ward: Ward, method: str) -> None:
    async with tree(ward, Fallback()) as runtime:
        ref = runtime.ref("a", Patient)
        ward.fail("read", OSError("disk"))
        assert await ref.call(method, "x") == "stale x, since disk"
        assert await ref.call(method, "y") == "own 2"
        assert ref.stats().incarnation == 1


@pytest.mark.parametrize("method", ["read", "read_async"])
async def test_a_fallback_that_fails_in_turn_is_a_crash_of_its_own(ward: Ward, method: str) -> None:
    async with tree(ward, Fallback()) as runtime:
        ward.fail("read", OSError("disk"))
        ward.fail("stale", KeyError("nothing cached"))
        with pytest.raises(ActorCrashed) as caught:
            await runtime.ref("a").call(method, "x")
        assert isinstance(caught.value.__cause__, KeyError)
        assert isinstance(caught.value.__cause__.__context__, OSError)


async def test_a_policy_may_name_the_method_that_answers(ward: Ward) -> None:
    async with Runtime(supervisor("top", child("a", make(ward), policy=Fallback("stale")))) as runtime:
        ward.fail("once", OSError("disk"))
        assert await runtime.ref("a").call("once", "x") == "stale x, since disk"


async def test_defer_keeps_the_message_until_the_component_is_up_again(ward: Ward, autojump_clock: MockClock) -> None:
    async with tree(ward, Defer(), backoff=EXACT) as runtime:
        ref = runtime.ref("a")
        ward.fail("again", reset())
        ref.cast("again", "first")
        ref.cast("once", "second")
        await wait_all_tasks_blocked()
        assert ref.stats().state == "restarting"
        await trio.sleep(2)
        assert ward.take() == ["+own", "again first", "-own", "+own", "again first", "once second"]


async def test_defer_waits_for_another_component_without_a_crash_of_its_own(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Front(Patient):
        @retryable
        async def again_async(self, text: str = "") -> str:
            answer: str = await self.ctx.find("back").call("once", text)
            return answer

    back = child("back", make(ward, "back"), backoff=Backoff(3.0, 3.0, jitter=0.0))
    front = child("front", lambda: Front(ward, "front"), policy=Defer())
    async with Runtime(supervisor("top", back, front)) as runtime:
        ward.fail("once", ValueError("no"))
        assert await runtime.ref("front").call("again_async", "x") == "back 1"
        assert trio.current_time() == 3.0
        assert ward.take() == ["+back", "+front", "once x", "-back", "+back", "once x"]


async def test_a_message_that_fails_whenever_it_is_given_again_is_deferred_longer_each_time_and_not_for_ever(
    ward: Ward, autojump_clock: MockClock
) -> None:
    a = child("a", make(ward), policy=Defer())
    async with Runtime(supervisor("top", a, max_restarts=1)) as runtime:
        ward.fail("again", *[reset() for _ in range(100)])
        with pytest.raises(ActorCrashed) as caught:
            await runtime.ref("a").within(None).call("again")
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        assert 20 < trio.current_time() <= 31
        assert ward.log.count("again") == ward.log.count("+own") == 11
        assert await runtime.ref("a").call("who") == "own 1"  # and only its end has counted in the window


async def test_so_it_is_where_another_component_fails_that_is_up(ward: Ward, autojump_clock: MockClock) -> None:
    class Front(Patient):
        @retryable
        async def again_async(self, text: str = "") -> str:
            answer: str = await self.ctx.find("back").call("once", text)
            return answer

    back = child("back", make(ward, "back"), policy=Resume())
    front = child("front", lambda: Front(ward, "front"), policy=Defer())
    async with Runtime(supervisor("top", back, front)) as runtime:
        back_path = runtime.ref("back").path
        ward.fail("once", *[CircuitOpen(back_path) for _ in range(100)])
        with pytest.raises(CircuitOpen):
            await runtime.ref("front").within(None).call("again_async")
        assert 20 < trio.current_time() <= 31
        assert ward.log.count("once") == 11


@pytest.mark.rule("I1", "S10")
@pytest.mark.parametrize("policy", [Retry(EXACT), Defer()])
async def test_a_pause_that_its_caller_has_no_time_for_is_not_waited_for(
    ward: Ward, autojump_clock: MockClock, policy: Action
) -> None:
    async with tree(ward, policy) as runtime:
        ward.fail("again", reset())
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").within(0.05).call("again")
        assert trio.current_time() < 0.05


async def test_a_cast_is_not_kept_for_as_long_as_an_error_may_ask(ward: Ward, autojump_clock: MockClock) -> None:
    async with tree(ward, Retry(EXACT)) as runtime:
        for seconds in (599.0, 601.0):
            ward.fail("again", ProviderError("search", "busy", retry_after=seconds))
            runtime.ref("a").cast("again")
            await trio.sleep(700)
        assert ward.log.count("again") == 3
        (letter,) = runtime.events.of(DeadLetter)
        assert letter.why.startswith("lost in a crash: ProviderError")


@pytest.mark.rule("I1")
async def test_what_is_watched_is_run_in_its_callers_turn_all_the_same(ward: Ward) -> None:
    class Where(Patient):
        def where(self) -> bool:
            return trio.lowlevel.current_task() is me

    me = trio.lowlevel.current_task()
    a = child("a", lambda: Where(ward), policy=CircuitBreak(10.0, failures=2), feature="whereabouts")
    async with Runtime(supervisor("top", a)) as runtime:
        where = runtime.ref("a", Where)
        assert await where.call(Where.where)
        ward.fail("once", reset(), reset())
        with pytest.raises(ActorCrashed):
            await where.call("once")
        await wait_all_tasks_blocked()
        assert await where.call(Where.where)  # and that has ended the row of failures
        with pytest.raises(ActorCrashed):
            await where.call("once")
        await wait_all_tasks_blocked()
        assert await where.call(Where.where)
        vitals = Degradation.of(runtime.system).state_of("whereabouts")
        assert not vitals.degraded


async def test_the_same_failure_over_and_over_is_told_to_the_user_once_in_a_while(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with tree(ward, Alert()) as runtime:
        for _ in range(25):
            ward.fail("once", OSError(errno.EIO, "bad block"))
            runtime.ref("a").cast("once")
            await trio.sleep(1.0)
        ward.fail("once", OSError(errno.EIO, "another"))
        runtime.ref("a").cast("once")
        await wait_all_tasks_blocked()
        said = [alert.message for alert in runtime.events.of(AlertRaised)]
        first = "OSError: [Errno 5] bad block"
        assert said == [
            first,
            f"{first} (9 more since the last alert)",
            f"{first} (9 more since the last alert)",
            "OSError: [Errno 5] another",
        ]


async def test_a_failure_that_travels_is_told_of_where_it_was_met_first(ward: Ward) -> None:
    class Front(Patient):
        async def ask(self) -> None:
            await self.ctx.find("back").call("once")

    back = child("back", make(ward, "back"))
    front = child("front", lambda: Front(ward, "front"))
    async with Runtime(supervisor("top", back, front, policy=Alert()), encode_messages=False) as runtime:
        ward.fail("once", OSError(errno.EIO, "bad block"))
        with pytest.raises(OSError, match="bad block"):
            await runtime.ref("front", Front).call(Front.ask)
        assert [alert.path for alert in runtime.events.of(AlertRaised)] == ["/top/back"]


async def test_throttle_lets_mail_through_at_its_rate_until_it_has_been_quiet(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with tree(ward, Throttle(rate=2.0, quiet=3.0)) as runtime:
        ref = runtime.ref("a")
        ward.fail("once", ResourceExhausted("handles", 10, 10))
        with pytest.raises(ResourceExhausted):
            await ref.call("once")
        times = []
        for _ in range(8):
            await ref.call("who")
            times.append(trio.current_time())
        assert times == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0]


async def test_cancel_gives_the_operation_up_and_tells_its_caller(ward: Ward) -> None:
    async with tree(ward, Cancel()) as runtime:
        ref = runtime.ref("a")
        ward.fail("once", TimeoutError("slow"))
        with pytest.raises(TimeoutError):
            await ref.call("once")
        assert ref.stats().incarnation == 1


async def test_alert_tells_the_user_and_gives_the_caller_the_error(ward: Ward) -> None:
    async with tree(ward, Alert()) as runtime:
        ref = runtime.ref("a")
        ward.fail("once", OSError(errno.EIO, "bad block"))
        with pytest.raises(OSError, match="bad block"):
            await ref.call("once")
        (alert,) = runtime.events.of(AlertRaised)
        assert (alert.path, alert.severity) == ("/top/a", "Critical")
        assert "bad block" in alert.message
        assert ref.stats().incarnation == 1


async def test_extend_lengthens_a_running_default_deadline_and_runs_nothing_again(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with tree(ward, Policy((Row("Timeout", "Recoverable", Extend(2), Cancel()),))) as runtime:
        ref = runtime.ref("a")
        assert await ref.call("last", 80.0) == "done"
        assert trio.current_time() == 80
        assert [event.action for event in runtime.events.of(Recovered)] == ["Extend()", "Extend()"]


async def test_a_deadline_that_was_extended_as_often_as_may_be_ends_the_operation(
    ward: Ward, autojump_clock: MockClock
) -> None:
    async with tree(ward, Policy((Row("Timeout", "Recoverable", Extend(2), Cancel()),))) as runtime:
        ref = runtime.ref("a")
        with pytest.raises(CallTimeout, match="within 90 s"):
            await ref.call("last", 1000.0)
        assert trio.current_time() == 90
        assert await ref.call("who") == "own 1", "its handler was given up"
        assert ward.take() == ["+own", "cancelled"]


async def test_extend_lengthens_the_time_of_a_block_too(ward: Ward, autojump_clock: MockClock) -> None:
    class Fetcher(Patient):
        async def fetch(self, seconds: float) -> str:
            with self.ctx.limit("fetch"):
                await trio.sleep(seconds)
            return "fetched"

    policy = Policy((Row("Timeout", "Recoverable", Extend(2), Cancel()),))
    a = child("a", lambda: Fetcher(ward), policy=policy)
    async with Runtime(supervisor("top", a), timeouts={"fetch": 1.0}) as runtime:
        ref = runtime.ref("a").within(None)
        assert await ref.call("fetch", 2.5) == "fetched"
        with pytest.raises(OperationTimeout, match="Operation timeout after 3s"):
            await ref.call("fetch", 100.0)
        assert trio.current_time() == 2.5 + 3
        assert ref.stats().incarnation == 1


async def test_a_deadline_that_the_caller_has_named_is_kept(ward: Ward, autojump_clock: MockClock) -> None:
    async with tree(ward, Policy((Row("Timeout", "Recoverable", Extend(2), Cancel()),))) as runtime:
        with pytest.raises(CallTimeout):
            await runtime.ref("a").within(3).call("last", 10.0)
        assert trio.current_time() == 3


async def test_what_inherits_a_deadline_is_lengthened_with_it(ward: Ward, autojump_clock: MockClock) -> None:
    class Front(Patient):
        async def relay(self) -> str:
            answer: str = await self.ctx.find("back").call("last", 40.0)
            return answer

    policy = Policy((Row("Timeout", "Recoverable", Extend(2), Cancel()),))
    front = child("front", lambda: Front(ward, "front"), policy=policy)
    async with Runtime(supervisor("top", child("back", make(ward, "back")), front)) as runtime:
        assert await runtime.ref("front").call("relay") == "done"
        assert trio.current_time() == 40


async def test_without_a_policy_every_crash_is_a_restart(ward: Ward) -> None:
    async with tree(ward, None) as runtime:
        ward.fail("again", reset())
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call("again")
        await wait_all_tasks_blocked()
        assert ward.take() == ["+own", "again", "-own", "+own"]
        assert not runtime.events.of(Recovered)


@pytest.mark.rule("S10")
async def test_resume_and_retry_wait_for_no_supervisor(ward: Ward, autojump_clock: MockClock) -> None:
    slow = child("slow", make(ward, "slow"), restart="permanent")

    class Slow(Patient):
        async def on_start(self) -> None:
            if self.ctx.incarnation > 1:
                await trio.sleep(1000)

    slow = child("slow", lambda: Slow(ward, "slow"))
    a = child("a", make(ward), policy=Policy((Row(None, None, Retry(EXACT), Resume()),)))
    async with Runtime(supervisor("top", slow, a)) as runtime:
        runtime.ref("slow").kill()
        await wait_all_tasks_blocked()
        ward.fail("again", reset())
        assert await runtime.ref("a").call("again") == "own 2"
        assert trio.current_time() == 1.0


async def test_a_restart_of_a_named_sibling_restarts_both(ward: Ward) -> None:
    one = child("one", make(ward, "one"))
    two = child("two", make(ward, "two"), policy=Restart(target="one"))
    async with Runtime(supervisor("top", one, two)) as runtime:
        ward.fail("once", ValueError())
        with pytest.raises(ActorCrashed):
            await runtime.ref("two").call("once")
        await wait_all_tasks_blocked()
        assert [runtime.ref(name).stats().incarnation for name in ("one", "two")] == [2, 2]
        crashes = [event for event in runtime.events.of(ActorExited) if event.abnormal]
        assert len(crashes) == 1


class Rude(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


async def test_an_exception_that_can_not_be_printed_crashes_like_any_other(ward: Ward) -> None:
    async with tree(ward, Retry(EXACT)) as runtime:
        ward.fail("once", Rude())
        with pytest.raises(ActorCrashed, match="Rude, whose text raises ValueError"):
            await runtime.ref("a").call("once")
        assert await runtime.ref("a").call("who") == "own 1"


@both_ways
@pytest.mark.rule("X1", "X2")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), trio.Cancelled._create(source="unknown")])
async def test_no_policy_answers_a_caller_with_what_is_no_exception_of_its_own(
    ward: Ward, error: BaseException, method: str
) -> None:
    async with tree(ward, Resume()) as runtime:
        ward.fail("once", error)
        with pytest.raises(ActorCrashed):
            await runtime.ref("a").call(method)
        assert await runtime.ref("a").call("who") == "own 1"


async def test_a_fallback_that_hangs_is_given_up_with_its_call(ward: Ward, autojump_clock: MockClock) -> None:
    class Hanging(Patient):
        async def stale(self, text: str = "") -> str:
            await trio.sleep_forever()
            return text

    async with Runtime(supervisor("top", child("a", lambda: Hanging(ward), policy=Fallback()))) as runtime:
        ref = runtime.ref("a")
        ward.fail("read", OSError("disk"))
        with pytest.raises(CallTimeout):
            await ref.within(2).call("read_async", "x")
        assert await ref.call("who") == "own 2"
        assert trio.current_time() == 2


async def test_a_long_pause_ends_with_its_throttle(ward: Ward, autojump_clock: MockClock) -> None:
    async with tree(ward, Throttle(rate=0.01, quiet=5.0)) as runtime:
        ward.fail("once", ResourceExhausted("handles", 10, 10))
        with pytest.raises(ResourceExhausted):
            await runtime.ref("a").call("once")
        await runtime.ref("a").call("who")
        assert trio.current_time() == 5.0


async def test_a_tick_that_fails_while_another_message_is_held_back_is_not_queued_up(
    ward: Ward, autojump_clock: MockClock
) -> None:
    class Beating(Patient):
        async def on_start(self) -> None:
            self.ctx.every(0.1, self.beat)

        @retryable
        def beat(self) -> None:
            raise reset()

    async with Runtime(supervisor("top", child("a", lambda: Beating(ward), policy=Retry(Backoff(50, 50))))) as runtime:
        ward.fail("again", reset())
        runtime.ref("a").cast("again")
        await trio.sleep(40)
        assert runtime.ref("a").stats().waiting <= 2
