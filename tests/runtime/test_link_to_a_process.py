"""A link to a bridge in a process of its own, which is killed, stopped and started again for real."""

import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from ukemi.actors.ipc import Link, SessionLost

from ..expecting import PATIENCE
from .launched import launched
from .peers import linked_app


async def test_a_bridge_that_is_killed_and_started_again_is_found_again_and_what_waits_for_it_is_run(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    async with AsyncExitStack() as first, linked_app(state / "bridge.sock") as app, trio.open_nursery() as nursery:
        ask = app.link.within(None).call
        bridge = await first.enter_async_context(launched(tmp_path, state=state))
        await bridge.says("is up")
        made = await ask(Link.request, "terminal/create", {"cwd": str(tmp_path), "env": {"HOME": str(tmp_path)}})
        command = {"terminal": made["terminal"], "command": "touch begun; sleep 1000"}

        async def lost() -> None:
            with pytest.raises(SessionLost, match="terminal/execute may have been run, or not"):
                await ask(Link.request, "terminal/execute", command)

        nursery.start_soon(lost)
        with trio.fail_after(PATIENCE):
            while not (tmp_path / "begun").exists():
                await trio.sleep(0.01)
        bridge.send(signal.SIGKILL)

        async def is_away() -> bool:
            return not (await ask(Link.state)).connected

        await app.until(is_away)
        answers = list[Any]()

        async def later() -> None:
            answers.append(await ask(Link.request, "terminal/list"))

        nursery.start_soon(later)
        await first.aclose()
        assert answers == []
        async with launched(tmp_path, state=state):
            with trio.fail_after(PATIENCE):
                while not answers:
                    await trio.sleep(0.01)
            assert answers == [{"terminals": []}]
            assert await app.is_connected()


async def test_a_bridge_that_hangs_for_a_while_is_waited_for_and_answers_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with launched(tmp_path, state=state) as bridge:
        await bridge.says("is up")
        async with linked_app(state / "bridge.sock") as app, trio.open_nursery() as nursery:
            await app.until(app.is_connected)
            bridge.send(signal.SIGSTOP)
            answers = list[Any]()

            async def ask() -> None:
                answers.append(await app.link.call(Link.request, "runtime/ping"))

            for _ in range(10):
                nursery.start_soon(ask)

            async def are_asked() -> bool:
                return (await app.link.call(Link.state)).unanswered == 10

            await app.until(are_asked)
            bridge.send(signal.SIGCONT)
            with trio.fail_after(PATIENCE):
                while len(answers) < 10:
                    await trio.sleep(0.01)
            assert answers == [{}] * 10
            assert app.runtime.tree().find("link").restarts == 0
