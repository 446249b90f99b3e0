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

_EDITOR_STARTS = b"\x1b[?2004h"
"""What a line editor sends when it begins: pasted text is to be bracketed."""
_LONGEST_PROMPT = 4096
"""Bytes at the end of what was printed in which a prompt begins."""
_EDITS_PROMPTS_ONLY: tuple[Kind, ...] = ("bash", "zsh")
"""Shells with a line editor for their prompts (and for `read -e`). fish has one for each `read`, too."""


@attrs.frozen
class Posture:
    """What a shell's process and terminal look like at one moment."""

    is_replaced: bool
    """Another program runs in the shell's process."""
    has_terminal: bool
    """The shell itself is in the foreground: no program that it has started."""
    edits_line: bool
    """Keys are read one by one."""


def program_of(pid: int) -> Program | None:
    """What runs in a process; None if it has ended or can't be looked at."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as arguments:
            return os.readlink(f"/proc/{pid}/exe"), arguments.read()
    except OSError:
        return None


def looks_like_prompt(output: bytes, kind: Kind) -> bool:
    """Whether this may be a prompt without markers: its line editor begins."""
    return kind in _EDITS_PROMPTS_ONLY and output.rfind(_EDITOR_STARTS, -_LONGEST_PROMPT) >= 0


def why_unmarked(posture: Posture, *, quiet: float, typed: float | None, has_prompted: bool) -> str | None:
    """Why a command's end will never be marked; None while it still may.

    `quiet` and `typed` are seconds since it last printed something, and since it was typed and has not begun (None:
    it has). `has_prompted`: in the middle of it there came what looks like a prompt, which a program may print, too.
    """
    if quiet < HOT_SECONDS:
        return None
    if posture.is_replaced:
        return "another program runs in place of the shell"
    if typed is not None:
        return "the shell does not say that the command begins" if typed >= INTEGRATION_TIMEOUT else None
    is_back = has_prompted and posture.has_terminal and posture.edits_line
    return "the shell does not say that the command has ended" if is_back else None
