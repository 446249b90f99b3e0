"""A line that somebody typed: what it asks for, and how it could go on. Both follow from the commands' descriptions."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from .declaring import BadCommand, Description, Parameter

Ask = Callable[[str, dict[str, Any]], list[str]]
"""Runs a command that completion needs (`names`, `messages`, `operations`)."""


def request_of(line: str, commands: Mapping[str, Description]) -> tuple[Description, dict[str, Any]]:
    """The command that a line names, and its arguments by name. BadCommand says what is wrong with the line."""
    name, _, rest = line.strip().partition(" ")
    command = commands.get(name)
    if command is None:
        raise BadCommand(f"there is no command {name!r}; `help` lists them")
    if any(parameter.kind == "code" for parameter in command.parameters):
        words = [rest.strip()] if rest.strip() else []
    else:
        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise BadCommand(f"{line.strip()!r} can't be split into words: {str(error).lower()}") from None
    return command, _assign(command, words)


def _assign(command: Description, words: list[str]) -> dict[str, Any]:
    args: dict[str, Any] = {}
    for parameter in command.parameters:
        if parameter.many:
            args[parameter.name] = [_value(command, parameter, word) for word in words]
            words = []
        elif words:
            args[parameter.name] = _value(command, parameter, words[0])
            words = words[1:]
        elif parameter.required:
            raise BadCommand(f"{command.name} needs {parameter.name.upper()}; usage: {command.usage}")
    if words:
        raise BadCommand(f"{words[0]!r} is too much; usage: {command.usage}")
    return args


def _value(command: Description, parameter: Parameter, word: str) -> Any:
    match parameter.kind:
        case "value":
            try:
                return orjson.loads(word)
            except orjson.JSONDecodeError:
                return word
        case "number" if not (word.isascii() and word.isdigit()):
            raise BadCommand(f"{command.name}: {parameter.name.upper()} is a whole number from 0 up, not {word!r}")
        case "number":
            return int(word)
        case "choice" if word not in parameter.choices:
            choices = " or ".join(parameter.choices)
            raise BadCommand(f"{command.name}: {parameter.name.upper()} is {choices}, not {word!r}")
    return word


def candidates(text: str, commands: Mapping[str, Description], ask: Ask) -> list[str]:
    """What the last word of the text could become, quoted where needed; nothing where that is not known."""
    try:
        words = shlex.split(text)
    except ValueError:  # within quotes
        return []
    if not text or text[-1].isspace():
        words.append("")
    *before, begun = words
    if not before:
        return [name for name in sorted([*commands, "exit"]) if name.startswith(begun)]
    command, at = commands.get(before[0]), len(before) - 1
    if command is None or at >= len(command.parameters):
        return []
    parameter = command.parameters[at]
    match parameter.kind:
        case "actor":
            found = ask("names", {"prefix": begun})
        case "method":
            found = ask("messages", {"actor": before[-1]})
        case "operation":
            found = ask("operations", {"prefix": begun})
        case "command":
            found = sorted(commands)
        case "choice":
            found = list(parameter.choices)
        case _:
            found = []
    return [shlex.quote(each) for each in found if each.startswith(begun)]
