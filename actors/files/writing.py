"""How a file is written, in a thread: as a whole, or not at all, whatever happens at whatever moment.

The data goes into a file of its own in the same folder, down to the disk, and then takes the name. Before that file is
made, a record of it is: a symbolic link in a folder of this process's own. So what a killed process has left behind is
known to the next one, which `sweep`s it away.

Who reads meanwhile sees the old contents or the new ones. A new file is made, so that another name of the old one (a
hard link) keeps the old contents.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .cache import Found, signature_of
from .content import PIECE, content_of
from .reading import check_is_file, naming

_TEMPORARY = re.compile(r"\.ukemi-([0-9a-f]{16})\.tmp")
_KEPT_ATTRIBUTES = ("user.", "system.posix_acl_access")
_EFFECTIVE = os.access in os.supports_effective_ids
_OWNER_BITS = stat.S_ISUID | stat.S_ISGID


class NotWantedAnyMore(Exception):
    """Nobody waits for this write any more, and the old contents were left."""


def write_file(path: str, data: bytes, records: Path, is_wanted: Callable[[], bool]) -> Found:
    """Replace what the file holds, or make it; what it holds then.

    A symbolic link is followed. Mode, owner, access list and user attributes stay as far as they may. Raises OSError
    that names the path, NotWantedAnyMore when `is_wanted` says so before the data has taken the name; the old contents
    are there then, and nothing else.
    """
    try:
        target = _target_of(path)
        old = _status(target)
        if old is not None:
            check_is_file(path, old)
            if not os.access(target, os.W_OK, effective_ids=_EFFECTIVE):
                raise PermissionError(errno.EACCES, "it may not be written", path)
        status = _replace(target, old, data, records, is_wanted)
    except OSError as error:
        raise naming(path, error, _device_of(os.path.dirname(os.path.realpath(path)))) from error
    pieces = [data[n : n + PIECE] for n in range(0, len(data), PIECE)]
    return Found(content_of(pieces), signature_of(status), is_settled=False, is_near=False)


def _target_of(path: str) -> str:
    if path.endswith("/"):
        raise IsADirectoryError(errno.EISDIR, "it names a folder, not a file", path)
    return os.path.realpath(path)


def _device_of(folder: str) -> int | None:
    try:
        return os.stat(folder).st_dev
    except OSError:
        return None


def _status(target: str) -> os.stat_result | None:
    try:
        return os.stat(target)
    except FileNotFoundError:
        return None


def _replace(
    target: str, old: os.stat_result | None, data: bytes, records: Path, is_wanted: Callable[[], bool]
) -> os.stat_result:
    folder = os.path.dirname(target)
    token = secrets.token_hex(8)
    temporary = os.path.join(folder, f".ukemi-{token}.tmp")
    with _recorded(temporary, records / token):
        descriptor = _create(temporary, 0o666 if old is None else 0o600)  # a new one's mode is the umask's matter
        try:
            _write_all(descriptor, data)
            if old is not None:
                _make_like(descriptor, old, target)
            os.fsync(descriptor)
            if not is_wanted():
                raise NotWantedAnyMore(target)
            os.rename(temporary, target)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    _sync_folder(folder)
    return status


@contextmanager
def _recorded(temporary: str, record: Path) -> Iterator[None]:
    """Keep a record while the file may be there."""
    try:
        os.symlink(temporary, record)
    except FileNotFoundError:  # somebody has removed the folder
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.symlink(temporary, record)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # it has taken its name, or was never made
            os.unlink(temporary)
        os.unlink(record)


def _create(temporary: str, mode: int) -> int:
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest[:PIECE]) :]


def _make_like(descriptor: int, old: os.stat_result, target: str) -> None:
    """Give it the old one's owner, mode and attributes, as far as this process may."""
    _copy_attributes(descriptor, target)
    own = os.fstat(descriptor)
    is_owners = (own.st_uid, own.st_gid) == (old.st_uid, old.st_gid)
    if not is_owners:
        is_owners = _give_to(descriptor, old.st_uid, old.st_gid)
    if not is_owners:
        _give_to(descriptor, -1, old.st_gid)
    mode = stat.S_IMODE(old.st_mode)
    os.fchmod(descriptor, mode if is_owners else mode & ~_OWNER_BITS)


def _give_to(descriptor: int, user: int, group: int) -> bool:
    try:
        os.fchown(descriptor, user, group)
    except PermissionError:
        return False
    return True


def _copy_attributes(descriptor: int, target: str) -> None:
    if not hasattr(os, "listxattr"):
        return
    with suppress(OSError):  # not every file system has them, nor lets everybody set them
        for name in os.listxattr(target):
            if name.startswith(_KEPT_ATTRIBUTES):
                os.setxattr(descriptor, name, os.getxattr(target, name))


def _sync_folder(folder: str) -> None:
    """Have the name itself on the disk. A folder that may not be read can't be asked to."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(records: Path) -> list[OSError]:
    """Remove what a process that was killed has left behind; what could not be removed, and will be tried again.

    The folder of records is made where needed. No write of this process may be under way.
    """
    records.mkdir(mode=0o700, parents=True, exist_ok=True)
    failed = []
    for name in sorted(os.listdir(records)):
        record = records / name
        if not record.is_symlink():
            continue
        try:
            temporary = os.readlink(record)
            if _TEMPORARY.fullmatch(os.path.basename(temporary)):  # whoever made the link, nothing else is removed
                with suppress(FileNotFoundError, NotADirectoryError):
                    os.unlink(temporary)
            os.unlink(record)
        except OSError as error:
            failed.append(error)
    return failed
