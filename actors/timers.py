"""One mechanism for every deadline and delay of a runtime, since a cancel scope per call costs as much as the call.

Calls that share a timeout share a *lane*: a dict in order of insertion, which is the order of their deadlines. Adding
and removing is a dict operation, and a finished call leaves nothing behind. Everything else (delays, inherited
deadlines) lies in a heap, where a cancelled entry is dropped when it comes up, or when such entries are many.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from math import inf

import trio
from trio.lowlevel import enable_ki_protection

from .messages import Call

_MOST_LANES = 64


class Timer:
    """One entry of the heap: `callback()` is called once `deadline` has passed, unless cancelled."""

    __slots__ = ("_timers", "callback", "deadline", "order")

    def __init__(self, timers: Timers, deadline: float, order: int, callback: Callable[[], object]) -> None:
        self._timers = timers
        self.deadline = deadline
        self.order = order
        self.callback: Callable[[], object] | None = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.deadline, self.order) < (other.deadline, other.order)

    def cancel(self) -> None:
        """Nothing will be called. Harmless when it is over."""
        if self.callback is not None:
            self.callback = None
            self._timers.forget()


class Timers:
    """The deadlines of one runtime, on trio's clock. `run` must be running for anything to come due."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._cancelled = 0
        self._lanes: dict[float, dict[Call, None]] = {}
        self._order = count()
        self._wake_at = inf
        self._scope: trio.CancelScope | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled + sum(map(len, self._lanes.values()))

    def at(self, deadline: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once the deadline has passed. It must not raise."""
        timer = Timer(self, deadline, next(self._order), callback)
        heapq.heappush(self._heap, timer)
        self._wake_by(deadline)
        return timer

    def forget(self) -> None:
        """An entry of the heap was cancelled."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def watch(self, call: Call) -> None:
        """Let the call expire at its deadline, if it has one. To be released when it is over."""
        if call.deadline == inf:
            return
        lane = self._lanes.get(call.seconds)
        if lane is None or call.is_inherited:
            if call.is_inherited or len(self._lanes) >= _MOST_LANES:
                call.timer = self.at(call.deadline, call.expire)
                return
            lane = self._lanes[call.seconds] = {}
        if not lane and call.deadline < self._wake_at:
            self._wake_by(call.deadline)
        lane[call] = None

    def release(self, call: Call) -> None:
        """The call is over."""
        if call.timer is not None:
            call.timer.cancel()
        elif call.deadline != inf:
            self._lanes[call.seconds].pop(call, None)

    def _wake_by(self, deadline: float) -> None:
        if deadline < self._wake_at:
            self._wake_at = deadline
            if self._scope is not None:
                self._scope.deadline = deadline

    @enable_ki_protection
    async def run(self) -> None:
        """Expire what is due, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._wake_at) as self._scope:
                await trio.sleep_forever()
            self._expire(trio.current_time())
            self._wake_at = self._earliest()

    def _expire(self, now: float) -> None:
        for lane in self._lanes.values():
            due = []
            for call in lane:
                if call.deadline > now:
                    break
                due.append(call)
            for call in due:
                del lane[call]
                call.expire()
        heap = self._heap
        while heap and heap[0].deadline <= now:
            timer = heapq.heappop(heap)
            callback, timer.callback = timer.callback, None
            if callback is None:
                self._cancelled -= 1
            else:
                callback()

    def _earliest(self) -> float:
        lanes = (next(iter(lane)).deadline for lane in self._lanes.values() if lane)
        return min(lanes, default=inf) if not self._heap else min(self._heap[0].deadline, *lanes, inf)
