"""Whoever is killed, and whatever else is going on: what was acknowledged is there, and nothing is torn or lost."""

from __future__ import annotations

import os
import random
from pathlib import Path

import trio

from ukemi import ActorCrashed, ActorStopped, Runtime
from ukemi.actors.files import FileState, FileStore
from ukemi.runtime.bridge.files import WORKERS

from .stores import runtime_of, store_of, until

CLIENTS = 12
WRITES = 40


class Client:
    """Writes ever higher numbers into a file of its own, and reads it back."""

    def __init__(self, runtime: Runtime, path: Path, source: random.Random) -> None:
        self.runtime = runtime
        self.path = path
        self.source = source
        self.acknowledged = 0
        self.failed = 0

    async def live(self) -> None:
        for n in range(1, WRITES + 1):
            try:
                await store_of(self.runtime).call("write", str(self.path), self.contents(n))
                self.acknowledged = n
            except (ActorCrashed, ActorStopped):
                self.failed += 1
            await self.look(n)

    async def look(self, last: int) -> None:
        try:
            content = await store_of(self.runtime).call(FileStore.read, str(self.path))
        except FileNotFoundError:
            assert self.acknowledged == 0
        except (ActorCrashed, ActorStopped):
            self.failed += 1
        else:
            number = int(content.data[:6])
            assert content.data == self.contents(number)
            assert self.acknowledged <= number <= last

    @staticmethod
    def contents(n: int) -> str:
        return f"{n:06}" * (1 + n * 997 % 20_000)


async def test_actors_that_are_killed_at_any_moment_lose_nothing_that_was_acknowledged(
    state: FileState, folder: Path
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    source = random.Random(seed)
    async with runtime_of(state) as runtime, trio.open_nursery() as nursery:
        clients = [Client(runtime, folder / f"{n}", source) for n in range(CLIENTS)]

        async def disturb() -> None:
            for _ in range(60):
                await trio.sleep(source.uniform(0, 0.02))
                name = source.choice([f"worker-{source.randint(1, WORKERS)}", "files"])
                runtime.ref(name).kill()

        async with trio.open_nursery() as inner:
            inner.start_soon(disturb)
            for client in clients:
                inner.start_soon(client.live)
        for client in clients:
            await client.look(WRITES)
        await until(lambda: not state.writing and state.threads.borrowed_tokens == 0)
        assert (await store_of(runtime).call(FileStore.stats)).waiting == 0
        assert sum(client.failed for client in clients) > 0
        nursery.cancel_scope.cancel()
    for client in clients:
        assert int(client.path.read_text()[:6]) >= client.acknowledged
    assert sorted(os.listdir(folder)) == sorted(str(n) for n in range(CLIENTS))
    assert os.listdir(state.records) == []
