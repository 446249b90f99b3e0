"""Streams to feed a parser, ways to cut them into chunks, and what comes out in a form that can be compared."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from hypothesis import strategies as st

from ukemi.actors.parser import Marker, MarkerParser

from .reference import KINDS, Parts


def parts(found: Iterable[bytes | Marker]) -> Parts:
    """Put neighbouring text together, as chunks of a stream give it in pieces."""
    joined: Parts = []
    for item in found:
        if isinstance(item, Marker):
            joined.append(("marker", item.raw))
        elif joined and joined[-1][0] == "text":
            joined[-1] = ("text", joined[-1][1] + item)
        else:
            joined.append(("text", item))
    return joined


def parsed(parser: MarkerParser, chunks: Iterable[bytes]) -> list[bytes | Marker]:
    """Feed the chunks and flush."""
    return [*(item for chunk in chunks for item in parser.feed(chunk)), *parser.flush()]


def taken_apart(stream: bytes) -> Parts:
    """What a parser makes of a whole stream."""
    return parts(parsed(MarkerParser(), [stream]))


def only(stream: bytes, nonce: str | None = None) -> Marker:
    """The one marker that the stream is."""
    [marker] = parsed(MarkerParser(nonce), [stream])
    assert isinstance(marker, Marker)
    return marker


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut a stream at the places given, whatever their order; some chunks may be empty."""
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(bounds)]


INTRODUCERS = [b"\x1b]", b"\x1b]633;", b"\x1b]133;", b"\x1b]7;file://", b"\x1b]9;9;", b"\x1b]1337;CurrentDir="]
ENDS = [b"\x07", b"\x1b\\", b"\xc2\x9c", b"\x1b", b"\x18", b"\x1a"]
WORDS = [
    *(kind.encode() for kind in KINDS["633"]),
    *(
        b"Z",
        b"633",
        b"0633",
        b"0",
        b"7",
        b"9",
        b";",
        b"D;0",
        b"E;ls \\x3b;n",
        b"P;Cwd=/a",
        b"host/path",
        b"/",
        b"file://",
    ),
]
BYTES = [b"\x1b", b"]", b"\\", b"\xc2", b"\x9c", b"\xe2\x80\x9c", b"\n", b"\x00", b"\x1f", b"\x7f", b"x", b"\x9d", b"["]
SEQUENCES = st.builds(
    lambda introducer, words, end: introducer + b"".join(words) + end,
    st.sampled_from(INTRODUCERS),
    st.lists(st.sampled_from(WORDS), max_size=4),
    st.sampled_from([*ENDS, b""]),
)
PROMPTS = st.builds(
    lambda before, prompt, end: before + prompt + end,
    st.sampled_from(
        [b"\x1b]633;A\x07", b"\x1b]133;A\x1b\\", b"\x1b]633;E;ls;A\x07", b"\x1b]633;A\xc2\x9c", b"\x1b]633;A"]
    ),
    st.sampled_from([b"$ ", b"", b"\\", b"C:\\>", b"\xc2\x9c", b"a]633;B", b"\x07", b"\n", b"x" * 129]),
    st.sampled_from([b"\x1b]633;B\x07", b"\x1b]133;B\x1b\\", b"\x1b]633;B\xc2\x9c"]),
)
STREAMS = st.lists(
    st.one_of(SEQUENCES, PROMPTS, st.sampled_from([*INTRODUCERS, *ENDS, *WORDS, *BYTES]), st.binary(max_size=4)),
    max_size=12,
).map(b"".join)
