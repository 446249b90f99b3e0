"""Which files are near: on a file system of this machine's own, whose metadata no other machine can hold up.

The kernel answers a stat of a near file that was just read from memory. Of a file on a server that is gone it may
never answer, so that such a question is for a thread. Where the kernel doesn't list its mounts, no file counts as near.
Some files the kernel makes up itself (proc, sysfs): what goes wrong with them is the matter of who asks for them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

import attrs

_LIST = Path("/proc/self/mountinfo")
_FAR = re.compile(
    r"(nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|lustre|gfs2?|glusterfs|ncpfs|coda|ocfs2|orangefs|beegfs|autofs|fuse.*|virtiofs)"
)
"""Kinds of file systems on which somebody else answers: another machine, or another process."""
_KERNELS = re.compile(
    r"(proc|sysfs|\w*debugfs|tracefs|securityfs|configfs|cgroup2?|pstore|bpf|binfmt_misc|selinuxfs|efivarfs|fusectl|nsfs)"
)
"""Kinds of file systems that the kernel makes up."""
_LATELY = 1.0
"""Seconds for which a list of the mounts is good enough."""


@attrs.frozen
class Mounts:
    """The mounts of one moment."""

    devices: frozenset[int]
    """All that are mounted."""
    far_devices: frozenset[int]
    far_folders: tuple[str, ...]
    """With a slash at the end."""
    near_folders: tuple[str, ...] = ()
    """Where all else is mounted, in the same form."""
    kernels: frozenset[int] = frozenset()
    """Devices of what the kernel makes up."""

    def is_near(self, path: str, device: int) -> bool:
        """Whether a file of this path, on this device, is."""
        return device in self.devices and not self.is_far(path, device)

    def is_far(self, path: str, device: int) -> bool:
        """Whether somebody else is known to answer for it. Of a device that is not listed it is not known."""
        return device in self.far_devices or any(path.startswith(folder) for folder in self.far_folders)

    def is_near_place(self, real: str) -> bool:
        """Whether a path without links would lead to a file that is near; that there is one is not known."""
        if not self.far_folders:
            return bool(self.near_folders)
        return _longest(self.near_folders, f"{real}/") > _longest(self.far_folders, f"{real}/")

    def far_within(self, real: str) -> frozenset[str]:
        """Where, below a path without links, something far is mounted: relative to it."""
        start = real.rstrip("/") + "/"
        return frozenset(each[len(start) : -1] for each in self.far_folders if each.startswith(start) and each != start)


def _longest(folders: tuple[str, ...], path: str) -> int:
    return max((len(folder) for folder in folders if path.startswith(folder)), default=0)


def parse(lines: Iterable[str]) -> Mounts:
    """Of the lines of `mountinfo`: id, parent, device, root, mount point, options, …, -, kind, …."""
    devices, far, kernels, far_folders, near_folders = set(), set(), set(), [], []
    for line in lines:
        fields = line.split()
        major, _, minor = fields[2].partition(":")
        device = _device(int(major), int(minor))
        devices.add(device)
        kind = fields[fields.index("-") + 1]
        if _KERNELS.fullmatch(kind):
            kernels.add(device)
        folder = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields[4]).rstrip("/") + "/"
        if _FAR.fullmatch(kind):
            far.add(device)
            far_folders.append(folder)
        else:
            near_folders.append(folder)
    return Mounts(frozenset(devices), frozenset(far), tuple(far_folders), tuple(near_folders), frozenset(kernels))


def _device(major: int, minor: int) -> int:
    """As `os.makedev`, which is not everywhere."""
    return (major & 0xFFF) << 8 | (major & ~0xFFF) << 32 | minor & 0xFF | (minor & ~0xFF) << 12


def mounts_now() -> Mounts:
    """Those that there are, or none where they can't be listed."""
    try:
        return parse(_LIST.read_text(errors="surrogateescape").splitlines())
    except OSError:
        return parse(())


def mounts_lately() -> Mounts:
    """Those of a moment ago at most: cheap enough to be asked again and again."""
    global _last
    now = time.monotonic()
    if now - _last[0] > _LATELY:
        mounts = mounts_now()
        _last = now, mounts if mounts.devices else _last[1]  # for want of a descriptor, say
    return _last[1]


_last = -_LATELY, parse(())
