"""`python -m ukemi run …` as a process of its own, and trees for it to run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from ..expecting import PATIENCE

TREES = """
import gc, threading, time
import trio
from ukemi import Actor, child, supervisor

class Quiet(Actor):
    pass

class Spins(Actor):
    def on_start(self):
        self.ctx.after(0.05, self.spin)
    def spin(self):
        print("spinning", flush=True)
        while True: pass

class Stalls(Actor):
    def on_start(self):
        self.ctx.after(0.05, self.stall)
    def stall(self):
        time.sleep(3.5)

class Deaf(Actor):
    async def on_start(self):
        self.ctx.start_task(self.refuse)
    async def refuse(self):
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

class Slow(Actor):
    async def on_stop(self, reason):
        print("saving", flush=True)
        await trio.sleep_forever()

class Fails(Actor):
    def __init__(self):
        self.answer = 42
    def on_start(self):
        self.ctx.after(0.05, self.fail)
    def fail(self):
        raise ValueError("of no use")

class Busy(Actor):
    def __init__(self):
        self.noted = 0
    def on_start(self):
        me = self.ctx.ref
        for n in range(6):
            me.cast("note", n + 1)
        me.cast("note", n + 1, "itself")
        me.cast("fail", "x" * 1000)
    def note(self, n, by=None):
        self.noted += 1
    def fail(self, how):
        raise ValueError("of no use")

class Inner(Exception):
    pass

class InThread(Actor):
    def on_start(self):
        def run(): raise Inner("in a thread")
        threading.Thread(target=run, name="worker").start()

class InFinalizer(Actor):
    def on_start(self):
        class Bad:
            def __del__(self): raise Inner("in a finalizer")
        Bad()

class NeverUp(Actor):
    def on_start(self):
        raise OSError("no such luck")

quiet = supervisor("app", child("quiet", Quiet))
spins = supervisor("app", child("spins", Spins))
stalls = supervisor("app", child("stalls", Stalls))
deaf = supervisor("app", child("deaf", Deaf, shutdown=0.2))
slow = supervisor("app", child("slow", Slow, shutdown=None))
fails = supervisor("app", child("fails", Fails))
busy = supervisor("app", child("busy", Busy), max_restarts=0)
nested = supervisor("app", supervisor("sub", child("fails", Fails), max_restarts=0), max_restarts=0)
inner = supervisor("app", child("quiet", Quiet), supervisor("sub", child("fails", Fails), restart="temporary"))
thread = supervisor("app", child("thread", InThread))
finalizer = supervisor("app", child("finalizer", InFinalizer))
never = supervisor("app", child("never", NeverUp))
no_tree = 7
"""


@attrs.frozen
class Ended:
    """How a process has ended."""

    code: int
    out: str
    err: str


@attrs.define(eq=False)
class Program:
    """A running one."""

    process: trio.Process
    state: Path
    _err: bytes = b""

    async def says(self, words: str) -> str:
        """Its standard error, once these words are in it."""
        assert self.process.stderr is not None
        with trio.fail_after(PATIENCE):
            while words.encode() not in self._err:
                data = await self.process.stderr.receive_some()
                assert data, f"it ended before it said {words!r}: {self._err.decode()}"
                self._err += data
        return self._err.decode()

    async def prints(self, words: bytes) -> None:
        assert self.process.stdout is not None
        printed = b""
        with trio.fail_after(PATIENCE):
            while words not in printed:
                data = await self.process.stdout.receive_some()
                assert data, "it ended"
                printed += data

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> Ended:
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        with trio.fail_after(PATIENCE):
            while data := await self.process.stderr.receive_some():
                self._err += data
            out = b""
            while data := await self.process.stdout.receive_some():
                out += data
            code = await self.process.wait()
        return Ended(code, out.decode(), self._err.decode())

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.state / "log.jsonl").read_text().splitlines()]

    @property
    def dumps(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in sorted((self.state / "crashes").glob("crash-*.json"))]


@asynccontextmanager
async def launched(
    folder: Path, *arguments: str, state: Path | None = None, within: Sequence[str] = ()
) -> AsyncIterator[Program]:
    """`ukemi run …` in `folder`, where the module `trees` is; killed at the end if it still runs.

    `within` is a command that ends by executing what follows it.
    """
    (folder / "trees.py").write_text(TREES)
    state = state if state is not None else folder / "state"
    process = await trio.lowlevel.open_process(
        [*within, sys.executable, "-m", "ukemi", "run", "--state-dir", str(state), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        yield Program(process, state)
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                await stream.aclose()


async def ran(folder: Path, *arguments: str, state: Path | None = None) -> Ended:
    """How it ends by itself."""
    async with launched(folder, *arguments, state=state) as program:
        return await program.ended()
