"""Which methods of an actor class are messages, and what arguments they take (rule M1).

A class's table is made once, when the class is defined. It is keyed by name; the functions that callers pass
(`Counter.add`) are looked up by name the first time and remembered, so that a subclass's override is found.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeAlias, TypeVar

import attrs

from .errors import UnknownMethod

F = TypeVar("F", bound=Callable[..., Any])
MethodKey: TypeAlias = str | Callable[..., Any]

_AT_ONCE = "__ukemi_at_once__"
_LOCAL = "__ukemi_local__"


def at_once(function: F) -> F:
    """Mark a sync method that only reads, and may be answered while its actor is in the middle of another message."""
    setattr(function, _AT_ONCE, True)
    return function


def local(function: F) -> F:
    """Mark a method whose arguments or result hold callables, so that it can't travel (rule X5)."""
    setattr(function, _LOCAL, True)
    return function


@attrs.define(eq=False)
class Method:
    """One message: its name, the function that handles it, and how many positional arguments that takes."""

    name: str
    function: Callable[..., Any]
    is_sync: bool
    at_once: bool
    local: bool
    fewest: int
    most: int
    signature: inspect.Signature

    @classmethod
    def of(cls, name: str, function: Callable[..., Any]) -> Method:
        """Read a function's signature, without its first parameter (self)."""
        signature = inspect.signature(function)
        _, *parameters = signature.parameters.values() or [None]
        fewest = most = 0
        for parameter in parameters:
            assert parameter is not None
            required = parameter.default is parameter.empty
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                most += 1
                fewest += required
            elif parameter.kind is parameter.VAR_POSITIONAL:
                most = sys.maxsize
            elif parameter.kind is parameter.KEYWORD_ONLY and required:
                fewest = sys.maxsize  # no count of positional arguments is enough: check() decides
        is_sync = not inspect.iscoroutinefunction(inspect.unwrap(function))
        at_once, local = getattr(function, _AT_ONCE, False), getattr(function, _LOCAL, False)
        return cls(name, function, is_sync, at_once, local, fewest, most, signature)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise the TypeError that a call with these arguments would, naming the method."""
        try:
            self.signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature}: {error}") from None


class Methods(dict[MethodKey, Method]):
    """A class's messages, by name and by function; `own` has its private methods too, for its timers."""

    def __init__(self, owner: type, reserved: frozenset[str]) -> None:
        self.owner = owner.__qualname__
        self.own: dict[str, Method] = {}
        for name in dir(owner):
            function = inspect.getattr_static(owner, name)
            if name in reserved or name.startswith("__") or not isinstance(function, FunctionType):
                continue
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                continue
            self.own[name] = Method.of(name, function)
            if is_message_name(name):
                self[name] = self.own[name]

    def __missing__(self, key: MethodKey) -> Method:
        name = key if isinstance(key, str) else getattr(key, "__name__", repr(key))
        method = self.get(name)
        if method is None:
            known = ", ".join(sorted(k for k in self if isinstance(k, str))) or "none"
            raise UnknownMethod(f"{self.owner} has no message {name!r}; its messages are: {known}")
        if type(key) is FunctionType and len(self) < 4 * len(self.own) + 64:
            self[key] = method
        return method

    def own_method(self, key: MethodKey) -> Method:
        """One of the actor's own methods, private ones too."""
        name = key if isinstance(key, str) else getattr(key, "__name__", repr(key))
        method = self.own.get(name)
        if method is None:
            raise UnknownMethod(f"{self.owner} has no method {name!r}")
        return method


class Unstarted(Methods):
    """The messages of an actor that has not been made yet: anything may be one; what is wrong shows when it runs."""

    def __init__(self) -> None:
        super().__init__(object, frozenset())
        self.owner = "an actor that has not started"

    def __missing__(self, key: MethodKey) -> Method:
        name = key if isinstance(key, str) else getattr(key, "__name__", repr(key))
        if not is_message_name(name):
            raise UnknownMethod(f"{name!r} can't be a message; messages have public names, and hooks are none")
        return Method(name, _anything, False, False, True, 0, sys.maxsize, inspect.signature(_anything))


def _anything(self: Any, *args: Any, **kwargs: Any) -> None:
    """Stands for any method."""


def is_message_name(name: str) -> bool:
    """Whether a method of this name is a message: public, and no hook."""
    return not name.startswith(("_", "on_")) and name != "health"
