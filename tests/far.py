"""A far folder that is real: a file system of FUSE's whose server is a thread here, and can cease to answer.

It has one folder, and nothing in it. Whoever asks while it is hung waits in the kernel until it is unmounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ukemi.actors.files import mounts

PATIENCE = 60
"""Seconds after which it is aborted, so that a test whose loop stands still fails of it."""

_IN = struct.Struct("=IIQQIIII")
_OUT = struct.Struct("=IiQ")
_NO_ANSWER = {2, 36, 42}
"""FORGET, INTERRUPT, BATCH_FORGET."""
_ATTRIBUTES = struct.pack(
    "=QIIQQQQQQIIIIIIIIII", 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 0, 0
)
_ANSWERS = {
    3: _ATTRIBUTES,  # GETATTR
    26: struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, 0, *(0,) * 7),  # INIT
    27: struct.pack("=QII", 0, 0, 0),  # OPENDIR
    28: b"",  # READDIR
    29: b"",  # RELEASEDIR
}
_LOOKUP = 1
_DETACH = 2


class FarFolder:
    """A mounted one, and its server."""

    def __init__(self, path: Path, device: int) -> None:
        self.path = path
        self._device = device
        self._answers = threading.Event()
        self._answers.set()
        self._error = 0
        self._asked = threading.Event()
        self._ended, self._end = os.pipe()
        self._server = threading.Thread(target=self._serve)
        self._server.start()

    def hang(self) -> None:
        """From now on answer nothing."""
        self._answers.clear()

    def fail(self, number: int = errno.EIO) -> None:
        """From now on answer with this error."""
        self._error = number

    def wait_until_asked(self) -> None:
        """Wait, for a thread, until somebody waits for an answer that does not come."""
        assert self._asked.wait(PATIENCE)

    def abort(self) -> None:
        """The server is gone: whoever waits is told so."""
        if self._server.is_alive():
            os.write(self._end, b".")
            self._server.join()
            for descriptor in (self._device, self._ended, self._end):
                os.close(descriptor)

    def _serve(self) -> None:
        while self._ended not in select.select([self._device, self._ended], [], [])[0]:
            request = os.read(self._device, 1 << 17)
            if not self._answers.is_set():
                self._asked.set()
                continue
            _, operation, unique, *_ = _IN.unpack_from(request)
            if operation in _NO_ANSWER:
                continue
            answer = _ANSWERS.get(operation) if not self._error else None
            refusal = self._error or (errno.ENOENT if operation == _LOOKUP else errno.ENOSYS)
            data = answer or b""
            head = _OUT.pack(_OUT.size + len(data), 0 if answer is not None else -refusal, unique)
            os.write(self._device, head + data)


@contextmanager
def far_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarFolder]:
    """Mount one, that answers; skips where that is not allowed. Its mount is known at once."""
    monkeypatch.setattr(mounts, "_LATELY", 0.0)
    libc = ctypes.CDLL(None, use_errno=True)
    path.mkdir()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no file system of FUSE's can be mounted here: {error}")
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if libc.mount(b"far", os.fsencode(path), b"fuse", 0, options.encode()):
        os.close(device)
        pytest.skip(f"no file system of FUSE's can be mounted here: {os.strerror(ctypes.get_errno())}")
    far = FarFolder(path, device)
    aborts = threading.Timer(PATIENCE, far.abort)
    aborts.start()
    try:
        path.stat()  # it has introduced itself then
        yield far
    finally:
        aborts.cancel()
        aborts.join()
        far.abort()
        libc.umount2(os.fsencode(path), _DETACH)
