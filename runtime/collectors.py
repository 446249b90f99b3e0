"""Where error reports go. A collector is anything that can be called with an `ErrorReport`.

It is called in the loop, so it must be quick; what has to wait is for an actor, which the collector may cast to. One
that raises is told of once, counted, and harms nobody.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TypeAlias

import attrs
import orjson
from loguru import logger

from ..actors.errors import SpecError
from ..actors.shorten import short
from .error_report import ErrorReport, error_text

KEPT = 100
"""Reports that the ring remembers,"""
BYTES = 64 * 1024
"""or fewer, where they are big."""
LARGEST = 1024 * 1024
"""Bytes of a file of reports; then it is put aside."""

Collector: TypeAlias = Callable[[ErrorReport], object]


class MemoryRing:
    """The last reports."""

    def __init__(self, kept: int = KEPT, largest: int = BYTES) -> None:
        self._kept = kept
        self._largest = largest
        self._size = 0
        self._reports: deque[ErrorReport] = deque()

    def __call__(self, report: ErrorReport) -> None:
        """Remember a report, and as many of those before it as there is room for."""
        self._reports.append(report)
        self._size += report.size
        while len(self._reports) > self._kept or (self._size > self._largest and len(self._reports) > 1):
            self._size -= self._reports.popleft().size

    def last(self, most: int = KEPT) -> list[ErrorReport]:
        """The last ones, oldest first."""
        return list(self._reports)[-most:] if most > 0 else []


def to_log(report: ErrorReport) -> None:
    """Write a report to the log, at DEBUG: that an actor crashed, and of what, stands there as a warning already."""
    more = f" ({report.held_back} more before it)" if report.held_back else ""
    logger.bind(actor=report.path).debug("crash in {}{}\n{}", report.method, more, report.traceback)


@attrs.frozen
class JsonLines:
    """Appends reports to a file, a line of JSON each, for its owner's eyes only (0600).

    A file that would grow beyond `largest` bytes is put aside as `NAME.1`, in place of the one that was there.
    """

    path: Path = attrs.field(converter=Path)
    largest: int = LARGEST

    def __call__(self, report: ErrorReport) -> None:
        """Append a report, whole or not at all. Raises OSError."""
        line = _json(report) + b"\n"
        if self._size() + len(line) > self.largest:
            self._put_aside()
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":  # left by one that was cut off
                line = b"\n" + line
            written = os.write(fd, line)
            if written < len(line):
                os.ftruncate(fd, size)
                raise OSError(28, f"only {written} of {len(line)} bytes of a report could be written", str(self.path))
        finally:
            os.close(fd)

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _put_aside(self) -> None:
        try:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        except FileNotFoundError:
            pass


@attrs.define(eq=False)
class Collectors:
    """Several collectors, of which none can harm the others."""

    collectors: tuple[Collector, ...]
    failures: dict[str, int] = attrs.field(factory=dict, init=False)
    """How often each has raised, by its repr."""

    def __attrs_post_init__(self) -> None:
        for collector in self.collectors:
            if not callable(collector) or iscoroutinefunction(collector):
                raise SpecError(f"a collector is a plain function of an ErrorReport, not {collector!r}")

    def __call__(self, report: ErrorReport) -> None:
        """Hand a report to each of them."""
        for collector in self.collectors:
            try:
                collector(report)
            except BaseException as error:  # even SystemExit: it would end all services of the runtime
                self._failed(collector, error)

    def _failed(self, collector: Collector, error: BaseException) -> None:
        name = short(collector)
        self.failures[name] = self.failures.get(name, 0) + 1
        if self.failures[name] == 1:
            logger.error("the collector {} of error reports fails: {}", name, error_text(error))


def _json(report: ErrorReport) -> bytes:
    data = attrs.asdict(report)
    try:
        return orjson.dumps(data)
    except TypeError:  # text that is no UTF-8, such as the name of a file
        return json.dumps(data, default=str, skipkeys=True).encode()
