"""What goes wrong in a terminal. What each is, a policy's classifier knows by its type."""

from __future__ import annotations

from ..errors import UkemiError
from .texts import NO_SHELLS, creation_failed, exit_status, timed_out


class ShellNotStarted(UkemiError):
    """A shell could not be started on a terminal of its own, or has ended before it could take a command."""

    def __init__(self, shell: str, error: Exception | str) -> None:
        super().__init__(creation_failed(shell, error))
        self.shell = shell


class NoShells(UkemiError):
    """Not even the last shell that there is could be started."""

    def __init__(self) -> None:
        super().__init__(NO_SHELLS)


class ShellExited(UkemiError):
    """The shell's process has ended; `status` is its exit code, or the negative number of the signal."""

    def __init__(self, shell: str, status: int) -> None:
        super().__init__(f"{shell} has ended: {how(status)}")
        self.status = status


class ShellLeft(ShellExited):
    """The shell has ended by itself, with an exit code, after its first prompt: as `exit` does it."""


class ShellReplaced(ShellExited):
    """The shell was ended by this runtime, so that another takes its place."""


class ShellIntegrationError(UkemiError):
    """The shell does not mark its commands, or does so no more."""


class CommandTimeout(UkemiError, TimeoutError):
    """A command in the terminal at `path` took longer than its caller allowed."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(timed_out(seconds))
        self.path = path


class CommandLost(UkemiError):
    """The shell of the terminal at `path` has ended before the command did.

    `status` is its exit code, or the negative number of the signal. A command that had not `began` had no effect.
    """

    def __init__(self, path: str, status: int, began: bool) -> None:
        super().__init__(f"the shell of {path} has ended{'' if began else ' before the command began'}: {how(status)}")
        self.path = path
        self.status = status
        self.began = began


def how(status: int) -> str:
    """How a process has ended, in one line."""
    return exit_status(status).splitlines()[-1]
