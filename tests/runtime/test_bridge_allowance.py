"""Bytes that may be taken at a time: in order, and none is lost or taken twice. Pure but for the waiting."""

import trio
import trio.testing

from ukemi.runtime.bridge.allowance import Allowance, Share


async def test_shares_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    allowance, given = Allowance(10), list[tuple[str, Share]]()

    async def take(name: str, size: int) -> None:
        given.append((name, await allowance.take(size)))

    async with trio.open_nursery() as nursery:
        for name, size in (("a", 6), ("b", 5), ("c", 1), ("d", 50)):
            nursery.start_soon(take, name, size)
            await trio.testing.wait_all_tasks_blocked()
        assert [name for name, _ in given] == ["a"]
        given[0][1].give_back()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(name for name, _ in given) == ["a", "b", "c"]
        given[1][1].give_back()
        await trio.testing.wait_all_tasks_blocked()
        assert len(given) == 3  # a share that is larger than all waits until nothing is taken
        given[2][1].give_back()
    assert given[3][0] == "d"


async def test_who_goes_away_while_it_waits_takes_nothing_and_holds_up_nobody() -> None:
    allowance, given = Allowance(10), list[Share]()
    first = await allowance.take(6)
    scope = trio.CancelScope()

    async def wait_for_much() -> None:
        with scope:
            await allowance.take(8)

    async def wait_for_little() -> None:
        given.append(await allowance.take(2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_much)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait_for_little)
        await trio.testing.wait_all_tasks_blocked()
        assert given == []
        scope.cancel()
    assert len(given) == 1
    first.give_back()
    given[0].give_back()
    with trio.fail_after(1):
        (await allowance.take(10)).give_back()


async def test_a_share_is_given_back_by_its_last_holder_and_only_once() -> None:
    allowance = Allowance(10)
    share = await allowance.take(4)
    share.weigh(20, holders=2)
    assert not allowance._has(1)
    share.give_back()
    assert not allowance._has(1)
    for _ in range(3):
        share.give_back()
    assert allowance._taken == 0
