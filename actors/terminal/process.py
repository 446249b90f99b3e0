"""`PtyProcess`: the shell's process and its terminal, as an actor.

It reads what comes out and passes it on with its offset, and keeps it until the end of the line (the commands actor)
has said that it was dealt with. So a parser that fails costs no byte: the next one asks for what was not yet
acknowledged. It reads no further while too much of that is under way.

The shell's end is this actor's failure, once those behind it have dealt with what the shell had still printed. What
then happens is its supervisor's business.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from math import inf

import attrs
import trio

from ..actor import Actor
from ..deferred import Reply
from ..deliver import deliver
from ..errors import ActorStopped, Reject, ResourceExhausted, UkemiError
from ..parser.stream import Output, StreamParser
from ..ref import Ref
from .brake import Brake
from .integration import launch
from .pty import Pty
from .settings import ShellState, TerminalSettings
from .texts import creation_failed, exit_status

MOST_UNDER_WAY = 1024 * 1024
"""Bytes read and not yet acknowledged, above which nothing more is read."""
MOST_TYPED = 1024 * 1024
"""Bytes that may wait to be typed while the program does not read."""
LAST_WORDS = 1.0
"""Seconds that the parser and the commands have for what a dead shell had printed."""
HANG_UP = 0.5
"""Seconds that the shell's processes have to end by themselves; less than a kill's grace."""


class ShellExited(UkemiError):
    """The shell's process has ended; `status` is its exit code, or the negative number of the signal."""

    def __init__(self, shell: str, status: int) -> None:
        super().__init__(f"{shell} has ended: {exit_status(status).splitlines()[-1]}")
        self.status = status


@attrs.define(eq=False)
class _Typed:
    """What is to be typed, and who waits for that."""

    data: bytes
    reply: Reply


class PtyProcess(Actor):
    """Runs `settings.shell`; sends `Output` to `feed` of the actor named `parser` beside it.

    `write`, `interrupt` and `kill_session` may name the `shell` that they are meant for, by its `begin`; what was meant
    for an earlier one then does nothing.
    """

    def __init__(self, settings: TerminalSettings) -> None:
        self._settings = settings
        self._shell = settings.at = ShellState(settings.at.read + 1)
        self._acknowledged = self._shell.begin
        self._kept: deque[Output] = deque()
        self._room = trio.Event()
        self._brake = Brake()
        self._heard = trio.Event()
        self._typed: deque[_Typed] = deque()
        self._to_type = trio.Event()
        self._typing = trio.CancelScope()
        self._started = trio.Event()
        self._pty: Pty

    async def on_start(self) -> None:
        """Start the shell. Raises what says why it can't be: no such shell, no such folder."""
        self.ctx.start_task(self._live)
        await self._started.wait()
        self.ctx.start_task(self._type, self._pty)

    async def _live(self) -> None:
        """Start the shell and read to its end.

        However and whenever this actor ends, all that runs in the shell's session ends with it: this task has the
        shell from its first moment on, and is joined also after a kill.
        """
        settings = self._settings
        start = launch(settings.shell, nonce=settings.nonce, env=settings.env)
        try:
            pty = self._pty = await Pty.spawn(
                start.argv, cwd=settings.cwd, env=start.env, cols=settings.cols, rows=settings.rows
            )
        except Exception as error:
            self.ctx.log.warning(creation_failed(settings.shell, error))
            raise
        try:
            self._started.set()
            parser: Ref[StreamParser] = self.ctx.find("../parser", StreamParser)
            await self._pass_on(pty, parser)
            status = await _end_of(pty)
            with trio.move_on_after(LAST_WORDS), suppress(ActorStopped):
                await parser.send(StreamParser.finish, self._shell.read, status)
                await self._heard.wait()
        finally:
            with trio.CancelScope(shield=True):
                await pty.aclose(grace=HANG_UP)
        raise ShellExited(self._settings.shell, status)

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
                except trio.BrokenResourceError:
                    return  # the shell is gone: `_live` tells of it
                typed.reply.send(None)

    # --- messages

    def write(self, data: bytes, shell: int | None = None) -> None:
        """Type this; answered once it was typed, or dropped by an interrupt.

        Rejects with ResourceExhausted when too much waits already, since the program does not read.
        """
        if not self._is_for(shell):
            return
        waiting = sum(len(typed.data) for typed in self._typed)
        if waiting + len(data) > MOST_TYPED:
            raise Reject(ResourceExhausted(f"input of {self._settings.name}", MOST_TYPED, waiting))
        self._typed.append(_Typed(data, self.ctx.defer()))
        self._to_type.set()

    def resize(self, cols: int, rows: int) -> None:
        """Make the terminal this large, this shell's and the next one's. Rejects a size that no terminal has."""
        try:
            self._pty.resize(cols, rows)
        except ValueError as error:
            raise Reject(error) from None
        self._settings.cols, self._settings.rows = cols, rows

    def interrupt(self, shell: int | None = None) -> None:
        """Do what ^C does, dropping what was to be typed."""
        if self._is_for(shell):
            while self._typed:
                self._typed.popleft().reply.send(None)
            self._typing.cancel()
            self._pty.interrupt()

    async def kill_session(self, shell: int | None = None) -> None:
        """Kill the shell and all that runs on its terminal."""
        if self._is_for(shell):
            await self._pty.kill()

    def pid(self) -> int:
        """The shell's process id."""
        return self._pty.pid

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
