"""Requests that are run in order stay in order, whichever of them is cancelled."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ukemi.runtime.bridge.turns import Turn, Turns

from ..bridge import Bridge, Client, Failed, running_bridge


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path) as bridge:
        yield bridge


# --- the lines


@given(st.lists(st.tuples(st.sampled_from(["take", "leave"]), st.integers(0, 5)), max_size=40))
def test_one_at_a_time_has_its_turn_and_it_is_the_first_of_those_that_are_left(steps: list[tuple[str, int]]) -> None:
    turns, line = Turns(), list[Turn]()
    for what, n in steps:
        if what == "take":
            line.append(turns.take("place"))
        elif n < len(line):
            turns.leave(line.pop(n))
        assert [turn.has_come.is_set() for turn in line] == [n == 0 for n in range(len(line))]
    other = turns.take("other place")
    assert other.has_come.is_set()


# --- requests


async def cancelled(client: Client, id: int) -> None:
    with pytest.raises(Failed, match="the request was cancelled"):
        await client.answer(id)


async def test_a_write_that_is_cancelled_while_it_waits_lets_no_other_overtake(bridge: Bridge, tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with bridge.client() as client:
        for _ in range(5):
            ids = [await client.ask("file/write", path=str(path), data=data) for data in ("z" * 4_000_000, "a", "b")]
            await client.notify("$/cancelRequest", id=ids[2])
            last = await client.ask("file/write", path=str(path), data="c")
            await cancelled(client, ids.pop())
            for id in [*ids, last]:
                await client.answer(id)
            assert path.read_text() == "c"


async def test_a_command_that_is_cancelled_while_it_waits_lets_no_other_overtake(
    bridge: Bridge, tmp_path: Path
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path, shell="bash")
        commands = [f"mkfifo {gate}; read < {gate}", *(f"echo {name} >> {log}" for name in "abc")]
        ids = [await client.ask("terminal/execute", terminal=terminal, command=command) for command in commands]
        await client.notify("$/cancelRequest", id=ids[2])
        await cancelled(client, ids.pop(2))
        await trio.run_process(["bash", "-c", f"until [ -p {gate} ]; do sleep 0.01; done; echo > {gate}"])
        for id in ids:
            await client.answer(id)
        assert log.read_text().split() == ["a", "c"]
        assert client.order.index(ids[1]) < client.order.index(ids[2])


async def test_what_is_typed_stays_in_order_where_some_of_it_is_cancelled(bridge: Bridge, tmp_path: Path) -> None:
    got, gate = tmp_path / "got", tmp_path / "gate"
    async with bridge.client() as client:
        terminal = await client.terminal(tmp_path, shell="bash")
        command = f"stty raw -echo; mkfifo {gate}; read < {gate}; head -c 140000 > {got}; stty sane"
        ran = await client.ask("terminal/execute", terminal=terminal, command=command)
        await trio.run_process(["bash", "-c", f"until [ -p {gate} ]; do sleep 0.01; done"])
        first, second, third = [
            await client.ask("terminal/write", terminal=terminal, data=letter * 70_000) for letter in "abc"
        ]
        await client.notify("$/cancelRequest", id=second)
        await cancelled(client, second)
        await trio.run_process(["bash", "-c", f"echo > {gate}"])
        for id in (first, third, ran):
            await client.answer(id)
        assert got.read_text() == "a" * 70_000 + "c" * 70_000
