"""Random calls that end in any order, random hands and any passing of time: the breaker does what the naive model says.

Once for the pure circuit, where hypothesis chooses each step, and once for the guard, with real tasks on a mock clock.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import CircuitOpen
from ukemi.supervisors.breaker import CircuitBreaker
from ukemi.supervisors.circuit import Circuit, CircuitInfo
from ukemi.supervisors.recovery.actions import CircuitBreak

from .breaker_model import Call, Model

# Multiples of a quarter, so that sums are exact and a circuit's time is met to the tick.
times = st.sampled_from([1, 2, 4, 8, 16, 40, 100]).map(lambda n: n / 4)
openings = st.one_of(st.none(), times)
actions = st.builds(
    CircuitBreak,
    duration=times,
    failures=st.integers(1, 3),
    successes=st.integers(1, 3),
    growth=st.sampled_from([1.0, 2.0, 3.0]),
    longest=times,
)


def same_facts(info: CircuitInfo, model: Model) -> None:
    told = attrs.asdict(info)
    assert {name: told[name] for name in model.facts()} == model.facts()


class CircuitMachine(RuleBasedStateMachine):
    """The circuit beside its model."""

    @initialize(action=actions)
    def begin(self, action: CircuitBreak) -> None:
        self.model = Model(action)
        self.circuit = Circuit(action)
        self.under_way: list[tuple[Call, int]] = []
        self.seen = self.circuit.info(0.0)

    @property
    def now(self) -> float:
        return self.model.now

    @rule(seconds=times)
    def pass_time(self, seconds: float) -> None:
        self.model.advance(seconds)

    @precondition(lambda self: self.model.state == "open" and self.model.until < math.inf)
    @rule(just_before=st.booleans())
    def pass_its_time(self, just_before: bool) -> None:
        left = self.model.until - self.now
        self.model.advance(left - 0.125 if just_before and left > 0.125 else left)

    @rule(times=st.integers(1, 3))
    def call(self, times: int) -> None:
        for _ in range(times):
            call, token = self.model.call(), self.circuit.admit(self.now)
            assert (token is None) == (call is None)
            if call is not None and token is not None:
                self.under_way.append((call, token))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), how=st.sampled_from(["well", "wrong", "wrong", "given up"]))
    def end(self, data: st.DataObject, how: str) -> None:
        at = data.draw(st.integers(0, len(self.under_way) - 1))
        call, token = self.under_way.pop(at)
        if how == "well":
            assert self.circuit.succeeded(token, self.now) == self.model.went_well(call)
        elif how == "wrong":
            assert self.circuit.failed(token, self.now, f"at {self.now}") == self.model.went_wrong(
                call, f"at {self.now}"
            )
        else:
            self.circuit.abandoned(token)
            self.model.was_given_up(call)

    @rule()
    def trip(self) -> None:
        assert self.circuit.trip(self.now, "burnt out") == self.model.trip("burnt out")

    @rule(seconds=openings)
    def force_open(self, seconds: float | None) -> None:
        self.circuit.force_open(self.now, seconds)
        self.model.open(math.inf if seconds is None else self.now + seconds, forced=True)

    @rule()
    def force_closed(self) -> None:
        self.circuit.force_closed(self.now)
        self.model.close()

    @invariant()
    def they_agree(self) -> None:
        info = self.circuit.info(self.now)
        same_facts(info, self.model)
        assert info.generation >= self.seen.generation
        assert info.state == self.seen.state or info.generation > self.seen.generation
        assert self.circuit.open_until is None or self.circuit.open_until == self.model.until
        self.seen = info

    @invariant()
    def at_most_one_probe_counts(self) -> None:
        if self.model.state == "half-open":
            assert sum(token == self.circuit.generation for _, token in self.under_way) <= 1


TestTheCircuitDoesWhatTheModelSays = CircuitMachine.TestCase
TestTheCircuitDoesWhatTheModelSays.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)


class FarSideFailed(Exception):
    pass


class Harmless(Exception):
    pass


@attrs.define(eq=False)
class Caller:
    """A task that calls through the breaker, and waits to be told how its call ends."""

    call: Call = attrs.Factory(lambda: Call(None))
    answered: trio.Event = attrs.Factory(trio.Event)
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    how: str = ""

    async def work(self) -> None:
        await self.answered.wait()
        if self.how == "wrong":
            raise FarSideFailed
        if self.how == "harmless":
            raise Harmless


class Play:
    """One run of a real breaker beside its model."""

    def __init__(self, action: CircuitBreak) -> None:
        self.clock = MockClock()
        self.model = Model(action)
        self.told: list[str] = []
        self.breaker = CircuitBreaker(
            "far side",
            **attrs.asdict(action),
            counts=FarSideFailed,
            on_change=lambda info: self.told.append(info.state),
        )
        self.callers: list[Caller] = []
        self.nursery: trio.Nursery

    async def run(self, steps: list[tuple[Any, ...]]) -> None:
        async with trio.open_nursery() as self.nursery:
            for step in steps:
                await getattr(self, step[0])(*step[1:])
                await wait_all_tasks_blocked()
                same_facts(self.breaker.info(), self.model)
                assert self.breaker.state == self.model.state
                assert self.told == self.model.told
            self.nursery.cancel_scope.cancel()

    async def calls(self, times: int, with_body: bool) -> None:
        """Several at once: which of them is the probe is chance, that there is just one is not."""
        expected = [call for call in (self.model.call() for _ in range(times)) if call is not None]
        outcomes: list[Caller | None] = []
        for _ in range(times):
            self.nursery.start_soon(self.one, with_body, outcomes)
        await wait_all_tasks_blocked()
        through = [caller for caller in outcomes if caller is not None]
        assert (len(outcomes), len(through)) == (times, len(expected))
        for caller, call in zip(through, expected, strict=True):
            caller.call = call
        self.callers += through

    async def one(self, with_body: bool, outcomes: list[Caller | None]) -> None:
        caller = Caller()

        async def work() -> None:
            outcomes.append(caller)
            await caller.work()

        try:
            with caller.scope:
                if with_body:
                    async with self.breaker:
                        await work()
                else:
                    await self.breaker.call(work)
        except CircuitOpen:
            outcomes.append(None)
        except (FarSideFailed, Harmless):
            assert caller.how in ("wrong", "harmless")

    async def end(self, number: int, how: str) -> None:
        if not self.callers:
            return
        caller = self.callers.pop(number % len(self.callers))
        caller.how = how
        if how == "cancelled":
            caller.scope.cancel()
            self.model.was_given_up(caller.call)
        else:
            caller.answered.set()
            if how == "wrong":
                self.model.went_wrong(caller.call, "FarSideFailed")
            else:
                self.model.went_well(caller.call)

    async def advance(self, seconds: float) -> None:
        self.clock.jump(seconds)
        self.model.advance(seconds)

    async def force_open(self, seconds: float | None) -> None:
        self.breaker.force_open(seconds)
        self.model.open(math.inf if seconds is None else self.model.now + seconds, forced=True)

    async def force_closed(self) -> None:
        self.breaker.force_closed()
        self.model.close()


calls = st.tuples(st.just("calls"), st.integers(1, 10), st.booleans())
ends = st.tuples(
    st.just("end"), st.integers(0, 50), st.sampled_from(["well", "wrong", "wrong", "wrong", "harmless", "cancelled"])
)
steps = st.one_of(
    calls,
    calls,
    ends,
    ends,
    ends,
    st.tuples(st.just("advance"), times),
    st.tuples(st.just("advance"), times),
    st.tuples(st.just("force_open"), openings),
    st.tuples(st.just("force_closed")),
)


@settings(max_examples=200, deadline=None)  # at least ten steps, since lists are mostly short
@given(action=actions, steps=st.lists(steps, min_size=10, max_size=60))
def test_the_guard_does_what_the_model_says(action: CircuitBreak, steps: list[tuple[Any, ...]]) -> None:
    play = Play(action)
    trio.run(play.run, steps, clock=play.clock)
