"""SIGINT, SIGTERM and SIGHUP: the first stops the tree in order, the second ends the process at once.

They are counted in the raw handler, since a stalled loop would never see the second one (rule X2). For the same reason
a loop that does not even begin to stop is not waited for: a process that is told to exit exits (rule S13).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

import trio

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 10.0
"""Seconds that a stalled loop has to begin to stop."""


class OrderlySignals:
    """Handles the signals while entered, in the main thread; `stop()` is called in trio's loop at the first one.

    The process's alarm clock (SIGALRM) is used to notice that it is not, within `patience` seconds.
    """

    def __init__(self, stop: Callable[[], object], *, patience: float = PATIENCE) -> None:
        self.received: list[int] = []
        self._stop = stop
        self._patience = patience
        self._before: dict[int, object] = {}

    def __enter__(self) -> OrderlySignals:
        self._token = trio.lowlevel.current_trio_token()
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._stalled)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received.append(number)
        name = signal.Signals(number).name
        if len(self.received) > 1:
            _say(f"a second signal ({name}): ending at once")
            os._exit(128 + number)
        try:
            self._token.run_sync_soon(self._begin)
        except trio.RunFinishedError:
            return
        signal.setitimer(signal.ITIMER_REAL, self._patience)
        _say(f"{name}: stopping in order; once more ends at once")

    def _begin(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._stop()

    def _stalled(self, number: int, _: FrameType | None) -> None:
        _say(f"the loop has not turned for {self._patience:g} s since it was told to stop: ending at once")
        os._exit(128 + self.received[0])


def _say(text: str) -> None:
    """Write to standard error, around Python's own buffer: a signal may come while that is written to."""
    try:
        os.write(2, f"\nukemi: {text}\n".encode())
    except OSError:
        pass  # the terminal has gone, which may be what the signal says
