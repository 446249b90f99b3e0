"""How a shell is started so that it marks its commands, and how a command is typed at its prompt.

bash, zsh and fish read a script of ours (in `shell/`) besides the user's own files. From then on they say, in OSC 633:

    P;Cwd=…;nonce  D;exit code;nonce  A;nonce   what ran has ended, a prompt starts (no exit code: nothing ran)
    B;nonce                                     the prompt has ended: the shell reads, and only now may be typed at
    E;command line;nonce  C;nonce               the command starts, all that follows until P and D is its output

A prompt that is drawn again (another window size, ^L) says B again. A nested shell is not integrated: what happens in
it, or on a remote host, is output. After `exec` there is no more D.

The nonce tells the shell's own markers from any that a program's output may hold. It travels in the environment and is
taken out of it at once: that keeps accidents out, not a process of the same user that wants to look like the shell.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["bash", "zsh", "fish", "sh"]
"""How a shell is spoken to. sh is dash and every shell unknown here: it is started as it is and sends no markers."""
INTEGRATED: Final[tuple[Kind, ...]] = ("bash", "zsh", "fish")
"""The shells that mark their commands."""

TERM: Final = "xterm-256color"
MAX_LINE: Final = 4095
"""Bytes of a line, without its end, that a terminal takes for a shell that does not edit its lines (sh)."""

_SCRIPTS: Final = Path(__file__).resolve().parent / "shell"
_FOREIGN: Final = ("COLUMNS", "LINES", "TERM_PROGRAM_VERSION")  # what another terminal said of itself
_INTRODUCED: Final[dict[Kind, str]] = {"bash": "", "zsh": "", "fish": "__ukemi_C; "}
_PASTE: Final[dict[Kind, bytes]] = {"bash": b"\x1b[200~", "zsh": b"\x1b[633~", "fish": b"\x1b[24;6~"}
_ENTER: Final[dict[Kind, bytes]] = {"bash": b"\x1b[201~\x1b[633~\r", "zsh": b"\x1b[201~", "fish": b"\r"}
"""`ESC [ 633 ~` is a key of our own, and for fish, which may know no such key, it is F12 with control and shift: see
the scripts."""


@attrs.frozen
class Launch:
    """What to start: the arguments and the whole environment."""

    kind: Kind
    argv: tuple[str, ...]
    env: dict[str, str]

    @property
    def integrated(self) -> bool:
        """Whether markers are to be expected. They may still not come: an old bash, an `exec` in the user's files."""
        return self.kind != "sh"


def kind_of(shell: str) -> Kind:
    """Return how to speak to a shell, by its file's name."""
    match Path(shell).name:
        case "bash" | "zsh" | "fish" as kind:
            return kind
        case _:
            return "sh"


def launch(shell: str, *, nonce: str, env: Mapping[str, str], login: bool = False) -> Launch:
    """Return how to start `shell`, a name or a path, interactive and integrated.

    `env` is the environment to start from; what it says about another terminal is replaced. `nonce` is letters, digits
    and hyphens, new for each shell. A `login` shell reads the files that a log-in reads; bash does not know it is one.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+", nonce):
        raise ValueError(f"a nonce is letters, digits and hyphens, not {nonce!r}")
    kind = kind_of(shell)
    ours = {name: value for name, value in env.items() if name not in _FOREIGN}
    ours |= {"TERM": TERM, "TERM_PROGRAM": "ukemi"}
    if kind != "sh":
        ours["UKEMI_NONCE"] = nonce
    match kind:
        case "bash":
            if login:
                ours["UKEMI_LOGIN"] = "1"
            return Launch(kind, (shell, "--init-file", str(_SCRIPTS / "bash.sh"), "-i"), ours)
        case "zsh":
            if "ZDOTDIR" in ours:
                ours["UKEMI_ZDOTDIR"] = ours["ZDOTDIR"]
            ours["ZDOTDIR"] = str(_SCRIPTS / "zdotdir")
            return Launch(kind, (shell, "-il" if login else "-i"), ours)
        case "fish":
            source = "source " + _quoted_for_fish(str(_SCRIPTS / "fish.fish"))
            return Launch(kind, (shell, "--init-command", source, *(["--login"] if login else [])), ours)
        case "sh":
            return Launch(kind, (shell, *(["-l"] if login else [])), ours)


def encode_command(command: str, kind: Kind) -> bytes:
    """Return what to type for `command` at a prompt, Enter included, so that the shell takes it as one unit.

    To an integrated shell that is one line of printable ASCII that is typed like a paste: no key binding, completion or
    abbreviation touches it. A plain command is typed as it is. Any other (several lines, special characters, `!`,
    nested quotes, whatever might be incomplete) is typed as `eval` of one quoted word. So every command begins and ends
    once, with one C and one D; ^C ends all of it; a syntax error is output and an exit code; a quote or here-document
    that is left open does not make the shell wait for more.

    sh gets the lines as they are, in quotes if there are several, and control characters are quoted for the terminal.

    Raises ValueError for a NUL, and for sh for a line of more than `MAX_LINE` bytes: the terminal would cut it.
    """
    if "\0" in command:
        raise ValueError(f"a command cannot hold a NUL, and this one does: {command[:80]!r}")
    command = command.rstrip("\n")
    if kind == "sh":
        return _lines_for_sh(command)
    typed = command if len(command) <= MAX_LINE and _PLAIN.fullmatch(command) else _evaluated(command, kind)
    return _PASTE[kind] + (_INTRODUCED[kind] + typed).encode("ascii") + _ENTER[kind]


_RESERVED: Final = (
    "if|then|elif|else|fi|for|foreach|while|until|do|done|case|esac|select|function|time|coproc|repeat|nocorrect|noglob"
    "|begin|end|switch|and|or|not|exec|return|break|continue"
)
_NAME: Final = rf"(?!(?:{_RESERVED})\b)[\w./~+-]++"
_REDIRECTION: Final = r"\d?(?:>&(?=\d)|>>? ?|< ?)"
_QUOTED: Final = r"""'[ "-&(-\[\]-~]*+'|"[ #%-\[\]-_a-~]*+\""""
_WORD: Final = rf"(?:[\w./~:=,@%+*-]|\$[A-Za-z_]\w*+|{_QUOTED})++"
_COMMAND: Final = rf"{_NAME}(?: ++(?:{_REDIRECTION})?+{_WORD})*+"
_PLAIN: Final = re.compile(rf" *+{_COMMAND}(?: *+(?:\|\|?|&&|;) *+{_COMMAND})*+ *+", re.ASCII)
"""A line that is surely whole and means the same in every shell: words, simple quotes, pipes, lists, redirections."""


def _evaluated(command: str, kind: Kind) -> str:
    """Any command as `eval` of one word.

    bash reads and runs that line by line, as it should: an alias, or an option, that one line sets holds for the next.
    But when ^C has ended a program on one line it would go on to the next, unless it is in a loop.
    """
    if kind == "bash" and _ENDS_IN_BACKSLASH.search(command):
        command = command[:-1]  # else it takes the next command's first line for a part of this one's last
    word = _QUOTED_FOR[kind](command)
    quoted = f"eval {word}" if kind == "fish" else rf"\eval {word}"  # whatever alias there is
    has_lines = kind == "bash" and _SEVERAL_LINES.search(command)
    return f"for __ukemi in 1; do {quoted}; done" if has_lines else quoted


_ENDS_IN_BACKSLASH: Final = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")
_SEVERAL_LINES: Final = re.compile(r"^\s*[^\s#].*\n", re.MULTILINE)


_SHORT: Final = {"\n": r"\n", "\t": r"\t", "\\": r"\\"}
_BYTES: Final = [chr(byte) for byte in range(256)]
_IN_BASH: Final = str.maketrans(
    {byte: _SHORT.get(byte, rf"\x{ord(byte):02x}") for byte in _BYTES if not " " <= byte <= "~" or byte in "'\\!"}
)
_IN_FISH: Final = str.maketrans(
    {byte: "'" + _SHORT.get(byte, rf"\X{ord(byte):02x}") + "'" for byte in _BYTES if not " " <= byte <= "~"}
    | {byte: f"\\{byte}" for byte in "'\\"}
)


def _quoted_for_bash(text: str) -> str:
    """Quote any text as one word of printable ASCII, for zsh too."""
    return f"$'{_latin(text).translate(_IN_BASH)}'"


def _quoted_for_fish(text: str) -> str:
    """Quote any text as one word of printable ASCII. fish knows no escapes but these two between quotes."""
    return f"'{_latin(text).translate(_IN_FISH)}'"


_QUOTED_FOR: Final = {"bash": _quoted_for_bash, "zsh": _quoted_for_bash, "fish": _quoted_for_fish}


def _latin(text: str) -> str:
    """Return the bytes of `text`, one a character; file names that are not UTF-8 come with surrogate escapes."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _lines_for_sh(command: str) -> bytes:
    if "\n" in command:
        command = "eval '" + command.replace("'", r"'\''") + "'"
    lines = command.encode("utf-8", "surrogateescape").split(b"\n")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise ValueError(f"line {number} has {len(line)} bytes; without line editing a terminal takes {MAX_LINE}")
    return b"\n".join(re.sub(rb"[\x01-\x1f\x7f]", lambda key: b"\x16" + key[0], line) for line in lines) + b"\n"
