"""What is known of a failure: the record that a policy decides on, that reports show and that clients are told.

A `Failure` is plain data (the spec's `ClassifiedError`, with text in place of the exception, rule X3), so that it
encodes to JSON and back.
"""

from __future__ import annotations

import enum

import attrs


class Category(enum.StrEnum):
    """What kind of thing has failed (spec, "Error Classification")."""

    TERMINAL = "Terminal"
    FILE_SYSTEM = "FileSystem"
    NETWORK = "Network"
    PARSER = "Parser"
    RESOURCE = "Resource"
    TIMEOUT = "Timeout"
    USER_CANCELLED = "UserCancelled"
    UNKNOWN = "Unknown"
    """None of the spec's: an error of the application that nobody has registered."""


class Severity(enum.StrEnum):
    """How bad it is (spec, "Error Classification"); the worst first."""

    CRITICAL = "Critical"
    RECOVERABLE = "Recoverable"
    WARNING = "Warning"
    INFO = "Info"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@attrs.frozen(kw_only=True)
class Failure:
    """One failure, classified."""

    category: Category
    severity: Severity
    retryable: bool
    """Whether the error is one that may pass by itself."""
    error: str
    """The exception's class."""
    message: str
    """What it says."""
    component: str = ""
    """The path of what has failed, where it is known."""
    fallback_available: bool = False
    """Whether something else can answer in its place."""
    retry_after: float | None = None
    """Seconds after which it says to try again; 0 for at once."""
    begun: bool | None = None
    """Whether what failed had begun, and may have had effects; None: not known."""
