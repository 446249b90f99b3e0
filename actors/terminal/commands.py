"""`Commands`: runs commands in a terminal's shell, one after the other, and tells what they print and how they end.

It types a command only at a prompt (after marker B), takes for its output what comes between C and D, and answers at
D, which follows the marker with the folder. It never repeats a command: when the shell ends under one, the caller is
told how the shell has ended and whether the command had begun. Those that wait their turn wait for the next shell.

No more than `MOST_WAITING` wait: they are stashed, so that they outlive this actor, and what the shell prints has to
come through the same mailbox, in whose bound they count.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs
import trio

from ..actor import Actor
from ..deferred import Reply
from ..errors import Reject, ResourceExhausted, UkemiError
from ..parser.stream import Piece
from ..ref import Ref
from .capture import Capture, Text, TextStream
from .integration import encode_command, kind_of
from .process import PtyProcess
from .settings import TerminalSettings
from .texts import INTEGRATION_TIMEOUT, exit_status, integration_missing, timed_out

MOST_WAITING = 1_000
"""Commands that may wait their turn; well below a mailbox's bound."""
MERCY = 2.0
"""Seconds between the first interrupt of a command that took too long, and the kill."""
AGAIN = 0.25
"""Seconds between interrupts: one that comes while the shell is about to start a program reaches neither."""


class ShellIntegrationError(UkemiError):
    """The shell does not mark its commands."""


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
        how = exit_status(status).splitlines()[-1]
        super().__init__(f"the shell of {path} has ended{'' if began else ' before the command began'}: {how}")
        self.path = path
        self.status = status
        self.began = began


@attrs.frozen
class CommandResult:
    """How a command ended. Times in seconds."""

    output: Text
    exit_code: int | None
    cwd: str | None
    mode: Literal["full"]
    """How much the terminal could tell: with full shell integration, everything."""
    duration: float
    truncated: bool


@attrs.frozen
class OutputChunk:
    """What a running command has just printed; published on the topic `<path of the terminal>/output`."""

    terminal: str
    data: str
    encoding: str


@attrs.define(eq=False)
class _Running:
    """The command in hand."""

    key: str
    reply: Reply
    timeout: float | None
    since: float
    late: bool = False
    patience: Any = None
    """The timer of what is next done about one that takes too long."""
    capture: Capture = attrs.field(factory=Capture)
    stream: TextStream = attrs.field(factory=TextStream)
    fresh: list[bytes] = attrs.field(factory=list)
    """Printed, and not yet published."""

    def end(self) -> None:
        """No time is kept any more."""
        if self.patience is not None:
            self.patience.cancel()


class Commands(Actor):
    """The commands of one terminal. `pty` and `parser` are the actors beside it; `parser` is restarted with it."""

    def __init__(self, settings: TerminalSettings) -> None:
        self._settings = settings
        self._shell = settings.at
        self._kind = kind_of(settings.shell)
        self._running: _Running | None = None
        self._waiting = 0
        """Commands stashed, those whose callers have gone since included."""
        self._consumed = 0
        self._pty: Ref[PtyProcess]

    async def on_start(self) -> None:
        """Learn how far the last incarnation had come; give a new shell its time to show a prompt."""
        self._path = self.ctx.path.rpartition("/")[0]
        self._pty = self.ctx.find("../pty", PtyProcess)
        self._consumed = (await self._pty.call(PtyProcess.not_acknowledged)).offset
        if not self._shell.is_marked:
            self.ctx.after(INTEGRATION_TIMEOUT, self._check_integration)

    def _check_integration(self) -> None:
        if not self._shell.is_marked:
            raise ShellIntegrationError(integration_missing())

    # --- messages

    def execute(self, command: str, timeout: float | None = None, key: str = "") -> CommandResult:
        """Run a command, after those that were asked for before; how it ended.

        `timeout` in seconds: past it the command is interrupted, then its shell is killed, and the caller gets
        CommandTimeout; CommandLost if the shell ends. A caller that goes away does not stop a command that has been
        typed: `give_up` does, by the `key` that it was given here. Rejects what can't be typed with ValueError, and
        with ResourceExhausted what comes when `MOST_WAITING` wait already.
        """
        if not self._shell.at_prompt:
            self._wait_its_turn()
            return None  # type: ignore[return-value]  # answered later
        try:
            typed = encode_command(command, self._kind)
        except ValueError as error:
            raise Reject(error) from None
        self._shell.at_prompt, self._shell.command, self._shell.interrupted = False, "typed", False
        running = self._running = _Running(key, self.ctx.defer(), timeout, trio.current_time())
        self._pty.cast(PtyProcess.write, typed, self._shell.begin)
        if timeout is not None:
            running.patience = self.ctx.after(timeout, self._too_late, running)
        return None  # type: ignore[return-value]  # answered later

    def _wait_its_turn(self) -> None:
        """Stash the command in hand. What was stashed before never finds the room taken: it is asked first."""
        if self._waiting >= MOST_WAITING:
            waiting = self.ctx.ref.stats().waiting  # without those whose callers have gone
            if waiting >= MOST_WAITING:
                raise Reject(ResourceExhausted(f"commands that wait in {self._path}", MOST_WAITING, waiting))
        self._waiting += 1
        self.ctx.stash()

    def interrupt(self) -> None:
        """Do once what ^C does to whatever runs."""
        self._shell.interrupted = True
        self._pty.cast(PtyProcess.interrupt, self._shell.begin)

    def give_up(self, key: str) -> None:
        """Interrupt the command of this key, if it runs, until it has ended or for two seconds."""
        if self._running is not None and self._running.key == key:
            self._interrupt(self._running, trio.current_time() + MERCY)

    def parsed(self, pieces: list[Piece]) -> None:
        """The next pieces of what the shell has printed.

        What was seen before is skipped, and what comes after a gap too: it was sent by a parser that has failed, and
        its successor sends it again, in full.
        """
        for piece in pieces:
            if not piece.begin <= self._consumed < piece.end:
                continue
            if piece.marker is None:
                self._printed(piece.text[self._consumed - piece.begin :])
            elif piece.marker.trusted:
                self._marked(piece.marker.kind, piece.marker.exit_code, piece.marker.cwd)
            self._consumed = piece.end
        if self._running is not None:
            self._publish(self._running)
        self._pty.cast(PtyProcess.acknowledge, self._consumed)

    def shell_ended(self, end: int, status: int) -> None:
        """The shell has ended with this status; what it had printed, up to this offset, came before."""
        if end < self._consumed:
            return
        self._shell.at_prompt = False
        running, self._running = self._running, None
        if running is not None:
            running.end()
            self._publish(running, final=True)
            lost = CommandLost(self._path, status, began=self._shell.command == "begun")
            running.reply.fail(self._timeout(running) if running.late else lost)
        self._pty.cast(PtyProcess.heard, self._shell.begin)

    # --- what the shell says

    def _marked(self, kind: str, exit_code: int | None, cwd: str | None) -> None:
        shell, running = self._shell, self._running
        shell.is_marked = True
        if cwd is not None:
            self._settings.cwd = cwd
        if kind == "C":
            shell.at_prompt, shell.command = False, "begun"
        elif kind == "D" and (shell.command == "begun" or shell.interrupted):
            shell.command, shell.interrupted = "none", False
            if running is not None:
                self._finish(running, exit_code)
        elif kind == "B" and shell.command == "none":
            shell.at_prompt = True
            self._waiting = 0
            self.ctx.unstash()

    def _printed(self, text: bytes) -> None:
        running = self._running
        if running is not None and self._shell.command == "begun":
            running.capture.add(text)
            running.fresh.append(text)

    def _publish(self, running: _Running, *, final: bool = False) -> None:
        """Tell what was printed: once for all that came together, so that many small pieces make no flood."""
        if running.fresh or final:
            text = running.stream.feed(b"".join(running.fresh), final=final)
            running.fresh.clear()
            if text is not None:
                self.ctx.publish(f"{self._path}/output", OutputChunk(self._settings.name, text.data, text.encoding))

    def _finish(self, running: _Running, exit_code: int | None) -> None:
        self._running = None
        running.end()
        self._publish(running, final=True)
        if running.late:
            running.reply.fail(self._timeout(running))
            return
        output, truncated = running.capture.result()
        duration = trio.current_time() - running.since
        running.reply.send(CommandResult(output, exit_code, self._settings.cwd, "full", duration, truncated))

    # --- a command that takes too long

    def _too_late(self, running: _Running) -> None:
        running.late = True
        self._interrupt(running, trio.current_time() + MERCY)

    def _interrupt(self, running: _Running, until: float) -> None:
        running.end()
        self.interrupt()
        left = until - trio.current_time()
        if left > AGAIN:
            running.patience = self.ctx.after(AGAIN, self._interrupt, running, until)
        elif running.late:
            running.patience = self.ctx.after(max(0.0, left), self._much_too_late, running)

    def _much_too_late(self, running: _Running) -> None:
        running.reply.fail(self._timeout(running))
        self._pty.cast(PtyProcess.kill_session, self._shell.begin)

    def _timeout(self, running: _Running) -> CommandTimeout:
        return CommandTimeout(self._path, running.timeout or 0.0)
