"""A connection that is cut at any byte of a conversation: each request is run once and answered once, and each
notification arrives once and in order. Through real sockets, against real sessions."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio

from ..bridge import Bridge, running_bridge
from ..expecting import PATIENCE
from .peers import App, Line, Ran, counted, linked_app


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path, encode=False) as bridge:
        yield bridge


async def short(app: App) -> Ran:
    """A request of each kind; what is to be run."""
    assert [await app.ask("test/slow", 1), await app.ask("test/quick", 2)] == [2, 4]
    return Ran(Counter([1]), Counter([2]))


async def long(app: App) -> Ran:
    """The same with several requests at a time, in three lanes."""
    answers = list[int]()

    async def ask(n: int) -> None:
        answers.append(await app.ask("test/slow" if n % 2 else "test/quick", n, lane=f"lane {n % 3}"))

    await short(app)
    async with trio.open_nursery() as nursery:
        for n in range(3, 9):
            nursery.start_soon(ask, n)
    await ask(9)
    assert sorted(answers) == [2 * n for n in range(3, 10)]
    return Ran(Counter([1, 3, 5, 7, 9]), Counter([2, 4, 6, 8]))


async def one_cut(bridge: Bridge, way: str, at: int, converse: Callable[[App], Awaitable[Ran]], **options: int) -> Line:
    """A conversation over a line that is cut once."""
    line = Line(bridge.folder / f"line {way} {at}", bridge.socket)
    setattr(line, f"cut_{way}", at)
    with trio.fail_after(PATIENCE), counted() as ran:
        async with trio.open_nursery() as nursery:
            await nursery.start(line.serve)
            async with linked_app(line.path, **options) as app:
                wanted = await converse(app)
                assert (ran.slow, ran.quick) == (wanted.slow, wanted.quick)
                heard = await app.heard(wanted.slow.total())
                assert [note["seq"] for note in heard] == list(range(1, wanted.slow.total() + 1))
                assert sorted(note["n"] for note in heard) == sorted(wanted.slow)
                assert app.session.missed == 0
            nursery.cancel_scope.cancel()
    return line


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize(("converse", "connections", "step"), [(short, 1, 1), (long, 1, 13), (long, 3, 13)])
async def test_cut_at_any_byte_each_request_is_run_once_and_answered_once_and_each_notification_comes_once(
    bridge: Bridge, way: str, converse: Callable[[App], Awaitable[Ran]], connections: int, step: int
) -> None:
    length = getattr(await one_cut(bridge, way, 10**9, converse, connections=connections), way)
    cuts = 0
    for at in range(1, length, step):
        cuts += (await one_cut(bridge, way, at, converse, connections=connections)).cuts
    assert cuts >= 0.9 * (length - 1) // step  # not all conversations need as many bytes


async def test_a_request_that_takes_long_is_not_lost_to_a_line_that_fails_again_and_again_while_others_are_answered(
    bridge: Bridge,
) -> None:
    line, answers = Line(bridge.folder / "line", bridge.socket), list[int]()

    with trio.fail_after(PATIENCE), counted() as ran:
        ran.gate.append(trio.Event())
        async with trio.open_nursery() as nursery:
            await nursery.start(line.serve)
            async with linked_app(line.path) as app, trio.open_nursery() as asking:

                @asking.start_soon
                async def long() -> None:
                    answers.append(await app.ask("test/slow", 1))

                for n in range(2, 17):
                    assert await app.ask("test/quick", n) == 2 * n
                    await line.cut()
                await app.until(app.is_connected)
                ran.gate[0].set()
            assert (answers, ran.slow) == ([2], Counter([1]))
            nursery.cancel_scope.cancel()
