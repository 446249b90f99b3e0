"""`MarkedCommands`: commands in a shell that says, by markers, where each begins and ends.

It types a command only at a prompt (after marker B), takes for its output what comes between C and D, and answers at
D, which follows the marker with the folder. What a user types by hand is followed in the same way.

A shell whose markers do not come, or come no more (another program in its place, hooks that were unset, a parser that
finds none), is this actor's failure: what was printed so far is the answer to the command in hand, and its supervisor
lets a mode take over that needs no markers.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NoReturn

import trio

from ..errors import UkemiError
from ..parser.marker import Marker
from .capture import Capture
from .commands import AGAIN, Commands
from .errors import ShellIntegrationError
from .integration import encode_command
from .modes import Mode, worst
from .posture import Posture, looks_like_prompt, why_unmarked
from .process import PtyProcess
from .running import CommandResult, Running
from .settings import TerminalSettings
from .texts import (
    HOT_SECONDS,
    INTEGRATION_FAILED,
    INTEGRATION_TIMEOUT,
    INTERRUPTED,
    STATUS_UNKNOWN,
    integration_missing,
)

LOOK = 1.0
"""Seconds between looks at a shell whose command has not ended."""
MOST_UNTOLD = 2
"""Prompts in a row of which no marker tells the end, before the shell is believed to tell it no more."""
_NOT_SEARCHED: Final = "the shell's output is not searched for markers"


class MarkedCommands(Commands):
    """See the module."""

    mode: ClassVar[Mode] = "full"

    def __init__(self, settings: TerminalSettings) -> None:
        super().__init__(settings)
        self._looking: Any = None
        self._printed_at = 0.0
        self._held_until = 0.0
        """Until then, the prompt that comes may be one that an interrupt is about to drop."""
        self._unmarked = Capture()
        """What was printed since a command was typed, until a marker says that it begins."""
        self._has_prompted = False
        """Whether there came what looks like a prompt, in the middle of a command."""
        self._is_prompt_marked = False
        """Whether that was one of the shell's own."""
        self._prompts_untold = 0
        """Prompts in a row of which no marker has told the end, though no interrupt can have hit it."""

    def _get_ready(self) -> None:
        shell = self._shell
        if shell.kind == "sh":
            raise ShellIntegrationError(f"{shell.choice.shell} has no shell integration")
        if shell.marks == "no":
            raise ShellIntegrationError(f"{shell.choice.shell} marks no commands")
        if shell.marks == "unknown":
            self.ctx.after(INTEGRATION_TIMEOUT, self._check_integration)
        if shell.command != "none":
            self._keep_looking()

    def _check_integration(self) -> None:
        if self._shell.marks == "unknown":
            self._lose_integration(integration_missing(), "B", "D")

    # --- a command

    def execute(self, command: str, timeout: float | None = None, key: str = "") -> CommandResult:
        """See `Commands`. A line that somebody has begun by hand is dropped first, as ^C does it."""
        if self._shell.at_prompt and self._shell.line == "begun":
            self.interrupt()
        if not self._shell.at_prompt:
            self._keep_looking()
        return super().execute(command, timeout, key)

    def interrupt(self) -> None:
        """As always; where no command runs, the next prompt is waited for: what is typed before may be dropped."""
        if self._shell.at_prompt:
            self._shell.at_prompt = False
            self.ctx.after(AGAIN, self._look_for_prompt)
        elif self._shell.command == "none":
            self._held_until = trio.current_time() + AGAIN
            self.ctx.after(AGAIN, self._next)
        self._prompts_untold = 0
        super().interrupt()

    def _look_for_prompt(self) -> None:
        """A prompt of which no marker tells the end: what may stand there is dropped, and it is one all the same."""
        if self._shell.command == "none" and not self._shell.at_prompt:
            self._shell.at_prompt, self._shell.line = True, "empty"
            self._next()

    def _may_type(self) -> bool:
        return self._shell.at_prompt and trio.current_time() >= self._held_until

    def _encoded(self, command: str) -> bytes:
        return encode_command(command, self._shell.kind)

    def _type(self, running: Running, typed: bytes) -> None:
        self._pty.cast(PtyProcess.type_command, typed, self._shell.begin)
        self._printed_at, self._unmarked = running.since, Capture()
        self._has_prompted = self._is_prompt_marked = False
        self._keep_looking()

    def _met(self, marker: Marker) -> None:
        if marker.trusted and marker.kind == "C":
            self._has_prompted = self._is_prompt_marked = False
            self._keep_looking()
        elif marker.trusted and marker.kind == "B" and self._shell.command != "none":
            self._has_prompted = self._is_prompt_marked = True
        if marker.trusted and marker.kind == "B":
            self._prompts_untold = 0
        super()._met(marker)

    def _printed(self, text: bytes) -> None:
        command, running = self._shell.command, self._running
        self._printer.add("output" if command == "begun" else "screen", text)
        self._printed_at = trio.current_time()
        if command == "none":
            return
        if command == "begun" and looks_like_prompt(text, self._shell.kind):
            self._has_prompted = True
        if running is not None:
            (running.capture if command == "begun" else self._unmarked).add(text)

    def _ends_command(self, marker: Marker) -> bool:
        """An exit code is that of a command, whether or not one was announced."""
        return super()._ends_command(marker) or (self._shell.command == "typed" and marker.exit_code is not None)

    def _ended(self, exit_code: int | None, had_begun: bool) -> None:
        """Answer, with a note where an interrupt has hit the command before it began, or what would have told of it."""
        running = self._running
        if had_begun == (exit_code is not None):
            if running is not None:
                self._finish(running, exit_code, self._mode, None if had_begun else INTERRUPTED)
            return
        if running is not None:
            running.capture = running.capture if had_begun else self._unmarked
            self._finish(running, exit_code, worst("no integration", self._mode), STATUS_UNKNOWN)
        if not (had_begun or self._shell.interrupted):
            self._lose_integration("the shell does not say that a command begins", "C")

    def _may_have_begun(self) -> bool:
        """Without markers nobody knows."""
        return super()._may_have_begun() or self._reading != "markers"

    # --- markers that do not come

    def _keep_looking(self) -> None:
        if self._looking is None:
            self._looking = self.ctx.after(LOOK, self._look)

    async def _look(self) -> None:
        """Whether what is waited for can still come. One timer serves all commands that are short."""
        self._looking = None
        shell, now = self._shell, trio.current_time()
        is_waited_for = self._waiting > 0 and not shell.at_prompt and shell.marks == "yes"
        if shell.command == "none" and not is_waited_for:
            return
        self._keep_looking()
        if now - self._printed_at < HOT_SECONDS:
            return
        try:
            posture = await self._pty.call(PtyProcess.posture)
        except UkemiError:
            return  # the shell has just ended, of which this actor is told otherwise
        if posture.is_stopped:
            return
        is_at_prompt = posture.has_terminal and posture.edits_line
        if shell.command == "none" and is_at_prompt and not posture.is_replaced:
            if shell.has_prompted and self._prompts_untold < MOST_UNTOLD:
                untold = self._prompts_untold + 1
                self.interrupt()
                self._prompts_untold = untold
                self.ctx.after(AGAIN, self._look_for_prompt)
            elif now - self._printed_at >= INTEGRATION_TIMEOUT:
                self._lose_integration("the shell does not say where its prompts end", "B")
        elif is_at_prompt and self._is_over_unsaid():
            self._over_unsaid()
        else:
            self._check_markers(posture, now)

    def _check_markers(self, posture: Posture, now: float) -> None:
        running, is_typed = self._running, self._shell.command == "typed"
        why: str | None = _NOT_SEARCHED
        if self._reading == "markers":
            why = why_unmarked(
                posture,
                quiet=now - self._printed_at,
                typed=now - running.since if running is not None and is_typed else None,
                has_prompted=self._has_prompted,
                in_prompt=self._shell.command == "none" and self._shell.in_prompt,
            )
        if why is not None:
            self._lose_integration(why, "B", "D", *("C" if is_typed else ""))

    def _is_over_unsaid(self) -> bool:
        """Whether an interrupt may have ended the command in hand, and what would have told of that."""
        if self._shell.command == "typed":
            return self._has_prompted or self._shell.interrupted
        return self._is_prompt_marked and self._shell.interrupted

    def _over_unsaid(self) -> None:
        """The shell is at its prompt again, without another word of its command."""
        shell = self._shell
        had_begun = shell.command == "begun"
        shell.command, shell.at_prompt, shell.interrupted = "none", True, False
        self._ended(None, had_begun)
        self._next()

    def _check_reading(self) -> None:
        """Without markers the command in hand ends as any does that nothing marks, and then this mode."""
        if self._reading != "markers" and self._running is None:
            self._lose_integration(_NOT_SEARCHED, "B", "D")

    def _lose_integration(self, why: str, *missed: str) -> NoReturn:
        """Fail of it, once who waits for the command in hand has what there is."""
        running, is_typed = self._running, self._shell.command == "typed"
        was_entered = self._shell.entered
        self._shell.lost(*missed)
        if running is not None and is_typed and not (was_entered or running.late):
            running.reply.fail(ShellIntegrationError(INTEGRATION_FAILED))
        elif running is not None:
            if is_typed:
                running.capture = self._unmarked
            self._finish(running, None, worst("no integration", self._mode), STATUS_UNKNOWN)
        raise ShellIntegrationError(why)
