"""What each sequence says, and what is no sequence of the shell's."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from ukemi.actors.parser import Marker

from .reference import KINDS
from .streams import only, taken_apart


def osc(said: bytes) -> Marker:
    return only(b"\x1b]" + said + b"\x07")


@pytest.mark.parametrize("number", [633, 133])
def test_every_kind_is_known_by_its_name(number: int) -> None:
    for kind in KINDS[str(number)]:
        marker = osc(b"%d;%b" % (number, kind.encode()))
        assert (marker.osc, marker.kind) == (number, kind)


@pytest.mark.parametrize(
    ("said", "exit_code"),
    [
        (b"D", None),
        (b"D;", None),
        (b"D;0", 0),
        (b"D;130", 130),
        (b"D;-1", -1),
        (b"D;3221225786", 3221225786),
        (b"D;nonsense", None),
        (b"D; 1", None),
        (b"D;1_0", None),
        (b"D;\xd9\xa1", None),
        (b"D;" + b"9" * 5000, None),
    ],
)
@pytest.mark.parametrize("number", [b"633;", b"133;"])
def test_the_end_of_a_command_has_its_exit_code_if_that_is_a_number(
    number: bytes, said: bytes, exit_code: int | None
) -> None:
    marker = osc(number + said)
    assert marker.kind == "D"
    assert marker.exit_code == exit_code


def test_options_behind_an_exit_code_are_no_matter() -> None:
    assert osc(b"133;D;1;aid=7;err=CANCEL").exit_code == 1
    assert osc(b"133;A;cl=m;aid=7").kind == "A"


@pytest.mark.parametrize(
    ("sent", "command"),
    [
        (b"", ""),
        (b";", ""),
        (b";ls -l", "ls -l"),
        (b";echo a\\x3b echo b", "echo a; echo b"),
        (b";echo \\\\x3b", "echo \\x3b"),
        (b";\\x0A\\x0a\\X0a", "\n\n\n"),
        (b";\\q \\x4 \\xg1 \\", "\\q \\x4 \\xg1 \\"),
        (b";\\xe9t\\xE9", "été"),
        (b";\xc3\xa9t\xc3\xa9", "été"),
        (b";\xff", "\ufffd"),
        (b";a\x1fb\nc\x00", "abc"),
        (b";\xe2\x80\x9cquoted\xe2\x80\x9d", "“quoted”"),
        (b";\x9c", "\ufffd"),
    ],
)
def test_a_command_line_is_unescaped_in_one_pass(sent: bytes, command: str) -> None:
    assert osc(b"633;E" + sent).command == command


def test_a_property_has_a_key_and_a_value() -> None:
    marker = osc(b"633;P;ContinuationPrompt=\\x1b[1m> =")
    assert (marker.key, marker.value, marker.cwd) == ("ContinuationPrompt", "\x1b[1m> =", None)
    assert osc(b"633;P;IsWindows").value is None
    assert osc(b"633;P;Prompt=").value == ""
    assert osc(b"633;P").key == ""


@pytest.mark.parametrize(
    ("said", "number", "cwd"),
    [
        (b"633;P;Cwd=/a b\\x3bc", 633, "/a b;c"),
        (b"633;P;Cwd=", 633, None),
        (b"633;P;Cwd", 633, None),
        (b"633;P;Cwd=/a\\x00b", 633, None),
        (b"633;P;Cwd=/\xff", 633, "/\udcff"),
        (b"7;file://host/home/a%20b", 7, "/home/a b"),
        (b"7;file:///home/%C3%A9", 7, "/home/é"),
        (b"7;file:///home/100%", 7, "/home/100%"),
        (b"7;file:///%00", 7, None),
        (b"7;file:///a;b", 7, "/a;b"),
        (b"7;file:///\xff", 7, "/\udcff"),
        (b"9;9;C:\\dir", 9, "C:\\dir"),
        (b'9;9;"C:\\Program Files"', 9, "C:\\Program Files"),
        (b'9;9;"', 9, '"'),
        (b"1337;CurrentDir=/home/x=y", 1337, "/home/x=y"),
    ],
)
def test_a_folder_is_read_wherever_one_is_named(said: bytes, number: int, cwd: str | None) -> None:
    marker = osc(said)
    assert (marker.osc, marker.cwd) == (number, cwd)
    assert marker.kind == ("P" if number == 633 else "Cwd")


def test_a_mark_may_have_an_id_and_may_be_hidden() -> None:
    shown, hidden = osc(b"633;SetMark;Id=a\\x3b"), osc(b"633;SetMark;Hidden;Id=")
    assert (shown.key, shown.value, shown.hidden) == ("Id", "a;", False)
    assert (hidden.key, hidden.value, hidden.hidden) == ("Id", "", True)
    assert osc(b"633;SetMark").key is None


def test_the_environment_comes_whole_or_one_by_one() -> None:
    assert osc(b'633;EnvJson;{"A":"1\\x3b"};n').value == '{"A":"1;"}'
    assert osc(b"633;EnvSingleStart;1;n").value == "1"
    assert osc(b"633;EnvSingleEntry;PATH;/bin\\x3b/;n") == attrs.evolve(
        osc(b"633;EnvSingleEntry"),
        key="PATH",
        value="/bin;/",
        nonce="n",
        raw=b"\x1b]633;EnvSingleEntry;PATH;/bin\\x3b/;n\x07",
    )
    assert osc(b"633;EnvSingleDelete;PATH").value is None
    assert osc(b"633;EnvSingleEnd;n").nonce == "n"


@pytest.mark.parametrize(
    ("said", "nonce"),
    [
        (b"A;n", "n"),
        (b"D;0;n", "n"),
        (b"D;n", None),
        (b"E;ls;n", "n"),
        (b"E;ls", None),
        (b"P;Cwd=/;n", "n"),
        (b"EnvJson;{};n", "n"),
        (b"EnvSingleStart;1;n", "n"),
        (b"EnvSingleEntry;k;v;n", "n"),
        (b"EnvSingleDelete;k;v;n", "n"),
        (b"EnvSingleEnd;n", "n"),
        (b"SetMark;n", None),
    ],
)
def test_a_marker_is_trusted_if_it_carries_the_parsers_nonce(said: bytes, nonce: str | None) -> None:
    stream = b"\x1b]633;" + said + b"\x07"
    assert only(stream).nonce == nonce
    assert not only(stream).trusted
    assert not only(stream, "other").trusted
    assert only(stream, "n").trusted == (nonce is not None)


def test_what_carries_no_nonce_is_never_trusted() -> None:
    for said in (b"633;E;ls", b"633;E;ls;", b"133;D;0;n", b"7;file:///n", b"9;9;n", b"1337;CurrentDir=n"):
        assert not only(b"\x1b]" + said + b"\x07", "n").trusted


@pytest.mark.parametrize("end", [b"\x07", b"\x1b\\", b"\xc2\x9c"])
def test_an_end_belongs_to_its_sequence(end: bytes) -> None:
    assert taken_apart(b"a\x1b]633;C" + end + b"b") == [("text", b"a"), ("marker", b"\x1b]633;C" + end), ("text", b"b")]


def test_a_lone_escape_ends_a_sequence_and_belongs_to_what_follows() -> None:
    assert taken_apart(b"\x1b]633;C\x1b[0m") == [("marker", b"\x1b]633;C"), ("text", b"\x1b[0m")]
    assert taken_apart(b"\x1b]633;C\x1b]633;D\x07") == [("marker", b"\x1b]633;C"), ("marker", b"\x1b]633;D\x07")]
    assert taken_apart(b"\x1b]633;C\x1b") == [("marker", b"\x1b]633;C"), ("text", b"\x1b")]


def test_ignored_bytes_and_zeros_do_not_hide_a_sequence() -> None:
    for raw in (b"\x1b]0633;C\x07", b"\x1b]\x00006\n3\r3;\tC\x1f;\x07", b"\x1b]000000" + b"0" * 100 + b"633;C\x07"):
        assert only(raw).kind == "C"
        assert only(raw).raw == raw
    assert only(b"\x1b]7\n;fi\nle://host\n/a\nb\x07").cwd == "/ab"


@pytest.mark.parametrize(
    "text",
    [
        b"\x1b]0;title\x07",
        b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
        b"\x1b]1337;File=inline=1:AAAA\x07",
        b"\x1b]633\x07",
        b"\x1b]633;\x07",
        b"\x1b]633;Z\x07",
        b"\x1b]633;AA\x07",
        b"\x1b]633;a\x07",
        b"\x1b]633;Env\x07",
        b"\x1b]633;EnvJsonx\x07",
        b"\x1b]133;E;ls\x07",
        b"\x1b]133;L\x07",
        b"\x1b]6330;A\x07",
        b"\x1b]63 3;A\x07",
        b"\x1b]7;http://x/\x07",
        b"\x1b]7;file://host\x07",
        b"\x1b]9;a notification\x07",
        b"\x1b]9;4;1;50\x07",
        b"\x1b]9;9;\x07",
        b"\x1b]9;9;\n\x07",
        b"\x1b]1337;CurrentDir=\xc2\x9c",
        b"\x1b]633;A\x18",
        b"\x1b]633;E;ls\x1a\x07",
        b"\x9d633;A\x9c",
        b"\xc2\x9d633;A\x07",
        b"\x1b\n]633;A\x07",
        b"\x1b]633;A",
        b"\x1bP\x1b\\\x1b[?25l\xe2\x80\x9c\xc2\x9c\xff",
    ],
)
def test_whatever_else_there_is_passes_as_text(text: bytes) -> None:
    assert taken_apart(text) == [("text", text)]


def test_a_marker_says_what_is_set_but_not_the_secret() -> None:
    marker = only(b"\x1b]633;E;ls;secret\x07", "secret")
    assert repr(marker) == "Marker(633, E, command='ls', trusted=True)"
    assert repr(osc(b"633;D;0")) == "Marker(633, D, exit_code=0)"


def test_a_marker_is_a_value() -> None:
    assert osc(b"633;D;1") == osc(b"633;D;1")
    assert len({osc(b"633;D;1"), osc(b"633;D;1"), osc(b"633;D;2")}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        osc(b"633;D;1").exit_code = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    "use", [hash, repr, copy.copy, attrs.evolve, lambda marker: pickle.loads(pickle.dumps(marker))]
)
def test_a_marker_that_was_not_read_yet_is_used_like_any_other(use: Callable[[Marker], Any]) -> None:
    raw = b"\x1b]633;E;ls;n\x07"
    made = Marker(633, "E", raw, command="ls", nonce="n", trusted=True)
    assert use(only(raw, "n")) == use(made)
    assert only(raw, "n") == made
    assert only(raw) != made


def test_a_marker_has_no_other_fields() -> None:
    with pytest.raises(AttributeError, match="'Marker' object has no attribute 'exit'"):
        osc(b"633;D;1").exit  # type: ignore[attr-defined]
