"""Text in is text out plus markers, for every stream and however it is cut."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ukemi.actors.parser import MarkerParser, RecoveryMode

from .reference import naive
from .streams import STREAMS, bytewise, cut, parsed, parts

PARSING = [mode for mode in RecoveryMode if mode is not RecoveryMode.RAW_PASSTHROUGH]
PLACES = st.lists(st.integers(0, 1000), max_size=8)
SESSION = (
    b"\x1b]633;A\x07$ \x1b]633;B\x07ls\r\n\x1b]633;E;ls\\x3b;n\x1b\\\x1b]633;C\xc2\x9c"
    b"\x1b[32m\xe2\x80\x9ca\xe2\x80\x9d\x1b[0m"
    b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07\x1b]0;title\x07\x1b]0633;D;0\x1b]7;file://host/home\x07\x1b]1337;CurrentDir=/a"
    b"\x1b]9;9;/b\x07\x1b]633;P;Cwd=/c\x18\x1b]633;Z\x07\x1b]633;A\x1b"
)


@given(STREAMS, PLACES, st.sampled_from(PARSING), st.sampled_from([1, 5, 12, 65_536]))
@example(SESSION, [], RecoveryMode.SKIP_INVALID, 65_536)
@example(SESSION * 3, [], RecoveryMode.RESET_ON_ERROR, 5)
@example(b"\x1b]633;D;0\x07" * 9 + b"\x1b]633;A\x07$ \x1b]633;B\x07", [40, 90], RecoveryMode.SKIP_INVALID, 5)
def test_the_parser_finds_what_the_reference_finds_however_the_stream_is_cut(
    stream: bytes, places: list[int], mode: RecoveryMode, max_payload: int
) -> None:
    expected = naive(stream, max_payload)
    for chunks in ([stream], bytewise(stream), cut(stream, places)):
        parser = MarkerParser(mode=mode, max_payload=max_payload)
        assert parts(parsed(parser, chunks)) == expected


@given(STREAMS, PLACES, st.sampled_from(RecoveryMode))
def test_no_byte_is_lost_in_any_mode(stream: bytes, places: list[int], mode: RecoveryMode) -> None:
    found = parsed(MarkerParser(mode=mode, max_payload=8), cut(stream, places))
    assert b"".join(raw for _, raw in parts(found)) == stream


@given(STREAMS, PLACES)
def test_text_is_never_empty_and_never_in_two_pieces(stream: bytes, places: list[int]) -> None:
    parser = MarkerParser(max_payload=8)
    for found in (*map(parser.feed, cut(stream, places)), parser.flush()):
        assert len(parts(found)) == len(found)
        assert b"" not in found


@pytest.mark.parametrize("place", range(len(SESSION) + 1))
def test_a_session_split_at_any_byte_is_read_the_same(place: int) -> None:
    found = parsed(MarkerParser(), [SESSION[:place], SESSION[place:]])
    assert parts(found) == naive(SESSION)


@given(STREAMS, PLACES, PLACES)
def test_a_new_parser_that_is_fed_what_was_pending_goes_on_where_the_old_one_stopped(
    stream: bytes, places: list[int], crashes: list[int]
) -> None:
    parser, found = MarkerParser(), []
    for number, chunk in enumerate(cut(stream, places)):
        if number in crashes:
            pending = parser.pending
            parser = MarkerParser()
            assert parser.feed(pending) == []
            assert parser.pending == pending
        found += parser.feed(chunk)
    assert parts([*found, *parser.flush()]) == naive(stream)


@given(STREAMS, PLACES)
def test_what_is_pending_is_what_has_not_come_out(stream: bytes, places: list[int]) -> None:
    parser = MarkerParser()
    out = fed = b""
    for chunk in cut(stream, places):
        fed += chunk
        out += b"".join(raw for _, raw in parts(parser.feed(chunk)))
        assert out + parser.pending == fed
        assert parser.stats().held == len(parser.pending)
    assert parser.stats().fed == len(stream)
