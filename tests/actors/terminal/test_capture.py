"""What a command has printed, as it is shown and as it is streamed."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.terminal.capture import Capture, Text, TextStream, as_text
from ukemi.actors.terminal.texts import MAX_CHARACTERS, truncated

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
cuts = st.lists(st.integers(1, 40), max_size=12)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    found = []
    for size in at:
        found.append(data[:size])
        data = data[size:]
    return [*found, data]


def captured(data: bytes, piece: int = 4096) -> tuple[Text, bool]:
    capture = Capture()
    for begin in range(0, len(data), piece):
        capture.add(data[begin : begin + piece])
    return capture.result()


def streamed(parts: list[bytes]) -> list[Text]:
    stream = TextStream()
    found = [*map(stream.feed, parts), stream.feed(b"", final=True)]
    return [text for text in found if text is not None]


def raw(text: Text) -> bytes:
    return text.data.encode() if text.encoding == "utf-8" else base64.b64decode(text.data)


@given(st.text(max_size=200) | st.binary(max_size=200), cuts)
def test_short_output_is_kept_whole(output: str | bytes, at: list[int]) -> None:
    data = output.encode(errors="replace") if isinstance(output, str) else output
    capture = Capture()
    for piece in pieces(data, at):
        capture.add(piece)
    text, is_truncated = capture.result()
    assert (raw(text), is_truncated) == (data, False)


@given(texts, cuts)
def test_streamed_text_is_text_however_its_bytes_are_cut(output: str, at: list[int]) -> None:
    found = streamed(pieces(output.encode(), at))
    assert all(text.encoding == "utf-8" for text in found)
    assert "".join(text.data for text in found) == output


@given(st.lists(st.binary(max_size=8) | texts.map(str.encode), max_size=12))
def test_streaming_costs_and_adds_no_byte_whatever_they_are(parts: list[bytes]) -> None:
    assert b"".join(map(raw, streamed(parts))) == b"".join(parts)


def test_what_is_no_text_does_not_spoil_what_follows() -> None:
    assert streamed([b"a\xff", "é".encode()]) == [as_text(b"a\xff"), Text("é")]


@pytest.mark.parametrize(
    "output",
    [
        "x" * MAX_CHARACTERS,
        "x" * (MAX_CHARACTERS + 1),
        "é" * 60_000,
        "line\n" * 501,
        "x" * 400_000,
        "x" * 3_000_000,
        "€uro " * 300_000,
        "".join(f"{n}\n" for n in range(300_000)),
    ],
    ids=len,
)
@pytest.mark.parametrize("piece", [4095, 70_000])
def test_long_output_is_shortened_as_if_all_of_it_had_been_kept(output: str, piece: int) -> None:
    text, is_truncated = captured(output.encode(), piece)
    assert text.data == truncated(output)
    assert is_truncated == (text.data != output)


@pytest.mark.parametrize("size", [50_000, 50_001, 300_000, 399_999, 400_001, 3_000_000])
@pytest.mark.parametrize("output", [b"\xff\x80", b"text and \xff", b"\xff\n"])
def test_long_output_that_is_no_text_is_shortened_by_its_bytes(output: bytes, size: int) -> None:
    data = (output * size)[:size]
    text, is_truncated = captured(data)
    assert text.encoding == "base64"
    assert raw(text) == truncated(data.decode("latin-1")).encode("latin-1")
    assert is_truncated == (raw(text) != data)


@pytest.mark.parametrize("end", [b"\xe2\x82", b"\xff", b"\x80"])
def test_long_output_is_text_only_to_its_end(end: bytes) -> None:
    assert captured("€".encode() * 1_000_000 + end)[0].encoding == "base64"
    assert captured("€".encode() * 1_000_000)[0].encoding == "utf-8"


def test_memory_is_bounded() -> None:
    capture = Capture()
    for _ in range(1000):
        capture.add(b"x" * 65_536)
    assert len(capture._head) + sum(map(len, capture._tail)) < 600_000
