"""Why an incarnation ended, and how groups of exceptions become one plain reason (rule X3)."""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs


class Exit(enum.StrEnum):
    """The reasons that are no exception."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    KILLED = "killed"
    NOPROC = "noproc"
    """Only in a `Down`: there was nothing to watch."""


@attrs.frozen
class Shutdown:
    """A normal-class exit with a detail (OTP's `{shutdown, Detail}`)."""

    detail: str


Reason: TypeAlias = Exit | Shutdown | BaseException


def is_abnormal(reason: Reason) -> bool:
    """Whether a transient child is restarted after it, and whether it crosses links (OTP)."""
    return isinstance(reason, BaseException) or reason is Exit.KILLED


def describe(reason: Reason) -> str:
    """One line for messages and reports."""
    if isinstance(reason, BaseException):
        try:
            text = str(reason)
        except Exception as error:  # what crashes an actor must not stop those who tell of it
            return f"{type(reason).__name__}, whose text raises {type(error).__name__}"
        return f"{type(reason).__name__}: {text}" if text else type(reason).__name__
    if isinstance(reason, Shutdown):
        return f"shutdown: {reason.detail}"
    return "it was killed" if reason is Exit.KILLED else str(reason)


def plain(error: BaseException) -> BaseException:
    """The only leaf of a group of one; any other exception, or group of several, as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
