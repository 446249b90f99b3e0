"""Which methods of an actor class are messages, and what arguments they take (rule M1).

A class's table is made once, when the class is defined. It is keyed by name; the functions that callers pass
(`Counter.add`) are looked up by name the first time and remembered, so that a subclass's override is found.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, TypeAlias, TypeVar

import attrs

from .errors import SpecError, UnknownMethod

F = TypeVar("F", bound=Callable[..., Any])
MethodKey: TypeAlias = str | Callable[..., Any]

_AT_ONCE = "__ukemi_at_once__"
_LOCAL = "__ukemi_local__"
_RETRYABLE = "__ukemi_retryable__"
_FALLS_BACK_TO = "__ukemi_falls_back_to__"


def at_once(function: F) -> F:
    """Mark a sync method that only reads, and may be answered while its actor is in the middle of another message."""
    setattr(function, _AT_ONCE, True)
    return function


def local(function: F) -> F:
    """Mark a method whose arguments or result hold callables, so that it can't travel (rule X5)."""
    setattr(function, _LOCAL, True)
    return function


def retryable(function: F) -> F:
    """Mark a method whose message may be given again when it has failed: to run it twice does no harm."""
    setattr(function, _RETRYABLE, True)
    return function


def falls_back_to(method: str) -> Callable[[F], F]:
    """Name the method of the same actor that answers in place of this one, with the same arguments (`Fallback`).

    It finds the error at `self.ctx.failure`; what it returns should say that it is second best.
    """
    if not isinstance(method, str) or not method.isidentifier():
        raise SpecError(f"falls_back_to takes the name of a method of the same class, not {method!r}")

    def mark(function: F) -> F:
        setattr(function, _FALLS_BACK_TO, method)
        return function

    return mark


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
    retryable: bool = False
    falls_back_to: str | None = None

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
        marks = getattr(function, _RETRYABLE, False), getattr(function, _FALLS_BACK_TO, None)
        return cls(name, function, is_sync, at_once, local, fewest, most, signature, *marks)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise the TypeError that a call with these arguments would, naming the method."""
        try:
            self.signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature}: {error}") from None


@cache
def _method_of(name: str, function: FunctionType) -> Method:
    """Read once, however many classes inherit it."""
    return Method.of(name, function)


class Methods(dict[MethodKey, Method]):
    """A class's messages, by name and by function; `own` has its private methods too, for its timers."""

    def __init__(self, owner: type, reserved: frozenset[str]) -> None:
        self.owner = owner.__qualname__
        self.own: dict[str, Method] = {}
        functions = {name: value for cls in reversed(owner.__mro__) for name, value in vars(cls).items()}
        for name, function in sorted(functions.items()):
            if name in reserved or name.startswith("__") or not isinstance(function, FunctionType):
                continue
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                continue
            self.own[name] = _method_of(name, function)
            if is_message_name(name):
                self[name] = self.own[name]
        for method in self.own.values():
            self._check_fallback(method)

    def __missing__(self, key: MethodKey) -> Method:
        name = key if isinstance(key, str) else getattr(key, "__name__", repr(key))
        method = self.get(name)
        if method is None:
            known = ", ".join(sorted(k for k in self if isinstance(k, str))) or "none"
            raise UnknownMethod(f"{self.owner} has no message {name!r}; its messages are: {known}")
        if type(key) is FunctionType and len(self) < 4 * len(self.own) + 64:
            self[key] = method
        return method

    def _check_fallback(self, method: Method) -> None:
        if method.falls_back_to is None:
            return
        other = self.own.get(method.falls_back_to)
        if other is None or other is method:
            raise SpecError(
                f"{self.owner}.{method.name} falls back to {method.falls_back_to!r}, which is no other method of it"
            )

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
