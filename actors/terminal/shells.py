"""Which shells are tried for a terminal, and in which order: pure decisions, of what is asked for and what there is.

First the one that was asked for; then the others that are configured; then the system's own; at last the least that can
be had: /bin/sh, which reads no file of the user's and is told that its terminal can do nothing.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from .integration import Launch, launch
from .modes import Mode

CONFIGURED: Final = ("bash", "zsh", "fish")
"""The shells that are tried where nothing else is configured."""
SYSTEM: Final = "/bin/sh"
MINIMAL: Final = "minimal"
_START_UP_FILES: Final = ("ENV", "BASH_ENV")  # what tells a POSIX shell to read a file


@attrs.frozen
class Choice:
    """One shell that may be started, and what a terminal with it lacks."""

    shell: str
    mode: Mode = "full"

    @property
    def name(self) -> str:
        """What it is called, as a fallback."""
        return MINIMAL if self.is_last else self.shell

    @property
    def is_last(self) -> bool:
        """Whether there is nothing to be tried after it."""
        return self.mode == "minimal"


def choices(
    asked: str, configured: Iterable[str], system: Iterable[str], *, program: Callable[[str], str]
) -> tuple[Choice, ...]:
    """What is tried, in order, and no program twice but for the last; `program` says which one a shell's name means."""
    seen = {program(asked)}
    found = [Choice(asked)]
    for shell in (*configured, *system):
        if program(shell) not in seen:
            seen.add(program(shell))
            found.append(Choice(shell, "another shell"))
    return (*found, Choice(SYSTEM, "minimal"))


def choices_here(asked: str, configured: Iterable[str], env: Mapping[str, str]) -> tuple[Choice, ...]:
    """What is tried for a terminal with this environment on this machine."""

    def program(shell: str) -> str:
        try:
            return os.path.realpath(shutil.which(shell, path=env.get("PATH")) or shell)
        except ValueError:  # a NUL in it: it means no program
            return shell

    return choices(asked, configured, system_shells(env), program=program)


def system_shells(env: Mapping[str, str]) -> tuple[str, ...]:
    """The shells that this system names as the user's, then the one that every system has."""
    named = [env.get("SHELL", "")]
    try:
        named.append(pwd.getpwuid(os.getuid()).pw_shell)
    except KeyError:
        pass  # a user without an entry
    return (*filter(None, named), SYSTEM)


def launch_of(choice: Choice, *, nonce: str, env: Mapping[str, str]) -> Launch:
    """How a choice is started."""
    if not choice.is_last:
        return launch(choice.shell, nonce=nonce, env=env)
    plain = launch(choice.shell, nonce=nonce, env={name: env[name] for name in env if name not in _START_UP_FILES})
    return attrs.evolve(plain, env=plain.env | {"TERM": "dumb"})


def folder_of(choice: Choice, folder: str | None) -> str | None:
    """Where a choice is started: in the terminal's folder; the last one in the nearest above it that can be entered."""
    if not choice.is_last or folder is None:
        return folder
    above = (Path(folder), *Path(folder).parents)
    return next((str(each) for each in above if each.is_dir() and os.access(each, os.X_OK)), None)
