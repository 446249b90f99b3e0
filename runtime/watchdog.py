"""The watchdog: a thread that notices when trio's loop no longer turns, and says where it stands.

From inside a stalled loop nothing can be seen; so the thread asks the loop to answer every so often, and when no
answer comes in time it looks at the main thread's stack.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from time import monotonic
from types import FrameType

import attrs
import trio

from ..actors.incarnation import Incarnation


@attrs.frozen
class Stall:
    """The loop has not turned for `seconds`."""

    seconds: float
    actor: str | None
    """The actor whose handler is running, if it can be told."""
    location: str
    stack: list[str]


class Watchdog:
    """Watches the loop of the thread that enters it. `on_stall` and `on_recovery` are called in its own thread.

    `interval` and `patience` are in seconds: how often it asks, and how long it waits for the answer.
    """

    def __init__(
        self,
        on_stall: Callable[[Stall], object],
        on_recovery: Callable[[float], object],
        *,
        interval: float = 1.0,
        patience: float = 2.0,
    ) -> None:
        self.stalls = 0
        self._on_stall = on_stall
        self._on_recovery = on_recovery
        self._interval = interval
        self._patience = patience
        self._answered = threading.Event()
        self._ended = threading.Event()

    def __enter__(self) -> Watchdog:
        self._token = trio.lowlevel.current_trio_token()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="ukemi watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._answered.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            self._answered.clear()
            asked = monotonic()
            try:
                self._token.run_sync_soon(self._answered.set)
            except trio.RunFinishedError:
                return
            if not self._answered.wait(self._patience) and not self._ended.is_set():
                self.stalls += 1
                self._on_stall(self._look(monotonic() - asked))
                self._answered.wait()
                if not self._ended.is_set():
                    self._on_recovery(monotonic() - asked)

    def _look(self, seconds: float) -> Stall:
        frame = sys._current_frames().get(self._watched)
        stack = traceback.extract_stack(frame)
        location = f"{stack[-1].filename}:{stack[-1].lineno} in {stack[-1].name}" if stack else "unknown"
        return Stall(seconds, _actor_of(frame), location, traceback.format_list(stack))


def _actor_of(frame: FrameType | None) -> str | None:
    """The innermost frame that runs an actor's code knows whose it is: its message, hook, or background task."""
    while frame is not None:
        for name in ("life", "self"):
            life = frame.f_locals.get(name)
            if isinstance(life, Incarnation):
                return life.cell.path
        frame = frame.f_back
    return None
