"""The mailbox: a bounded queue that belongs to the cell, so that it survives its actor.

`queue` holds what waits; `room` is how long it may grow. Stashed messages count against the room, notices do not, and a
message whose caller has gone (a *ghost*) gives its place back at once; all this moves `room`, so that the common path
compares two numbers. It is negative where much is stashed. Senders that wait for room keep their place in `waiting`
(rule M2): while anyone waits the queue is full, so a cast can't overtake them. A closed mailbox has no room at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from .messages import Call, Message, Notice


class Sender:
    """A `send` that waits for room."""

    __slots__ = ("gone", "mailbox", "refused", "task")

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.task: Task | None = None
        self.refused = False
        self.gone = False

    async def wait(self) -> bool:
        """Whether the message was taken into the queue; False if the mailbox closed meanwhile."""
        self.task = current_task()
        await wait_task_rescheduled(self._abort)
        return not self.refused

    def wake(self, *, refused: bool = False) -> None:
        """The message was taken, or refused."""
        self.refused = refused
        if self.task is not None:
            task, self.task = self.task, None
            reschedule(task)

    def _abort(self, _: RaiseCancelT) -> Abort:
        self.task = None
        self.gone = True
        self.mailbox.forget_waiting()
        return Abort.SUCCEEDED


class Mailbox:
    """What waits for one cell, in arrival order."""

    __slots__ = ("bound", "ghosts", "gone", "is_closed", "queue", "room", "stashed", "waiting")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.room = bound
        self.is_closed = False
        """Whether it takes nothing."""
        self.queue: deque[Message] = deque()
        self.waiting: deque[tuple[Message, Sender | None]] | None = None
        self.stashed = 0
        self.ghosts = 0
        self.gone = 0

    def __len__(self) -> int:
        return len(self.queue) - self.ghosts + self.stashed

    @property
    def is_full(self) -> bool:
        """Whether a cast would be refused."""
        return len(self.queue) >= self.room

    def put_call(self, message: Message, call: Call) -> None:
        """Queue a call; with no room, it waits its turn to be queued (its caller waits for the reply anyway)."""
        if len(self.queue) < self.room:
            call.queued = True
            self.queue.append(message)
        else:
            self._wait(message, None)

    def put_probe(self, message: Message) -> None:
        """Queue a call though the mailbox is closed: the probe of a half-open circuit."""
        if message[3] is not None:
            message[3].queued = True
        self.queue.append(message)

    def put_waiting(self, message: Message) -> Sender:
        """Give a send its place; await the result to learn whether it got in."""
        sender = Sender(self)
        self._wait(message, sender)
        return sender

    def _wait(self, message: Message, sender: Sender | None) -> None:
        if self.waiting is None:
            self.waiting = deque()
        self.waiting.append((message, sender))

    def calls(self) -> list[Call]:
        """The calls that wait for an answer, those that wait for room too."""
        waiting = (message for message, _ in self.waiting or ())
        return [m[3] for m in (*self.queue, *waiting) if m[3] is not None and not m[3].settled]

    def admit(self) -> None:
        """Hand free places over to those who wait, in their order."""
        waiting = self.waiting
        while waiting and len(self.queue) < self.room:
            entry = waiting.popleft()
            if _has_gone(entry):
                self.gone -= 1
                continue
            message, sender = entry
            if message[3] is not None:
                message[3].queued = True
            self.queue.append(message)
            if sender is not None:
                sender.wake()

    def withdraw(self, call: Call) -> None:
        """A caller has gone before its message was taken: the message will never run, and its place is free."""
        if self.is_closed:
            return
        if not call.queued:
            self.forget_waiting()
            return
        self.ghosts += 1
        self.room += 1
        if self.ghosts > 64 and self.ghosts * 2 > len(self.queue):
            self._bury()
        self.admit()

    def forget_waiting(self) -> None:
        """One of those who wait for room has gone; its entry is dropped later, when such entries are many."""
        self.gone += 1
        if self.waiting and self.gone > 64 and self.gone * 2 > len(self.waiting):
            self.waiting = deque(entry for entry in self.waiting if not _has_gone(entry))
            self.gone = 0

    def put_notice(self, notice: Call) -> None:
        """Queue what is settled already, beyond any bound, and whether or not it is closed."""
        self.ghosts += 1
        if not self.is_closed:
            self.room += 1
        self.queue.append((notice.method, (), {}, notice))

    def bury_one(self) -> None:
        """A ghost was taken from the queue."""
        if self.ghosts:
            self.ghosts -= 1
            if not self.is_closed:
                self.room -= 1

    def _bury(self) -> None:
        live = [m for m in self.queue if m[3] is None or not m[3].settled or type(m[3]) is Notice]
        buried = len(self.queue) - len(live)
        self.queue.clear()
        self.queue.extend(live)
        self.ghosts -= buried
        self.room -= buried

    def stash(self) -> None:
        """One more message is stashed elsewhere; it keeps its place in the bound."""
        self.stashed += 1
        self.room -= 1

    def unstash(self, messages: list[Message]) -> None:
        """Stashed messages go back to the front, in the order in which they were stashed."""
        self.queue.extendleft(reversed(messages))
        if not self.is_closed:
            self.room += len(messages)
        self.stashed -= len(messages)

    def close(self) -> Iterator[Message]:
        """Take nothing more; yield what was queued and not yet handled. Senders that wait are refused."""
        left = [*self.queue, *self._shut()]
        self.queue.clear()
        self.stashed = 0
        return (m for m in left if m[3] is None or not m[3].settled)

    def shut(self) -> list[Message]:
        """Take nothing more, but keep the casts; the calls that were queued. Senders that wait are refused."""
        calls = [m for m in (*self.queue, *self._shut()) if m[3] is not None and not m[3].settled]
        kept = [m for m in self.queue if m[3] is None]
        self.queue.clear()
        self.queue.extend(kept)
        return calls

    def _shut(self) -> list[Message]:
        self.is_closed = True
        self.room = -1
        self.ghosts = self.gone = 0
        waiting, self.waiting = self.waiting or (), None
        left: list[Message] = []
        for message, sender in waiting:
            if sender is None:
                left.append(message)
            elif not sender.gone:
                sender.wake(refused=True)
        return left

    def take_from(self, other: Mailbox) -> None:
        """Queue what waits in another mailbox, behind what waits in this one."""
        for message in other.queue:
            if type(message[3]) is Notice:
                self.put_notice(message[3])
            elif message[3] is None or not message[3].settled:
                self.queue.append(message)
        other.queue.clear()

    def open(self) -> None:
        """Take messages again, after `close`."""
        if self.is_closed:
            self.is_closed = False
            self.room = self.bound + self.ghosts - self.stashed


def _has_gone(entry: tuple[Message, Sender | None]) -> bool:
    (_, _, _, call), sender = entry
    return (call is not None and call.settled) or (sender is not None and sender.gone)
