"""The bridge's socket, with a client in another process: `python -m tests.benchmarks.ipc` from the repository's root.

Round trips are one request after the other, of the cheapest method (`runtime/ping`), by a client that uses blocking
sockets and nothing else, so that what is measured is the bridge and the system. A bare trio echo answers the same
client beside it, by turns, in frames of the same size. Pipelined: the client sends many requests before it reads, and
counts the answers.

On a virtual machine a core that has nothing to do leaves for the host, and comes back with cold caches: so the more
there is to a round trip, the more that costs. The same is measured while something of the least priority keeps the
cores awake.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import orjson
import trio
from tests.benchmarks.measure import Row, median, percentile, table, us

from ukemi import Runtime
from ukemi.actors.ipc.sockets import listen_unix
from ukemi.runtime.bridge.tree import bridge_tree

ROUND_TRIPS = 20_000
LINKED = 2_000
ROUNDS = 5
PIPELINED = 100_000

CLIENT = r"""
import json, socket, sys, time
path, what, count, initialize = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "yes"
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)

def framed(message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

if initialize:
    sock.sendall(framed({"id": 0, "method": "initialize", "params": {}}))
    sock.recv(65536)
if what == "round trips":
    data = framed({"id": 1, "method": "runtime/ping", "params": {}})
    send, recv, clock, times = sock.sendall, sock.recv, time.perf_counter, []
    for n in range(count):
        begun = clock()
        send(data)
        recv(65536)
        times.append(clock() - begun)
    print(json.dumps(times))
else:
    import threading
    data = b"".join(framed({"id": n, "method": "runtime/ping", "params": {}}) for n in range(1, count + 1))
    begun = time.perf_counter()
    threading.Thread(target=sock.sendall, args=(data,), daemon=True).start()
    answers, end = 0, b""
    while answers < count:
        got = sock.recv(1 << 20)
        assert got, answers
        answers += (end + got).count(b"Content-Length: ")
        end = got[-15:]
    print(json.dumps([time.perf_counter() - begun]))
"""


LINK = r"""
import json, sys, time, trio
from ukemi import Runtime, supervisor
from ukemi.actors.ipc import Link
from ukemi.runtime.bridge.link import link_spec

async def main():
    async with Runtime(supervisor("app", link_spec("link", sys.argv[1])), encode_messages=False) as app:
        ask, clock, times = app.ref("link", Link).call, time.perf_counter, []
        for n in range(int(sys.argv[3])):
            begun = clock()
            await ask(Link.request, "runtime/ping")
            times.append(clock() - begun)
    print(json.dumps(times))

trio.run(main)
"""


@contextmanager
def awake() -> Iterator[None]:
    """Let no core of this machine have nothing to do."""
    spin = ["nice", "-n", "19", sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(spin) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for each in spinning:
            each.kill()
            each.wait()


@asynccontextmanager
async def echo(path: Path) -> AsyncIterator[None]:
    """A bare trio server that sends back what it gets."""

    async def serve(stream: trio.SocketStream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listener = await listen_unix(path)
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield
        nursery.cancel_scope.cancel()


async def client(path: Path, what: str, count: int, *, initialize: bool = True, program: str = CLIENT) -> list[float]:
    """What the client has measured, in seconds."""
    command = [sys.executable, "-c", program, str(path), what, str(count), "yes" if initialize else "no"]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT)
    found: list[float] = orjson.loads(done.stdout)
    return found


async def rows() -> list[Row]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        ours, bare, rates = list[float](), list[float](), list[float]()
        linked = list[float]()
        medians, awake_medians = list[float](), list[float]()
        awake_ours = list[float]()
        async with Runtime(bridge_tree(home), encode_messages=False), echo(home / "echo.sock"):
            for _ in range(ROUNDS):
                some = await client(home / "bridge.sock", "round trips", ROUND_TRIPS)
                beside = await client(home / "echo.sock", "round trips", ROUND_TRIPS, initialize=False)
                ours += some
                bare += beside
                medians.append(median(some) / median(beside))
                with awake():
                    some = await client(home / "bridge.sock", "round trips", ROUND_TRIPS)
                    beside = await client(home / "echo.sock", "round trips", ROUND_TRIPS, initialize=False)
                awake_ours += some
                awake_medians.append(median(some) / median(beside))
                linked += await client(home / "bridge.sock", "round trips", LINKED, program=LINK)
                (seconds,) = await client(home / "bridge.sock", "pipelined", PIPELINED)
                rates.append(PIPELINED / seconds)
    p50, p99, p999 = (percentile(ours, share) for share in (0.5, 0.99, 0.999))
    ratio, awake_ratio, rate = median(medians), median(awake_medians), median(rates)
    floor = f"bare trio echo: {us(median(bare))}, p99 {us(percentile(bare, 0.99))}"
    return [
        Row("round trip, p50", us(p50), "<= 100 us", p50 <= 100e-6, floor),
        Row("round trip beside a bare trio echo", f"{ratio:.2f} x", "<= 1.7 x", ratio <= 1.7, "medians of each round"),
        Row(
            "the same, cores kept awake",
            f"{awake_ratio:.2f} x",
            "<= 1.7 x",
            awake_ratio <= 1.7,
            f"p50 {us(median(awake_ours))}, p99 {us(percentile(awake_ours, 0.99))}",
        ),
        Row("round trip, p99", us(p99), "<= 500 us", p99 <= 500e-6, f"of {len(ours):,}"),
        Row("round trip, p99.9", us(p999), "<= 2000 us", p999 <= 2e-3),
        Row(
            "round trip of an IpcLink, p50",
            us(median(linked)),
            "",
            None,
            f"p99 {us(percentile(linked, 0.99))}; with a requestKey, from actor to actor",
        ),
        Row("pipelined requests", f"{rate:,.0f}/s", ">= 100,000/s", rate >= 100_000, f"best {max(rates):,.0f}/s"),
    ]


if __name__ == "__main__":
    print(table(trio.run(rows)))
