"""What a parser holds back, forgets, counts and refuses, and how much work it does."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.parser import OVERFLOW, Marker, MarkerParser, RecoveryMode, grammar
from ukemi.actors.parser import parser as implementation

from .streams import BYTES, ENDS, INTRODUCERS, bytewise, parsed, parts

A = b"\x1b]633;A\x07"
PARSING = [mode for mode in RecoveryMode if mode is not RecoveryMode.RAW_PASSTHROUGH]


def test_a_marker_split_at_any_byte_is_found_whole() -> None:
    raw = b"\x1b]633;E;echo \\x3b\xe2\x80\x9c;nonce\x1b\\"
    for place in range(len(raw) + 1):
        parser = MarkerParser("nonce")
        [marker] = [*parser.feed(raw[:place]), *parser.feed(raw[place:])]
        assert isinstance(marker, Marker)
        assert marker.raw == raw
        assert marker.trusted


def test_text_without_an_escape_is_handed_on_as_it_is() -> None:
    text = b"x" * 1000
    assert MarkerParser().feed(text)[0] is text


def test_nothing_makes_nothing() -> None:
    parser = MarkerParser()
    assert parser.feed(b"") == parser.flush() == []
    parser.feed(b"\x1b]633;")
    assert parser.feed(b"") == []
    assert parser.pending == b"\x1b]633;"


def test_only_what_may_become_a_marker_is_held_back() -> None:
    for held in (
        b"\x1b",
        b"\x1b]",
        b"\x1b]0",
        b"\x1b]6\n",
        b"\x1b]633;Env",
        b"\x1b]9;9;/a",
        b"\x1b]1337;Cur",
        b"\x1b]633;A\x1b",
    ):
        parser = MarkerParser()
        assert parser.feed(b"text" + held) == [b"text"]
        assert parser.pending == held
    for passed in (b"\x1b[", b"\x1b]5", b"\x1b]634", b"\x1b]633;Z", b"\x1b]633;AA", b"\x1b]1337;File=", b"\x1b]7;http"):
        assert MarkerParser().feed(passed) == [passed]


def test_what_was_held_back_passes_once_it_can_no_longer_become_a_marker() -> None:
    parser = MarkerParser()
    assert parser.feed(b"\x1b]1337;") == []
    assert parser.feed(b"File=") == [b"\x1b]1337;File="]
    assert parser.feed(b"AAAA\x07") == [b"AAAA\x07"]


def test_flush_returns_what_was_held_back() -> None:
    parser = MarkerParser()
    parser.feed(b"\x1b]633;C;\xc2")
    assert parser.flush() == [b"\x1b]633;C;\xc2"]
    assert parser.flush() == []
    assert parser.feed(A) == MarkerParser().feed(A)


def test_an_escape_at_the_very_end_has_ended_the_marker_before_it() -> None:
    parser = MarkerParser()
    assert parser.feed(b"\x1b]633;D;1\x1b") == []
    [marker, escape] = parser.flush()
    assert isinstance(marker, Marker)
    assert marker.raw == b"\x1b]633;D;1"
    assert escape == b"\x1b"


@pytest.mark.parametrize("mode", RecoveryMode)
@pytest.mark.parametrize(
    "garbage",
    [
        b"\x1b]633;Z;\xff\x07",
        b"\x1b]633;A\x18",
        b"\x1b]",
        b"\x1b]633;E;" + b"x" * 100,
        b"\x1b\x1b\x1b",
        bytes(range(256)),
    ],
)
def test_a_parser_goes_on_after_garbage(mode: RecoveryMode, garbage: bytes) -> None:
    for chunks in ([garbage, A, b"x"], bytewise(garbage + A + b"x"), [garbage + A, b"x"]):
        found = parsed(MarkerParser(mode=mode, max_payload=50), chunks)
        assert b"".join(raw for _, raw in parts(found)) == garbage + A + b"x"
        assert (("marker", A) in parts(found)) == (mode is not RecoveryMode.RAW_PASSTHROUGH)


def test_raw_passthrough_parses_nothing() -> None:
    parser = MarkerParser(mode=RecoveryMode.RAW_PASSTHROUGH)
    assert parser.feed(b"a" + A + b"\x1b") == [b"a" + A + b"\x1b"]
    assert parser.pending == b""


def test_buffer_partial_keeps_the_sequences_of_others_whole() -> None:
    parser = MarkerParser(mode=RecoveryMode.BUFFER_PARTIAL, max_payload=20)
    assert parser.mode is RecoveryMode.BUFFER_PARTIAL
    assert parser.feed(b"a\x1b]0;ti") == [b"a"]
    assert parser.feed(b"tle") == []
    assert parser.feed(b"\x07b") == [b"\x1b]0;title\x07b"]
    assert parser.feed(b"\x1b]0;" + b"x" * 30) == [b"\x1b]0;" + b"x" * 30]


def test_reset_on_error_forgets_after_a_malformed_sequence() -> None:
    parser = MarkerParser(mode=RecoveryMode.RESET_ON_ERROR)
    [before] = parser.feed(A)
    [same] = parser.feed(A)
    assert same is before
    parser.feed(b"\x1b]633;Z\x07\x1b]0;title\x07\x1b]133;D\x18")
    assert parser.stats().resets == 2
    [after] = parser.feed(A)
    assert after is not before
    assert after == before


def test_other_modes_reset_nothing() -> None:
    parser = MarkerParser()
    parser.feed(b"\x1b]633;Z\x07")
    assert parser.stats().resets == 0


def test_a_payload_as_long_as_the_cap_is_a_marker_and_a_longer_one_is_text() -> None:
    for end in (*ENDS[:3], b"\x1b[m"):
        for chunked in (bytewise, lambda stream: [stream]):
            longest, longer = b"\x1b]633;E;" + b"x" * 14, b"\x1b]633;E;" + b"x" * 15
            for raw, overflows in ((longest + end, 0), (longer + end, 1)):
                parser = MarkerParser(max_payload=20)
                found = parsed(parser, chunked(raw))
                assert ("marker" in dict(parts(found))) == (not overflows)
                assert b"".join(part for _, part in parts(found)) == raw
                assert parser.stats().overflows == overflows


def test_an_overflow_comes_out_as_soon_as_it_is_one_and_is_counted_once() -> None:
    parser = MarkerParser(max_payload=10)
    assert parser.feed(b"\x1b]633;E;1234") == []
    assert parser.feed(b"5") == [b"\x1b]633;E;12345"]
    assert parser.feed(b"6\x07" + A) == [b"6\x07", *MarkerParser().feed(A)]
    assert parser.stats().overflows == 1
    assert OVERFLOW == "Parser buffer overflow, resetting"


def test_markers_around_an_overlong_one_are_still_found() -> None:
    long = b"\x1b]633;E;" + b"x" * 50 + b"\x07"
    parser = MarkerParser(max_payload=20)
    found = parts(parser.feed(b"a" + A + long + b"b" + long + A + A))
    assert found == [("text", b"a"), ("marker", A), ("text", long + b"b" + long), ("marker", A), ("marker", A)]
    assert parser.stats().overflows == 2


def test_repeated_sequences_are_looked_up_and_the_memo_stays_small() -> None:
    parser = MarkerParser()
    [first], [second] = parser.feed(A), parser.feed(A)
    assert first is second
    for number in range(2000):
        parser.feed(b"\x1b]633;E;%d\x07" % number + A)
    parser.feed(b"\x1b]633;E;" + b"x" * 1000 + b"\x07")
    memo = parser._memo
    assert len(memo) <= implementation._MEMO_ENTRIES
    assert max(map(len, memo)) <= implementation._MEMO_LENGTH


def test_a_prompt_comes_out_between_its_markers_when_it_is_new_and_when_it_is_remembered() -> None:
    parser = MarkerParser()
    for prompt in (b"$ ", b"C:\\>", b"$ "):
        for end in (b"\x07", b"\x1b\\"):
            begin, rest = b"\x1b]133;A" + end, b"\x1b]133;B" + end
            expected = [("marker", A), ("marker", begin), ("text", prompt), ("marker", rest), ("text", b"ls")]
            assert parts(parser.feed(A + begin + prompt + rest + b"ls")) == expected


def test_a_marker_is_read_when_it_is_asked_for_what_it_says_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    read, raws = implementation.read, list[bytes]()

    def watched(marker: Marker, nonce: str | None) -> None:
        raws.append(marker.raw)
        read(marker, nonce)

    monkeypatch.setattr(implementation, "read", watched)
    [marker] = MarkerParser("n").feed(b"\x1b]633;E;ls;n\x07")
    assert isinstance(marker, Marker)
    assert (marker.raw, raws) == (b"\x1b]633;E;ls;n\x07", [])
    assert (marker.kind, marker.command, marker.trusted, marker.exit_code) == ("E", "ls", True, None)
    assert raws == [marker.raw]


@pytest.mark.parametrize("data", ["text", 1, None, bytearray(b"x"), memoryview(b"x")])
def test_feeding_what_is_not_bytes_is_an_error_and_changes_nothing(data: Any) -> None:
    parser = MarkerParser()
    parser.feed(b"\x1b]633;")
    before = parser.stats()
    with pytest.raises(TypeError, match=rf"feed\(\) takes bytes, not {type(data).__name__}"):
        parser.feed(data)
    assert parser.pending == b"\x1b]633;"
    assert parser.stats() == before


@pytest.mark.parametrize("held", [b"", b"\x1b]633;E;"])
def test_a_feed_that_fails_has_changed_nothing(held: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise RuntimeError("a fault, injected")

    parser = MarkerParser()
    parser.feed(held)
    before = parser.stats()
    with monkeypatch.context() as patched:
        patched.setattr(implementation, "unread", fail)
        with pytest.raises(RuntimeError):
            parser.feed(b"text\x07" + A)
    assert (parser.pending, parser.stats()) == (held, before)
    assert parsed(parser, [b"text\x07" + A]) == parsed(MarkerParser(), [held + b"text\x07" + A])


@pytest.mark.parametrize("nonce", ["", "a;b", "a\x07"])
def test_a_nonce_that_no_sequence_can_carry_is_refused(nonce: str) -> None:
    with pytest.raises(ValueError, match="a nonce must be printable"):
        MarkerParser(nonce)


@pytest.mark.parametrize("wrong", [{"nonce": b"n"}, {"mode": "skip_invalid"}])
def test_arguments_of_the_wrong_type_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        MarkerParser(**wrong)


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_payload"):
        MarkerParser(max_payload=0)


def test_the_nonce_is_not_shown() -> None:
    assert "secret" not in repr(MarkerParser("secret"))


class Work:
    """Counts the bytes that the parser has the grammar search, all told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.searched = 0
        monkeypatch.setattr(implementation, "split", self.split)
        monkeypatch.setattr(implementation, "goes_on", self.goes_on)

    def split(self, stream: bytes) -> list[bytes]:
        self.searched += len(stream)
        return grammar.split(stream)

    def goes_on(self, body: bytes, begin: int, end: int) -> bool:
        self.searched += end - begin
        return grammar.goes_on(body, begin, end)


@pytest.mark.parametrize("size", [1, 2, 3, 64, 700, 1 << 20])
@pytest.mark.parametrize(
    "unit",
    [
        A,
        b"\x1b",
        b"\x1b]",
        b"\x1b]633;",
        b"\x1b]633;E;" + b"x" * 900 + b"\x1b",
        b"\x1b]633;E;" + b"x" * 1100,
        b"\x1b]633;E;" + b";" * 900 + b"\x18",
        b"\x1b]633;E;" + b"\xc2" * 900 + b"\x07",
        b"\x1b]633;E;" + b"\xc2" * 900 + b"\xc2\x9c",
        b"\x1b]" + b"0" * 1100,
        b"\x1b]" + b"\x00" * 900 + b"633;A\x07",
        b"\x1b]0;" + b"x" * 900 + b"\x07",
    ],
    ids=lambda unit: repr(unit[:14])[2:-1] + repr(unit[-2:])[2:-1],
)
@pytest.mark.parametrize("mode", PARSING)
def test_no_byte_is_searched_more_than_a_few_times(
    mode: RecoveryMode, unit: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(monkeypatch)
    stream = unit * (1 + 6000 // len(unit))
    parsed(MarkerParser(mode=mode, max_payload=1000), [stream[at : at + size] for at in range(0, len(stream), size)])
    # As it comes in, with the byte before it; in what is last and open, twice if an ESC ends it; in what is closed.
    assert work.searched <= 5 * len(stream) + 2


PATTERNS = [grammar._known(False), grammar._known(True), grammar._BODY, grammar._MALFORMED]


def repeats(pattern: Any) -> list[tuple[str, int, Any]]:
    """List the repeats in a parsed pattern: how they repeat, how often at most, and what."""
    found: list[tuple[str, int, Any]] = []
    if isinstance(pattern, tuple) and len(pattern) == 2 and str(pattern[0]).endswith("REPEAT"):
        found.append((str(pattern[0]), int(pattern[1][1]), list(pattern[1][2])))
    children = pattern if isinstance(pattern, (tuple, list)) else getattr(pattern, "data", ())
    return found + [each for child in children for each in repeats(child)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_pattern_can_match_the_same_bytes_in_many_ways(pattern: re.Pattern[bytes]) -> None:
    """What is repeated without limit is a single byte, possessively, or begins with C2, which nothing else matches."""
    parsed_pattern = re._parser.parse(pattern.pattern)  # type: ignore[attr-defined]
    unlimited = [(how, what) for how, most, what in repeats(parsed_pattern) if most > 8]
    assert unlimited
    for how, what in unlimited:
        if how == "POSSESSIVE_REPEAT":
            assert len(what) == 1, "a possessive group is not matched right before Python 3.11.5"
        else:
            assert str(what[0]) == f"({what[0][0]}, {0xC2})"


@given(st.lists(st.sampled_from([*INTRODUCERS, *ENDS, *BYTES]), max_size=30).map(b"".join))
def test_both_patterns_find_the_same_where_both_apply(stream: bytes) -> None:
    plain = stream.replace(b"\xc2\x9c", b"")
    if b"\xc2\x9c" not in plain:
        assert grammar._known(False).split(plain) == grammar._known(True).split(plain)
