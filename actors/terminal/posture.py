"""What a shell does, as the system sees it, which has no markers to go by; and what is concluded from that.

A shell that says nothing may be busy, may have been replaced by another program (`exec`), or may be back at its prompt
without a word, since its hooks are gone. Who has the terminal, and whether its line is edited key by key, tells.
"""

from __future__ import annotations

import os
from typing import TypeAlias

import attrs

from .integration import Kind
from .texts import HOT_SECONDS, INTEGRATION_TIMEOUT

Program: TypeAlias = tuple[str, bytes]
"""What runs in a process: the file, and its arguments."""

_PROMPT_STARTS: dict[Kind, bytes] = {"bash": b"\x1b[?2004h", "zsh": b"\x1b[?2004h", "fish": "⏎".encode()}
"""What a shell sends at a prompt: its line editor begins, and pasted text is to be bracketed (so at `read -e`). fish
has a line editor for each `read`, too, but looks only before a prompt whether the output has ended in a newline."""
_LONGEST_PROMPT = 4096
"""Bytes at the end of what was printed in which a prompt begins."""


@attrs.frozen
class Posture:
    """What a shell's process and terminal look like at one moment."""

    is_replaced: bool
    """Another program runs in the shell's process."""
    has_terminal: bool
    """The shell itself is in the foreground: no program that it has started."""
    edits_line: bool
    """Keys are read one by one."""
    is_stopped: bool = False
    """The shell does nothing until it is continued (SIGSTOP)."""


def program_of(pid: int) -> Program | None:
    """What runs in a process; None if it has ended or can't be looked at."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as arguments:
            return os.readlink(f"/proc/{pid}/exe"), arguments.read()
    except OSError:
        return None


def is_stopped(pid: int) -> bool:
    """Whether a process does nothing until it is continued; False if it can't be looked at."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False


def looks_like_prompt(output: bytes, kind: Kind) -> bool:
    """Whether this may be a prompt without markers."""
    start = _PROMPT_STARTS.get(kind)
    return start is not None and output.rfind(start, -_LONGEST_PROMPT) >= 0


def why_unmarked(
    posture: Posture, *, quiet: float, typed: float | None, has_prompted: bool, in_prompt: bool = False
) -> str | None:
    """Why a command's end will never be marked, or the next prompt's; None while it still may.

    `quiet` and `typed` are seconds since it last printed something, and since it was typed and has not begun (None:
    it has). `has_prompted`: in the middle of it there came what looks like a prompt, which a program may print, too.
    `in_prompt`: there is no command, but a prompt that has begun and not ended.
    """
    if quiet < HOT_SECONDS or posture.is_stopped:
        return None
    if posture.is_replaced:
        return "another program runs in place of the shell"
    if in_prompt:
        reads_lines = posture.has_terminal and not posture.edits_line and quiet >= INTEGRATION_TIMEOUT
        return "the shell does not edit its lines any more" if reads_lines else None
    if typed is not None:
        return "the shell does not say that the command begins" if typed >= INTEGRATION_TIMEOUT else None
    is_back = has_prompted and posture.has_terminal and posture.edits_line
    return "the shell does not say that the command has ended" if is_back else None
