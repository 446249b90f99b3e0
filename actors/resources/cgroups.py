"""Where the process's cgroups are, and what they say: version 2, version 1, or both side by side.

A limit holds for everything below it, so each level counts, from the process's own cgroup up to what can be seen of
the hierarchy (in a container, that is not all).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs

from .formats import (
    Membership,
    Mount,
    cpus_of,
    parse_count,
    parse_cpu_max,
    parse_limit,
    parse_memberships,
    parse_mounts,
    parse_table,
)
from .pressure import Reading, reading_of

T = TypeVar("T")


class NotHere(Exception):
    """This system does not have the source; the text says why."""


@attrs.frozen
class Cgroup:
    """The process's place in the hierarchy that has a controller; the folders from its own up, innermost first."""

    is_unified: bool
    folders: tuple[Path, ...]

    def having(self, v2: str, v1: str) -> Cgroup:
        """Only the levels that have this file, which the root of v2 has not; NotHere if none has."""
        name = v2 if self.is_unified else v1
        folders = tuple(folder for folder in self.folders if (folder / name).is_file())
        if not folders:
            raise NotHere(f"no {name} in {self.folders[0]} or above")
        return attrs.evolve(self, folders=folders)


def read(path: Path, parse: Callable[[str], T]) -> T:
    """What a file says. OSError if it can't be read; a ValueError names the file."""
    text = path.read_text(errors="surrogateescape")
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def find_cgroup(controller: str, root: Path = Path("/")) -> Cgroup:
    """The process's cgroup for `memory`, `cpu` or `pids`; NotHere if it has none that can be seen."""
    own = root / "proc/self"
    if not (own / "cgroup").exists():
        raise NotHere("this system has no cgroups")
    return locate(controller, read(own / "cgroup", parse_memberships), read(own / "mountinfo", parse_mounts), root)


def locate(controller: str, memberships: list[Membership], mounts: list[Mount], root: Path = Path("/")) -> Cgroup:
    """As `find_cgroup`, from what the two files say."""
    is_v1 = any(controller in mount.controllers for mount in mounts)
    for mount in mounts:
        if mount.is_unified is is_v1 or (is_v1 and controller not in mount.controllers):
            continue
        for member in memberships:
            if controller in member.controllers if is_v1 else not member.controllers:
                inner = _below(member.path, mount.root)
                if inner is None:
                    continue
                point = root / mount.point.lstrip("/")
                own = point / inner
                return Cgroup(not is_v1, (own, *(up for up in own.parents if up == point or point in up.parents)))
    raise NotHere(f"no cgroup of this process with the controller {controller!r} can be seen")


def _below(path: str, root: str) -> str | None:
    """A path in a hierarchy, from where that is mounted; None if it is not below it."""
    if ".." in path.split("/"):
        return None  # outside of the process's own namespace
    if root == "/" or path == root or path.startswith(f"{root}/"):
        return path.removeprefix(root if root != "/" else "").lstrip("/")
    return None


# --- what they say


def read_memory(cgroup: Cgroup) -> Reading | None:
    """The level that is nearest to its limit; None if none has one. What can be dropped at once does not count."""
    readings = []
    for folder in cgroup.folders:
        if cgroup.is_unified:
            limits = [read(folder / "memory.max", parse_limit), read(folder / "memory.high", parse_limit)]
            used, cached = "memory.current", "inactive_file"
        else:
            limits = [read(folder / "memory.limit_in_bytes", parse_limit)]
            used, cached = "memory.usage_in_bytes", "total_inactive_file"
        known = [limit for limit in limits if limit is not None]
        if known:
            droppable = read(folder / "memory.stat", parse_table).get(cached, 0)
            readings.append(reading_of(max(0, read(folder / used, parse_count) - droppable), min(known)))
    return max(readings, key=lambda each: each.percent, default=None)


def read_processes(cgroup: Cgroup) -> Reading | None:
    """The level that is nearest to its limit of processes and threads; None if none has one."""
    readings = []
    for folder in cgroup.folders:
        limit = read(folder / "pids.max", parse_limit)
        if limit is not None:
            readings.append(reading_of(read(folder / "pids.current", parse_count), limit))
    return max(readings, key=lambda each: each.percent, default=None)


@attrs.define
class CpuThrottling:
    """In how much of its periods each level had used up its CPU quota, and had to wait, since the last look."""

    cgroup: Cgroup
    _before: dict[Path, tuple[int, int]] = attrs.field(factory=dict, init=False)

    def read(self) -> Reading | None:
        """The level that had to wait most; None at the first look, and where none has a quota."""
        percents = []
        for folder in self.cgroup.folders:
            if self._quota(folder) is None:
                self._before.pop(folder, None)
                continue
            counts = read(folder / "cpu.stat", parse_table)
            now = counts.get("nr_periods", 0), counts.get("nr_throttled", 0)
            before = self._before.get(folder)
            self._before[folder] = now
            if before is not None:
                periods, throttled = now[0] - before[0], now[1] - before[1]
                percents.append(100.0 * max(0, throttled) / periods if periods > 0 else 0.0)
        return Reading(max(percents)) if percents else None

    def _quota(self, folder: Path) -> float | None:
        if self.cgroup.is_unified:
            return read(folder / "cpu.max", parse_cpu_max)
        quota = read(folder / "cpu.cfs_quota_us", parse_limit)
        return cpus_of(quota, read(folder / "cpu.cfs_period_us", parse_count))
