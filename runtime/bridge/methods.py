"""The bridge's methods, declared: name, parameters as a class, and what is done. Those themselves are beside it.

A parameter class's fields are camelCase on the wire; what doesn't fit them is the client's error. An async handler runs
as a background task of the client's session, so that it outlives its connection, and may take its time. A plain `def`
is quick (well below a millisecond), and answered in the turn in which it was asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from heapq import nsmallest
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from ...actors.ipc.jsonrpc import Code, RpcError
from ...actors.shorten import short

if TYPE_CHECKING:
    from .session import ClientSession

P = TypeVar("P")

MOST_SAID = 5
"""Mistakes of one request that are named, and parameters that there are not."""


@attrs.frozen
class Method:
    """One method of the bridge."""

    name: str
    parameters: type[Any]
    handler: Callable[[Any, Any], Any]
    in_order: str | None
    """A parameter: a client's requests of the same kind (`file/…`) that name it as this one does, and have the same
    value of it, are run one after the other, as they came."""
    is_quick: bool
    """Whether it is answered at once: its handler is no coroutine."""
    queue: str
    """Which requests these are: those of one queue are run in order, as far as `in_order` says."""
    only_reads: bool
    """Whether it changes nothing, and takes no long: asked again, it is run again, in place of keeping its answer."""
    may_be_large: bool
    """Whether its answer may be so large that no more of them are made than can go out."""
    most_waiting: int | None
    """How many of a client's may wait for their turn; one more is refused."""
    ends_by_itself: bool
    """Whether others can wait until enough of them are done; all else is refused where too much is under way."""


METHODS: dict[str, Method] = {}


def method(
    name: str,
    parameters: type[P],
    *,
    in_order: str | None = None,
    queue: str | None = None,
    only_reads: bool = False,
    may_be_large: bool = False,
    most_waiting: int | None = None,
    ends_by_itself: bool = False,
) -> Callable[[Callable[[ClientSession, P], Any]], Callable[[ClientSession, P], Any]]:
    """Declare a method; `in_order` and `may_be_large` are of those that are not quick: those are in order anyway.

    The `queue` is by default that of all whose names begin alike: `terminal` for `terminal/execute`. One that
    `only_reads` changes nothing, and is soon done.
    """

    def declare(handler: Callable[[ClientSession, P], Any]) -> Callable[[ClientSession, P], Any]:
        waits_in = queue or name.partition("/")[0]
        is_quick = not iscoroutinefunction(handler)
        METHODS[name] = Method(
            name,
            parameters,
            handler,
            in_order,
            is_quick,
            waits_in,
            only_reads,
            may_be_large,
            most_waiting,
            ends_by_itself,
        )
        return handler

    return declare


def parameters_of(name: str, params: dict[str, Any]) -> Any:
    """The parameters as an instance of the method's class. Raises RpcError for what doesn't fit."""
    known = METHODS.get(name)
    if known is None:
        raise RpcError(
            Code.METHOD_NOT_FOUND, f"there is no method {name[:100]!r}; there are: {', '.join(sorted(METHODS))}"
        )
    if known.parameters is Nothing and not params:
        return _NOTHING
    try:
        return _converter.structure(params, known.parameters)
    except cattrs.BaseValidationError as error:
        wrong = cattrs.transform_error(error, path="params", format_exception=_said)
        said = "; ".join(_without_place(each) for each in wrong[:MOST_SAID])
        raise RpcError(Code.INVALID_PARAMS, f"{name}: {said}") from None


def _said(error: BaseException, kind: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        extra = ", ".join(short(key, 50) for key in nsmallest(MOST_SAID, error.extra_fields))
        taken = ", ".join(sorted(_camel(field.name) for field in attrs.fields(error.cl)))
        return f"unknown parameter {extra}; it takes{f': {taken}' if taken else ' none'}"
    return str(error)


def _without_place(said: str) -> str:
    """A parameter's own name is in what is said; only what lies within one keeps its place."""
    text, at, place = said.rpartition(" @ params")
    if not place:
        return text
    return text + at + re.sub(r"^\.(\w+)", lambda name: f".{_camel(name[1])}", place)


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{short(value)} must be a string")
    return value


def _flag(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{short(value)} must be true or false")
    return value


def _whole(value: Any, _: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{short(value)} must be a whole number")
    return value


def _number(value: Any, _: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{short(value)} must be a number")
    return float(value)


def _texts(value: Any, _: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{short(value)} must be an object")
    for name, text in value.items():
        if not isinstance(text, str):
            raise ValueError(f"{short(text)} must be a string, as the value of {short(name, 50)}")
    return value


def _is_choice(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Literal


def _choice_of(kind: Any) -> Callable[[Any, Any], Any]:
    choices = get_args(kind)

    def choose(value: Any, _: Any) -> Any:
        if value not in choices:
            raise ValueError(f"{short(value)} must be {' or '.join(map(repr, choices))}")
        return value

    return choose


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _structure(kind: Any) -> Any:
    names = {field.name: override(rename=_camel(field.name)) for field in attrs.fields(kind)}
    return make_dict_structure_fn(kind, _converter, **names)  # type: ignore[arg-type]


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(bool, _flag)
_converter.register_structure_hook(int, _whole)
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook_func(lambda kind: kind == dict[str, str], _texts)
_converter.register_structure_hook_factory(_is_choice, _choice_of)
_converter.register_structure_hook_factory(attrs.has, _structure)


@attrs.frozen
class Nothing:
    """Of what takes no parameters."""


_NOTHING = Nothing()
