"""Rule S15: the way back from a fallback, whatever it comes upon, and whatever befalls it in the middle."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import ActorCrashed, ActorStopped

from .residents import House, check_it_is_back, fall_back, hotel

encodings = pytest.mark.parametrize("encode", [True, False])


@pytest.fixture
def house() -> House:
    return House()


# --- between two messages


@pytest.mark.rule("S15")
@encodings
@pytest.mark.parametrize("method", ["last", "defer_after"])
async def test_the_way_back_waits_for_the_message_in_hand_however_long_that_takes(
    autojump_clock: MockClock, house: House, encode: bool, method: str
) -> None:
    answers: list[str] = []
    async with hotel(house, encode=encode) as runtime:
        ref = runtime.ref("a")
        await fall_back(runtime, house)
        async with trio.open_nursery() as nursery:

            async def ask(method: str, *args: Any) -> None:
                answers.append(await ref.call(method, *args))

            nursery.start_soon(ask, method, 20.0)
            await trio.sleep(3)
            assert sorted(house.alive) == ["own", "second"]
            nursery.start_soon(ask, "who")
        await trio.sleep(100)
        if method == "last":
            assert answers == ["done", "own 1"]
        else:  # what it owes is answered before it goes, and by it
            assert sorted(answers) == ["later by second", "second 2"]
        assert "cancelled" not in house.take()
        await check_it_is_back(runtime, house)


@pytest.mark.rule("S15")
async def test_a_cast_in_hand_is_waited_for_too(autojump_clock: MockClock, house: House) -> None:
    async with hotel(house) as runtime:
        await fall_back(runtime, house)
        runtime.ref("a").cast("last", 20.0)
        await trio.sleep(19)
        assert sorted(house.alive) == ["own", "second"]
        await trio.sleep(2)
        assert "cancelled" not in house.take()
        await check_it_is_back(runtime, house)


@pytest.mark.rule("S15")
@pytest.mark.parametrize("method", ["last", "defer_after"])
async def test_a_child_whose_feature_is_degraded_gives_way_to_its_fallback_between_two_messages_too(
    autojump_clock: MockClock, house: House, method: str
) -> None:
    answers: list[str] = []
    async with hotel(house, feature="shell_integration") as runtime, trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append(await runtime.ref("a").call(method, 20.0))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        runtime.features.set_quality(1)
        await trio.sleep(15)
        assert sorted(house.alive) == ["own", "second"]
        await trio.sleep(60)
        assert answers == ["done" if method == "last" else "later by own"]
        assert house.alive == ["second"]
        assert "cancelled" not in house.take()
        runtime.features.set_quality(None)
        await trio.sleep(100)
        await check_it_is_back(runtime, house)


@pytest.mark.rule("S15", "S4")
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one", "dependents"])
async def test_a_way_back_that_waits_is_called_off_when_its_group_is_restarted(
    autojump_clock: MockClock, house: House, strategy: Any
) -> None:
    async with hotel(house, strategy=strategy) as runtime, trio.open_nursery() as nursery:
        await fall_back(runtime, house)

        @nursery.start_soon
        async def ask() -> None:
            with pytest.raises((ActorCrashed, ActorStopped, ActorStopped)):
                await runtime.ref("a").call("last", 100.0)

        await trio.sleep(2.5)
        assert sorted(house.alive) == ["desk", "own", "second"]
        runtime.ref("desk").cell.incarnation.fail(ValueError("of the desk"))  # type: ignore[union-attr]
        await trio.sleep(6)
        assert len(set(house.alive)) == len(house.alive)
        await trio.sleep(100)
        await check_it_is_back(runtime, house)


@pytest.mark.rule("S15", "S11")
@pytest.mark.parametrize("seconds", [1.0, 20.0])
@pytest.mark.parametrize("fails", [False, True])
async def test_what_comes_while_the_fallback_takes_its_leave_is_for_the_child(
    autojump_clock: MockClock, house: House, seconds: float, fails: bool
) -> None:
    house.stops["second"] = seconds
    async with hotel(house) as runtime, trio.open_nursery() as nursery:
        await fall_back(runtime, house)
        house.fail("stop second", *([OSError("on the way out")] if fails else []))
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await runtime.ref("a").call("who"))

        await trio.sleep(2.5)
        nursery.start_soon(ask)
        await trio.sleep(30)
        assert answers == ["own 1"]
        await check_it_is_back(runtime, house)
        house.stops.clear()


# --- by hand


@pytest.mark.rule("S15", "M8")
async def test_a_fallback_that_was_suspended_by_hand_is_not_replaced_until_it_goes_on(
    autojump_clock: MockClock, house: House
) -> None:
    async with hotel(house) as runtime, trio.open_nursery() as nursery:
        await fall_back(runtime, house)
        cell = runtime.ref("a").cell
        cell.suspend(True)
        answers: list[str] = []

        @nursery.start_soon
        async def ask() -> None:
            answers.append(await runtime.ref("a").within(None).call("who"))

        await trio.sleep(100)
        assert not answers
        assert (house.alive, cell.state) == (["second"], "running")
        cell.suspend(False)
        await wait_all_tasks_blocked()
        assert answers == ["second 2"]
        await trio.sleep(20)
        await check_it_is_back(runtime, house)


@pytest.mark.rule("S15", "M8")
async def test_a_fallback_that_is_suspended_by_hand_while_it_is_waited_for_stays_so(
    autojump_clock: MockClock, house: House
) -> None:
    async with hotel(house) as runtime, trio.open_nursery() as nursery:
        await fall_back(runtime, house)
        nursery.start_soon(runtime.ref("a").call, "last", 5.0)
        await trio.sleep(3)
        cell = runtime.ref("a").cell
        cell.suspend(True)
        await trio.sleep(100)
        assert cell.stats().state == "suspended"
        assert house.alive == ["second"]
        cell.suspend(False)
        await trio.sleep(20)
        await check_it_is_back(runtime, house)


@pytest.mark.rule("S15", "S12")
async def test_a_fallback_that_is_asked_to_drain_while_it_is_waited_for_handles_all_that_waits(
    autojump_clock: MockClock, house: House
) -> None:
    answers: list[str] = []
    async with hotel(house) as runtime, trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append(await runtime.ref("a").call("who"))

        await fall_back(runtime, house)
        nursery.start_soon(runtime.ref("a").call, "last", 3.0)
        await trio.sleep(2.5)
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await runtime.ref("a").stop(drain=True)
        assert answers == ["second 2"]
        await trio.sleep(100)
        await check_it_is_back(runtime, house)


# --- no longer wanted


@pytest.mark.rule("S15")
@pytest.mark.parametrize("moment", ["the message in hand", "the end of the fallback"])
async def test_a_way_back_that_is_no_longer_wanted_by_the_time_it_could_be_taken_is_not_taken(
    autojump_clock: MockClock, house: House, moment: str
) -> None:
    async with hotel(house, feature="shell_integration") as runtime:
        await fall_back(runtime, house)
        if moment == "the message in hand":
            runtime.ref("a").cast("last", 5.0)
        else:  # in the middle of which comes the next look at its feature
            house.stops["second"] = 4.0
        await trio.sleep(2.5)
        assert "own" in house.alive
        runtime.features.set_quality(1)
        await trio.sleep(100)
        assert house.alive == ["second"]
        assert (await runtime.ref("a").call("who")).startswith("second ")
        house.stops.clear()
        runtime.features.set_quality(None)
        await trio.sleep(300)
        await check_it_is_back(runtime, house)


@pytest.mark.rule("S15")
@pytest.mark.parametrize("fate", ["fails", "is killed", "is ill"])
async def test_a_child_that_fails_while_it_waits_for_its_place_leaves_the_fallback_as_it_is(
    autojump_clock: MockClock, house: House, fate: str
) -> None:
    async with hotel(house, feature="f") as runtime:
        ref = runtime.ref("a")
        await fall_back(runtime, house)
        ref.cast("last", 5.0)
        await trio.sleep(2.5)
        house.take()
        standby = ref.cell.standby
        assert standby is not None
        assert standby.incarnation is not None
        match fate:
            case "fails":
                standby.incarnation.fail(ValueError("of the standby"))
            case "is killed":
                standby.incarnation.kill()
            case _:
                house.healths["own"] = 0.0
        await trio.sleep(3.5)
        assert await ref.call("who") == "second 2", "it has not ended"
        assert "-second" not in house.take()
        house.healths.clear()
        await trio.sleep(100)
        await check_it_is_back(runtime, house)
