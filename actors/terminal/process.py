"""`PtyProcess`: the shell's process and its terminal, as an actor.

It reads what comes out and passes it on with its offset, and keeps it until the end of the line (the commands actor)
has said that it was dealt with. So a parser that fails costs no byte: the next one asks for what was not yet
acknowledged. It reads no further while too much of that is under way.

The shell's end is this actor's failure, once those behind it have dealt with what the shell had still printed; so is a
shell that can't be started. What then happens, and which shell comes next, is its supervisor's business. Until that
failure what is asked of a shell that has ended does nothing, or is refused.
"""

from __future__ import annotations

import errno
import signal
from collections import deque
from contextlib import suppress
from math import inf

import attrs
import trio

from ..actor import Actor
from ..deferred import Reply
from ..deliver import deliver
from ..errors import ActorStopped, Reject, ResourceExhausted
from ..parser.stream import Output, StreamParser
from ..ref import Ref
from .brake import Brake
from .errors import NoShells, ShellExited, ShellLeft, ShellNotStarted, ShellReplaced, how
from .posture import Posture, Program, is_stopped, program_of
from .pty import Pty, window_size
from .settings import ShellState, TerminalSettings
from .shells import Choice, folder_of, launch_of
from .texts import creation_failed

MOST_UNDER_WAY = 1024 * 1024
"""Bytes read and not yet acknowledged, above which nothing more is read."""
MOST_TYPED = 1024 * 1024
"""Bytes that may wait to be typed while the program does not read."""
LAST_WORDS = 1.0
"""Seconds that the parser and the commands have for what a dead shell had printed."""
HANG_UP = 0.5
"""Seconds that the shell's processes have to end by themselves; less than a kill's grace."""
SETTLED = 1.0
"""Seconds after which a shell that says nothing of its prompts has not failed to start."""

_ENDED_BY_OTHERS = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT})
"""Statuses that say nothing of whether the shell would have started."""
_ENTERS = frozenset(b"\r\n\x03")
"""Keys after which a prompt comes anew."""
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""What keeps any shell from being started: another one is no help."""


@attrs.define(eq=False)
class _Typed:
    """What is to be typed, who waits for that, and whether it is a command."""

    data: bytes
    reply: Reply | None = None
    is_command: bool = False
    begins: bool = False
    """Whether the command begins with its last byte."""

    def is_done(self) -> None:
        """Tell that it was typed, or dropped."""
        if self.reply is not None:
            self.reply.send(None)


class PtyProcess(Actor):
    """Runs a shell, by default `settings.shell`; sends `Output` to `feed` of the actor named `parser` beside it.

    `interrupt` and others may name the `shell` that they are meant for, by its `begin`; what was meant for an
    earlier one then does nothing.
    """

    def __init__(self, settings: TerminalSettings, choice: Choice | None = None) -> None:
        self._settings = settings
        self._choice = choice or Choice(settings.shell)
        self._shell = settings.at = ShellState(settings.at.read + 1, self._choice)
        self._program: Program | None = None
        """What the shell's process ran when it was first typed at."""
        self._acknowledged = self._shell.begin
        self._kept: deque[Output] = deque()
        self._room = trio.Event()
        self._brake = Brake()
        self._heard = trio.Event()
        self._typed: deque[_Typed] = deque()
        self._to_type = trio.Event()
        self._typing = trio.CancelScope()
        self._started = trio.Event()
        self._serving = trio.CancelScope()
        """Around what is done while the shell lives; cancelled, it is hung up."""
        self._status: int | None = None
        """How the shell has ended; while it is hung up, how that will be."""
        self._is_ended_here = False
        self._pty: Pty

    async def on_start(self) -> None:
        """Start the shell. Raises ShellNotStarted, NoShells after the last one, or OSError for want of files."""
        self.ctx.start_task(self._live)
        await self._started.wait()
        self.ctx.start_task(self._type, self._pty)

    async def _live(self) -> None:
        """Start the shell and read to its end.

        However and whenever this actor ends, all that runs in the shell's session ends with it: this task has the
        shell from its first moment on, and is joined also after a kill.
        """
        settings, choice = self._settings, self._choice
        start = launch_of(choice, nonce=settings.nonce, env=settings.env)
        folder = folder_of(choice, settings.cwd)
        try:
            pty = self._pty = await Pty.spawn(
                start.argv, cwd=folder, env=start.env, cols=settings.cols, rows=settings.rows
            )
        except (OSError, ValueError) as error:
            self.ctx.log.warning(creation_failed(choice.shell, error))
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise
            raise self._not_started(error) from error
        try:
            self._started.set()
            since = trio.current_time()
            parser: Ref[StreamParser] = self.ctx.find("../parser", StreamParser)
            status = self._status = await self._end(pty, parser)
            self._refuse_typed()
            with trio.move_on_after(LAST_WORDS), suppress(ActorStopped):
                await parser.send(StreamParser.finish, self._shell.read, status)
                await self._heard.wait()
        finally:
            with trio.CancelScope(shield=True):
                await pty.aclose(grace=HANG_UP)
        if status not in _ENDED_BY_OTHERS and not self._has_started(trio.current_time() - since):
            early = f"it has ended before its first prompt: {how(status)}"
            self.ctx.log.warning(creation_failed(choice.shell, early))
            raise self._not_started(early)
        how_so = ShellReplaced if self._is_ended_here else ShellLeft if status >= 0 else ShellExited
        raise how_so(choice.shell, status)

    async def _end(self, pty: Pty, parser: Ref[StreamParser]) -> int:
        """How the shell has ended, once all that it had printed was passed on."""
        with self._serving:
            await self._pass_on(pty, parser)
            return await _end_of(pty)
        await pty.aclose(grace=HANG_UP)
        return await pty.wait()

    def _refuse_typed(self) -> None:
        """Nobody reads what was still to be typed."""
        while self._typed:
            reply = self._typed.popleft().reply
            if reply is not None:
                reply.fail(self._has_ended())

    def _has_ended(self) -> ShellExited:
        return ShellExited(self._choice.shell, -signal.SIGHUP if self._status is None else self._status)

    def _not_started(self, error: Exception | str) -> Exception:
        return NoShells() if self._choice.is_last else ShellNotStarted(self._choice.shell, error)

    def _has_started(self, seconds: float) -> bool:
        """Whether a shell that has ended after so many seconds had worked before."""
        shell = self._shell
        says_nothing = shell.kind == "sh" and (shell.read > shell.begin or seconds >= SETTLED)
        return shell.was_used or says_nothing

    async def _pass_on(self, pty: Pty, parser: Ref[StreamParser]) -> None:
        shell = self._shell
        while data := await pty.receive_some():
            output = Output(shell.read, data)
            shell.read = output.end
            self._kept.append(output)
            with suppress(ActorStopped):  # the next one begins with what was not acknowledged
                await deliver(parser, StreamParser.feed, output)
            while (pause := self._pause()) > 0:
                self._room = trio.Event()
                with trio.move_on_after(pause):
                    await self._room.wait()

    def _pause(self) -> float:
        """Seconds for which nothing more is to be read: those behind, or all who follow, can't keep up."""
        if self._shell.read - self._acknowledged > MOST_UNDER_WAY:
            return inf
        topic = f"{self.ctx.path.rpartition('/')[0]}/output"
        followers = self.ctx._incarnation.cell.system.topics.followers(topic)
        return self._brake.left(followers, trio.current_time())

    async def _type(self, pty: Pty) -> None:
        """Type what there is, in a task of its own: a program that does not read must not keep ^C from it."""
        while True:
            await self._to_type.wait()
            self._to_type = trio.Event()
            while self._typed:
                typed = self._typed.popleft()
                try:
                    with trio.CancelScope() as self._typing:
                        await pty.send_all(typed.data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._typed.appendleft(typed)
                    return  # the shell is gone: `_live` tells of it
                if not self._typing.cancelled_caught:
                    self._was_typed(typed)
                typed.is_done()

    def _was_typed(self, typed: _Typed) -> None:
        if typed.is_command:
            self._shell.entered = True
        if typed.begins:
            self._shell.command = "begun"

    # --- messages

    def write(self, data: bytes) -> None:
        """Type this; answered once it was typed, or dropped by an interrupt.

        Rejects with ResourceExhausted when too much waits already, since the program does not read, and with
        ShellExited when nobody will read it.
        """
        if self._status is not None:
            raise Reject(self._has_ended())
        waiting = self._waits_to_be_typed()
        if waiting + len(data) > MOST_TYPED:
            raise Reject(ResourceExhausted(f"input of {self._settings.name}", MOST_TYPED, waiting))
        self._begin_to_type()
        self._typed.append(_Typed(data, self.ctx.defer()))
        self._to_type.set()

    def type_command(self, data: bytes, shell: int, begins: bool = False) -> None:
        """Type a command for this shell; `not_typed` of the actor `commands` is told where there is no room.

        `begins`: nothing but its last byte will say that it has begun.
        """
        if shell != self._shell.begin or self._status is not None:
            return
        self._begin_to_type()
        waiting = self._waits_to_be_typed()
        if waiting + len(data) > MOST_TYPED:
            self.ctx.find("../commands").cast("not_typed", shell, waiting)
            return
        typed = _Typed(data, is_command=True, begins=begins)
        if not self._typed:
            typed.data = data[self._pty.send_nowait(data) :]
        if typed.data:
            self._typed.append(typed)
            self._to_type.set()
        else:
            self._was_typed(typed)

    def _begin_to_type(self) -> None:
        self._shell.was_used = True
        if self._program is None and self._shell.marks == "yes":
            self._program = program_of(self._pty.pid)

    def _waits_to_be_typed(self) -> int:
        return sum(len(typed.data) for typed in self._typed)

    def type_by_hand(self, data: bytes) -> None:
        """Type this as a user does; see `write`. Where no command runs it begins a line, or enters it."""
        self.write(data)
        if data:
            self._shell.typed_by_hand(entered=not _ENTERS.isdisjoint(data), interrupted=b"\x03" in data)

    def resize(self, cols: int, rows: int) -> None:
        """Make the terminal this large, this shell's and the next one's. Rejects a size that no terminal has."""
        try:
            window_size(cols, rows)
        except ValueError as error:
            raise Reject(error) from None
        self._settings.cols, self._settings.rows = cols, rows
        if self._status is None:
            self._pty.resize(cols, rows)

    def interrupt(self, shell: int | None = None) -> None:
        """Do what ^C does, dropping what was to be typed."""
        if self._is_for(shell):
            while self._typed:
                self._typed.popleft().is_done()
            self._typing.cancel()
            if self._status is None:
                self._pty.interrupt()

    async def kill_session(self, shell: int | None = None) -> None:
        """Kill the shell and all that runs on its terminal."""
        if self._is_for(shell) and self._status is None:
            self._is_ended_here = True
            await self._pty.kill()

    def which(self) -> int:
        """The shell, by its `begin`."""
        return self._shell.begin

    def renew(self, shell: int) -> None:
        """Hang up this shell; answered once there is another."""
        if shell != self._shell.begin:
            return
        if self._status is None:
            self._is_ended_here = True
            self._status = -signal.SIGHUP
            self._serving.cancel()
        self.ctx.stash()  # for the next one

    def pid(self) -> int:
        """The shell's process id."""
        return self._pty.pid

    def posture(self) -> Posture:
        """What the shell looks like from outside; nothing in particular once it has ended."""
        pty = self._pty
        if self._status is not None or pty.poll() is not None:
            return Posture(False, False, False)
        is_replaced = self._program is not None and program_of(pty.pid) != self._program
        return Posture(is_replaced, pty.has_foreground(), pty.edits_line(), is_stopped(pty.pid))

    def acknowledge(self, end: int) -> None:
        """Everything before this offset was dealt with."""
        self._acknowledged = max(self._acknowledged, end)
        while self._kept and self._kept[0].end <= self._acknowledged:
            self._kept.popleft()
        if self._shell.read - self._acknowledged <= MOST_UNDER_WAY:
            self._room.set()

    def not_acknowledged(self) -> Output:
        """All that was read and not yet dealt with, in one piece."""
        data = b"".join(output.data for output in self._kept)
        begin = self._kept[0].offset if self._kept else self._shell.read
        skip = max(0, self._acknowledged - begin)
        return Output(begin + skip, data[skip:])

    def slow_down(self, who: str, seconds: float) -> None:
        """A follower of the output can't keep up: wait for so long, unless others can; 0 takes that back."""
        self._brake.pull(who, trio.current_time() + seconds)
        self._room.set()

    def heard(self, shell: int) -> None:
        """The end of this shell was dealt with too."""
        if self._is_for(shell):
            self._heard.set()

    def _is_for(self, shell: int | None) -> bool:
        return shell in (None, self._shell.begin)


async def _end_of(pty: Pty) -> int:
    """How the shell has ended. One that lives on without its terminal is of no more use, and killed."""
    with trio.move_on_after(LAST_WORDS):
        return await pty.wait()
    await pty.kill()
    return await pty.wait()
