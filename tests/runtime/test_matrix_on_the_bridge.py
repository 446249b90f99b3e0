"""Every cell of the recovery matrix is held once more on the bridge: its real component, its real cause, its client.

Most of that is told where the component is tried; those tests are marked with the cell, as `mark.cell("Row: first")` or
`"Row: then"`. Here is that none is missing, and what has no other place: a disk that takes too long.
"""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi import Runtime
from ukemi.actors.files import FileState
from ukemi.runtime.bridge.tree import bridge_tree
from ukemi.supervisors import Recovered
from ukemi.supervisors.recovery import MATRIX

from ..bridge import Bridge, Failed, unlimited
from ..expecting import PATIENCE

TESTS = Path(__file__).parent


def cells() -> list[str]:
    """Each row's first action, and what then follows."""
    thens = [f"{row.name}: then" for row in MATRIX if row.then is not None]
    return [*(f"{row.name}: first" for row in MATRIX), *thens]


def held() -> set[str]:
    marks = (m for path in TESTS.glob("test_*.py") for m in re.findall(r"mark\.cell\(([^)]*)\)", path.read_text()))
    return {name for mark in marks for name in re.findall(r'"([^"]+)"', mark)}


@pytest.mark.parametrize("cell", cells())
def test_a_cell_of_the_matrix_is_held_on_the_bridge(cell: str) -> None:
    assert cell in held(), f"no test is marked with pytest.mark.cell({cell!r})"


def test_only_cells_that_there_are_are_marked() -> None:
    assert held() - {"Row: first"} <= set(cells())


# --- a disk that takes too long


@pytest.fixture
def disk() -> Iterator[threading.Event]:
    """A disk that answers once this is set: threads wait for it, as for a server that is gone."""
    answers = threading.Event()
    yield answers
    answers.set()


@asynccontextmanager
async def slow_bridge(
    folder: Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> AsyncIterator[Bridge]:
    """A bridge whose files are on that disk, and may take so long to read by default."""

    def wait_for_the_disk(function: Callable[[], Any]) -> Any:
        disk.wait(PATIENCE)
        return function()

    async def run_in_thread(function: Any, **options: Any) -> Any:
        return await trio.to_thread.run_sync(partial(wait_for_the_disk, function), **options)

    state = partial(FileState, run_in_thread=run_in_thread, is_swept=True)
    monkeypatch.setattr("ukemi.runtime.bridge.tree.FileState", state)
    async with Runtime(bridge_tree(folder, find=unlimited), timeouts={"read": seconds}) as runtime:
        yield Bridge(runtime, folder)


def large_file(folder: Path) -> str:
    """One that is too large to be read while others wait."""
    path = folder / "large"
    path.write_text("x" * 200_000)
    return str(path)


async def extended(bridge: Bridge, times: int) -> None:
    """Wait until the time of a read was lengthened so often."""
    with trio.fail_after(PATIENCE):
        while sum(event.action.startswith("Extend") for event in bridge.runtime.events.of(Recovered)) < times:
            await trio.sleep(0.01)


@pytest.mark.cell("Timeout/Recoverable: first")
async def test_a_read_that_takes_longer_than_it_may_by_default_is_given_more_time(
    tmp_path: Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with slow_bridge(tmp_path, disk, monkeypatch, 0.5) as bridge, bridge.client() as client:
        asked = await client.ask("file/read", path=large_file(tmp_path))
        await extended(bridge, 1)
        disk.set()
        assert len((await client.answer(asked))["data"]) == 200_000
        assert bridge.runtime.tree().find("files").restarts == 0


@pytest.mark.cell("Timeout/Recoverable: then")
async def test_a_read_that_takes_longer_than_twice_that_is_given_up_and_its_client_told(
    tmp_path: Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with slow_bridge(tmp_path, disk, monkeypatch, 0.5) as bridge, bridge.client() as client:
        path = large_file(tmp_path)
        with pytest.raises(Failed, match=r"did not answer read within 1\.5 s") as caught:
            await client.request("file/read", path=path)
        assert (caught.value.data["category"], caught.value.data["severity"]) == ("Timeout", "Recoverable")
        assert caught.value.data["retryable"]
        await extended(bridge, 2)
        disk.set()
        assert len((await client.request("file/read", path=path))["data"]) == 200_000
        tree = bridge.runtime.tree()
        assert {tree.find(name).restarts for name in ("files", "worker-1", "worker-8")} == {0}
