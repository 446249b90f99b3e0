"""How a debug command is declared: a typed async function, whose signature and docstring are all there is to say.

From them come the check of what arrives over the wire, the REPL's words, its help and its completion. A parameter's
type says what it is: `ActorName` completes to the tree's actors, `MethodName` to the messages of the actor before it,
`Code` takes the rest of the line as it is, `Any` is a JSON value, a `Literal` is one of its words.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NewType, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
from cattrs import Converter

from ...actors.errors import UkemiError
from ...actors.shorten import short

ActorName = NewType("ActorName", str)
"""An actor's path or unique name."""
MethodName = NewType("MethodName", str)
"""A message of the actor that the parameter before it names."""
Code = NewType("Code", str)
"""Python, unquoted, up to the end of the line."""
CommandName = NewType("CommandName", str)
"""One of the commands."""
OperationName = NewType("OperationName", str)
"""What is recorded in the metrics, or has a timeout."""

Kind: TypeAlias = Literal["actor", "method", "code", "command", "operation", "text", "number", "choice", "value"]
Shown: TypeAlias = Literal[
    "value",
    "text",
    "tree",
    "fields",
    "help",
    "evaluated",
    "crashes",
    "events",
    "errors",
    "alerts",
    "metrics",
    "timeouts",
    "features",
]
"""How an answer is best shown to a person."""

_KINDS: dict[Any, Kind] = {
    ActorName: "actor",
    MethodName: "method",
    Code: "code",
    CommandName: "command",
    OperationName: "operation",
    str: "text",
    int: "number",
    Any: "value",
}
_MEANINGS: dict[Kind, str] = {
    "actor": "an actor's name or path, as text",
    "method": "a message's name, as text",
    "code": "Python, as text",
    "command": "a command's name, as text",
    "operation": "an operation's name, as text",
    "text": "text",
    "number": "a whole number from 0 up",
    "choice": "one of its words",
    "value": "a JSON value",
}


class BadCommand(UkemiError, ValueError):
    """A command that is unknown, or was given what it doesn't take."""


@attrs.frozen
class Parameter:
    """What a command takes at one place."""

    name: str
    kind: Kind
    required: bool
    many: bool = False
    """Whether it takes all that follows, as a list."""
    choices: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """As help writes it: `NAME`, `[NAME]`, `[NAME…]`, `[on|off]`."""
        text = "|".join(self.choices) if self.choices else self.name.upper()
        text = f"{text}…" if self.many else text
        return text if self.required else f"[{text}]"


@attrs.frozen
class Description:
    """What a client needs to know of a command."""

    name: str
    help: str
    parameters: tuple[Parameter, ...]
    shown: Shown

    @property
    def usage(self) -> str:
        """One line: its name and what it takes."""
        return " ".join((self.name, *(parameter.usage for parameter in self.parameters)))

    @property
    def summary(self) -> str:
        """The first line of its help."""
        return self.help.partition("\n")[0]


F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


@attrs.frozen
class Command:
    """A declared command."""

    description: Description
    function: Callable[..., Awaitable[Any]]

    def bind(self, given: object) -> tuple[list[Any], dict[str, Any]]:
        """The checked arguments for the function; BadCommand names what is wrong."""
        name, parameters = self.description.name, self.description.parameters
        if not isinstance(given, Mapping):
            raise BadCommand(f"{name}: args={short(given)} must be an object, with what it takes by name")
        known = {parameter.name: parameter for parameter in parameters}
        for key in given:
            if key not in known:
                takes = ", ".join(known) or "nothing"
                raise BadCommand(f"{name} takes no {key!r}; it takes: {takes}")
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for key, parameter in known.items():
            if key not in given:
                if parameter.required:
                    raise BadCommand(f"{name} needs {key!r}: {_meaning(parameter)}; usage: {self.description.usage}")
            elif parameter.many:
                if not isinstance(given[key], list):
                    raise BadCommand(f"{name}: {key}={short(given[key])} must be a list")
                positional.extend(_checked(name, parameter, item) for item in given[key])
            elif any(other.many for other in parameters):
                positional.append(_checked(name, parameter, given[key]))
            else:
                keywords[key] = _checked(name, parameter, given[key])
        return positional, keywords


class Commands(dict[str, Command]):
    """The commands by name. Used as a decorator's namespace: `@commands.declare()`."""

    def declare(self, *, shown: Shown = "value") -> Callable[[F], F]:
        """Declare an async function `(session, …)` as the command of its name."""

        def add(function: F) -> F:
            name = function.__name__.rstrip("_")
            self[name] = Command(describe(name, function, shown), function)
            return function

        return add

    def find(self, name: object) -> Command:
        """The command of this name; BadCommand lists them all where there is none."""
        command = self.get(name) if isinstance(name, str) else None
        if command is None:
            raise BadCommand(f"there is no command {short(name)}; the commands are: {', '.join(sorted(self))}")
        return command


def describe(name: str, function: Callable[..., Any], shown: Shown = "value") -> Description:
    """Read a command's declaration."""
    hints = get_type_hints(function)
    _, *signature = inspect.signature(function).parameters.values()
    parameters = tuple(_parameter(each, hints[each.name]) for each in signature)
    return Description(name, inspect.cleandoc(function.__doc__ or ""), parameters, shown)


def _parameter(declared: inspect.Parameter, hint: Any) -> Parameter:
    many = declared.kind is declared.VAR_POSITIONAL
    required = declared.default is declared.empty and not many
    inner = [each for each in get_args(hint) if each is not type(None)]
    if get_origin(hint) is Union or (type(None) in get_args(hint) and len(inner) == 1):
        hint = inner[0]
    if get_origin(hint) is Literal:
        return Parameter(declared.name, "choice", required, many, get_args(hint))
    return Parameter(declared.name, _KINDS[hint], required, many)


def _meaning(parameter: Parameter) -> str:
    if parameter.choices:
        return "one of " + ", ".join(map(repr, parameter.choices))
    return _MEANINGS[parameter.kind]


def _checked(command: str, parameter: Parameter, value: Any) -> Any:
    match parameter.kind:
        case "value":
            right = True
        case "number":
            right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case "choice":
            right = value in parameter.choices
        case _:
            right = isinstance(value, str)
    if not right:
        raise BadCommand(f"{command}: {parameter.name}={short(value)} must be {_meaning(parameter)}")
    return value


converter = Converter()
"""Values to plain data, and descriptions back; what JSON has no form for is left as it is."""
