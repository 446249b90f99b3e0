"""Crash dumps: a JSON file for whatever ends a program, or part of it, that nobody had foreseen."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import attrs
from loguru import logger

MOST = 20
"""Dumps that are kept; the oldest go first."""
_number = count(1)


@attrs.frozen
class CrashDump:
    """What is written: where, what, the traceback, and the state of the actor if there is one."""

    time: str
    pid: int
    origin: str
    """"main", "thread NAME", "unraisable", "stalled loop", or an actor's path."""
    location: str
    """file:line of the innermost frame."""
    message: str
    traceback: list[str]
    python: str = sys.version.split()[0]
    argv: tuple[str, ...] = ()
    state: Mapping[str, str] = attrs.field(factory=dict)
    """The actor's attributes, as text."""
    message_in_hand: str | None = None
    last_messages: tuple[str, ...] = ()
    """What the actor had taken last, oldest first."""

    @classmethod
    def of(cls, origin: str, error: BaseException, **more: Any) -> CrashDump:
        """A dump of an exception."""
        return cls(
            time=datetime.now(UTC).isoformat(),
            pid=os.getpid(),
            origin=origin,
            location=location_of(error),
            message=message_of(error),
            traceback=traceback.format_exception(error),
            argv=tuple(sys.argv),
            **more,
        )

    def write(self, folder: Path) -> Path:
        """Write it whole or not at all, mode 0600; drop the oldest dumps. Returns the file."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        file = folder / f"crash-{stamp}-{self.pid}-{next(_number):04}.json"
        unfinished = file.with_suffix(".part")
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as out:
                json.dump(attrs.asdict(self), out, indent=1)
            unfinished.rename(file)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        for old in sorted(folder.glob("crash-*.json"))[:-MOST]:
            old.unlink(missing_ok=True)
        return file


def location_of(error: BaseException) -> str:
    """file:line of the frame that raised it; "unknown" without a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}:{frames[-1].colno or 0}" if frames else "unknown"


def message_of(error: BaseException) -> str:
    """The exception in a line, or `Unknown panic` for one that says nothing."""
    text = str(error)
    if text:
        return f"{type(error).__name__}: {text}"
    return type(error).__name__ if type(error) is not Exception else "Unknown panic"


class CrashHook:
    """Catches what nobody handled: in the main thread, in other threads, in finalizers.

    Each leaves a dump and a line in the log, and asks the program to stop in order (`then`). Use as a context.
    """

    def __init__(self, folder: Path, then: Callable[[], None]) -> None:
        self.folder = folder
        self.count = 0
        self._then = then

    def __enter__(self) -> CrashHook:
        self._before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        sys.excepthook = lambda kind, error, tb: self.caught("main", error)
        threading.excepthook = self._in_thread
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._before

    def caught(self, origin: str, error: BaseException) -> Path | None:
        """Dump, log, and ask to stop; the dump's file, or None if none could be written."""
        self.count += 1
        logger.critical("PANIC at {}: {}", location_of(error), message_of(error))
        file = self.dump(CrashDump.of(origin, error))
        self._then()
        return file

    def dump(self, dump: CrashDump) -> Path | None:
        """Write a dump; a full disk is told in the log, and does not hide what is being dumped."""
        try:
            file = dump.write(self.folder)
        except OSError as error:
            logger.error("no crash dump could be written to {}: {}", self.folder, error)
            return None
        logger.info("crash dump: {}", file)
        return file

    def _in_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            self.caught(f"thread {args.thread.name if args.thread else '?'}", args.exc_value)

    def _unraisable(self, unraisable: Any) -> None:
        error = unraisable.exc_value or unraisable.exc_type(unraisable.err_msg or "")
        self.caught("unraisable", error)
