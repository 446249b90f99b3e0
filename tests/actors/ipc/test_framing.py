"""The LSP base protocol's framing, however the stream is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.ipc.framing import LARGEST_HEADER, FrameReader, FramingError, content_length, frame

bodies = st.lists(st.binary(max_size=60), max_size=6)
cuts = st.lists(st.integers(0, 400), max_size=12)


def pieces(stream: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in at), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(bounds)]


def read(stream: bytes, at: list[int], largest: int = 1000) -> tuple[list[bytes], str | None]:
    """The bodies, and the error that the stream ended with."""
    reader, found = FrameReader(largest), list[bytes]()
    try:
        for piece in pieces(stream, at):
            for body in reader.feed(piece):
                found.append(body)
    except FramingError as error:
        return found, str(error)
    return found, None


@given(bodies, cuts)
def test_every_way_to_cut_a_stream_gives_the_same_bodies(sent: list[bytes], at: list[int]) -> None:
    assert read(b"".join(map(frame, sent)), at) == (sent, None)


@given(st.binary(max_size=300), bodies, cuts)
def test_garbage_is_cut_like_anything_else_and_costs_no_body_before_it(
    garbage: bytes, sent: list[bytes], at: list[int]
) -> None:
    stream = b"".join(map(frame, sent)) + garbage
    whole, error = read(stream, [])
    assert read(stream, at) == (whole, error)
    assert whole[: len(sent)] == sent


@given(st.text("cC", min_size=1, max_size=1), st.booleans(), st.binary(max_size=40))
def test_header_names_have_no_case_and_other_fields_are_passed_over(first: str, behind: bool, body: bytes) -> None:
    other = b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\n"
    length = first.encode() + b"oNTENT-lENGTH:  %d \r\n" % len(body)
    header = length + other if behind else other + length
    assert read(header + b"\r\n" + body, []) == ([body], None)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"Content-Type: x", "has no Content-Length"),
        (b"no colon", "is no header field"),
        (b"", "is no header field"),
        (b"Content-Length: -1", "must be a number of bytes"),
        (b"Content-Length: +5", "must be a number of bytes"),
        (b"Content-Length: 5.0", "must be a number of bytes"),
        (b"Content-Length: \xd9\xa3", "must be a number of bytes"),
        (b"Content-Length:", "must be a number of bytes"),
        (b"Content-Length: 1001", "a frame of 1001 bytes is too large; at most 1000 are taken"),
        (b"Content-Length: " + b"9" * 5000, "is too large"),
    ],
)
def test_a_header_that_names_no_length_is_refused_with_the_reason(header: bytes, said: str) -> None:
    with pytest.raises(FramingError, match=said):
        content_length(header, 1000)


def test_a_frame_of_the_largest_size_is_taken() -> None:
    assert read(frame(b"x" * 1000), [500]) == ([b"x" * 1000], None)


@pytest.mark.parametrize("at", [[], [1], [8000, 8100, 8190, 8196]])
@pytest.mark.parametrize("more", [0, 1])
def test_a_header_may_be_so_long_and_no_longer_however_it_comes(more: int, at: list[int]) -> None:
    fields = b"Content-Length: 1\r\nX: "
    stream = fields + b"x" * (LARGEST_HEADER - len(fields) + more) + b"\r\n\r\n!"
    found, error = read(stream, at)
    assert (found, error is None) == (([b"!"], True) if not more else ([], False))


def test_a_header_without_an_end_is_refused_before_it_grows_for_ever() -> None:
    reader = FrameReader()
    with pytest.raises(FramingError, match="no end of the header within 8192 bytes"):
        for _ in range(LARGEST_HEADER + 4):
            list(reader.feed(b"x"))


def test_what_is_missing_of_a_frame_is_known() -> None:
    reader = FrameReader()
    assert list(reader.feed(frame(b"whole") + frame(b"not whole")[:-3])) == [b"whole"]
    assert reader.pending == len(b"not wh")
    assert list(reader.feed(b"ole")) == [b"not whole"]
    assert reader.pending == 0
