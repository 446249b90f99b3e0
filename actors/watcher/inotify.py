"""Linux's inotify as a source: one descriptor for all watches, that trio waits on.

inotify watches inodes, not paths, and one inode once for all who ask: so a watch descriptor may stand for several
nodes. What it reports of a folder is a name to look at. What leads to a watched path is watched too, for names only.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import trio
from inotify_simple import INotify, flags, parse_events

from ..errors import ResourceExhausted
from .looking import Steps, asked, is_denied, is_gone
from .snapshot import Node, Watch

_NAMES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE_SELF | flags.MOVE_SELF
_NAMED = int(_NAMES)
_ALL = int(_NAMES | flags.MODIFY | flags.ATTRIB | flags.ONLYDIR | flags.MASK_ADD)
_LEADING = int(_NAMES | flags.ONLYDIR | flags.MASK_ADD)
_DONT_FOLLOW = int(flags.DONT_FOLLOW)
_MODIFY = int(flags.MODIFY)
_MOVED_FROM = int(flags.MOVED_FROM)
_OVERFLOW = int(flags.Q_OVERFLOW)
_IGNORED = int(flags.IGNORED)
_SELF = int(flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED)

READ = 65_536
"""Bytes read at once: about two thousand events."""
LIMITS = Path("/proc/sys/fs/inotify")
AT_ONCE = 200
"""Folders that are let go of at once."""


class Inotify:
    """See `sources.Source`."""

    tells_all = True

    def __init__(self) -> None:
        try:
            self._inotify = INotify(nonblocking=True, closefd=False)
        except OSError as error:
            if error.errno != errno.EMFILE or not _has_descriptor_left():
                raise
            raise _exhausted("inotify instances", "max_user_instances", 0) from error
        self._nodes: dict[int, dict[Node, None]] = {}
        """By watch descriptor."""
        self._wds: dict[Watch, dict[Node, int]] = {}
        self._leading: dict[int, dict[tuple[Watch, str], None]] = {}
        """By watch descriptor: the watches to which the folder leads, and the next name on the way."""
        self._led: dict[Watch, set[int]] = {}

    @property
    def fd(self) -> int:
        """The descriptor."""
        return int(self._inotify.fileno())

    def attend(self, node: Node, *, far: bool) -> Steps[None]:
        """See `Source`."""
        mask = _ALL if node.is_root or node.is_top else _ALL | _DONT_FOLLOW
        wd = yield from self._add(node.path, mask, far=far)
        wds = self._wds.setdefault(node.watch, {})
        before = wds.get(node)
        if before is not None and before != wd:
            self.forget(node)
        self._nodes.setdefault(wd, {})[node] = None
        wds[node] = wd

    def forget(self, node: Node) -> None:
        """See `Source`."""
        wd = self._wds.get(node.watch, {}).pop(node, None)
        if wd is not None and wd in self._nodes:
            self._nodes[wd].pop(node, None)
            self._drop_unused(wd)

    def anchor(self, watch: Watch) -> Steps[None]:
        """See `Source`."""
        place = watch.place
        assert place is not None
        before = self._led.pop(watch, set())
        after = self._led[watch] = set()
        for folder, name in dict.fromkeys((*_way_to(watch.path), *_way_to(place.real))):
            try:
                wd = yield from self._add(folder, _LEADING, far=place.is_far)
            except OSError as error:
                if not (is_gone(error) or is_denied(error, far=place.is_far)):
                    raise
                continue  # what is missing is told by the folder above it
            self._leading.setdefault(wd, {})[watch, name] = None
            after.add(wd)
        root = watch.root
        if root is None or not (root.found and root.found.is_folder):
            yield from self._attend_parent(watch, far=place.is_far)
        else:
            self.forget(watch.top)
        for wd in before - after:
            self._drop_leading(wd, watch)

    def _attend_parent(self, watch: Watch, *, far: bool) -> Steps[None]:
        """A root that is a file, or may become one, is watched in its folder: programs replace files."""
        try:
            yield from self.attend(watch.top, far=far)
        except OSError as error:
            if not (is_gone(error) or is_denied(error, far=far)):
                raise

    def release(self, watch: Watch) -> Steps[None]:
        """See `Source`."""
        for wd in self._led.pop(watch, set()):
            self._drop_leading(wd, watch)
        for n, node in enumerate(tuple(self._wds.get(watch, ())), 1):
            self.forget(node)
            if n % AT_ONCE == 0:
                yield None
        self._wds.pop(watch, None)

    def drain(self) -> bool:
        """See `Source`."""
        try:
            data = os.read(self.fd, READ)
        except BlockingIOError:
            return False
        for wd, mask, _, name in parse_events(data):
            if mask & _OVERFLOW:
                self._overflown()
                continue
            leading = self._leading.get(wd)
            if leading is not None:
                for watch, step in leading:
                    if (name == step and mask & _NAMED) or mask & _SELF:
                        watch.adrift = watch.everything = True
            nodes = self._nodes.get(wd)
            if nodes is not None:
                for node in nodes:
                    _mark(node, mask, name)
            if mask & _IGNORED:
                self._gone(wd)
        return True

    async def wait(self) -> None:
        """See `Source`."""
        await trio.lowlevel.wait_readable(self.fd)

    def check(self) -> None:
        """See `Source`."""
        kind = os.readlink(f"/proc/self/fd/{self.fd}")
        if kind != "anon_inode:inotify":
            raise OSError(errno.EBADF, f"the descriptor {self.fd} must be anon_inode:inotify, not {kind}")

    def close(self) -> None:
        """See `Source`."""
        fd = self.fd
        try:
            self.check()
        except OSError:
            return  # somebody has closed it, and may have opened another file under its number
        trio.lowlevel.notify_closing(fd)
        os.close(fd)

    # ---

    def _add(self, path: str, mask: int, *, far: bool) -> Steps[int]:
        try:
            wd = yield from asked(partial(self._inotify.add_watch, path, mask), far=far)
            return int(wd)
        except OSError as error:
            error.filename = path
            if error.errno != errno.ENOSPC:
                raise
            raise _exhausted("inotify watches", "max_user_watches", len(self._nodes.keys() | self._leading)) from error

    def _overflown(self) -> None:
        """Events were lost, of whatever watch."""
        for watch in (*self._wds, *self._led):
            watch.everything = watch.adrift = True

    def _gone(self, wd: int) -> None:
        """The kernel watches this inode no more: it is deleted, or its filesystem is unmounted.

        What is at its path now is another, though its inode may have the same number.
        """
        for node in self._nodes.pop(wd, {}):
            self._wds.get(node.watch, {}).pop(node, None)
            if not node.is_dead and not node.is_top and node.children is not None:
                node.watch.blind[node] = None  # until it is looked into again
        for watch, _ in self._leading.pop(wd, {}):
            self._led.get(watch, set()).discard(wd)

    def _drop_leading(self, wd: int, watch: Watch) -> None:
        leading = self._leading.get(wd)
        if leading is not None:
            for key in [key for key in leading if key[0] is watch]:
                del leading[key]
            self._drop_unused(wd)

    def _drop_unused(self, wd: int) -> None:
        if not self._nodes.get(wd):
            self._nodes.pop(wd, None)
        if not self._leading.get(wd):
            self._leading.pop(wd, None)
        if wd in self._nodes or wd in self._leading:
            return
        try:
            self._inotify.rm_watch(wd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the kernel has dropped it already
                raise


def _way_to(path: str) -> list[tuple[str, str]]:
    """The folders that lead to a path, the topmost first, each with the next name on the way."""
    way = []
    folder, name = os.path.split(path)
    while name:
        way.append((folder, name))
        folder, name = os.path.split(folder)
    return way[::-1]


def _mark(node: Node, mask: int, name: str) -> None:
    """Note what an event about a folder, or about a name in it, asks to be looked at."""
    watch = node.watch
    if not name:
        watch.look_at_node(node)
        return
    if node.is_top and name != watch.root_name:
        return
    watch.look(node, name, written=bool(mask & _MODIFY))
    if mask & _MOVED_FROM and node.children is not None:
        moved = node.children.get(name)
        if moved is not None and moved.found is not None:
            watch.moved.add(moved.found.identity)


def _has_descriptor_left() -> bool:
    """Whether this process may open one more file."""
    try:
        os.close(os.open("/", os.O_RDONLY))
    except OSError:
        return False
    return True


def _exhausted(what: str, setting: str, current: int) -> ResourceExhausted:
    limit = int((LIMITS / setting).read_text())
    return ResourceExhausted(f"{what} (fs.inotify.{setting})", limit, current)
