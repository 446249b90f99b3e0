"""Messages as bytes and back (rule X5): a message is a method name with arguments that cattrs can encode.

`WireRef` is a Ref that encodes and decodes every message and reply, as if the actor were elsewhere (Akka's
serialize-messages). Tests run with it, so that nothing comes to rely on sharing a process.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import orjson
from cattrs.preconf.orjson import make_converter
from trio.lowlevel import enable_ki_protection

from .errors import UkemiError
from .protocol import Method, MethodKey
from .reasons import describe
from .ref import Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .system import System

A_co = TypeVar("A_co", covariant=True)

_system: ContextVar[System] = ContextVar("system")
"""Where Refs are found while a message is decoded."""

converter = make_converter()


def _is_ref(kind: Any) -> bool:
    origin = getattr(kind, "__origin__", kind)
    return isinstance(origin, type) and issubclass(origin, Ref)


def _decode_ref(value: Any, _: Any) -> Ref[Any]:
    ref = _system.get().find(value["path"])
    if ref.uid != value["uid"]:
        raise UkemiError(f"the actor {value['path']} that this Ref names is gone; another has its path")
    return ref


converter.register_unstructure_hook_func(_is_ref, lambda ref: {"path": ref.path, "uid": ref.uid})
converter.register_structure_hook_func(_is_ref, _decode_ref)


_EXACT: dict[Any, type | tuple[type, ...]] = {bool: bool, int: int, float: (int, float), str: str}
"""Kinds that plain data has as well: what is no number is not made one."""


def plain_cause(error: BaseException) -> str:
    """What one has to know of an error of cattrs, whose groups follow the structure of the data."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return describe(error)


class Codec:
    """Encodes the arguments and the result of one method by its annotations; what has none must be plain JSON."""

    def __init__(self, method: Method) -> None:
        self.name = method.name
        self.signature = method.signature
        try:
            self.hints = get_type_hints(method.function)
        except Exception:  # names that exist for type checkers only
            self.hints = {}
        given = self.hints.get("return")
        if get_origin(given) in (Awaitable, Coroutine):
            self.hints["return"] = get_args(given)[-1]  # what the actor awaits before it answers

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments, after a journey."""
        bound = self.signature.bind(None, *args, **kwargs)
        myself = next(iter(bound.arguments))
        for name, value in list(bound.arguments.items())[1:]:
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(self.travel(each, name) for each in value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: self.travel(each, name) for key, each in value.items()}
            else:
                bound.arguments[name] = self.travel(value, name)
        assert bound.arguments[myself] is None
        return bound.args[1:], bound.kwargs

    def decode(self, data: Sequence[Any], system: System) -> tuple[Any, ...]:
        """Positional arguments from plain data, as the annotations have them; UkemiError names what doesn't fit."""
        self.signature.bind(None, *data)
        _system.set(system)
        _, *parameters = self.signature.parameters.values()
        names = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL]
        rest = [each.name for each in parameters if each.kind is each.VAR_POSITIONAL]
        names = [*names[: len(data)], *rest * (len(data) - len(names))]
        return tuple(self._decode_one(value, name) for value, name in zip(data, names, strict=True))

    def _decode_one(self, value: Any, name: str) -> Any:
        kind = self.hints.get(name, Any)
        if kind in _EXACT:
            if not isinstance(value, _EXACT[kind]) or (isinstance(value, bool) and kind is not bool):
                raise UkemiError(f"{self.name}: {name}={value!r} must be {kind.__name__}")
            return kind(value)
        if kind is Any or isinstance(kind, TypeVar):
            return value
        try:
            return converter.structure(value, kind)
        except Exception as error:
            raise UkemiError(f"{self.name}: {name}={value!r} must be {kind}: {plain_cause(error)}") from error

    def travel(self, value: Any, name: str) -> Any:
        """A value after a journey; `name` is a parameter's, or "return"."""
        kind = self.hints.get(name, Any)
        plain = kind in (Any, type(None)) or isinstance(kind, TypeVar)
        try:
            data = orjson.dumps(converter.unstructure(value, None if plain else kind))
        except Exception as error:
            raise UkemiError(f"{self.name}: {name}={value!r} can't travel in a message: {error}") from error
        back = orjson.loads(data)
        return back if plain else converter.structure(back, kind)


class WireRef(Ref[A_co]):
    """A Ref whose messages are encoded and decoded."""

    __slots__ = ()

    encodes = True

    @staticmethod
    def travel(system: System, known: Method, event: Any) -> Any:
        """A published event, after its journey to a subscriber's method."""
        _system.set(system)
        ((event,), _) = Codec(known).arguments((event,), {})
        return event

    def _codec(self, method: MethodKey, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Codec | None:
        known = self._cell.methods[method]
        known.check(args, kwargs)
        if known.local:
            return None
        _system.set(self._cell.system)
        return Codec(known)

    @enable_ki_protection
    async def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """See `Ref.call`."""
        if self._cell.incarnation is None or (codec := self._codec(method, args, kwargs)) is None:
            return await super().call(method, *args, **kwargs)
        args, kwargs = codec.arguments(args, kwargs)
        return codec.travel(await super().call(method, *args, **kwargs), "return")

    @enable_ki_protection
    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> None:
        """See `Ref.cast`."""
        codec = self._codec(method, args, kwargs)
        if codec is not None:
            args, kwargs = codec.arguments(args, kwargs)
        super().cast(method, *args, **kwargs)

    @enable_ki_protection
    async def send(self, method: Any, /, *args: Any, **kwargs: Any) -> None:
        """See `Ref.send`."""
        codec = self._codec(method, args, kwargs)
        if codec is not None:
            args, kwargs = codec.arguments(args, kwargs)
        await super().send(method, *args, **kwargs)
