"""Which files are near: on a file system of this machine's own, whose metadata no other machine can hold up.

The kernel answers a stat of a near file that was just read from memory. Of a file on a server that is gone it may
never answer, so that such a question is for a thread. Where the kernel doesn't list its mounts, no file counts as near.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import attrs

_LIST = Path("/proc/self/mountinfo")
_FAR = re.compile(
    r"(nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|lustre|gfs2?|glusterfs|ncpfs|coda|ocfs2|orangefs|beegfs|autofs|fuse.*|virtiofs)"
)
"""Kinds of file systems on which somebody else answers: another machine, or another process."""


@attrs.frozen
class Mounts:
    """The mounts of one moment."""

    devices: frozenset[int]
    """All that are mounted."""
    far_devices: frozenset[int]
    far_folders: tuple[str, ...]

    def is_near(self, path: str, device: int) -> bool:
        """Whether a file of this path, on this device, is."""
        return device in self.devices and not self.is_far(path, device)

    def is_far(self, path: str, device: int) -> bool:
        """Whether somebody else is known to answer for it. Of a device that is not listed it is not known."""
        return device in self.far_devices or any(path.startswith(folder) for folder in self.far_folders)


def parse(lines: Iterable[str]) -> Mounts:
    """Of the lines of `mountinfo`: id, parent, device, root, mount point, options, …, -, kind, …."""
    devices, far, folders = set(), set(), []
    for line in lines:
        fields = line.split()
        major, _, minor = fields[2].partition(":")
        device = _device(int(major), int(minor))
        devices.add(device)
        if _FAR.fullmatch(fields[fields.index("-") + 1]):
            far.add(device)
            folders.append(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields[4]).rstrip("/") + "/")
    return Mounts(frozenset(devices), frozenset(far), tuple(folders))


def _device(major: int, minor: int) -> int:
    """As `os.makedev`, which is not everywhere."""
    return (major & 0xFFF) << 8 | (major & ~0xFFF) << 32 | minor & 0xFF | (minor & ~0xFF) << 12


def mounts_now() -> Mounts:
    """Those that there are, or none where they can't be listed."""
    try:
        return parse(_LIST.read_text(errors="surrogateescape").splitlines())
    except OSError:
        return parse(())
