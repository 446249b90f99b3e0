"""Random misfortune in a real tree: whatever happens, calls end, nothing is run twice, and all that can heal does.

The model knows little: which messages were sent, by whom, in which order, and which may be given again. What each
child may be at each moment depends on too much to be modelled; what must hold at every moment, and once everything is
well again, does not.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    Actor,
    Backoff,
    CircuitBreak,
    Degrade,
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
    Stop,
    Supervisor,
    Throttle,
    UkemiError,
    child,
    dynamic_supervisor,
    falls_back_to,
    retryable,
    supervisor,
)
from ukemi.actors.protocol import local
from ukemi.supervisors import ChildInfo, ChildSpec

NAMES = "abcd"
SENDERS = (1, 2)
PAUSE = Backoff(initial=0.5, maximum=2.0, jitter=0.0)
CIRCUIT = CircuitBreak(duration=5.0, failures=2, growth=2.0, longest=20.0)
CALM = 200.0
"""Seconds in which everything heals."""

ERRORS: dict[str, Callable[[], Exception]] = {
    "plain": lambda: ValueError("plain"),
    "passing": lambda: OSError(errno.ECONNRESET, "reset"),
    "busy": lambda: ProviderError("peer", "busy", retry_after=1.0),
    "spent": lambda: ResourceExhausted("handles", 10, 10),
    "late": lambda: OperationTimeout("work", 1.0),
}
POLICIES = {
    "otp": None,
    "resume": Resume(),
    "retry": Retry(PAUSE, attempts=2),
    "fallback": Fallback(),
    "degrade": Degrade(),
    "quality": Policy((Row(None, None, Restart(), Degrade(levels=1), retries=1),)),
    "circuit": CIRCUIT,
    "throttle": Throttle(rate=4.0, quiet=2.0),
    "both": Policy((Row(None, None, Retry(PAUSE, attempts=1), CIRCUIT),)),
    "restart": Policy((Row(None, None, Restart(backoff=PAUSE), Fallback(), retries=1),)),
}

names = st.sampled_from(NAMES)
policies = st.sampled_from(list(POLICIES))
kinds = st.sampled_from(list(ERRORS))
Command = tuple[Any, ...]
commands = st.one_of(
    st.tuples(st.just("crash"), names, kinds),
    st.tuples(st.just("crash"), names, kinds),
    st.tuples(st.just("background"), names, kinds),
    st.tuples(st.just("kill"), names),
    st.tuples(st.just("fail_starts"), names, st.integers(1, 3)),
    st.tuples(st.just("call"), names, st.sampled_from(SENDERS), st.sampled_from(["once", "again", "slow"]), kinds),
    st.tuples(st.just("call"), names, st.sampled_from(SENDERS), st.sampled_from(["once", "again", "slow"]), st.none()),
    st.tuples(st.just("cast"), names, st.sampled_from(SENDERS), st.sampled_from(["once", "again", "slow"]), st.none()),
    st.tuples(st.just("cast"), names, st.sampled_from(SENDERS), st.sampled_from(["once", "again", "slow"]), kinds),
    st.tuples(st.just("advance"), st.sampled_from([0.25, 0.5, 1.0, 3.0, 6.0, 30.0])),
    st.tuples(st.just("open"), names, st.sampled_from([None, 2.0])),
    st.tuples(st.just("close"), names),
    st.tuples(st.just("degrade"), names),
    st.tuples(st.just("lift"), names),
    st.tuples(st.just("health"), names, st.sampled_from([0.1, 1.0])),
    st.tuples(st.just("stop"), names),
    st.tuples(st.just("revive"), names),
)


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The options of each child."""
    found: list[dict[str, Any]] = []
    for number, name in enumerate(NAMES):
        policy = draw(policies)
        falls_back = draw(st.booleans())
        found.append(
            {
                "name": name,
                "policy": policy,
                "falls_back": falls_back,
                "provides": draw(st.booleans()),
                "needs": draw(st.lists(st.sampled_from(NAMES[:number]), max_size=2, unique=True)) if number else [],
                "backoff": draw(st.sampled_from([None, None, PAUSE])),
                "fate": draw(st.sampled_from([CIRCUIT, Stop(), Degrade(), Degrade(levels=1)])),
            }
        )
    return found


class Worker(Actor):
    """Handles numbered messages, some of which fail as they are told to."""

    def __init__(self, play: Play, name: str, is_fallback: bool) -> None:
        self.play, self.name, self.is_fallback = play, name, is_fallback

    async def on_start(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.is_fallback and self.play.failing_starts[self.name] > 0:
            self.play.failing_starts[self.name] -= 1
            raise OSError(errno.ECONNREFUSED, "refused")
        self.play.up[self.name] += 1

    async def on_stop(self, reason: object) -> None:
        await trio.lowlevel.checkpoint()

    def health(self) -> float:
        return self.play.healths.get(self.name, 1.0)

    def once(self, number: int) -> int:
        return self.play.handle(self.name, number)

    @retryable
    @falls_back_to("stale")
    def again(self, number: int) -> int:
        return self.play.handle(self.name, number)

    async def slow(self, number: int) -> int:
        self.play.handle(self.name, number)
        await trio.sleep(1.5)
        return number

    def stale(self, number: int) -> int:
        return number

    def background(self, kind: str) -> None:
        async def fail() -> None:
            raise ERRORS[kind]()

        self.ctx.start_task(fail)

    @local
    def crash(self, error: Exception) -> None:
        raise error


class Play:
    """One run."""

    def __init__(self, options: list[dict[str, Any]], strategy: str, max_restarts: int) -> None:
        self.options = {each["name"]: each for each in options}
        self.failing_starts: Counter[str] = Counter()
        self.healths: dict[str, float] = {}
        self.up: Counter[str] = Counter()
        self.errors: dict[int, Exception] = {}
        """What a message raises the first time that it is handled."""
        self.handled: dict[str, list[int]] = {name: [] for name in NAMES}
        self.sent: dict[int, tuple[str, int, str]] = {}
        self.ended: dict[int, object] = {}
        """How each call has ended."""
        self.calls: set[int] = set()
        self.nursery: trio.Nursery
        self.runtime: Runtime
        self.strategy = strategy
        self.max_restarts = max_restarts
        self.specs = [self.spec_of(each) for each in options]

    def spec_of(self, options: dict[str, Any]) -> ChildSpec:
        name = options["name"]
        return child(
            name,
            lambda: Worker(self, name, is_fallback=False),
            policy=POLICIES[options["policy"]],  # type: ignore[arg-type]
            fallback=(lambda: Worker(self, name, is_fallback=True)) if options["falls_back"] else None,
            feature=f"{name}s" if options["provides"] else None,
            depends_on=options["needs"] if self.strategy != "dynamic" else [],
            backoff=options["backoff"],
            on_exhausted=self.fate_of(options),
        )

    def fate_of(self, options: dict[str, Any]) -> Any:
        """What is done once its restarts are spent: never to escalate, so that the supervisor never dies of it."""
        can_degrade = options["falls_back"] or options["provides"]
        return Stop() if options["fate"] == Degrade() and not can_degrade else options["fate"]

    def handle(self, name: str, number: int) -> int:
        self.handled[name].append(number)
        error = self.errors.pop(number, None)
        if error is not None:
            raise error
        return number

    def tree(self) -> ChildSpec:
        if self.strategy == "dynamic":
            return dynamic_supervisor("top", max_restarts=self.max_restarts)
        return supervisor("top", *self.specs, strategy=self.strategy, max_restarts=self.max_restarts)  # type: ignore[arg-type]

    async def run(self, steps: list[Command]) -> None:
        with trio.fail_after(50 * CALM):
            async with Runtime(self.tree()) as self.runtime, trio.open_nursery() as self.nursery:
                if self.strategy == "dynamic":
                    for spec in self.specs:
                        await self.runtime.ref("top", Supervisor).call(Supervisor.start_child, spec)
                for step in steps:
                    await getattr(self, step[0])(*step[1:])
                    await self.check()
                await self.heal()
            assert self.runtime.system.zombies == 0
            assert not self.calls - set(self.ended), "some call has not ended"

    # --- the commands

    async def send(self, name: str, sender: int, method: str, kind: str | None, how: str) -> None:
        number = len(self.sent)
        self.sent[number] = (name, sender, method)
        if kind is not None:
            self.errors[number] = ERRORS[kind]()
        ref = self.runtime.ref(f"/top/{name}", Worker)
        if how == "cast":
            try:
                ref.cast(method, number)
            except UkemiError as error:
                self.ended[number] = error
            return
        self.calls.add(number)

        async def ask() -> None:
            try:
                self.ended[number] = answer = await ref.call(method, number)
                assert answer == number
            except (UkemiError, ValueError, OSError) as error:
                self.ended[number] = error

        self.nursery.start_soon(ask)
        await wait_all_tasks_blocked()

    async def call(self, name: str, sender: int, method: str, kind: str | None) -> None:
        await self.send(name, sender, method, kind, "call")

    async def cast(self, name: str, sender: int, method: str, kind: str | None) -> None:
        await self.send(name, sender, method, kind, "cast")

    async def crash(self, name: str, kind: str) -> None:
        await self.send(name, 0, "once", kind, "cast")

    async def background(self, name: str, kind: str) -> None:
        try:
            self.runtime.ref(f"/top/{name}").cast("background", kind)
        except UkemiError:
            pass

    async def kill(self, name: str) -> None:
        self.runtime.ref(f"/top/{name}").kill()

    async def fail_starts(self, name: str, times: int) -> None:
        self.failing_starts[name] += times

    async def advance(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def ask_top(self, method: Callable[..., Any], *args: Any) -> None:
        with trio.fail_after(120):
            try:
                await self.runtime.ref("top", Supervisor).within(None).call(method, *args)
            except UkemiError:
                pass  # it may not be possible now

    async def open(self, name: str, seconds: float | None) -> None:
        await self.ask_top(Supervisor.open_circuit, name, seconds)

    async def close(self, name: str) -> None:
        await self.ask_top(Supervisor.close_circuit, name)

    async def stop(self, name: str) -> None:
        await self.ask_top(Supervisor.stop_child, name)

    async def revive(self, name: str) -> None:
        await self.ask_top(Supervisor.restart_child, name)

    async def degrade(self, name: str) -> None:
        if self.options[name]["provides"]:
            self.runtime.features.degrade(f"{name}s", "manual")

    async def lift(self, name: str) -> None:
        if self.options[name]["provides"]:
            self.runtime.features.lift(f"{name}s", "manual")

    async def health(self, name: str, score: float) -> None:
        self.healths[name] = score

    # --- what always holds

    async def infos(self) -> dict[str, ChildInfo]:
        return {each.name: each for each in await self.runtime.ref("top").call(Supervisor.children)}

    async def check(self) -> None:
        await wait_all_tasks_blocked()
        infos = await self.infos()
        assert list(infos) == list(NAMES)
        self.check_messages()
        life = self.runtime.ref("top").cell.incarnation
        if life is None or life.current is not None or not (life.parked or life.cell.ready):
            return  # it is in the middle of something
        for name, info in infos.items():
            cell = info.ref.cell
            runs = cell.incarnation is not None and cell.incarnation.is_started
            if info.state == "running":
                assert runs or cell.standby is not None, f"{name} is said to run"
                assert cell.gate.circuit is None
                assert not cell.mailbox.is_closed
            if info.state == "stopped":
                assert not runs, f"{name} is said to be stopped"
                assert cell.mailbox.is_closed
            if info.state == "open":
                assert cell.gate.circuit is not None
                assert info.circuit is not None
                assert info.circuit.state != "closed"

    def check_messages(self) -> None:
        for name in NAMES:
            times = Counter(self.handled[name])
            for number, count in times.items():
                assert count == 1 or self.sent[number][2] == "again", f"message {number} was run {count} times"
            for sender in SENDERS:
                own = [number for number in dict.fromkeys(self.handled[name]) if self.sent[number][1] == sender]
                assert own == sorted(own), f"{name} has handled what {sender} has sent out of order"

    async def heal(self) -> None:
        """No more misfortune: everything has to be itself again."""
        self.errors.clear()
        self.failing_starts.clear()
        self.healths.clear()
        for name in NAMES:
            await self.lift(name)
        for _ in NAMES:  # since one can be revived only when what it needs is up
            await trio.sleep(CALM)
            for name, info in (await self.infos()).items():
                if info.state == "stopped":
                    await self.revive(name)
                if info.circuit is not None and info.circuit.forced:
                    await self.close(name)
        await trio.sleep(CALM)
        await self.check()
        infos = await self.infos()
        told = {name: (each.state, each.fallback) for name, each in infos.items()}
        assert told == dict.fromkeys(NAMES, ("running", None)), told
        for name, info in infos.items():
            assert info.circuit is None or info.circuit.state == "closed", name
            assert info.ref.cell.standby is None, name
            assert info.ref.cell.gate.hold is None, name
            assert info.ref.cell.mailbox.room == info.ref.cell.mailbox.bound, name
            assert await info.ref.call("stale", 7) == 7
        assert not [state for state in self.runtime.features.states() if state.degraded]
        assert not self.calls - set(self.ended), "some call has not ended"


@pytest.mark.rule("M4", "M5", "R4", "S14", "S15")
@settings(max_examples=120, deadline=None)
@given(
    options=trees(),
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one", "dependents", "dynamic"]),
    max_restarts=st.sampled_from([0, 1, 3, 10**6]),
    steps=st.lists(commands, min_size=8, max_size=40),
)
def test_whatever_happens_calls_end_nothing_is_run_twice_and_all_that_can_heal_does(
    options: list[dict[str, Any]], strategy: str, max_restarts: int, steps: list[Command]
) -> None:
    play = Play(options, strategy, max_restarts)
    trio.run(play.run, steps, clock=MockClock(autojump_threshold=0))
