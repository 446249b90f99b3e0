"""Failures as JSON and back: for reports, dumps and clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from cattrs import transform_error
from cattrs.preconf.orjson import make_converter

from ...actors.errors import UkemiError
from ...actors.shorten import short
from .failure import Category, Failure, Severity
from .kinds import category_of, sane_seconds, severity_of

T = TypeVar("T")


class BadFailure(UkemiError, ValueError):
    """What was given is no failure, or none that JSON has words for."""


def to_json(failure: Failure) -> bytes:
    """A failure as a JSON object. Raises BadFailure for what would not come back as it is."""
    if failure.retry_after is not None and sane_seconds(failure.retry_after) is None:
        raise BadFailure(f"retry_after={failure.retry_after!r} must be a finite number from 0 up, or None")
    try:
        return orjson.dumps(_converter.unstructure(failure))
    except orjson.JSONEncodeError as error:
        raise BadFailure(f"{short(failure)} can't be encoded: {error}") from None


def from_json(data: bytes | str) -> Failure:
    """The failure in a JSON object; fields that are not known are passed over. BadFailure names what is wrong."""
    try:
        plain = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadFailure(f"{short(data)} is no JSON: {error}") from None
    if not isinstance(plain, dict):
        raise BadFailure(f"{short(plain)} must be an object with the fields of a failure")
    try:
        return _converter.structure(plain, Failure)
    except Exception as error:
        wrong = "; ".join(transform_error(error, "failure", format_exception=_told))
        raise BadFailure(f"{short(plain)} is no failure: {wrong}") from None


def _told(error: BaseException, _: object) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _exactly(kind: type[T]) -> Callable[[Any, Any], T]:
    """Take a value of this type only; by itself cattrs would make one of whatever it finds."""

    def take(value: Any, _: Any) -> T:
        if not isinstance(value, kind):
            raise TypeError(f"{short(value)} must be {_NAMES[kind]}")
        return value

    return take


def _seconds(value: Any, _: Any) -> float:
    seconds = sane_seconds(value)
    if seconds is None:
        raise ValueError(f"{short(value)} must be seconds from 0 up, or null")
    return seconds


_NAMES: dict[type, str] = {str: "text", bool: "true or false"}

_converter = make_converter()
_converter.register_structure_hook(Category, lambda value, _: category_of(value))
_converter.register_structure_hook(Severity, lambda value, _: severity_of(value))
_converter.register_structure_hook(str, _exactly(str))
_converter.register_structure_hook(bool, _exactly(bool))
_converter.register_structure_hook(float, _seconds)
