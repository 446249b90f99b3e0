"""What the user is told, character for character, and when a command counts as busy."""

import re
import signal
from typing import Final

INTEGRATION_TIMEOUT: Final = 5.0
"""Seconds that a shell has for its first marker."""

OUTPUT_UNAVAILABLE: Final = "Command was submitted; output is not available, as shell integration is inactive."
STATUS_UNKNOWN: Final = (
    "<shell integration is not available, so terminal output and command execution status is unknown>"
)
INTERRUPTED: Final = "The command was interrupted before it began."
INTEGRATION_FAILED: Final = "Command failed to execute in terminal due to a shell integration error."
NO_SHELLS: Final = "No available shells"

MAX_CHARACTERS: Final = 50_000
MAX_LINES: Final = 500
HEAD_SHARE: Final = 0.2
"""How much of an output that is too long is its beginning; the rest of what is kept is its end."""

HOT_SECONDS: Final = 2.0
BUSY_SECONDS: Final = 15.0

_BUSY = re.compile(r"compiling|building|bundling|transpiling|generating|starting", re.IGNORECASE)
_CORE_DUMPED: Final = frozenset({3, 4, 6, 7, 8, 11})


def integration_missing(seconds: float = INTEGRATION_TIMEOUT) -> str:
    r"""Say that no marker came in time. The \x1b in it is four characters."""
    return (
        rf"Shell integration initialization sequence '\x1b]633;A' was not received within {seconds:g}s. "
        "Shell integration has been disabled for this terminal instance. "
        "Increase the timeout in the settings if necessary."
    )


def working_directory_missing(folder: str) -> str:
    """Say that the folder to start in is not there."""
    return f"Working directory '{folder}' does not exist."


def creation_failed(shell: str, error: Exception | str) -> str:
    """Say that a shell could not be started on a terminal of its own."""
    return f"PTY creation failed for {shell}: {error}"


def timed_out(seconds: float) -> str:
    """Say that a command took longer than it was given."""
    return f"Command execution timed out after {round(seconds * 1000)}ms"


def signal_of(exit_code: int) -> int | None:
    """Return the number of the signal that an exit code tells of: 128 + N from a shell, -N from the system."""
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if exit_code > 128 else None


def signal_name(number: int) -> str:
    """Return SIGTERM for 15; a number that is no signal is named too."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"Unknown Signal ({number})"


def exit_status(exit_code: int) -> str:
    """Say how a command ended."""
    number = signal_of(exit_code)
    if number is not None:
        core = " - core dump possible" if number in _CORE_DUMPED else ""
        return f"Process terminated by signal {signal_name(number)}{core}"
    failed = "Command execution was not successful, inspect the cause and adjust as needed.\n" if exit_code else ""
    return f"{failed}Exit code: {exit_code}"


def truncated(output: str, *, characters: int = MAX_CHARACTERS, lines: int = MAX_LINES) -> str:
    """Return `output` itself, or its head and tail around a note if it has too many characters, else too many lines."""
    if (omitted := len(output) - characters) > 0:
        head = int(characters * HEAD_SHARE)
        return f"{output[:head]}\n[...{omitted} characters omitted...]\n{output[head + omitted :]}"
    all_lines = output.split("\n")
    if (omitted := len(all_lines) - lines) > 0:
        head = int(lines * HEAD_SHARE)
        first = "".join(f"{line}\n" for line in all_lines[:head])
        return f"{first}\n[...{omitted} lines omitted...]\n\n" + "\n".join(all_lines[head + omitted :])
    return output


def hot_seconds(output: str) -> float:
    """Return for how many seconds of silence after `output` its command still counts as busy."""
    return BUSY_SECONDS if _BUSY.search(output) else HOT_SECONDS
