"""Bytes as JSON can carry them, and back."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.files.content import FileRead, bytes_of, content_of


@given(st.lists(st.binary(max_size=20)))
def test_whatever_the_bytes_and_wherever_they_are_cut_they_come_back(pieces: list[bytes]) -> None:
    content = content_of(pieces)
    assert bytes_of(content.data, content.encoding) == b"".join(pieces)


@given(st.text(), st.integers(1, 5))
def test_text_stays_text_wherever_its_bytes_are_cut(text: str, size: int) -> None:
    data = text.encode()
    assert content_of([data[n : n + size] for n in range(0, len(data), size)]) == FileRead(text)


@pytest.mark.parametrize("data", [b"\xff", b"text\x80", b"\xc3", b"\xed\xa0\x80", b"\0\xfe" * 600_000])
def test_what_is_no_utf_8_is_base64(data: bytes) -> None:
    content = content_of([data])
    assert content == FileRead(base64.b64encode(data).decode(), "base64")


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        ("a", "base64", "data is no base64"),
        ("YQ==\n", "base64", "data is no base64"),
        ("é", "base64", "data is no base64"),
        ("a\ud800", "utf-8", "half a surrogate pair at 1"),
        ("a", "latin-1", "encoding='latin-1' must be"),
    ],
)
def test_what_is_no_data_is_said_so(data: str, encoding: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bytes_of(data, encoding)
