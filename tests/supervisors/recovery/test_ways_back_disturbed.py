"""Rule S15: whatever befalls a fallback, or the child that is to come back, in the middle of the way back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio._core._run as trio_run
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import (
    ActorCrashed,
    ActorStopped,
    Backoff,
    CallTimeout,
    CircuitOpen,
    Fallback,
    Runtime,
    Supervisor,
    child,
    supervisor,
)
from ukemi.actors.reasons import Exit

from .patients import Patient, Ward, make
from .residents import EXACT, House, check_it_is_back, fall_back, hotel, until_it_is_prepared


@pytest.fixture
def house() -> House:
    return House()


# --- whatever befalls it, at whatever moment

Deed = Callable[[Runtime], Awaitable[None]]


async def kill(runtime: Runtime) -> None:
    runtime.ref("a").kill()


async def stop(runtime: Runtime) -> None:
    await runtime.ref("a").stop()


async def drain(runtime: Runtime) -> None:
    await runtime.ref("a").stop(drain=True)


async def fail(runtime: Runtime) -> None:
    runtime.ref("a").cell.incarnation.fail(ValueError("another"))  # type: ignore[union-attr]


async def suspend(runtime: Runtime) -> None:
    runtime.ref("a").cell.suspend(True)
    await trio.sleep(0.1)
    runtime.ref("a").cell.suspend(False)


async def restart(runtime: Runtime) -> None:
    await runtime.ref("inner").call(Supervisor.stop_child, "a")
    await runtime.ref("inner").call(Supervisor.restart_child, "a")


async def open_circuit(runtime: Runtime) -> None:
    await runtime.ref("inner").call(Supervisor.open_circuit, "a", 1.0)


async def kill_the_supervisor(runtime: Runtime) -> None:
    runtime.ref("inner").kill()


async def fail_the_standby(runtime: Runtime) -> None:
    standby = runtime.ref("a").cell.standby
    if standby is not None and standby.incarnation is not None:
        standby.incarnation.fail(ValueError("of the standby"))


async def kill_the_standby(runtime: Runtime) -> None:
    standby = runtime.ref("a").cell.standby
    if standby is not None and standby.incarnation is not None:
        standby.incarnation.kill()


DEEDS: list[Deed] = [
    kill, stop, drain, fail, suspend, restart, open_circuit, kill_the_supervisor, fail_the_standby, kill_the_standby
]  # fmt: skip
backoffs = pytest.mark.parametrize("backoff", [EXACT, None], ids=["its backoff", "none"])
MOMENTS = ["it starts", "it waits for the message in hand", "the fallback ends", "it is dismissed"]


@pytest.mark.rule("S15", "R5")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
@backoffs
async def test_whatever_is_done_to_it_while_the_child_comes_back_it_does_and_nobody_waits_in_vain(
    autojump_clock: MockClock, house: House, moment: str, deed: Deed, backoff: Backoff | None
) -> None:
    async with hotel(house, feature="f", backoff=backoff) as runtime, trio.open_nursery() as nursery:
        ref, ended = runtime.ref("a"), list[str]()
        await fall_back(runtime, house)

        async def ask(method: str, *args: Any) -> None:
            try:
                await ref.call(method, *args)
            except (ActorCrashed, ActorStopped, CircuitOpen):
                pass
            except CallTimeout:
                raise AssertionError(f"{method} was not answered") from None
            ended.append(method)

        match moment:
            case "it starts":
                house.starts["own"] = 1.0
            case "it waits for the message in hand":
                nursery.start_soon(ask, "last", 3.5)
            case "the fallback ends":
                house.stops["second"] = 1.0
            case "it is dismissed":
                house.healths["own"] = 0.0
                house.stops["own"] = 1.0
        await until_it_is_prepared(runtime)
        nursery.start_soon(ask, "who")
        await wait_all_tasks_blocked()
        await deed(runtime)
        house.healths.clear()
        await trio.sleep(200)
        house.starts.clear()
        house.stops.clear()
        assert sorted(ended) == (["last", "who"] if "message" in moment else ["who"])
        await check_it_is_back(runtime, house)


@pytest.mark.rule("S15", "R1")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_child_that_is_stopped_and_deleted_while_it_comes_back_leaves_nothing(
    autojump_clock: MockClock, house: House, moment: str
) -> None:
    async with hotel(house, feature="f") as runtime:
        await fall_back(runtime, house)
        house.starts["own"] = 1.0 if moment == "it starts" else 0.0
        house.stops = {"second": 1.0, "own": 1.0}
        house.healths["own"] = 0.0 if moment == "it is dismissed" else 1.0
        if moment == "it waits for the message in hand":
            runtime.ref("a").cast("last", 3.5)
        await until_it_is_prepared(runtime)
        await runtime.ref("inner").call(Supervisor.stop_child, "a")
        assert house.alive == []
        await runtime.ref("inner").call(Supervisor.delete_child, "a")
        await trio.sleep(100)
        assert house.alive == []
        assert runtime.system.zombies == 0


class Timed(Patient):
    """Takes a second to start and a little to be replaced, and fails on the stroke of a time."""

    async def on_start(self) -> None:
        self.ward.log.append(f"{self.label} {trio.current_time()}")
        await trio.sleep(1.0 if self.label == "own" else 0.0)

    async def on_stop(self, reason: object) -> None:  # type: ignore[override]
        if reason is Exit.SHUTDOWN and self.label == "second":
            await trio.sleep(0.1)

    async def fail_at(self, at: float) -> None:
        await trio.sleep_until(at)
        raise KeyError(at)


@pytest.mark.rule("S15")
@pytest.mark.parametrize("seed", range(20))
async def test_a_fallback_that_fails_in_the_turn_in_which_the_child_is_up_is_replaced_all_the_same(
    autojump_clock: MockClock, seed: int
) -> None:
    ward = Ward()
    fallback = {"second": make(ward, "second", Timed)}
    a = child("a", make(ward, "own", Timed), policy=Fallback(), fallback=fallback)
    state = trio_run._r.getstate()
    trio_run._r.seed(seed)  # by which trio chooses which of two tasks is first
    try:
        async with Runtime(supervisor("top", a, max_restarts=100)) as runtime:
            ref, top = runtime.ref("a"), runtime.ref("top")
            with pytest.raises(ActorCrashed):
                await ref.call("fail_at", 0.0)
            while ref.cell.standby is None:
                await trio.sleep(0.125)
            began = float(ward.take()[-1].removeprefix("own "))
            with pytest.raises(ActorCrashed):
                await ref.call("fail_at", began + 1.0)
            await trio.sleep(100)
            assert (await ref.call("who")).startswith("own ")
            assert ref.cell.standby is None
            (info,) = await top.call(Supervisor.children)
            assert (info.state, info.fallback) == ("running", None)
    finally:
        trio_run._r.setstate(state)
