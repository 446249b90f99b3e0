"""`Pass`: one reconciliation that is under way, whose jobs a thread does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from .looking import Job
from .reconcile import Reconciliation


class Pass:
    """Advanced step by step; between two steps it may be closed, or wait for what its `job` gives."""

    def __init__(self, one: Reconciliation) -> None:
        self.one = one
        self.watch = one.watch
        self.job: Job | None = None
        """What a thread has to do before the next step."""
        self._steps = one.steps()
        self._next: Callable[[], Any] = partial(next, self._steps)
        self._go_on: Callable[[], Any] = self._next

    def step(self) -> bool:
        """Go on to the next pause, or job; whether it is not yet over. Raises as `Reconciliation.steps`."""
        assert self.job is None
        go_on, self._go_on = self._go_on, self._next
        try:
            self.job = go_on()
        except StopIteration:
            return False
        return True

    async def do_job(self, threads: trio.CapacityLimiter) -> None:
        """Have a thread do it, however long that takes. Cancelled at any time; the thread is then left alone."""
        job, self.job = self.job, None
        assert job is not None
        try:
            answer = await trio.to_thread.run_sync(job, abandon_on_cancel=True, limiter=threads)
        except OSError as error:
            self._go_on = partial(self._steps.throw, error)
        else:
            self._go_on = partial(self._steps.send, answer)

    def close(self) -> None:
        """It goes on no more."""
        self._steps.close()
