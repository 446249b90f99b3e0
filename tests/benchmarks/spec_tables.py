"""The spec's tables of latency and throughput, whole: `python -m tests.benchmarks.spec_tables`.

Each latency is that of at least 10,000 operations. Terminals and IPC are measured by a client in another process, with
blocking sockets and nothing else, against a bridge with all its parts; the rest where the spec has it, in process.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import trio
from tests.benchmarks import files, ipc
from tests.benchmarks.measure import Row, cuts, median, percentile, table, us

from ukemi import Actor, Runtime, child, supervisor
from ukemi.actors.parser import MarkerParser
from ukemi.runtime.bridge.tree import bridge_tree

SAMPLES = 10_000
BATCH = 100
"""Events that are dispatched between two looks at the clock, which costs as much as one of them."""
EVENTS = 200_000
STREAMED = 200_000_000
"""Bytes that a command prints."""
MS = 1e-3
US = 1e-6

TERMINAL = r"""
import json, os, socket, sys, time
path, what, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
ids, held = 0, b""

def ask(method, **params):
    global ids, held
    ids += 1
    body = json.dumps({"jsonrpc": "2.0", "id": ids, "method": method, "params": params}).encode()
    sock.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    wanted = b'"id":%d' % ids
    told = 0
    while True:
        while (end := held.find(b"\r\n\r\n")) >= 0 and len(held) >= (size := end + 4 + int(held[16:end])):
            body, held = held[end + 4:size], held[size:]
            if b'"method"' not in body and wanted in body:
                answer = json.loads(body)
                if answer.get("id") == ids:
                    assert "error" not in answer, answer
                    return answer["result"], told
            told += len(body)
        got = sock.recv(1 << 20)
        assert got
        held += got

ask("initialize")
home = {"HOME": os.path.dirname(path), "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
made, _ = ask("terminal/create", shell="bash", cwd="/", env=home)
terminal = made["terminal"]
ask("terminal/execute", terminal=terminal, command="true")
if what == "echo":
    times = []
    for n in range(count):
        begun = time.perf_counter()
        result, _ = ask("terminal/execute", terminal=terminal, command="echo test")
        times.append(time.perf_counter() - begun)
        assert (result["output"], result["exitCode"]) == ("test\r\n", 0), result
    print(json.dumps(times))
else:
    begun = time.perf_counter()
    _, told = ask("terminal/execute", terminal=terminal, command=f"head -c {count} /dev/zero | tr '\\0' x")
    assert told >= count, told
    print(json.dumps([time.perf_counter() - begun]))
"""


async def rows() -> list[Row]:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Runtime(bridge_tree(folder), encode_messages=False):
            socket = folder / "bridge.sock"
            echoes = await ipc.client(socket, "echo", SAMPLES, program=TERMINAL)
            trips = await ipc.client(socket, "round trips", 2 * SAMPLES)
            (streaming,) = await ipc.client(socket, "stream", STREAMED, program=TERMINAL)
            (pipelined,) = await ipc.client(socket, "pipelined", ipc.PIPELINED)
        cached, _, disk = await files.reading(folder)
        where = "/dev/shm" if os.path.isdir("/dev/shm") else name
        with tempfile.TemporaryDirectory(dir=where) as memory:
            mixed = await files.mixed("in memory", Path(memory), 1_000)
    dispatch, handled = await events()
    parsing, parsed = parser(SPECS_OWN * (1 << 15))
    of_session, session_parsed = parser(session(4_000))
    return [
        latency("Terminal command, end to end", echoes, (1 * MS, 10 * MS, 100 * MS), "bash, client in another process"),
        renamed("File read (cached)", cached),
        renamed("File read (disk)", disk),
        latency("IPC round trip", trips, (100 * US, 500 * US, 2 * MS), "client in another process"),
        latency("Parser, per KB", parsing, (10 * US, 50 * US, 100 * US), "the spec's own input: 73 markers in a KB"),
        latency("the same, of a session", of_session, (10 * US, 50 * US, 100 * US), NEW),
        latency("Event dispatch", dispatch, (1 * US, 10 * US, 100 * US), f"published to one, means of {BATCH}"),
        rate("Terminal output", STREAMED / streaming / 1e6, 10, " MB/s", "to a client in another process"),
        renamed("File operations", mixed),
        rate("IPC messages", ipc.PIPELINED / pipelined, 10_000, "/s", "requests, each answered"),
        rate("Event processing", handled, 100_000, "/s", "published, and handled by an actor"),
        rate("Parser throughput", parsed / 1e6, 100, " MB/s", "the spec's own input, in chunks of 64 KiB"),
        rate("the same, of a session", session_parsed / 1e6, 100, " MB/s", NEW),
    ]


# --- events


class Source(Actor):
    """Publishes."""

    def tell(self, count: int) -> list[float]:
        """Publish so many; seconds for each, by batches."""
        publish, times = self.ctx.publish, []
        for _ in range(count // BATCH):
            begun = perf_counter()
            for _ in range(BATCH):
                publish("news", 1)
            times.append((perf_counter() - begun) / BATCH)
        return times


class Sink(Actor):
    """Counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def on_start(self) -> None:
        """Listen."""
        self.ctx.subscribe("news", self.hear)

    def hear(self, event: int) -> None:
        """One more."""
        self.heard += event

    def how_many(self) -> int:
        """Behind all that was published before."""
        return self.heard


async def events() -> tuple[list[float], float]:
    """Seconds to dispatch one, and how many are handled in a second."""
    tree = supervisor("app", child("sink", Sink, mailbox=EVENTS), child("source", Source))
    times = list[float]()
    async with Runtime(tree, encode_messages=False) as runtime:
        source, sink = runtime.ref("source", Source).within(None), runtime.ref("sink", Sink).within(None)
        for _ in range(-(-SAMPLES * BATCH // EVENTS)):
            times += await source.call(Source.tell, EVENTS)
            await sink.call(Sink.how_many)
        rates = []
        for _ in range(5):
            begun = perf_counter()
            await source.call(Source.tell, EVENTS)
            await sink.call(Sink.how_many)
            rates.append(EVENTS / (perf_counter() - begun))
    return times, median(rates)


# --- the parser


SPECS_OWN = b"\x1b]633;C\x07Hello World\x1b]633;D;0\x07"
"""What the spec's benchmark of the parser feeds it with."""
NONCE = "8b1f3c526a0e"
NEW = "always new commands, ten lines each"


def parser(stream: bytes) -> tuple[list[float], float]:
    """Seconds for each KB of a stream, and bytes in a second."""
    once = MarkerParser(NONCE)
    times = []
    for at in range(0, SAMPLES * 1024, 1024):
        begin = at % (len(stream) - 1024)
        piece = stream[begin : begin + 1024]
        begun = perf_counter()
        once.feed(piece)
        times.append(perf_counter() - begun)
    rates = []
    for _ in range(7):
        begun = perf_counter()
        for at in range(0, len(stream), 65_536):
            once.feed(stream[at : at + 65_536])
        rates.append(len(stream) / (perf_counter() - begun))
    return times, median(rates)


def session(commands: int) -> bytes:
    """What a terminal shows of that many commands, no two of which are the same, each with ten lines of output."""
    return b"".join(
        b"\x1b]633;A\x07$ \x1b]633;B\x07make test-%d\r\n\x1b]633;E;make test-%d;8b1f3c526a0e\x07\x1b]633;C\x07%b"
        b"\x1b]633;D;0\x07\x1b]633;P;Cwd=/home/user/project\x07" % (n, n, b"\x1b[32mok\x1b[0m test_%d\r\n" % n * 10)
        for n in range(commands)
    )


# --- rows


def latency(what: str, samples: Sequence[float], targets: tuple[float, float, float], beside: str) -> Row:
    """Percentiles, beside the spec's."""
    measured = [percentile(samples, share) for share in (0.5, 0.99, 0.999)]
    met = all(value <= target for value, target in zip(measured, targets, strict=True))
    return Row(what, cuts(samples), f"≤ {', '.join(map(us, targets))}", met, f"{beside}; of {len(samples):,}")


def rate(what: str, value: float, target: float, unit: str, beside: str) -> Row:
    """So much in a second."""
    return Row(what, f"{value:,.0f}{unit}", f"≥ {target:,}{unit}", value >= target, beside)


def renamed(what: str, row: Row) -> Row:
    """A row of another table."""
    return Row(what, row.measured, row.target.replace(" (the spec's)", ""), row.met, f"{row.what}; {row.beside}")


if __name__ == "__main__":
    print(table(trio.run(rows)))
