"""The folder of one running tree: its sockets, its log, its crash dumps.

    bridge.sock  debug.sock  journal.db  crashes/  writes/  log.jsonl

Without `--state-dir` it lies in the user's state folder, under the tree's name. The folder is the owner's only (0700),
and held by a lock while a runtime lives in it, which ends with its process however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
from itertools import count
from pathlib import Path

import attrs
import platformdirs

from ..actors.errors import UkemiError
from ..actors.ipc.sockets import LONGEST

_FOLDERS = ("crashes", "writes")
_FILES = ("log.jsonl", "crashes/errors.jsonl")
ROOM = 16 * 1024
"""Bytes that have to be left for it when it is opened."""


class StateDirError(UkemiError):
    """The folder can't be used; the message says why, and what would help."""


@attrs.define(eq=False)
class StateDir:
    """An opened state folder. Use as a context; leaving it lets go of the lock."""

    path: Path
    _lock: int | None = None

    @property
    def bridge_socket(self) -> Path:
        """Where the bridge listens."""
        return self.path / "bridge.sock"

    @property
    def debug_socket(self) -> Path:
        """Where `ukemi repl` and `ukemi tree` connect."""
        return self.path / "debug.sock"

    @property
    def log(self) -> Path:
        """The log, as JSON lines."""
        return self.path / "log.jsonl"

    @property
    def crashes(self) -> Path:
        """The folder of the crash dumps."""
        return self.path / "crashes"

    @property
    def error_reports(self) -> Path:
        """The last error reports, as JSON lines."""
        return self.crashes / "errors.jsonl"

    def __enter__(self) -> StateDir:
        """Make the folder where needed, and take its lock. Raises StateDirError."""
        path = self.path
        for socket in (self.bridge_socket, self.debug_socket):
            size = len(os.fsencode(socket))
            if size > LONGEST:
                raise StateDirError(
                    f"the state dir {path} is too long: {socket.name} in it would have {size} bytes, {LONGEST} fit"
                )
        try:
            _make_folder(path)
            _check_parts(path)
            self.crashes.mkdir(mode=0o700, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(path))
            _check_room(path)
            self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StateDirError(f"the state dir {path} can't be written: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise StateDirError(
                f"the state dir {path} is in use by a live runtime; choose another, or stop that one"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise StateDirError(f"the state dir {path} is no folder") from None


def _check_parts(path: Path) -> None:
    """Raise StateDirError if something else has the name of what belongs there."""
    for names, is_folder, kind in ((_FOLDERS, True, "a folder"), (_FILES, False, "a file")):
        for part in (path / name for name in names):
            if os.path.lexists(part) and part.is_dir() is not is_folder:
                raise StateDirError(f"the state dir {path} can't be used: {part} has to be {kind}; move it away")


def _check_room(path: Path) -> None:
    """Raise OSError if not even a page fits in it, as would have to for all that is remembered there."""
    probe = path / ".room"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, bytes(ROOM)) < ROOM:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def base_dir() -> Path:
    """Where the state folders of this user's runtimes lie."""
    return platformdirs.user_state_path("ukemi")


def default_state_dir(tree: str) -> Path:
    """The state folder of a tree that is told no other."""
    return base_dir() / tree


def free_state_dir(tree: str) -> Path:
    """The same for a tree that may run several times: the first of `tree`, `tree-2`, … that no runtime lives in."""
    paths = (default_state_dir(tree if n == 1 else f"{tree}-{n}") for n in count(1))
    return next(path for path in paths if not is_live(path))


def is_live(path: Path) -> bool:
    """Whether a runtime lives in this state folder."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def find_debug_socket(state_dir: Path | None) -> Path:
    """The debug socket in this folder, or of the only runtime that the user has running.

    Raises StateDirError where there is none, or where there are several to choose from.
    """
    if state_dir is not None:
        socket = state_dir / "debug.sock"
        if not socket.exists():
            raise StateDirError(f"no runtime has its state in {state_dir} (there is no {socket.name})")
        return socket
    base = base_dir()
    live = sorted(path for path in base.iterdir() if is_live(path)) if base.is_dir() else []
    if not live:
        raise StateDirError("no runtime is running under your default folder; name its folder with --state-dir")
    if len(live) > 1:
        raise StateDirError("several runtimes are running; choose with --state-dir: " + ", ".join(map(str, live)))
    return live[0] / "debug.sock"
