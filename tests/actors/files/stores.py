"""File stores for tests, and a disk that fails as a test tells it to."""

from __future__ import annotations

import os
import resource
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from ukemi import RECOVERY, Policy, Ref, Runtime
from ukemi.actors.files import FileState, FileStore, store, worker
from ukemi.runtime.bridge.files import files_spec


def runtime_of(state: FileState, policy: Policy | None = RECOVERY) -> Runtime:
    """A store and its workers, as the bridge has them."""
    return Runtime(files_spec(state, policy=policy))


def store_of(runtime: Runtime) -> Ref[FileStore]:
    """The one to ask."""
    return runtime.ref("files", FileStore)


async def in_place(function: Any, /, *, abandon_on_cancel: bool, limiter: trio.CapacityLimiter) -> Any:
    """What a thread would do, done in the loop, so that the clock can't jump meanwhile."""
    await trio.lowlevel.checkpoint()
    return function()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what a thread does; the clock stands still."""
    for _ in range(10_000):
        if condition():
            return
        await trio.to_thread.run_sync(threading.Event().wait, 0.001)
    raise AssertionError("it never came true")


def in_the_past(path: Path, data: bytes | str = "old") -> str:
    """A file that nobody has changed for long enough that its times can be relied on."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    settle()
    return str(path)


def settle() -> None:
    """Let the clock of the file system go on: twice the tick that the store allows for."""
    threading.Event().wait(0.05)


@attrs.define
class Disk:
    """The disk as the store's threads see it: real, but for the errors that wait here, by what is done."""

    errors: dict[str, deque[BaseException | None]]
    hangs: dict[str, threading.Event]
    """For a path, until when whoever reads or writes it hangs."""
    calls: list[tuple[str, str]]

    def fail(self, what: str, *errors: BaseException | None) -> None:
        """Let the next reads or writes raise these; None for one that goes well."""
        self.errors.setdefault(what, deque()).extend(errors)

    @contextmanager
    def hung(self, path: str) -> Iterator[threading.Event]:
        """Whoever reads or writes it hangs; at the end, nobody does."""
        event = self.hangs[path] = threading.Event()
        try:
            yield event
        finally:
            event.set()

    def touch(self, what: str, path: str) -> None:
        """What happens first."""
        self.calls.append((what, path))
        waiting = self.errors.get(what)
        error = waiting.popleft() if waiting else None
        if error is not None:
            raise error
        if path in self.hangs:
            self.hangs[path].wait()


def failing_disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """All that is not in the store's own cache is read in a thread, through this."""
    disk = Disk({}, {}, [])
    read, write = worker.read_file, worker.write_file

    def read_file(path: str, *rest: Any, **options: Any) -> Any:
        disk.touch("read", path)
        return read(path, *rest, **options)

    def write_file(path: str, *rest: Any) -> Any:
        disk.touch("write", path)
        return write(path, *rest)

    monkeypatch.setattr(worker, "read_file", read_file)
    monkeypatch.setattr(worker, "write_file", write_file)
    monkeypatch.setattr(store, "read_at_once", lambda *_: None)
    return disk


@contextmanager
def limited(what: int, limit: int) -> Iterator[None]:
    """This process's soft limit, for a while."""
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's privileges, where this process has them."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
