"""Commands in a shell that does not say where they begin and end: `PlainCommands`, and `RawCommands`.

A command is typed as it is, has begun once its newline was written, and counts as ended when it has been silent for a
while: 2 s after its last output, or 15 s where that says that something is being built. There is no exit code.

A shell that may yet mark its commands, or has shown no prompt, is given its time first. Its markers are still followed:
once they come, the actor that goes by them can take over again.
"""

from __future__ import annotations

from typing import ClassVar, Final

import trio

from ..errors import UkemiError
from ..parser.marker import Marker
from .commands import Commands
from .echo import Echo
from .errors import ShellIntegrationError
from .integration import encode_command
from .modes import Mode
from .process import PtyProcess
from .running import Running
from .settings import TerminalSettings
from .texts import HOT_SECONDS, INTEGRATION_TIMEOUT, STATUS_UNKNOWN, hot_seconds

LOOK: Final = 0.25
"""Seconds at least between looks at a command that may be over."""
TAKES_OVER: Final = 1.5
"""Seconds from a shell's first markers on in which no command is typed: the mode that has a use for them comes back."""
ANEW = 30.0
"""Seconds after which no command is typed for so long again, where it has not come back: commands may have followed one
another all the time."""
_LONGEST_PROMPT: Final = 4096
"""Bytes of an unfinished line that are remembered."""


class PlainCommands(Commands):
    """Without shell integration: the parser takes the markers out of the text, and nothing else is known."""

    mode: ClassVar[Mode] = "no integration"

    def __init__(self, settings: TerminalSettings) -> None:
        super().__init__(settings)
        self._line = b""
        """What was printed since the last newline: at a prompt, that."""
        self._echo = Echo(b"", b"")
        self._leaves_it_until = 0.0
        """Until then, the actor that goes by the markers, which have just come, may take over."""
        self._has_spoken = False
        self._has_waited = False
        """Whether the shell has had its time to say something."""

    def _get_ready(self) -> None:
        self._has_spoken = self._shell.consumed > self._shell.begin
        self.ctx.after(INTEGRATION_TIMEOUT, self._wait_no_more)

    def _wait_no_more(self) -> None:
        self._has_waited = True
        if self._shell.marks == "unknown" and self._shell.kind != "sh":
            self._shell.lost("B", "D")
        self._next()

    # --- a command

    def _may_type(self) -> bool:
        shell = self._shell
        is_ready = self._has_spoken if shell.kind == "sh" else shell.marks != "unknown"
        if self._running is not None or shell.has_ended or trio.current_time() < self._leaves_it_until:
            return False
        return is_ready or self._has_waited

    def _encoded(self, command: str) -> bytes:
        return encode_command(command, "sh")

    def _type(self, running: Running, typed: bytes) -> None:
        self._pty.cast(PtyProcess.type_command, typed, self._shell.begin, begins=True)
        self._echo = Echo(typed, self._line)
        running.hot = HOT_SECONDS
        self.ctx.after(running.hot, self._is_it_over, running)

    def _met(self, marker: Marker) -> None:
        had_marked = self._shell.marks == "yes"
        super()._met(marker)
        if self._shell.marks == "yes" and not had_marked:
            self._leave_it()

    def _leave_it(self) -> None:
        self._leaves_it_until = trio.current_time() + TAKES_OVER
        self.ctx.after(TAKES_OVER, self._next)

    def _printed(self, text: bytes) -> None:
        line = text.rfind(b"\n") + 1
        self._line = text[line:] if line else (self._line + text)[-_LONGEST_PROMPT:]
        self._has_spoken, running = True, self._running
        if running is None:
            self._printer.add("screen", text)
            if self._waiting and self._may_type():
                self._next()
            return
        running.printed_at = trio.current_time()
        running.hot = hot_seconds(text.decode(errors="replace"))
        self._shown(running, text)

    def _shown(self, running: Running, text: bytes) -> None:
        """Take what a command has printed, its echo and the next prompt included."""
        output = self._echo.take(text)
        if output:
            running.capture.add(output)
            self._printer.add("output", output)

    def _is_it_over(self, running: Running) -> None:
        """Whether it has been silent long enough; one that nobody reads from the terminal has not begun."""
        if self._running is not running:
            return
        left = running.printed_at + running.hot - trio.current_time()
        if left > 0 or (self._shell.command == "typed" and not self._shell.interrupted):
            self.ctx.after(max(left, LOOK), self._is_it_over, running)
        else:
            self._over(running)

    def _over(self, running: Running) -> None:
        output, prompt = self._echo.rest()
        if output:
            running.capture.add(output)
            self._printer.add("output", output)
        if self._shell.marks != "yes":
            self._shell.command = "none"
        self._finish(running, None, self._mode, STATUS_UNKNOWN)
        if prompt:
            self._printer.add("screen", prompt)
            self._printer.flush()
        if self._shell.marks == "yes" and trio.current_time() >= self._leaves_it_until + ANEW:
            self._leave_it()
        self._next()
        self._check_reading()

    async def _interrupt(self, running: Running, until: float) -> None:
        """As always; and it has ended once the shell has the terminal again."""
        if self._running is running and self._shell.interrupted:
            try:
                posture = await self._pty.call(PtyProcess.posture)
            except UkemiError:
                return  # the shell has just ended, of which this actor is told otherwise
            if posture.has_terminal:
                self._over(running)
                return
        await super()._interrupt(running, until)

    # --- how it is read

    def _check_reading(self) -> None:
        if self._reading == "nothing" and self._running is None:
            raise ShellIntegrationError("the shell's output is not searched for sequences")


class RawCommands(PlainCommands):
    """Raw output: whatever comes is output, sequences, echo and prompt included."""

    mode: ClassVar[Mode] = "raw output"

    def _met(self, marker: Marker) -> None:
        self._printed(marker.raw)
        super()._met(marker)

    def _shown(self, running: Running, text: bytes) -> None:
        running.capture.add(text)
        self._printer.add("output", text)

    def _check_reading(self) -> None:
        """It takes all."""
