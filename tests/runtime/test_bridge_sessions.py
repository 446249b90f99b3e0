"""A session and its connections: the main one, those that join it, and what is asked again over another."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from ukemi import child
from ukemi.runtime.bridge import answers
from ukemi.runtime.bridge.away import Away
from ukemi.runtime.bridge.methods import METHODS, method
from ukemi.runtime.bridge.session import ClientSession
from ukemi.supervisors.dynamic import DynamicSupervisor

from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE
from .peers import Numbered, Ran, counted


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path) as bridge:
        yield bridge


@pytest.fixture
async def ran() -> AsyncIterator[Ran]:
    with counted() as ran:
        yield ran


async def session_of(client: Client) -> str:
    name: str = (await client.request("initialize"))["session"]
    return name


async def refused(client: Client, method: str, **params: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        await client.request(method, **params)
    return caught.value


# --- joining


async def test_a_connection_that_joins_carries_requests_and_their_answers_only(bridge: Bridge, ran: Ran) -> None:
    main, other = await bridge.connect(), await bridge.connect()
    async with main.stream, other.stream:
        name = await session_of(main)
        joined = await other.request("initialize", session=name, join=True)
        assert (joined["session"], joined["resumed"], joined["gap"]) == (name, True, None)
        assert await other.request("test/slow", n=1) == 2
        assert await main.request("test/slow", n=2) == 4
        await main.until(lambda: len(main.notes) == 2)
        assert [note["params"]["n"] for note in main.notes] == [1, 2]
        assert other.notes == []


async def test_joined_connections_share_ids_of_nothing_and_keys_of_everything(bridge: Bridge, ran: Ran) -> None:
    ran.gate.append(trio.Event())
    main, other = await bridge.connect(), await bridge.connect()
    async with main.stream, other.stream:
        await other.request("initialize", session=await session_of(main), join=True)
        for each in (main, other):
            await each.send({"id": "same", "method": "test/slow", "params": {"n": 7, "requestKey": "k"}})
        with trio.fail_after(PATIENCE):
            while not ran.order:
                await trio.sleep(0.001)
        ran.gate[0].set()
        assert [await each.answer("same") for each in (main, other)] == [14, 14]
        assert ran.order == [7]


async def test_a_session_outlives_those_that_have_joined_it_and_they_do_not_outlive_it(bridge: Bridge) -> None:
    main, one, two = [await bridge.connect() for _ in range(3)]
    async with main.stream, one.stream, two.stream:
        name = await session_of(main)
        for each in (one, two):
            await each.request("initialize", session=name, join=True)
        await one.stream.aclose()
        assert await main.request("runtime/ping") == await two.request("runtime/ping") == {}
        await main.notify("exit")
        await main.closed()
        await two.closed()


async def session_actor(bridge: Bridge) -> Any:
    (info,) = await bridge.runtime.ref("sessions").call("children")
    return info.ref.cell.incarnation.actor


async def test_a_session_waits_for_its_client_only_while_nobody_is_connected(bridge: Bridge, ran: Ran) -> None:
    main, joined = await bridge.connect(), await bridge.connect()
    async with joined.stream:
        async with main.stream:
            name = await session_of(main)
            await joined.request("initialize", session=name, join=True)
        it = await session_actor(bridge)
        with trio.fail_after(PATIENCE):
            while it._outlet.connection is not None:
                await trio.sleep(0.001)
        assert it._farewell is None
        assert await joined.request("test/slow", n=1) == 2
    with trio.fail_after(PATIENCE):
        while it._farewell is None:
            await trio.sleep(0.001)
    again = await bridge.connect()
    async with again.stream:
        assert (await again.request("initialize", session=name, join=True))["resumed"]
        assert it._farewell is None


@pytest.mark.parametrize("name", [None, "no such", 7])
async def test_there_has_to_be_a_session_to_join(bridge: Bridge, name: Any) -> None:
    client = await bridge.connect()
    async with client.stream:
        failed = await refused(client, "initialize", session=name, join=True)
        assert (failed.code, str(failed)) == (-32602, f"there is no session {name!r} to join")
        assert str(await refused(client, "initialize", join="yes")) == "join='yes' must be true or false"
        await client.request("initialize")


async def test_the_newest_main_connection_takes_the_place_of_the_one_before(bridge: Bridge, ran: Ran) -> None:
    old, new = await bridge.connect(), await bridge.connect()
    async with old.stream, new.stream:
        name = await session_of(old)
        assert (await new.request("initialize", session=name))["resumed"]
        await old.closed()
        assert await new.request("test/slow", n=1) == 2
        assert [note["params"]["n"] for note in new.notes] == [1]


# --- how many there may be


async def test_of_too_many_sessions_without_a_client_those_go_first_that_were_never_used(
    bridge: Bridge, ran: Ran
) -> None:
    Away.of(bridge.runtime.system)._most = 3
    names = list[str]()
    for used in (True, False, True, False, False):
        client = await bridge.connect()
        async with client.stream:
            names.append(await session_of(client))
            if used:
                assert await client.request("test/quick", n=1) == 2
        with trio.fail_after(PATIENCE):
            while bridge.runtime.tree().find("connections").children:
                await trio.sleep(0.001)
    with trio.fail_after(PATIENCE):
        while len(bridge.runtime.tree().find("sessions").children) > 3:
            await trio.sleep(0.001)
    left = {node.name for node in bridge.runtime.tree().find("sessions").children}
    assert left == {names[0], names[2], names[4]}


async def test_a_new_session_is_not_one_too_many_before_its_client_has_come(bridge: Bridge) -> None:
    sessions = bridge.runtime.ref("sessions", DynamicSupervisor)
    await sessions.call(DynamicSupervisor.start_child, child("new", ClientSession, restart="temporary"))
    assert Away.of(bridge.runtime.system).add(cast(Any, object()), is_used=True) is None
    assert not Away.of(bridge.runtime.system)._unused


def test_the_oldest_session_goes_and_one_that_is_back_counts_no_more() -> None:
    away, refs = Away(most=2), [cast(Any, object()) for _ in range(5)]
    a, b, c, d, e = refs
    assert [away.add(a, is_used=True), away.add(b, is_used=True)] == [None, None]
    assert away.add(c, is_used=False) is a
    assert away.add(d, is_used=True) is c
    away.remove(b)
    assert away.add(e, is_used=True) is None
    assert away.add(a, is_used=False) is d


# --- asked again


async def test_an_answer_that_was_lost_with_its_connection_is_given_again(bridge: Bridge, ran: Ran) -> None:
    ran.gate.append(trio.Event())
    client = await bridge.connect()
    async with client.stream:
        name = await session_of(client)
        await client.ask("test/slow", n=1, requestKey="k")
        with trio.fail_after(PATIENCE):
            while not ran.order:
                await trio.sleep(0.001)
    ran.gate[0].set()
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(2):
        async with bridge.client(session=name) as again:
            assert await again.request("test/slow", n=1, requestKey="k") == 2
    assert ran.order == [1]


async def test_of_answers_that_are_no_longer_kept_the_key_is_known_and_the_request_refused(
    bridge: Bridge, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers.Answers.__init__, "__defaults__", (2, 10_000, 2))
    async with bridge.client() as client:
        for n in range(5):
            assert await client.request("test/quick", n=n, requestKey=n) == 2 * n
        for n in (3, 4):
            assert await client.request("test/quick", n=n, requestKey=n) == 2 * n
        failed = await refused(client, "test/quick", n=1, requestKey=1)
        assert str(failed) == "requestKey=1 was answered, and the answer is no longer kept: it is not run again"
        assert ran.order == [0, 1, 2, 3, 4]
        assert await client.request("test/quick", n=0, requestKey=0) == 0  # nobody knows this key any more
        assert ran.order == [0, 1, 2, 3, 4, 0]


async def test_an_answer_that_the_client_has_is_not_kept(bridge: Bridge, ran: Ran) -> None:
    async with bridge.client() as client:
        for times in (1, 2):
            assert await client.request("test/quick", n=1, requestKey=["any", 1]) == 2
            await client.notify("$/forget", requestKeys=[["any", 1], "no such"])
            await client.notify("$/forget", requestKeys="no list")
            assert ran.quick[1] == times


async def test_a_request_under_way_that_the_client_will_not_ask_again_is_run_to_its_end_and_not_kept(
    bridge: Bridge, ran: Ran
) -> None:
    ran.gate.append(trio.Event())
    async with bridge.client() as client:
        id = await client.ask("test/slow", n=1, requestKey="k")
        await client.notify("$/forget", requestKeys=["k"])
        await client.request("runtime/ping")
        ran.gate[0].set()
        assert await client.answer(id) == 2
        assert await client.request("test/slow", n=1, requestKey="k") == 2
        assert ran.slow[1] == 2


async def test_what_only_reads_is_done_again_and_its_answer_takes_no_room_from_the_others(
    bridge: Bridge, ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers.Answers.__init__, "__defaults__", (2, 10_000, 2))
    file = tmp_path / "file"
    file.write_text("before")
    async with bridge.client() as client:
        assert await client.request("test/slow", n=1, requestKey="mine") == 2
        for n in range(5):
            assert (await client.request("file/read", path=str(file), requestKey=f"read {n}"))["data"] == "before"
            assert await client.request("runtime/ping", requestKey=f"ping {n}") == {}
        await client.request("file/write", path=str(file), data="after")
        assert (await client.request("file/read", path=str(file), requestKey="read 0"))["data"] == "after"
        assert await client.request("test/slow", n=1, requestKey="mine") == 2
        assert ran.order == [1]


async def test_what_only_reads_is_given_up_with_the_last_connection_that_waits_for_it(bridge: Bridge) -> None:
    begun, ended = list[int](), list[int]()

    @method("test/read", Numbered, only_reads=True)
    async def read(session: ClientSession, asked: Numbered) -> None:
        begun.append(asked.n)
        try:
            await trio.sleep_forever()
        finally:
            ended.append(asked.n)

    try:
        main = await bridge.connect()
        async with main.stream:
            name = await session_of(main)
            async with bridge.client(session=name, join=True) as other:
                for each, n in ((main, 1), (main, 2), (other, 1)):
                    await each.ask("test/read", n=n, requestKey=n)
                with trio.fail_after(PATIENCE):
                    while len(begun) < 2 or await other.request("runtime/ping") != {}:
                        await trio.sleep(0.001)
                await main.stream.aclose()
                with trio.fail_after(PATIENCE):
                    while not ended:
                        await trio.sleep(0.001)
                assert ended == [2]
            with trio.fail_after(PATIENCE):
                while len(ended) < 2:
                    await trio.sleep(0.001)
    finally:
        del METHODS["test/read"]
