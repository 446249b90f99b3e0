"""What a typed line asks for, and how it could go on."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.runtime.debug.commands import COMMANDS
from ukemi.runtime.debug.declaring import BadCommand
from ukemi.runtime.debug.lines import LineSplitter, TooLong
from ukemi.runtime.debug.words import candidates, request_of

KNOWN = {name: command.description for name, command in COMMANDS.items()}


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    command, args = request_of(line, KNOWN)
    return command.name, args


@pytest.mark.parametrize(
    ("line", "args"),
    [
        ("call c m", {"actor": "c", "method": "m", "args": []}),
        ("call c m 2 2.5 true null", {"actor": "c", "method": "m", "args": [2, 2.5, True, None]}),
        ("call c m two 'two words' NaN 007", {"actor": "c", "method": "m", "args": ["two", "two words", "NaN", "007"]}),
        ("""call c m '{"a": [1]}' '"2"'""", {"actor": "c", "method": "m", "args": [{"a": [1]}, "2"]}),
        ("  errors   7 ", {"last": 7}),
        ("trace c off", {"actor": "c", "switch": "off"}),
        ("timeouts read 0.5", {"operation": "read", "seconds": 0.5}),
        ("timeouts '*' none", {"operation": "*", "seconds": "none"}),
        ("tree", {}),
        ("eval print('a  b')  # it's", {"code": "print('a  b')  # it's"}),
    ],
)
def test_words_become_arguments(line: str, args: dict[str, Any]) -> None:
    assert parsed(line) == (line.split()[0], args)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("destroy", "there is no command 'destroy'; `help` lists them"),
        ("call", "call needs ACTOR; usage: call ACTOR METHOD [ARGS…]"),
        ("eval", "eval needs CODE; usage: eval CODE"),
        ("tree a b", "'b' is too much; usage: tree [ACTOR]"),
        ("errors many", "errors: LAST is a whole number from 0 up, not 'many'"),
        ("errors -1", "errors: LAST is a whole number from 0 up, not '-1'"),
        ("trace c maybe", "trace: SWITCH is on or off, not 'maybe'"),
        ("call c m 'open", "can't be split into words: no closing quotation"),
    ],
)
def test_a_wrong_line_is_explained(line: str, says: str) -> None:
    with pytest.raises(BadCommand) as error:
        request_of(line, KNOWN)
    assert says in str(error.value)


@given(st.text())
def test_any_line_is_understood_or_explained(line: str) -> None:
    with suppress(BadCommand):
        request_of(line, KNOWN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [*sorted([*KNOWN, "exit"])]),
        ("tr", ["trace", "tree"]),
        ("metrics r", ["read"]),
        ("timeouts ", ["read", "write"]),
        ("timeouts read ", []),
        ("info c", ["counter", "'cash desk'"]),
        ("info ", ["counter", "'cash desk'"]),
        ("call counter a", ["add"]),
        ("call counter add ", []),
        ("trace counter o", ["on", "off"]),
        ("help tr", ["trace", "tree"]),
        ("info counter ", []),
        ("destroy ", []),
        ("info 'c", []),
    ],
)
def test_a_line_is_completed(text: str, expected: list[str]) -> None:
    def ask(command: str, args: dict[str, Any]) -> list[str]:
        return {"names": ["counter", "cash desk"], "operations": ["read", "write"]}.get(command, ["add", "wait"])

    assert candidates(text, KNOWN, ask) == expected


@given(st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b""))), st.data())
def test_lines_are_the_same_however_the_bytes_come(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter, got, at = LineSplitter(longest=8), list[bytes | TooLong](), 0
    while at < len(stream):
        size = data.draw(st.integers(1, 5))
        got += splitter.feed(stream[at : at + size])
        at += size
    assert [None if isinstance(line, TooLong) else line for line in got] == [
        line if len(line) <= 8 else None for line in lines
    ]
    assert splitter.flush() == []
