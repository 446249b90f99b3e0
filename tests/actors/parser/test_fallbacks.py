"""What reads a terminal's output in place of a parser that fails."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi import Actor, Runtime, child, supervisor
from ukemi.actors.parser import MarkerParser
from ukemi.actors.parser.fallbacks import LONGEST, PassingParser, SkippingParser
from ukemi.actors.parser.stream import Output, Piece, Reading, Skipped, StreamParser

from .streams import STREAMS, cut


def skipping() -> SkippingParser:
    parser = SkippingParser()
    parser._begin()
    return parser


def read(parser: SkippingParser, chunks: list[bytes]) -> list[bytes | Skipped]:
    found: list[Any] = []
    for chunk in chunks:
        found += parser._parts(chunk)
    return [*found, *parser._rest()]


def text_of(parts: list[bytes | Skipped]) -> bytes:
    return b"".join(part for part in parts if isinstance(part, bytes))


def raw_of(parts: list[bytes | Skipped]) -> bytes:
    return b"".join(part if isinstance(part, bytes) else part.raw for part in parts)


@given(STREAMS, st.lists(st.integers(0, 1000), max_size=8))
def test_no_byte_is_lost_however_the_stream_is_cut(stream: bytes, places: list[int]) -> None:
    assert raw_of(read(skipping(), cut(stream, places))) == stream


@given(st.lists(st.integers(0, 100), max_size=8))
def test_what_shells_send_is_left_out_of_the_text_wherever_it_is_cut(places: list[int]) -> None:
    stream = b"a\x1b]633;C\x07b\x1b]633;D;0;n\x07\x1b]7;file://h/x\x1b\\c\x1b[1md\x1b]0;title\x07e"
    assert text_of(read(skipping(), cut(stream, places))) == b"abc\x1b[1md\x1b]0;title\x07e"


def test_a_sequence_that_does_not_end_is_text() -> None:
    parser = skipping()
    chunks = [b"\x1b]633;E;", *[b"x" * 100] * (LONGEST // 100 + 2), b" end"]
    found = [part for chunk in chunks for part in parser._parts(chunk)]
    assert len(raw_of(found)) > LONGEST
    assert parser._rest() == []


class Sink(Actor):
    """Stands where the commands are."""

    def __init__(self) -> None:
        self.got: list[tuple[list[Piece], Reading]] = []

    def parsed(self, pieces: list[Piece], reading: Reading) -> None:
        self.got.append((pieces, reading))

    def everything(self) -> list[tuple[list[Piece], Reading]]:
        return self.got


class Source(Actor):
    """Stands where the process is, and keeps all from this offset on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.acknowledged = 0

    def not_acknowledged(self) -> Output:
        return Output(self.acknowledged, self.data[self.acknowledged :])

    def print(self, more: bytes, acknowledged: int) -> None:
        self.data += more
        self.acknowledged = acknowledged


STREAM = b"ab\x1b]633;C\x07cd"


@pytest.mark.parametrize(
    ("kind", "reading", "raws"),
    [
        (StreamParser, "markers", [b"ab", b"\x1b]633;C\x07", b"cd"]),
        (SkippingParser, "text", [b"ab", b"\x1b]633;C\x07", b"cd"]),
        (PassingParser, "nothing", [STREAM]),
    ],
)
async def test_each_says_what_it_looks_for_and_where_each_piece_is(
    kind: type[StreamParser], reading: Reading, raws: list[bytes]
) -> None:
    parts = child("pty", lambda: Source(STREAM)), child("commands", Sink), child("parser", kind)
    async with Runtime(supervisor("app", *parts)) as runtime:
        await runtime.ref("parser", StreamParser).call(StreamParser.feed, Output(0, STREAM))
        got: list[tuple[list[Piece], Reading]] = await runtime.ref("commands", Sink).call(Sink.everything)
        assert {each for _, each in got} == {reading}
        pieces = [piece for each, _ in got for piece in each]
        assert [piece.raw for piece in pieces] == raws
        ends = [sum(map(len, raws[: n + 1])) for n in range(len(raws))]
        assert [(piece.begin, piece.end) for piece in pieces] == list(zip([0, *ends[:-1]], ends, strict=True))
        assert b"".join(piece.text for piece in pieces) == (STREAM if kind is PassingParser else b"abcd")


async def test_a_parser_that_something_has_passed_by_begins_at_what_was_not_dealt_with() -> None:
    """Another has read what came while this one was being put in its place."""
    parts = child("pty", lambda: Source(STREAM)), child("commands", Sink), child("parser", StreamParser)
    async with Runtime(supervisor("app", *parts)) as runtime:
        await runtime.ref("pty", Source).call(Source.print, b"efgh", acknowledged=13)
        await runtime.ref("parser", StreamParser).call(StreamParser.feed, Output(14, b"gh"))
        got = await runtime.ref("commands", Sink).call(Sink.everything)
        texts = [(piece.begin, piece.raw) for pieces, _ in got for piece in pieces]
        assert texts == [(0, b"ab"), (2, b"\x1b]633;C\x07"), (10, b"cd"), (13, b"fgh")]


def test_a_feed_that_fails_has_changed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = StreamParser()
    parser._begin()
    with monkeypatch.context() as patched:
        patched.setattr(MarkerParser, "feed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            parser._parts(b"ab")
    assert parser._parts(b"ab") == [b"ab"]
