"""What handling errors takes of memory, part by part, beside the spec's memory profile.

A runtime of 100 children with all that there is (policy, fallbacks, features, circuits, reporter, health monitor) is
let fail 1,000 times, and so is the same tree without. What lives then is attributed to the innermost module that had
it made, events that are remembered to whoever told of them; a module's code is what a second copy of it takes, and
counts for itself. State recovery has no line here: it comes with the journal.
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import attrs
from tests.benchmarks.measure import Row
from trio.testing import wait_all_tasks_blocked

import ukemi
from ukemi import RECOVERY, Actor, CircuitBreak, Runtime, child, supervisor
from ukemi.runtime.health import HealthMonitor
from ukemi.runtime.reports import ErrorReporter
from ukemi.supervisors import ChildSpec
from ukemi.supervisors.circuit import Circuit

CHILDREN = 100
FAILURES = 1_000
FRAMES = 24
"""How far up from an allocation the module that has asked for it is looked for."""
ROOMS = tuple(str(Path(room.__path__[0]).resolve()) for room in (ukemi.actors, ukemi.runtime, ukemi.supervisors))


@attrs.frozen
class Part:
    """A line of the spec's memory profile."""

    name: str
    limit: int
    """Bytes."""
    modules: tuple[str, ...]

    @property
    def files(self) -> set[str]:
        """Their files."""
        return {str(Path(origin).resolve()) for name in self.modules if (origin := _spec(name).origin) is not None}


def _all(room: str, names: str) -> tuple[str, ...]:
    return tuple(f"ukemi.{room}.{name}" for name in names.split())


PARTS = (
    Part(
        "error types",
        50_000,
        (*_all("actors", "errors"), *_all("supervisors", "errors"), *_all("supervisors.recovery", "failure kinds")),
    ),
    Part(
        "recovery strategies",
        200_000,
        (
            *_all("actors", "recovery outcome hold gate deferred"),
            *_all("supervisors.recovery", "actions classify describing encoding guard matrix policy throttling tries"),
            *_all("supervisors", "backoff degradation detours fallbacks feature_states features quality substitutes"),
            *_all("supervisors", "vitals"),
        ),
    ),
    Part("circuit breakers", 150_000, (*_all("supervisors", "breaker circuit"), "ukemi.supervisors.recovery.probing")),
    Part(
        "error reporting",
        200_000,
        (
            *_all("runtime", "aggregation collectors error_report reports"),
            *_all("supervisors", "alerts"),
        ),
    ),
    Part(
        "component manager",
        100_000,
        _all("supervisors", "dynamic events graph intensity keeper names record spec strategy supervisor tree walk"),
    ),
)
WHOLE = 1_000_000


class Fragile(Actor):
    """Fails as it is told to."""

    def miss(self) -> None:
        """What is its caller's matter."""
        raise FileNotFoundError(2, "No such file or directory", "/nowhere")

    def crash(self) -> None:
        """What restarts it."""
        raise ValueError("on purpose")


class Stand(Fragile):
    """What may take its place."""


async def memory() -> list[Row]:
    """All parts, and the whole."""
    await _fail(_bare())  # what Python and libraries keep in caches is there then
    bare, _ = await _kept(_bare())
    full, by_part = await _kept(_full())
    circuits = CHILDREN * _circuit()  # made by what asks for them, and a part of their own
    by_part["circuit breakers"] = by_part.get("circuit breakers", 0) + circuits
    by_part["recovery strategies"] -= circuits
    found = []
    for part in PARTS:
        size = by_part.get(part.name, 0)
        target = f"< {part.limit:,} (the spec's)"
        found.append(
            Row(f"memory: {part.name}", f"{size:,} bytes", target, size < part.limit, f"{_code(part):,} of code")
        )
    what = f"memory: all, of {CHILDREN} children after {FAILURES:,} failures"
    added = full - bare
    beside = "more than the same tree without"
    return [*found, Row(what, f"{added:,} bytes", f"< {WHOLE:,} (the spec's)", added < WHOLE, beside)]


def _bare() -> Runtime:
    children = [child(f"c{n}", Fragile) for n in range(CHILDREN)]
    return Runtime(supervisor("bench", *children, max_restarts=FAILURES, within=1e-3), encode_messages=False)


def _full() -> Runtime:
    children = [
        child(f"c{n}", Fragile, fallback=Stand, feature=f"feature {n}", on_exhausted=CircuitBreak())
        for n in range(CHILDREN)
    ]
    tree = supervisor("bench", *children, policy=RECOVERY, max_restarts=FAILURES, within=1e-3)
    return Runtime(tree, encode_messages=False, services=_services)


def _services(runtime: Runtime) -> Sequence[ChildSpec]:
    return [child("reporter", ErrorReporter), child("health", lambda: HealthMonitor(runtime.metrics, {}))]


async def _fail(runtime: Runtime) -> tuple[int, tracemalloc.Snapshot | None]:
    """Let it fail; what is alive then."""
    runtime.errors.report_to()
    async with runtime:
        refs = [runtime.ref(f"c{n}", Fragile) for n in range(CHILDREN)]
        for n in range(FAILURES):
            try:
                await refs[n % CHILDREN].call("miss" if n // CHILDREN % 2 else "crash")
            except Exception:
                pass
        runtime.errors.format()
        await wait_all_tasks_blocked()
        gc.collect()
        if not tracemalloc.is_tracing():
            return 0, None
        return tracemalloc.get_traced_memory()[0], tracemalloc.take_snapshot()


async def _kept(runtime: Runtime) -> tuple[int, dict[str, int]]:
    """Bytes that a runtime has after its failures, and by part."""
    gc.collect()
    tracemalloc.start(FRAMES)
    before = tracemalloc.get_traced_memory()[0]
    after, snapshot = await _fail(runtime)
    tracemalloc.stop()
    assert snapshot is not None
    return after - before, _by_part(snapshot)


def _by_part(snapshot: tracemalloc.Snapshot) -> dict[str, int]:
    """Bytes by the innermost module of this project that has asked for them."""
    owners = {file: part.name for part in PARTS for file in part.files}
    owner_of: dict[str, str | None] = {}
    """By the file's name, as tracebacks have it; "" is of another part, None of another library."""
    sizes: dict[str, int] = {}
    for trace in snapshot.traces:
        for frame in reversed(trace.traceback):
            name = frame.filename
            if name not in owner_of:
                file = str(Path(name).resolve())
                owner_of[name] = owners.get(file, "" if file.startswith(ROOMS) else None)
            owner = owner_of[name]
            if owner is not None:
                sizes[owner] = sizes.get(owner, 0) + trace.size
                break
    return sizes


def _circuit() -> int:
    """Bytes of a child's circuit."""
    settings = CircuitBreak()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    circuits = [Circuit(settings, "it") for _ in range(CHILDREN)]
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return size // len(circuits)


def _code(part: Part) -> int:
    """Bytes of a second copy of its modules."""
    total = 0
    for name in part.modules:
        spec = _spec(name)
        assert spec.loader is not None
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        gc.collect()
        total += tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return total


def _spec(name: str) -> importlib.machinery.ModuleSpec:
    found = importlib.util.find_spec(name)
    assert found is not None, name
    return found
