"""A link as `link_spec` declares it: it waits in local mode for a bridge that can't be reached, spreads over several
connections, and says what it can't know."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi import ResourceExhausted
from ukemi.actors.events import DeadLetter
from ukemi.actors.ipc import Link, LinkState, SessionLost
from ukemi.actors.ipc import link as link_module
from ukemi.actors.ipc.jsonrpc import RpcError
from ukemi.runtime.bridge.session import ClientSession
from ukemi.supervisors import Recovered
from ukemi.supervisors.degradation import FeatureDegraded
from ukemi.supervisors.events import ChildRestarted, FellBack

from ..bridge import Bridge, running_bridge
from ..expecting import PATIENCE, expecting
from .peers import App, Line, Ran, counted, linked_app


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path, encode=False) as bridge:
        yield bridge


@pytest.fixture
async def ran() -> AsyncIterator[Ran]:
    with counted() as ran:
        yield ran


@pytest.fixture
async def line(bridge: Bridge, nursery: trio.Nursery) -> Line:
    line = Line(bridge.folder / "line.sock", bridge.socket)
    await nursery.start(line.serve)
    return line


async def state(app: App) -> LinkState:
    return await app.link.call(Link.state)


async def waiting(app: App, count: int) -> None:
    """Wait until so many messages wait for the peer."""

    async def are() -> bool:
        return (await state(app)).waiting == count

    await app.until(are)


async def taken(app: App, count: int) -> None:
    """Wait until the link has taken so many messages."""
    with trio.fail_after(PATIENCE):
        while app.link.stats().handled < count:
            await trio.lowlevel.checkpoint()


def sessions(bridge: Bridge) -> list[ClientSession]:
    """What runs the clients' requests, to look into."""
    cells = bridge.runtime.ref("/bridge/sessions").cell.children or {}
    return [cell.incarnation.actor for cell in cells.values() if cell.incarnation is not None]  # type: ignore[misc]


# --- local mode


async def test_without_a_peer_the_tree_starts_in_local_mode_and_all_goes_out_in_order_once_there_is_one(
    tmp_path: Path, ran: Ran
) -> None:
    answers = list[Any]()
    async with linked_app(tmp_path / "bridge.sock") as app, trio.open_nursery() as nursery:

        async def ask(n: int) -> None:
            answers.append(await app.ask("test/quick", n))

        assert await state(app) == LinkState(False, 0, 0, 0, None, 0, 0)
        for n in range(20):
            nursery.start_soon(ask, n)
            await waiting(app, n + 1)
        assert app.runtime.tree().find("link").fallback == "local mode"
        async with running_bridge(tmp_path) as bridge:
            async with expecting(app.runtime, FellBack, "/app/link"):
                pass
            with trio.fail_after(PATIENCE):
                while len(answers) < 20:
                    await trio.sleep(0.001)
            assert ran.order == list(range(20))
            now = await state(app)
            assert (now.connected, now.waiting, now.unanswered, now.connections) == (True, 0, 0, 1)
            assert app.runtime.tree().find("link").fallback is None
            assert len(sessions(bridge)) == 1


async def test_no_more_than_the_bound_waits_in_local_mode_and_the_rest_is_told_the_bound(
    tmp_path: Path, ran: Ran
) -> None:
    async with linked_app(tmp_path / "bridge.sock", most_waiting=5) as app, trio.open_nursery() as nursery:
        for n in range(5):
            nursery.start_soon(app.ask, "test/quick", n)
        await waiting(app, 5)
        with pytest.raises(ResourceExhausted, match=r"messages that wait for .*bridge\.sock") as caught:
            await app.ask("test/quick", 99)
        assert (caught.value.limit, caught.value.current) == (5, 5)
        app.link.cast(Link.notify, "test/none")
        async with expecting(app.runtime, DeadLetter, "/app/link"):
            app.link.cast(Link.notify, "test/none")
        async with running_bridge(tmp_path):
            await app.until(app.is_connected)
        assert sorted(ran.order) == list(range(5))


async def test_a_caller_that_goes_while_its_request_waits_is_not_heard_of_any_more_and_makes_room(
    tmp_path: Path, ran: Ran
) -> None:
    async with linked_app(tmp_path / "bridge.sock", most_waiting=2) as app:
        for n in range(5):
            with trio.move_on_after(0.01):
                await app.ask("test/quick", n)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.ask, "test/quick", 5)
            await waiting(app, 1)
            async with running_bridge(tmp_path):
                with trio.fail_after(PATIENCE):
                    while ran.order != [5]:
                        await trio.sleep(0.001)


async def test_while_the_peer_is_away_the_feature_is_degraded_the_tree_shows_it_and_both_come_back(
    bridge: Bridge, line: Line, ran: Ran
) -> None:
    async with linked_app(line.path, feature="remote") as app:
        await app.until(app.is_connected)
        line.to = bridge.folder / "nowhere"
        tries = list[int]()
        end = app.runtime.events.listen(
            lambda event: tries.append(event.attempt) if isinstance(event, Recovered) else None
        )
        async with expecting(app.runtime, FeatureDegraded, "/app/link"):
            await line.cut()
        assert app.runtime.tree().find("link").state == "degraded"
        assert app.runtime.features.state_of("remote").degraded
        assert tries[:7] == [1, 2, 3, 4, 5, 6, 7]  # six restarts, then local mode
        end()
        line.to = bridge.socket
        await app.until(app.is_connected)
        assert app.runtime.tree().find("link").state == "running"
        assert not app.runtime.features.state_of("remote").degraded
        assert await app.ask("test/quick", 1) == 2


@pytest.mark.cell("Network/Critical: first", "Network/Critical: then", "Network/Recoverable: then")
async def test_a_peer_that_stays_away_degrades_the_link_after_five_tries_and_what_was_under_way_is_not_lost(
    tmp_path: Path, ran: Ran
) -> None:
    ran.gate.append(trio.Event())
    async with AsyncExitStack() as first:
        bridge = await first.enter_async_context(running_bridge(tmp_path, encode=False))
        line = Line(tmp_path / "line.sock", bridge.socket)
        async with trio.open_nursery() as nursery:
            await nursery.start(line.serve)
            async with linked_app(line.path) as app:
                answers = list[Any]()

                async def ask(n: int) -> None:
                    answers.append(await app.ask("test/slow", n))

                for n in range(3):
                    nursery.start_soon(ask, n)
                with trio.fail_after(PATIENCE):
                    while len(ran.order) < 3:
                        await trio.sleep(0.001)
                line.to = tmp_path / "nowhere"
                async with expecting(app.runtime, FellBack, "/app/link"):
                    await line.cut()
                await waiting(app, 3)
                ran.gate[0].set()
                line.to = bridge.socket
                with trio.fail_after(PATIENCE):
                    while len(answers) < 3:
                        await trio.sleep(0.001)
                assert sorted(answers) == [0, 2, 4]
                assert sorted(ran.order) == [0, 1, 2]
                assert (await state(app)).resumed == 1
            nursery.cancel_scope.cancel()


# --- what is not known


async def test_what_was_under_way_in_a_session_that_the_peer_has_lost_fails_and_what_waits_is_run(
    bridge: Bridge, line: Line, ran: Ran
) -> None:
    ran.gate.append(trio.Event())
    async with linked_app(line.path) as app:
        async with trio.open_nursery() as nursery:

            async def lost() -> None:
                with pytest.raises(SessionLost, match="test/slow may have been run, or not"):
                    await app.ask("test/slow", 1)

            nursery.start_soon(lost)
            with trio.fail_after(PATIENCE):
                while not ran.order:
                    await trio.sleep(0.001)
            for child in await bridge.runtime.ref("sessions").call("children"):
                child.ref.kill()
        assert await app.ask("test/quick", 2) == 4
        assert ran.order == [1, 2]


async def test_a_caller_that_goes_is_not_asked_for_again_and_the_peer_forgets_its_answer(
    bridge: Bridge, line: Line, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "FORGET_AFTER", 2)
    ran.gate.append(trio.Event())
    async with linked_app(line.path) as app:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.ask, "test/slow", 1)
            with trio.fail_after(PATIENCE):
                while not ran.order:
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        async with expecting(app.runtime, ChildRestarted, "/app/link"):
            await line.cut()
        ran.gate[0].set()
        for n in (2, 3):
            await app.ask("test/quick", n)
        assert ran.order == [1, 2, 3]
        (session,) = sessions(bridge)
        with trio.fail_after(PATIENCE):
            while (
                len(session._requests._answers._kept) > 1 or session._requests._under_way
            ):  # it is told of two at a time
                await trio.sleep(0.001)


async def test_what_was_asked_can_be_given_up_by_its_key(bridge: Bridge, ran: Ran) -> None:
    ran.gate.append(trio.Event())
    async with linked_app(bridge.socket) as app, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(RpcError, match="the request was cancelled"):
                await app.link.call(Link.request, "test/slow", {"n": 1, "requestKey": "mine"})

        nursery.start_soon(ask)
        with trio.fail_after(PATIENCE):
            while not ran.order:
                await trio.sleep(0.001)
        await app.link.call(Link.cancel, "another")
        assert (await state(app)).unanswered == 1
        await app.link.call(Link.cancel, "mine")


@pytest.mark.parametrize("params", [{"n": 2**70}, {"n": {1, 2}}, {"n": "\udcff"}])
async def test_what_json_has_no_words_for_is_the_callers_error(bridge: Bridge, params: dict[str, Any]) -> None:
    async with linked_app(bridge.socket, encode=False) as app:
        with pytest.raises(ValueError, match="the parameters can't be told in JSON"):
            await app.link.call(Link.request, "test/quick", params)
        with pytest.raises(ValueError, match=r"a message of \d+ bytes is too large; at most"):
            await app.link.call(Link.request, "test/quick", {"n": "x" * 2**24})
        assert app.runtime.tree().find("link").restarts == 0


@pytest.mark.cell("Network/Recoverable: first")
async def test_what_was_under_way_is_asked_again_in_order_before_what_waits(
    bridge: Bridge, line: Line, ran: Ran
) -> None:
    async with linked_app(line.path) as app:
        await app.until(app.is_connected)
        for n in range(500):
            await app.link.send(Link.request, "test/quick", {"n": n})
            if n % 50 == 25:
                line.cut_up = line.up + 17 * n
                line.cut_down = line.down + 11 * n
        with trio.fail_after(PATIENCE):
            while len(ran.order) < 500:
                await trio.sleep(0.001)
        assert ran.order == list(range(500))
        assert line.cuts > 3


# --- several connections


async def test_lanes_spread_over_connections_and_idle_ones_can_be_closed(bridge: Bridge, ran: Ran) -> None:
    ran.gate.append(trio.Event())
    async with linked_app(bridge.socket, connections=3) as app:
        async with trio.open_nursery() as nursery:
            for n in range(40):
                nursery.start_soon(app.ask, "test/slow", n, f"lane {n % 4}")
            with trio.fail_after(PATIENCE):
                while len(ran.order) < 40:
                    await trio.sleep(0.001)
            assert (await state(app)).connections == 3
            assert (await state(app)).unanswered == 40
            assert await app.link.call(Link.close_idle) == 0
            ran.gate[0].set()
        assert sorted(ran.order) == list(range(40))
        assert await app.link.call(Link.close_idle) == 2
        assert (await state(app)).connections == 1
        with trio.fail_after(PATIENCE):
            while len(bridge.runtime.tree().find("connections").children) > 1:
                await trio.sleep(0.001)
        assert len(sessions(bridge)) == 1
        assert await app.ask("test/quick", 99, "lane 1") == 198
        assert app.runtime.tree().find("link").restarts == 0


async def test_requests_of_one_lane_reach_the_peer_in_the_order_in_which_they_were_asked(
    bridge: Bridge, ran: Ran
) -> None:
    async with linked_app(bridge.socket, connections=4) as app, trio.open_nursery() as nursery:
        for n in range(200):
            nursery.start_soon(app.ask, "test/quick", n, f"lane {n % 5}")
            await taken(app, n + 1)
    for lane in range(5):
        of_lane = [n for n in ran.order if n % 5 == lane]
        assert of_lane == sorted(of_lane)


async def test_a_peer_that_takes_no_further_connection_is_asked_over_those_that_there_are(
    tmp_path: Path, ran: Ran
) -> None:
    async with running_bridge(tmp_path, most_clients=2) as bridge, linked_app(bridge.socket, connections=9) as app:
        ran.gate.append(trio.Event())
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(app.ask, "test/slow", n, f"lane {n}")
            with trio.fail_after(PATIENCE):
                while len(ran.order) < 20:
                    await trio.sleep(0.001)
            assert (await state(app)).connections == 2
            ran.gate[0].set()
        assert app.runtime.tree().find("link").restarts == 0


async def test_more_requests_than_may_be_under_way_wait_and_are_all_run_once_in_order(
    bridge: Bridge, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "MOST_UNANSWERED", 10)
    async with linked_app(bridge.socket) as app, trio.open_nursery() as nursery:
        for n in range(300):
            nursery.start_soon(app.ask, "test/slow", n)
            await trio.lowlevel.cancel_shielded_checkpoint()
    assert sorted(ran.order) == list(range(300))
    assert max(ran.slow.values()) == 1
