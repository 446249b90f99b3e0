"""What may take a child's place: its fallbacks, by name, in the order in which they are tried (rule S15)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from ..actors.actor import Actor
from ..actors.errors import SpecError
from ..actors.protocol import Method

Factory: TypeAlias = Callable[[], Actor]
Fallbacks: TypeAlias = tuple[tuple[str, Factory], ...]


def as_fallbacks(name: str, factory: Factory, given: object) -> Fallbacks:
    """The fallbacks of a child, from a factory or several by name; SpecError for what can't be one.

    Where the child's factory and a fallback are classes, the fallback must answer all of the child's messages.
    """
    if given is None:
        return ()
    alone = given.__name__ if isinstance(given, type) else "fallback"
    named = given.items() if isinstance(given, Mapping) else [(alone, given)]
    fallbacks = tuple(named)
    if not fallbacks:
        raise _wrong(name, given, "a factory, or at least one by name")
    for each, made_by in fallbacks:
        if not isinstance(each, str) or not each:
            raise _wrong(name, given, f"named by text, not {each!r}")
        if not callable(made_by):
            right = "an Actor class or a function without parameters that makes an Actor"
            raise SpecError(f"{name!r}: fallback {each!r} must be {right}, not {made_by!r}")
        _check_messages(name, factory, each, made_by)
    return fallbacks


def _check_messages(name: str, factory: Factory, each: str, made_by: Factory) -> None:
    if not (isinstance(factory, type) and isinstance(made_by, type)):
        return
    if not issubclass(factory, Actor):
        return
    if not issubclass(made_by, Actor):
        raise SpecError(f"{name!r}: fallback {each!r} must be an Actor class, not {made_by!r}")
    offered = made_by._ukemi_methods
    for message, method in factory._ukemi_methods.items():
        if not isinstance(message, str):
            continue
        other = offered.get(message)
        if other is None or not _takes_the_same(method, other):
            wanted = f"{message}{method.signature}"
            raise SpecError(f"{name!r}: fallback {each!r} must answer {wanted}, as {factory.__qualname__} does")


def _takes_the_same(method: Method, other: Method) -> bool:
    """Whether whatever one takes, the other takes, as far as counting tells."""
    return other.fewest <= method.fewest and other.most >= method.most


def _wrong(name: str, value: object, right: str) -> SpecError:
    return SpecError(f"{name!r}: fallback={value!r} must be {right}")
