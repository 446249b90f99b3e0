"""How fast the marker parser is, in MB/s: `python -m tests.benchmarks.parser` from the repository's root.

Each stream is cut into chunks of 4 KiB, the most that a PTY hands out at once, and of 64 KiB, and fed to a parser again
and again; a rate is the median round's, and in brackets the best one's: on a machine that has other work to do, the two
differ. Nothing is asserted.

The streams: what terminals show (`plain`, `colours`), commands with hardly any output (`dense`), and what no shell
sends, each against another part of the parser (`adversarial`). A sequence that was seen before is looked up; one that
is new becomes a new object, which takes far longer. So there are streams of both. What a marker says is read when it is
first asked for, by whoever asks; `read` is with a question to each.
"""

import statistics
import time
from collections.abc import Iterator

import attrs

from ukemi.actors.parser import Marker, MarkerParser

SIZE = 1 << 20
CHUNKS = (4 << 10, 64 << 10)
SECONDS = 1.0


@attrs.frozen
class Row:
    """One stream, and its rates in MB/s for each of CHUNKS: the median round's and the best one's."""

    name: str
    bytes_a_marker: float | None
    medians: tuple[float, ...]
    bests: tuple[float, ...]


def rows() -> Iterator[Row]:
    """Measure every stream, in order."""
    for group, streams in STREAMS.items():
        for name, unit in streams.items():
            stream = unit * max(1, SIZE // len(unit))
            markers = sum(isinstance(found, Marker) for found in MarkerParser().feed(stream))
            medians, bests = zip(*(rates(stream, size, group == "read") for size in CHUNKS), strict=True)
            yield Row(f"{group}: {name}", len(stream) / markers if markers else None, medians, bests)


def rates(stream: bytes, size: int, ask: bool) -> tuple[float, ...]:
    """Feed `stream` in chunks of `size` bytes, round after round, and return the median and the best rate in MB/s.

    ask: each marker is asked whether it is trusted, and so has to be read.
    """
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    parser = MarkerParser("8b1f3c526a0e")
    took: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(took) < 5 or time.perf_counter() < until:
        began = time.perf_counter()
        for chunk in chunks:
            found = parser.feed(chunk)
            if ask:
                for each in found:
                    if isinstance(each, Marker):
                        _ = each.trusted
        parser.flush()
        took.append(time.perf_counter() - began)
    return tuple(len(stream) / seconds / 1e6 for seconds in (statistics.median(took), min(took)))


def session(commands: int, output: bytes) -> bytes:
    """Write what a terminal shows for that many commands, no two of which are the same, as stock bash marks them."""
    return b"".join(
        b"\x1b]633;A\x07user@host:~/projects/ukemi$ \x1b]633;B\x07pytest -q tests/actors --seed %d\r\n"
        b"\x1b]633;E;pytest -q tests/actors --seed %d;8b1f3c526a0e\x07\x1b]633;C\x07%b"
        b"\x1b]633;D;0\x07\x1b]633;P;Cwd=/home/user/projects/ukemi\x07" % (number, number, output)
        for number in range(commands)
    )


STREAMS: dict[str, dict[str, bytes]] = {
    "plain": {
        "text": b"The quick brown fox jumps over the lazy dog, and on it goes, line by line.\r\n",
    },
    "colours": {
        "build log": b"\x1b[32m[ok]\x1b[0m src/main.c:12 \x1b[1;33mwarning:\x1b[0m unused variable [-Wunused]\r\n",
        "every word": b"\x1b[38;5;208mword\x1b[0m ",
    },
    "dense": {
        "one command repeated": session(1, b"128 passed in 0.42s\r\n"),
        "one command repeated, 5 lines": session(1, b"tests/actors/test_parser.py ....... [100%]\r\n" * 5),
        "133 with ST": b"\x1b]133;A\x1b\\$ \x1b]133;B\x1b\\ls\r\n\x1b]133;C\x1b\\a.out\r\n\x1b]133;D;0\x1b\\",
        "C, 11 bytes, D": b"\x1b]633;C\x07Hello World\x1b]633;D;0\x07",
        "every command new": session(5000, b"128 passed in 0.42s\r\n"),
        "every command new, 5 lines": session(3000, b"tests/actors/test_parser.py ....... [100%]\r\n" * 5),
    },
    "read": {
        "one command repeated": session(1, b"128 passed in 0.42s\r\n"),
        "every command new": session(5000, b"128 passed in 0.42s\r\n"),
    },
    "adversarial": {
        "ESC": b"\x1b",
        "ESC ]": b"\x1b]",
        "ESC ] 633 ;": b"\x1b]633;",
        "titles": b"\x1b]0;a title\x07",
        "unknown kinds": b"\x1b]633;Z;what is this\x07",
        "never ended": b"\x1b]633;E;" + b"x" * SIZE,
        "ended late": b"\x1b]633;E;" + b"x" * 60_000 + b"\x07",
        "aborted": b"\x1b]633;E;make -j4 all\x18",
        "half ends": b"\x1b]633;E;" + b"\xc2" * 60_000 + b"\x07",
        "ignored bytes": b"\x1b]6\x003\x003\x00;\x00Z\x07",
        "unique payloads": b"".join(b"\x1b]633;E;command number %d of many;nonce\x07" % n for n in range(25_000)),
    },
}


def main() -> None:
    """Print a table."""
    print(f"{'MB/s: median (best)':42}{'bytes/marker':>14}" + "".join(f"{size >> 10:>13} KiB" for size in CHUNKS))
    for row in rows():
        density = f"{row.bytes_a_marker:,.1f}" if row.bytes_a_marker else "-"
        measured = (f"{median:,.0f} ({best:,.0f})" for median, best in zip(row.medians, row.bests, strict=True))
        print(f"{row.name:42}{density:>14}" + "".join(f"{each:>17}" for each in measured))


if __name__ == "__main__":
    main()
