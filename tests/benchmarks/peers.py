"""The same few things with other actor libraries, where they are installed."""

from __future__ import annotations

import importlib.util
from time import perf_counter

import trio
from tests.benchmarks.kernel import Counter
from tests.benchmarks.measure import median, us

from ukemi import Runtime, child, supervisor

REPEATS = 7


def table() -> str:
    """As Markdown."""
    lines = ["| library | call | cast and drain |", "|---|---|---|"]
    for name, measure in (("ukemi", _ukemi), ("pykka", _pykka), ("triotp", _triotp)):
        if name != "ukemi" and importlib.util.find_spec(name) is None:
            lines.append(f"| {name} | not installed | |")
            continue
        call, cast = measure()
        lines.append(f"| {name} | {us(call)} | {us(cast)} |")
    return "\n".join(lines)


def _ukemi() -> tuple[float, float]:
    async def main() -> tuple[float, float]:
        async with Runtime(supervisor("peers", child("counter", Counter)), encode_messages=False) as runtime:
            counter = runtime.ref("counter", Counter)
            calls, casts = [], []
            for _ in range(REPEATS):
                begun = perf_counter()
                for _ in range(2_000):
                    await counter.call(Counter.add_async, 1)
                calls.append((perf_counter() - begun) / 2_000)
                begun = perf_counter()
                for _ in range(4_000):
                    counter.cast(Counter.add, 1)
                await counter.call(Counter.add, 1)
                casts.append((perf_counter() - begun) / 4_000)
            return median(calls), median(casts)

    return trio.run(main)


def _pykka() -> tuple[float, float]:
    import pykka

    class Peer(pykka.ThreadingActor):  # type: ignore[misc]
        total = 0

        def on_receive(self, message: int) -> int:
            self.total += message
            return self.total

    peer = Peer.start()
    calls, casts = [], []
    try:
        for _ in range(REPEATS):
            begun = perf_counter()
            for _ in range(1_000):
                peer.ask(1)
            calls.append((perf_counter() - begun) / 1_000)
            begun = perf_counter()
            for _ in range(2_000):
                peer.tell(1)
            peer.ask(1)
            casts.append((perf_counter() - begun) / 2_000)
    finally:
        peer.stop()
    return median(calls), median(casts)


def _triotp() -> tuple[float, float]:
    from tests.benchmarks import triotp_peer
    from triotp import application, node

    node.run(apps=[application.app_spec(module=triotp_peer, start_arg=None, permanent=False)])
    calls, casts = zip(*triotp_peer.measured, strict=True)
    return median(calls), median(casts)
