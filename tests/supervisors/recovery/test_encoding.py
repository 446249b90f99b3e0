"""Failures as JSON and back."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given

from ukemi.supervisors.recovery import Failure, classify, from_json, to_json
from ukemi.supervisors.recovery.encoding import BadFailure

from .failures import failure, failures

GOOD = to_json(failure()).decode()


@given(failures)
def test_a_failure_comes_back_as_it_was(failure: Failure) -> None:
    back = from_json(to_json(failure))
    assert back == failure
    assert type(back.category) is type(failure.category)


def test_what_was_classified_can_be_encoded_whatever_it_says() -> None:
    for said in ("\udcff", "x" * 10**6, "\x00", "\N{PILE OF POO}"):
        there = classify(OSError(said), "/a")
        assert from_json(to_json(there)) == there


def test_values_are_told_by_their_names_in_the_specification() -> None:
    assert to_json(failure("FileSystem", "Recoverable")).startswith(
        b'{"category":"FileSystem","severity":"Recoverable","retryable":true,'
    )


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert from_json(GOOD.replace("{", '{"weather": "fair", ', 1)) == failure()


def test_fields_that_have_a_default_may_be_missing() -> None:
    least = '{"category": "Network", "severity": "Info", "retryable": false, "error": "E", "message": ""}'
    assert from_json(least).component == ""


@pytest.mark.parametrize(
    ("garbage", "said"),
    [
        (b"", "b'' is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[1]", "[1] must be an object with the fields of a failure"),
        (b"null", "None must be an object"),
        (b"{}", "'category' is missing @ failure.category"),
        (GOOD.replace('"Unknown"', '"Nowhere"'), "category='Nowhere' must be one of Terminal, "),
        (GOOD.replace('"Unknown"', "[]"), "category=[] must be one of Terminal, "),
        (GOOD.replace('"Critical"', '"Fatal"'), "severity='Fatal' must be one of Critical, "),
        (GOOD.replace("true", "1"), "1 must be true or false @ failure.retryable"),
        (GOOD.replace('"Boom"', "7"), "7 must be text @ failure.error"),
        (GOOD.replace('"retry_after":null', '"retry_after":-1'), "-1 must be seconds from 0 up, or null"),
        (GOOD.replace('"retry_after":null', '"retry_after":"1"'), "'1' must be seconds from 0 up, or null"),
        (GOOD.replace('"begun":null', '"begun":0'), "0 must be true or false @ failure.begun"),
    ],
)
def test_what_is_no_failure_is_told_by_what_is_wrong_with_it(garbage: bytes | str, said: str) -> None:
    with pytest.raises(BadFailure) as caught:
        from_json(garbage)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"message": "\udcff"}, {"retry_after": float("nan")}, {"retry_after": float("inf")}, {"retry_after": -1}]
)
def test_what_would_not_come_back_is_not_encoded(change: dict[str, object]) -> None:
    with pytest.raises(BadFailure):
        to_json(attrs.evolve(failure(), **change))
