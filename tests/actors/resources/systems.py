"""Systems that are not there: trees of files as the kernel shows them, copied from real machines."""

from __future__ import annotations

from pathlib import Path

PSI = "some avg10={some} avg60=1.50 avg300=0.35 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=98765\n"
V1_NO_LIMIT = "9223372036854771712\n"

V2_MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard,errors=remount-ro
24 22 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
29 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
V2_MEMBER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/editor.scope\n"

V1_MOUNTS = """\
22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:18 - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:19 - cgroup2 cgroup2 rw
"""
"""Both versions side by side, as systemd mounted them: the controllers are with v1."""
V1_MEMBERS = """\
12:pids:/docker/4f6e
8:cpu,cpuacct:/docker/4f6e
4:memory:/docker/4f6e
1:name=systemd:/docker/4f6e
0::/system.slice/containerd.service
"""

CONTAINER_MOUNTS = """\
735 734 0:32 /docker/4f6e /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:16 - cgroup cgroup rw,memory
736 734 0:30 /docker/4f6e /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:15 - cgroup cgroup rw,cpu,cpuacct
"""
"""The same, seen from within the container, which sees only its own part."""

MEMORY_STAT_V2 = """\
anon 1500000000
file 600000000
kernel_stack 1228800
inactive_anon 0
active_anon 1500000000
inactive_file {inactive_file}
active_file 100000000
"""
MEMORY_STAT_V1 = """\
cache 2752512
rss 1818624
inactive_file 90112
hierarchical_memory_limit 9223372036854771712
total_cache 2752512
total_inactive_file {inactive_file}
"""


def write(folder: Path, **files: object) -> Path:
    """Files in a folder; `__` in a name is a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n" if isinstance(text, int) else str(text))
    return folder


def make_proc(root: Path, member: str, mounts: str) -> Path:
    """A system whose process is in these cgroups."""
    write(root / "proc/self", cgroup=member, mountinfo=mounts)
    write(root / "proc", loadavg="1.78 2.14 1.80 3/105 29433\n")
    write(root / "proc/sys/kernel", pid_max=32768, **{"threads-max": 192731})
    write(root / "proc/pressure", memory=PSI.format(some="2.04"), cpu=PSI.format(some="37.50"))
    return root


def memory_v2(folder: Path, current: int, limit: object = "max\n", high: object = "max\n", dropped: int = 0) -> Path:
    """A level of a v2 hierarchy, with its memory."""
    stat = MEMORY_STAT_V2.format(inactive_file=dropped)
    return write(folder, memory__current=current, memory__max=limit, memory__high=high, memory__stat=stat)


def memory_v1(folder: Path, usage: int, limit: object = V1_NO_LIMIT, dropped: int = 0) -> Path:
    """A level of a v1 hierarchy, with its memory."""
    stat = MEMORY_STAT_V1.format(inactive_file=dropped)
    return write(folder, memory__usage_in_bytes=usage, memory__limit_in_bytes=limit, memory__stat=stat)
