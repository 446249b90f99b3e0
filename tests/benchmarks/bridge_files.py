"""Files and watches over the bridge's socket, with a client in another process.

`python -m tests.benchmarks.bridge_files`. The client uses blocking sockets and nothing else, and waits for each answer
before it asks again, but for the mixture, which keeps many requests under way. A change is told to who has made it:
from just before the write to the notification.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
import trio
from tests.benchmarks.measure import Row, cuts, table

from ukemi import Runtime
from ukemi.runtime.bridge.tree import bridge_tree

READS = 20_000
WRITES = 10_000
MIXED = 20_000
CHANGES = 300

CLIENT = r"""
import json, os, random, socket, sys, time
path, folder, what, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
buffer, clock, times = b"", time.perf_counter, []

def send(id, method, **params):
    body = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()
    sock.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

def receive():
    global buffer
    while True:
        head, mark, rest = buffer.partition(b"\r\n\r\n")
        if mark and len(rest) >= (size := int(head.split(b":")[1])):
            buffer = rest[size:]
            return json.loads(rest[:size])
        buffer += sock.recv(1 << 20)

def ask(method, **params):
    send(1, method, **params)
    while "result" not in (answer := receive()):
        assert "error" not in answer, answer
    return answer["result"]

send(0, "initialize")
receive()
files = [os.path.join(folder, f"{n}.txt") for n in range(100)]
data = "x" * 4096
for file in files:
    ask("file/write", path=file, data=data)
time.sleep(0.1)  # what has just been written is not trusted to be known
if what == "read":
    for n in range(count):
        begun = clock()
        ask("file/read", path=files[n % 100])
        times.append(clock() - begun)
elif what == "write":
    for n in range(count):
        begun = clock()
        ask("file/write", path=files[n % 100], data=data)
        times.append(clock() - begun)
elif what == "mixed":
    source, begun, answers = random.Random(1), clock(), 0
    for n in range(count):
        file = source.choice(files)
        if source.random() < 0.2:
            send(n, "file/write", path=file, data=data)
        else:
            send(n, "file/read", path=file)
        while n - answers >= 32:
            receive()
            answers += 1
    while answers < count:
        receive()
        answers += 1
    times = [clock() - begun]
else:
    ask("watch/add", path=folder)
    for n in range(count):
        time.sleep(0.06)  # longer than changes are gathered for
        begun = clock()
        with open(files[0], "r+") as file:
            file.write(str(n))
        while receive().get("method") != "watch/changed":
            pass
        times.append(clock() - begun)
print(json.dumps(times))
"""


async def client(folder: Path, what: str, count: int) -> list[float]:
    """What the client has measured, in seconds."""
    files = folder / what
    files.mkdir()
    command = [sys.executable, "-c", CLIENT, str(folder / "bridge.sock"), str(files), what, str(count)]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT)
    found: list[float] = orjson.loads(done.stdout)
    return found


async def rows() -> list[Row]:
    """All of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Runtime(bridge_tree(folder), encode_messages=False):
            reads = await client(folder, "read", READS)
            writes = await client(folder, "write", WRITES)
            (seconds,) = await client(folder, "mixed", MIXED)
            changes = await client(folder, "watch", CHANGES)
    rate = MIXED / seconds
    return [
        Row("`file/read`, cached, 4 KiB", cuts(reads), "", None),
        Row("`file/write`, 4 KiB, down to the disk", cuts(writes), "", None),
        Row("20% writes, 32 under way", f"{rate:,.0f}/s", "≥ 1,000/s (the spec's)", rate >= 1000),
        Row("write → `watch/changed`", cuts(changes), "", None, f"{len(changes)} changes, one at a time"),
    ]


def main() -> None:
    """Print the table."""
    print(table(trio.run(rows)))


if __name__ == "__main__":
    main()
