"""What a sequence says: from its bytes to the fields of a `Marker`.

Called for a marker of which somebody asks more than its bytes. The grammar has already said that it is a known one, so
nothing here can fail: a field that nothing can be made of is left None.
"""

import re
from collections.abc import Callable
from typing import Final

from .grammar import IGNORED, INTRODUCER, KINDS_133, KINDS_633, payload
from .marker import Kind, Marker

_ESCAPE = re.compile(r"\\(?:\\|[xX]([0-9a-fA-F]{2}))")
_PERCENT = re.compile(rb"%([0-9a-fA-F]{2})")
_EXIT_CODE = re.compile(rb"-?[0-9]{1,10}")
_fill: Final = Marker.__init__  # into the marker that is there, instead of into another one

# How many arguments of its own a kind of OSC 633 has; one more is its nonce. The stock scripts send it with E and Env…
# only; one that wants its D or P to be believed can sign them in the same way. SetMark has no place for it.
_OWN_ARGUMENTS: Final[dict[Kind, int]] = {
    "D": 1,
    "E": 1,
    "P": 1,
    "EnvJson": 1,
    "EnvSingleStart": 1,
    "EnvSingleEntry": 2,
    "EnvSingleDelete": 2,
}


def read(marker: Marker, nonce: str | None) -> None:
    """Fill in the fields of a marker that has only its `raw` yet, a known sequence; one with `nonce` is trusted."""
    number, _, rest = payload(marker.raw.removeprefix(INTRODUCER)).translate(None, IGNORED).lstrip(b"0").partition(b";")
    if number == b"633":
        return _vscode(marker, rest, nonce)
    if number == b"133":
        return _finalterm(marker, rest)
    path = _PATH[number](rest).decode(errors="surrogateescape")
    return _fill(marker, int(number), "Cwd", marker.raw, cwd=_folder(path))


def _vscode(marker: Marker, rest: bytes, nonce: str | None) -> None:
    word, *arguments = rest.split(b";")
    kind = KINDS_633[word]
    if kind == "SetMark":
        return _mark(marker, arguments)
    own = _OWN_ARGUMENTS.get(kind, 0)
    sent = _text(arguments[own]) if len(arguments) > own else None
    trusted = sent is not None and sent == nonce
    first = arguments[0] if arguments else b""
    match kind:
        case "D":
            return _fill(marker, 633, kind, marker.raw, exit_code=_exit_code(first), nonce=sent, trusted=trusted)
        case "E":
            return _fill(marker, 633, kind, marker.raw, command=_unescaped(first), nonce=sent, trusted=trusted)
        case "P":
            name, equals, assigned = first.partition(b"=")
            key, value = _unescaped(name), _unescaped(assigned) if equals else None
            cwd = _folder(_unescaped(assigned, "surrogateescape")) if key == "Cwd" else None
            return _fill(marker, 633, kind, marker.raw, key=key, value=value, cwd=cwd, nonce=sent, trusted=trusted)
        case "EnvSingleEntry" | "EnvSingleDelete":
            value = _unescaped(arguments[1]) if len(arguments) > 1 else None
            return _fill(marker, 633, kind, marker.raw, key=_unescaped(first), value=value, nonce=sent, trusted=trusted)
        case "EnvJson" | "EnvSingleStart":
            return _fill(marker, 633, kind, marker.raw, value=_unescaped(first), nonce=sent, trusted=trusted)
        case _:
            return _fill(marker, 633, kind, marker.raw, nonce=sent, trusted=trusted)


def _mark(marker: Marker, arguments: list[bytes]) -> None:
    named = next((argument for argument in arguments if argument.startswith(b"Id=")), None)
    hidden = b"Hidden" in arguments
    if named is None:
        return _fill(marker, 633, "SetMark", marker.raw, hidden=hidden)
    return _fill(marker, 633, "SetMark", marker.raw, key="Id", value=_unescaped(named[len(b"Id=") :]), hidden=hidden)


def _finalterm(marker: Marker, rest: bytes) -> None:
    word, *arguments = rest.split(b";", 2)
    exit_code = _exit_code(arguments[0]) if word == b"D" and arguments else None
    return _fill(marker, 133, KINDS_133[word], marker.raw, exit_code=exit_code)


def _in_url(rest: bytes) -> bytes:
    """Take the path out of file://host/path."""
    path = rest[rest.index(b"/", len(b"file://")) :]
    return _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), path)


def _in_quotes(rest: bytes) -> bytes:
    """Take the path out of 9;path, where it may stand in quotes."""
    path = rest.removeprefix(b"9;")
    return path[1:-1] if len(path) > 2 and path[:1] == path[-1:] == b'"' else path


def _assigned(rest: bytes) -> bytes:
    """Take the path out of CurrentDir=path."""
    return rest.removeprefix(b"CurrentDir=")


_PATH: Final[dict[bytes, Callable[[bytes], bytes]]] = {b"7": _in_url, b"9": _in_quotes, b"1337": _assigned}


def _folder(path: str) -> str | None:
    return path if path and "\0" not in path else None


def _exit_code(argument: bytes) -> int | None:
    return int(argument) if _EXIT_CODE.fullmatch(argument) else None


def _text(argument: bytes) -> str:
    return argument.decode("utf-8", "replace")


def _unescaped(argument: bytes, errors: str = "replace") -> str:
    """Undo ``\\\\`` and ``\\xAB`` in one pass; any other escape stays as it is."""
    text = argument.decode("utf-8", errors)
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", text)
