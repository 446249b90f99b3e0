"""`Commands`: runs commands in a terminal's shell, one after the other, and tells what they print and how they end.

This is what its modes have in common: the turn of each command, its time, what follows the shell's markers. How a
command is typed and how its end is known is up to the mode: see `marked`, for a shell that marks its commands, and
`plain`, for one that does not.

It never repeats a command: when the shell ends under one, its caller is told so; one that had not begun is for the
policy to give again. Those that wait their turn wait for the next shell.

No more than `MOST_WAITING` wait: they are stashed, so that they outlive this actor, and what the shell prints has to
come through the same mailbox, in whose bound they count.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Final

import attrs
import trio

from ..actor import Actor
from ..errors import ActorStopped, Reject, ResourceExhausted
from ..parser.marker import Marker
from ..parser.stream import Piece, Reading
from ..ref import Ref
from .capture import Text
from .errors import CommandLost, CommandTimeout
from .modes import Mode, worst
from .printing import Printer
from .process import MOST_TYPED, PtyProcess
from .running import CommandResult, Running
from .settings import TerminalSettings
from .texts import OUTPUT_UNAVAILABLE, STATUS_UNKNOWN

MOST_WAITING = 1_000
"""Commands that may wait their turn; well below a mailbox's bound."""
MERCY = 2.0
"""Seconds between the first interrupt of a command that took too long, and the kill."""
AGAIN = 0.25
"""Seconds between interrupts: one that comes while the shell is about to start a program reaches neither."""

_LACKS: Final[dict[Reading, Mode]] = {"markers": "full", "text": "no integration", "nothing": "raw output"}


@attrs.frozen
class TerminalMode:
    """Which shell a terminal has, and what it lacks."""

    shell: str
    mode: Mode


class Commands(Actor):
    """The commands of one terminal. `pty` and `parser` are the actors beside it."""

    mode: ClassVar[Mode]
    """What a terminal lacks for it."""

    def __init__(self, settings: TerminalSettings) -> None:
        self._settings = settings
        self._shell = settings.at
        self._running: Running | None = None
        self._reading: Reading = "markers"
        """What the parser has looked for of late."""
        self._waiting = 0
        """Commands stashed, those whose callers have gone since included."""
        self._printer: Printer
        self._pty: Ref[PtyProcess]

    def on_start(self) -> None:
        """Go on where the last incarnation had come to."""
        self._path = self.ctx.path.rpartition("/")[0]
        self._pty = self.ctx.find("../pty", PtyProcess)
        self._printer = Printer(self.ctx, self._path, self._settings.name)
        self._get_ready()
        with suppress(ActorStopped):  # a parser that is not up begins there by itself
            self.ctx.find("../parser").cast("again")

    # --- messages

    def execute(self, command: str, timeout: float | None = None, key: str = "") -> CommandResult:
        """Run a command, after those that were asked for before; how it ended.

        `timeout` in seconds: past it the command is interrupted, then its shell is killed, and the caller gets
        CommandTimeout; CommandLost if the shell ends. A caller that goes away does not stop a command that has been
        typed: `give_up` does, by the `key` that it was given here. Rejects what can't be typed with ValueError, and
        with ResourceExhausted what comes when `MOST_WAITING` wait already, or more to be typed than can.
        """
        if not self._may_type():
            self._wait_its_turn()
            return None  # type: ignore[return-value]  # answered later
        try:
            _check_size(len(command))
            typed = self._encoded(command)
            _check_size(len(typed))
        except ValueError as error:
            raise Reject(error) from None
        running = Running(key, self.ctx.defer(), timeout, trio.current_time())
        shell = self._shell
        shell.at_prompt, shell.command, shell.interrupted, shell.entered = False, "typed", False, False
        self._running = running
        self._type(running, typed)
        if timeout is not None:
            running.deadline = self.ctx.after(timeout, self._too_late, running)
        return None  # type: ignore[return-value]  # answered later

    def _wait_its_turn(self) -> None:
        """Stash the command in hand. What was stashed before never finds the room taken: it is asked first."""
        if self._waiting >= MOST_WAITING:
            waiting = self.ctx.ref.stats().waiting  # without those whose callers have gone
            if waiting >= MOST_WAITING:
                raise Reject(ResourceExhausted(f"commands that wait in {self._path}", MOST_WAITING, waiting))
        self._waiting += 1
        self.ctx.stash()

    def not_typed(self, shell: int, waiting: int) -> None:
        """The command in hand was not typed at this shell: so many bytes wait to be typed, and no program reads."""
        if shell != self._shell.begin or self._shell.command != "typed":
            return
        self._shell.command, self._shell.at_prompt = "none", True
        running, self._running = self._running, None
        if running is not None:
            running.end()
            running.reply.fail(ResourceExhausted(f"input of {self._path}", MOST_TYPED, waiting))
        self._next()

    def what_it_is(self) -> TerminalMode:
        """The shell, and what the terminal lacks as things are."""
        return TerminalMode(self._shell.choice.shell, self._mode)

    def interrupt(self) -> None:
        """Do once what ^C does to whatever runs."""
        self._shell.interrupted, self._shell.line = True, "empty"
        self._tell_pty(PtyProcess.interrupt, self._shell.begin)

    async def give_up(self, key: str) -> None:
        """Interrupt the command of this key, if it runs, until it has ended or for two seconds."""
        if self._running is not None and self._running.key == key:
            await self._interrupt(self._running, trio.current_time() + MERCY)

    def parsed(self, pieces: list[Piece], reading: Reading) -> None:
        """The next pieces of what the shell has printed, and how they were read.

        What was seen before is skipped, and what comes after a gap too: it was sent by a parser that has failed, and
        its successor sends it again, in full.
        """
        shell = self._shell
        for piece in pieces:
            if not piece.begin <= shell.consumed < piece.end:
                continue
            self._reading = reading
            self._check_reading()
            if piece.marker is not None:
                self._met(piece.marker)
            elif piece.text:
                self._printed(piece.text[shell.consumed - piece.begin :])
            shell.consumed = piece.end
        self._printer.flush()
        self._tell_pty(PtyProcess.acknowledge, shell.consumed)

    def shell_ended(self, end: int, status: int) -> None:
        """The shell has ended with this status; what it had printed, up to this offset, came before."""
        if end < self._shell.consumed:
            return
        self._shell.at_prompt, self._shell.has_ended = False, True
        running, self._running = self._running, None
        if running is not None:
            running.end()
            self._printer.flush(final=True)
            lost = CommandLost(self._path, status, began=self._may_have_begun())
            if running.late:
                running.reply.fail(self._timeout(running))
            elif lost.began:
                running.reply.fail(lost)
            else:
                running.reply.throw(lost)
                self.ctx.after(0.0, self._has_heard)  # once that was looked at: this actor ends with `pty`
                return
        self._has_heard()

    def _has_heard(self) -> None:
        self._tell_pty(PtyProcess.heard, self._shell.begin)

    # --- what the shell says

    def _met(self, marker: Marker) -> None:
        """A marker that the shell has signed tells where it stands; any other is nobody's business."""
        if not marker.trusted:
            return
        shell = self._shell
        shell.marked(marker.kind)
        if marker.cwd is not None:
            self._settings.cwd = marker.cwd
        if marker.kind == "C":
            shell.at_prompt, shell.command, shell.line = False, "begun", "empty"
        elif marker.kind == "D" and self._ends_command(marker):
            had_begun = shell.command == "begun"
            shell.command = "none"
            self._ended(marker.exit_code, had_begun)
            shell.interrupted = False
        elif marker.kind == "B" and shell.command == "none":
            shell.prompted()
            if shell.at_prompt:
                self._next()

    def _ends_command(self, marker: Marker) -> bool:
        """Whether this D is about the command in hand."""
        return self._shell.command == "begun" or self._shell.interrupted

    def _next(self) -> None:
        """Let those that wait ask again."""
        self._waiting = 0
        self.ctx.unstash()

    # --- for the modes

    @property
    def _mode(self) -> Mode:
        return worst(self.mode, self._shell.mode, _LACKS[self._reading])

    def _get_ready(self) -> None:
        """It starts. What can't work with this shell raises ShellIntegrationError."""

    def _may_type(self) -> bool:
        """Whether a command can be typed now."""
        raise NotImplementedError

    def _encoded(self, command: str) -> bytes:
        """What is typed for a command. ValueError for what can't be."""
        raise NotImplementedError

    def _type(self, running: Running, typed: bytes) -> None:
        """Let the command in hand be typed."""
        raise NotImplementedError

    def _may_have_begun(self) -> bool:
        """Whether the command in hand may have had effects, so that it must not be run again."""
        return self._shell.command != "typed"

    def _check_reading(self) -> None:
        """How the parser reads: ShellIntegrationError if this mode has no use for that, and no command is in hand."""

    def _printed(self, text: bytes) -> None:
        """The shell, or what runs in it, has printed something."""
        raise NotImplementedError

    def _ended(self, exit_code: int | None, had_begun: bool) -> None:
        """A command has ended, as its marker says; whether one had said that it begins."""

    # ---

    def _finish(self, running: Running, exit_code: int | None, mode: Mode, note: str | None = None) -> None:
        """Answer who asked for it."""
        self._running = None
        running.end()
        self._printer.flush(final=True)
        if running.late:
            running.reply.fail(self._timeout(running))
            return
        output, truncated = running.capture.result()
        running.reply.send(
            CommandResult(
                output=output if output.data or note != STATUS_UNKNOWN else Text(OUTPUT_UNAVAILABLE),
                exit_code=exit_code,
                cwd=self._settings.cwd,
                mode=mode,
                duration=trio.current_time() - running.since,
                truncated=truncated,
                note=note,
            )
        )

    def _tell_pty(self, message: Callable[[PtyProcess, int], object], about: int) -> None:
        """Tell the process; nothing where there is none, since it is for the user to have it started again."""
        with suppress(ActorStopped):
            self._pty.cast(message, about)

    # --- a command that takes too long

    async def _too_late(self, running: Running) -> None:
        running.late = True
        await self._interrupt(running, trio.current_time() + MERCY)

    async def _interrupt(self, running: Running, until: float) -> None:
        if running.patience is not None:
            running.patience.cancel()
        self.interrupt()
        left = until - trio.current_time()
        if left > AGAIN:
            running.patience = self.ctx.after(AGAIN, self._interrupt, running, until)
        elif running.late:
            running.patience = self.ctx.after(max(0.0, left), self._much_too_late, running)

    def _much_too_late(self, running: Running) -> None:
        running.reply.fail(self._timeout(running))
        self._tell_pty(PtyProcess.kill_session, self._shell.begin)

    def _timeout(self, running: Running) -> CommandTimeout:
        return CommandTimeout(self._path, running.timeout or 0.0)


def _check_size(size: int) -> None:
    if size > MOST_TYPED:
        raise ValueError(f"a command of {size} bytes, as it is typed; it may have {MOST_TYPED}")
