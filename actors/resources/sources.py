"""Where the readings come from: the one seam between the monitor and the system that it runs on.

A `Source` has a name, says which resource it is about, and `read`s; `find_sources` finds those that there are here. All
read small files that the kernel makes on the spot, which does not block and takes less than a millisecond in all.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import attrs
import psutil

from .cgroups import CpuThrottling, NotHere, find_cgroup, read, read_memory, read_processes
from .formats import parse_count, parse_psi, parse_threads
from .pressure import Reading, Resource, Scale, reading_of

USED_MEMORY = Scale(70, 85, 95)
STALLED_FOR_MEMORY = Scale(5, 15, 40, 80)
"""Some task waited for memory: a tenth of the time is felt, half of it is thrashing."""
BUSY = Scale(60, 85, 100, 125)
"""All CPUs busy is high, and never critical: it is well if nobody waits for them."""
STALLED_FOR_CPU = Scale(25, 60, 100, 125)
"""Nor is it that somebody always waits, as while a program is built: all get on, only later. A quota is another thing:
who has used it up stands still."""
THROTTLED = Scale(10, 40, 80)
COUNTED = Scale(60, 80, 90)
"""Descriptors, processes: there are so many for good."""

WINDOW = 0.2
"""Seconds over which the use of the CPUs is taken, at least."""

_NOT_HERE = {errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM, errno.ENOSYS}
"""A file that says so at the first look is not to be had on this system."""


@attrs.frozen
class Source:
    """One of the things that are measured. `read` gives None while it has nothing to say, such as without a limit."""

    name: str
    resource: Resource
    scale: Scale
    read: Callable[[], Reading | None]
    """It is quick; whatever it raises is a fault."""


@attrs.frozen
class Found:
    """What this system has, and what not, with the reason."""

    sources: tuple[Source, ...]
    absent: dict[str, str]


def find_sources(root: Path = Path("/")) -> Found:
    """The sources that this system has; each was read once. `root` is where its files are."""
    sources: list[Source] = []
    absent: dict[str, str] = {}
    for name, kind, scale, find in _KNOWN:
        try:
            source = Source(name, kind, scale, find(root))
            source.read()
        except NotHere as why:
            absent[name] = str(why)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            absent[name] = str(error)
        else:
            sources.append(source)
    return Found(tuple(sources), absent)


# --- finding them

_Find = Callable[[Path], Callable[[], Reading | None]]


def _system_memory(root: Path) -> Callable[[], Reading]:
    def measure() -> Reading:
        memory = psutil.virtual_memory()
        return reading_of(memory.total - memory.available, memory.total)

    return measure


def _memory_of_cgroup(root: Path) -> Callable[[], Reading | None]:
    cgroup = find_cgroup("memory", root).having("memory.current", "memory.usage_in_bytes")
    return lambda: read_memory(cgroup)


def _address_space(root: Path) -> Callable[[], Reading | None]:
    process = psutil.Process()

    def measure() -> Reading | None:
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        return None if limit == resource.RLIM_INFINITY else reading_of(process.memory_info().vms, limit)

    return measure


def _system_cpu(root: Path) -> Callable[[], Reading | None]:
    before: tuple[float, float] | None = None
    last: Reading | None = None
    cpus = psutil.cpu_count() or 1

    def measure() -> Reading | None:
        nonlocal before, last
        then, before = before, _cpu_times()
        if then is None:
            return None
        idle, total = before[0] - then[0], before[1] - then[1]
        if total < WINDOW * cpus:
            before = then  # go on from there the next time
        else:
            last = Reading(min(100.0, max(0.0, 100.0 * (1.0 - idle / total))))
        return last

    return measure


def _cpu_times() -> tuple[float, float]:
    """Seconds that all CPUs were idle, and all seconds."""
    times = psutil.cpu_times()
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # these count as user's already
    return times.idle + getattr(times, "iowait", 0.0), sum(times) - guests


def _cpu_of_cgroup(root: Path) -> Callable[[], Reading | None]:
    return CpuThrottling(find_cgroup("cpu", root).having("cpu.max", "cpu.cfs_quota_us")).read


def _stalls(kind: str) -> _Find:
    return lambda root: _stalls_in(root / "proc/pressure" / kind)


def _stalls_of_cgroup(kind: str) -> _Find:
    def find(root: Path) -> Callable[[], Reading]:
        cgroup = find_cgroup(kind, root)
        if not cgroup.is_unified:
            raise NotHere("cgroup v1 does not tell of stalls")
        return _stalls_in(cgroup.folders[0] / f"{kind}.pressure")

    return find


def _stalls_in(path: Path) -> Callable[[], Reading]:
    return lambda: Reading(read(path, parse_psi)["some"])


def _open_files(root: Path) -> Callable[[], Reading | None]:
    def measure() -> Reading | None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return None if limit == resource.RLIM_INFINITY else reading_of(count_open_files(), limit)

    return measure


def count_open_files() -> int:
    """The descriptors of this process. Linux 6.2 and newer tell without listing them, which takes one more."""
    try:
        count = os.stat("/proc/self/fd").st_size
    except FileNotFoundError:
        count = 0
    return count or psutil.Process().num_fds()


def _processes_of_cgroup(root: Path) -> Callable[[], Reading | None]:
    cgroup = find_cgroup("pids", root).having("pids.max", "pids.max")
    return lambda: read_processes(cgroup)


def _system_threads(root: Path) -> Callable[[], Reading | None]:
    proc = root / "proc"

    def measure() -> Reading | None:
        kernel = proc / "sys/kernel"
        limit = min(read(kernel / "threads-max", parse_count), read(kernel / "pid_max", parse_count))
        count = read(proc / "loadavg", parse_threads)
        # A container may have a pid_max of its own, while loadavg counts the threads of the whole machine.
        return reading_of(count, limit) if count <= limit else None

    return measure


_KNOWN: tuple[tuple[str, Resource, Scale, _Find], ...] = (
    ("memory", Resource.MEMORY, USED_MEMORY, _system_memory),
    ("memory of the cgroup", Resource.MEMORY, USED_MEMORY, _memory_of_cgroup),
    ("memory stalls", Resource.MEMORY, STALLED_FOR_MEMORY, _stalls("memory")),
    ("memory stalls of the cgroup", Resource.MEMORY, STALLED_FOR_MEMORY, _stalls_of_cgroup("memory")),
    ("address space", Resource.MEMORY, USED_MEMORY, _address_space),
    ("CPU", Resource.CPU, BUSY, _system_cpu),
    ("CPU quota of the cgroup", Resource.CPU, THROTTLED, _cpu_of_cgroup),
    ("CPU stalls", Resource.CPU, STALLED_FOR_CPU, _stalls("cpu")),
    ("CPU stalls of the cgroup", Resource.CPU, STALLED_FOR_CPU, _stalls_of_cgroup("cpu")),
    ("open files", Resource.FILES, COUNTED, _open_files),
    ("processes of the cgroup", Resource.PROCESSES, COUNTED, _processes_of_cgroup),
    ("threads", Resource.PROCESSES, COUNTED, _system_threads),
)
"""Those of the whole system are from psutil, where it has them, and so there on every system."""
