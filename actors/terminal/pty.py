"""A process on a pseudo-terminal of its own, under trio.

The process leads a session whose controlling terminal is this one: it gets ^C and window sizes, has job control, and is
hung up when the terminal closes. `setsid -c` sees to that, at about a millisecond, however large this process is; a
preexec_fn would fork it and is unsafe with threads.

Two things a PTY does that a pipe does not. End of file comes when the last process lets go of the terminal, which may
be long after the shell's exit (`sleep 1000 &`): see `Pty.receive_some`. And it holds little, 10 to 20 KB each way: a
program whose output is not read stops reading its input, so receive in another task than the one that sends.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import select
import shutil
import signal
import termios
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Final

import attrs
import trio

from . import session
from .texts import working_directory_missing

_DRAIN: Final = 0.5  # seconds, in all, that receiving waits for what an exited process has written
_UNREAD: Final = 65_536  # bytes: more than a PTY ever holds, so more than an exited process has left to read
_KILLED_BY: Final = 5.0  # seconds that a killed session may take to be gone

_TERMINAL_SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
_TIOCSIG: Final = 0x40045436  # signal the terminal's foreground process group, whoever it belongs to
_TIOCGPTPEER: Final = 0x5441  # open the other end


@attrs.define(eq=False)
class Pty:
    """A running process and the terminal it runs on. Made by `Pty.spawn`; whoever has it must `aclose` it.

    One task may receive while any number send. Once closed, everything but `wait`, `poll`, `kill` and `aclose` raises
    `trio.ClosedResourceError`, also in a task that was waiting.
    """

    pid: int
    """The process, and its session: it is not reaped before `aclose`, so the number cannot pass to another."""
    _process: trio.Process = attrs.field(repr=False)  # its repr, returncode and wait would reap it
    _master: int
    _pidfd: int
    _output: select.epoll = attrs.field(repr=False)  # ready when there is output, or the process has exited
    _input: select.epoll = attrs.field(repr=False)  # ready when there is room for input, or the process has exited
    _status: int | None = None
    _patience: float = math.inf  # seconds that receiving may still wait
    _unread: int = _UNREAD
    _sending: trio.Lock = attrs.field(factory=trio.Lock, repr=False)
    _waiting: trio.Lock = attrs.field(factory=trio.Lock, repr=False)
    _gone: trio.Event = attrs.field(factory=trio.Event, repr=False)

    @classmethod
    async def spawn(
        cls,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        cols: int = 80,
        rows: int = 24,
    ) -> Pty:
        """Start `argv` on a new terminal of `cols` × `rows` characters.

        `env` is the whole environment, by default this process's own; `argv[0]` is looked up in its PATH. Raises
        FileNotFoundError or PermissionError naming the program, and FileNotFoundError for a `cwd` that is no folder.
        Cancelled, it has started nothing.
        """
        size = window_size(cols, rows)
        command = await trio.to_thread.run_sync(_command, argv, cwd, env, abandon_on_cancel=True)
        with ExitStack() as undo:
            master, slave = os.openpty()
            undo.callback(os.close, master)
            with ExitStack() as done:
                done.callback(os.close, slave)
                output, room = undo.enter_context(select.epoll()), undo.enter_context(select.epoll())
                termios.tcsetwinsize(master, size)
                os.set_blocking(master, False)
                process = await trio.lowlevel.open_process(
                    command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=env
                )
            try:
                pidfd = os.pidfd_open(process.pid)
            except OSError:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
                raise
            for either, event in ((output, select.EPOLLIN), (room, select.EPOLLOUT)):
                either.register(master, event)
                either.register(pidfd, select.EPOLLIN)
            undo.pop_all()
        return cls(process.pid, process, master, pidfd, output, room)

    async def receive_some(self, max_bytes: int = 65_536) -> bytes:
        """Return what came out next, at least one byte, or b"" at the end.

        The end is when no process has the terminal open any more. If the process has exited and others (background
        jobs) still hold the terminal, it waits for them for half a second in all: what the process itself wrote is
        returned in full, however late it is asked for, and at most 64 KiB after its exit. Cancelled, it has taken
        nothing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        has_waited = False
        while (data := self._read(max_bytes)) is None:
            await self._wait_for_output()
            has_waited = True
        if data:
            data = self._with_more(data, max_bytes)
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    async def send_all(self, data: bytes) -> None:
        """Type `data`, all of it; what several tasks send does not mix.

        It waits while the program does not read. Cancelled, it has typed a part of `data`, but never the last byte: a
        single byte is typed or not. Raises `trio.BrokenResourceError` once the process has exited.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            rest = memoryview(data)
            while rest:
                self._check_open()
                if self.poll() is not None:  # the terminal itself would take it
                    raise trio.BrokenResourceError(f"process {self.pid} has exited: nobody reads what is typed")
                try:
                    rest = rest[os.write(self._master, rest) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._input)
        finally:
            self._sending.release()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, data: bytes) -> int:
        """Type what there is room for now, if nobody is in the middle of it; how many bytes. See `send_all`."""
        self._check_open()
        if self._sending.locked() or self.poll() is not None:
            return 0
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def resize(self, cols: int, rows: int) -> None:
        """Make the terminal `cols` × `rows` characters; the foreground program is told (SIGWINCH)."""
        self._check_open()
        termios.tcsetwinsize(self._master, window_size(cols, rows))

    def interrupt(self) -> None:
        """Do what ^C does: drop what was typed and not yet read, and send SIGINT to the foreground program.

        Unlike a ^C that is typed, it never waits behind unread input, and a program cannot have switched it off. Like
        one, it may be lost on a program that the shell is just starting, and a program may ignore it. Where no
        descriptor is left nothing is dropped.
        """
        self._check_open()
        with suppress(OSError, termios.error):  # what matters is the signal
            self._drop_input()
        fcntl.ioctl(self._master, _TIOCSIG, signal.SIGINT)

    def _drop_input(self) -> None:
        termios.tcflush(self._master, termios.TCOFLUSH)
        terminal = fcntl.ioctl(self._master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            termios.tcflush(terminal, termios.TCIFLUSH)
        finally:
            os.close(terminal)

    def signal(self, sig: int) -> None:
        """Send a signal to the foreground program: the command that runs, or the shell itself at its prompt.

        Raises ProcessLookupError if there is none (the shell has exited), PermissionError if it is another user's.
        """
        self._check_open()
        group = os.tcgetpgrp(self._master)
        if group <= 0:  # killpg(0) would be our own
            raise ProcessLookupError(errno.ESRCH, f"terminal of process {self.pid} has no foreground program")
        os.killpg(group, sig)

    def has_foreground(self) -> bool:
        """Return whether the process itself is in the foreground, and no job that it has started."""
        self._check_open()
        return os.tcgetpgrp(self._master) == self.pid

    def edits_line(self) -> bool:
        """Return whether the foreground program reads key by key: the terminal gathers no lines for it."""
        self._check_open()
        return not termios.tcgetattr(self._master)[3] & termios.ICANON

    def poll(self) -> int | None:
        """Return the exit status, the negative signal number if a signal ended the process, None while it runs."""
        if self._status is None:
            exited = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if exited is not None:
                by_itself = exited.si_code == os.CLD_EXITED
                self._status = exited.si_status if by_itself else -exited.si_status
        return self._status

    async def wait(self) -> int:
        """Wait for the process to exit and return its status, as `poll` does. Any number of tasks may wait."""
        async with self._waiting:
            while (status := self.poll()) is None:
                await trio.lowlevel.wait_readable(self._pidfd)
            return status

    async def kill(self) -> None:
        """Kill the whole session, at once, and wait until it is gone; what a daemon left by setsid lives on.

        Raises TimeoutError naming the processes that are still there after 5 s: another user's, or stuck in the kernel.
        Cancelled, it has killed what it had seen. Output that was written before can still be received.
        """
        await trio.lowlevel.checkpoint()
        if self._pidfd < 0:
            return
        with trio.move_on_after(_KILLED_BY) as limit:
            try:
                await session.kill(self.pid)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                # nothing is left to see the others by: they are killed when this is closed, which makes some room
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                await self.wait()
        if limit.cancelled_caught:
            left = session.members(self.pid)
            raise TimeoutError(f"processes {left} of session {self.pid} outlived SIGKILL by {_KILLED_BY:g} s")

    async def aclose(self, *, grace: float = 1.0) -> None:
        """Hang up: close the terminal, give the session `grace` seconds to end by itself, kill what is left, reap.

        It may be called again. Cancelled, it gives no grace and kills at once; that much is always done, within 5 s.
        What was not received is lost. Raises TimeoutError as `kill` does, with everything closed.
        """
        if self._master < 0:
            await self._gone.wait()
            return
        self._hang_up()
        try:
            with trio.move_on_after(grace):
                await trio.lowlevel.checkpoint()
                await session.ended(session.members(self.pid), self.pid)
        finally:
            with trio.CancelScope(shield=True):
                await self._bury()

    def _hang_up(self) -> None:
        for either in (self._output, self._input):
            trio.lowlevel.notify_closing(either)
            either.close()
        os.close(self._master)  # the kernel sends SIGHUP to the leader, and none to its background jobs
        self._master = -1
        jobs = [pid for pid in session.members(self.pid) if pid != self.pid]
        session.send(jobs, self.pid, signal.SIGHUP)
        session.send(jobs, self.pid, signal.SIGCONT)

    async def _bury(self) -> None:
        try:
            await self.kill()
            await self.wait()  # other tasks that wait have their answer too
            self._process.poll()
        finally:
            trio.lowlevel.notify_closing(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
            self._gone.set()

    def _read(self, max_bytes: int) -> bytes | None:
        """Return what there is, b"" at the end, None if there is nothing yet."""
        self._check_open()
        if self._patience == math.inf and self.poll() is not None:
            self._patience = _DRAIN
            self._output.unregister(self._pidfd)  # it stays ready from now on
        data = b""
        if self._unread > 0:
            try:
                data = os.read(self._master, max_bytes)
            except BlockingIOError:
                if self._patience > 0:
                    return None
            except OSError as error:
                if error.errno != errno.EIO:  # EIO: nobody has the other end open
                    raise
        if not data:
            self._unread = 0  # the end stays the end, whatever a background job may still write
        elif self._status is not None:
            self._unread -= len(data)
        return data

    def _with_more(self, data: bytes, max_bytes: int) -> bytes:
        """Return `data` with what else is there: the kernel hands out some 4 KB at once, and a turn costs more."""
        pieces, size = [data], len(data)
        while size < max_bytes:
            try:
                more = os.read(self._master, max_bytes - size)
            except OSError:
                break  # nothing more, or the end: the next call looks anew
            if not more:
                break
            pieces.append(more)
            size += len(more)
        if self._status is not None:
            self._unread -= size - len(data)
        return b"".join(pieces) if len(pieces) > 1 else data

    async def _wait_for_output(self) -> None:
        since = trio.current_time()
        with trio.move_on_after(self._patience):
            await trio.lowlevel.wait_readable(self._output)
        self._patience -= trio.current_time() - since

    def _check_open(self) -> None:
        if self._master < 0:
            raise trio.ClosedResourceError(f"terminal of process {self.pid} is closed")


def window_size(cols: int, rows: int) -> tuple[int, int]:
    """A window's size as the system takes it; ValueError for one that no terminal has."""
    for name, value in (("cols", cols), ("rows", rows)):
        if not 1 <= value <= 65_535:
            raise ValueError(f"{name} must be from 1 to 65535, not {value}")
    return rows, cols


def _command(argv: Sequence[str], cwd: str | None, env: Mapping[str, str] | None) -> list[str]:
    """Return what starts `argv` on a terminal. Looks at files: run it in a thread.

    The checks are made here as setsid would say no more than that it exited with 127.
    """
    if cwd is not None and not os.path.isdir(cwd):
        raise FileNotFoundError(working_directory_missing(cwd))
    program = argv[0]
    if os.sep in program:
        path = os.path.join(cwd or "", program)
    else:
        path = shutil.which(program, path=(os.environ if env is None else env).get("PATH")) or ""
    if not os.path.isfile(path):
        raise FileNotFoundError(errno.ENOENT, "no such program", program)
    if not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, "not an executable file", program)
    return [*_launcher(), os.path.abspath(path), *argv[1:]]


def _launcher() -> list[str]:
    """Return the command that gives the next one its terminal, and the signals that nohup or `&` made us ignore."""
    setsid = shutil.which("setsid")
    if setsid is None:
        raise FileNotFoundError(errno.ENOENT, "no such program (util-linux has it)", "setsid")
    ignored = [sig.name[3:] for sig in _TERMINAL_SIGNALS if signal.getsignal(sig) is signal.SIG_IGN]
    return [setsid, "-c", *(["env", f"--default-signal={','.join(ignored)}"] if ignored else [])]
