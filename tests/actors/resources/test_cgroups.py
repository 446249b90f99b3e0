"""Cgroups of both versions: where the process's are, each level's limits, and what is not there."""

from pathlib import Path

import pytest

from ukemi.actors.resources.cgroups import CpuThrottling, NotHere, find_cgroup, read_memory, read_processes
from ukemi.actors.resources.pressure import Reading

from . import systems
from .systems import make_proc, memory_v1, memory_v2, write

SCOPE = "user.slice/user-1000.slice/user@1000.service/app.slice/editor.scope"


def v2(root: Path) -> tuple[Path, Path]:
    """A system with version 2: its hierarchy, and the process's own folder."""
    make_proc(root, systems.V2_MEMBER, systems.V2_MOUNTS)
    top = write(root / "sys/fs/cgroup")
    own = write(top / SCOPE)
    return top, own


def v1(root: Path) -> Path:
    """A system with version 1 beside 2: the folder of all its hierarchies."""
    make_proc(root, systems.V1_MEMBERS, systems.V1_MOUNTS)
    for name in ("memory", "cpu,cpuacct", "pids", "unified/system.slice/containerd.service"):
        write(root / "sys/fs/cgroup" / name / "docker/4f6e")
    return root / "sys/fs/cgroup"


def memory(root: Path) -> Reading | None:
    return read_memory(find_cgroup("memory", root).having("memory.current", "memory.usage_in_bytes"))


def test_memory_is_what_is_used_of_the_limit_without_what_can_be_dropped(tmp_path: Path) -> None:
    _, own = v2(tmp_path)
    memory_v2(own, 900, 1000, dropped=300)
    assert memory(tmp_path) == Reading(60.0, 600, 1000)


def test_without_a_limit_there_is_nothing_to_say(tmp_path: Path) -> None:
    _, own = v2(tmp_path)
    memory_v2(own, 900)
    assert memory(tmp_path) is None


def test_the_soft_limit_counts_where_it_is_lower(tmp_path: Path) -> None:
    _, own = v2(tmp_path)
    memory_v2(own, 400, 1000, high=500)
    assert memory(tmp_path) == Reading(80.0, 400, 500)


def test_of_nested_limits_the_one_that_is_nearest_counts(tmp_path: Path) -> None:
    top, own = v2(tmp_path)
    memory_v2(own, 100, 1000)
    memory_v2(own.parent, 500)
    memory_v2(own.parent.parent, 950, 1000)
    memory_v2(top / "user.slice", 1000, 10_000)  # and none in between, nor at the root
    assert memory(tmp_path) == Reading(95.0, 950, 1000)


@pytest.mark.parametrize(("limit", "percent"), [(100, 300.0), (0, 100.0)])
def test_more_may_be_used_than_the_limit_allows(tmp_path: Path, limit: int, percent: float) -> None:
    _, own = v2(tmp_path)
    memory_v2(own, 300, limit)
    assert memory(tmp_path) == Reading(percent, 300, limit)


def test_more_that_can_be_dropped_than_is_used_is_nothing_used(tmp_path: Path) -> None:
    _, own = v2(tmp_path)
    memory_v2(own, 300, 1000, dropped=500)
    assert memory(tmp_path) == Reading(0.0, 0, 1000)


def test_version_1_has_its_own_files_and_a_hierarchy_for_each_controller(tmp_path: Path) -> None:
    top = v1(tmp_path)
    memory_v1(top / "memory/docker/4f6e", 500, 1000, dropped=100)
    memory_v1(top / "memory/docker", 600)
    memory_v1(top / "memory", 700)
    assert memory(tmp_path) == Reading(40.0, 400, 1000)


def test_a_container_sees_its_own_part_as_the_whole(tmp_path: Path) -> None:
    make_proc(tmp_path, systems.V1_MEMBERS, systems.CONTAINER_MOUNTS)
    memory_v1(tmp_path / "sys/fs/cgroup/memory", 500, 1000)
    assert memory(tmp_path) == Reading(50.0, 500, 1000)


def test_a_namespace_of_cgroups_of_its_own_begins_at_its_root(tmp_path: Path) -> None:
    make_proc(tmp_path, "0::/\n", systems.V2_MOUNTS)
    memory_v2(tmp_path / "sys/fs/cgroup", 500, 1000)
    assert memory(tmp_path) == Reading(50.0, 500, 1000)


@pytest.mark.parametrize(
    ("member", "mounts"),
    [
        ("0::/../../elsewhere\n", systems.V2_MOUNTS),
        (systems.V2_MEMBER, "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n"),
        ("4:memory:/docker/other\n", systems.CONTAINER_MOUNTS),
        ("4:memory:/docker/4f6e-and-more\n", systems.CONTAINER_MOUNTS),
        ("", systems.V2_MOUNTS),
    ],
    ids=["outside its namespace", "not mounted", "elsewhere", "a name that begins alike", "in none"],
)
def test_a_cgroup_that_can_not_be_seen_is_not_here(tmp_path: Path, member: str, mounts: str) -> None:
    make_proc(tmp_path, member, mounts)
    with pytest.raises(NotHere, match="can be seen"):
        find_cgroup("memory", tmp_path)


def test_without_cgroups_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotHere, match="no cgroups"):
        find_cgroup("memory", tmp_path)


def test_where_no_level_has_the_controller_it_says_so(tmp_path: Path) -> None:
    v2(tmp_path)
    with pytest.raises(NotHere, match=r"no memory\.current in"):
        memory(tmp_path)


def test_garbage_in_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    _, own = v2(tmp_path)
    memory_v2(own, 300, "lots\n")
    with pytest.raises(ValueError, match=r"memory\.max: 'lots"):
        memory(tmp_path)


def test_a_cgroup_that_is_removed_is_an_error(tmp_path: Path) -> None:
    _, own = v2(tmp_path)
    memory_v2(own, 300, 1000)
    cgroup = find_cgroup("memory", tmp_path).having("memory.current", "memory.usage_in_bytes")
    (own / "memory.max").unlink()
    with pytest.raises(FileNotFoundError):
        read_memory(cgroup)


def test_processes_are_counted_against_the_nearest_limit(tmp_path: Path) -> None:
    top, own = v2(tmp_path)
    write(own, pids__current=50, pids__max="max\n")
    write(top / "user.slice", pids__current=90, pids__max=100)
    cgroup = find_cgroup("pids", tmp_path).having("pids.max", "pids.max")
    assert read_processes(cgroup) == Reading(90.0, 90, 100)
    write(top / "user.slice", pids__max="max\n")
    assert read_processes(cgroup) is None


def cpu_stat(folder: Path, periods: int, throttled: int) -> None:
    text = f"usage_usec 123\nuser_usec 100\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 9\n"
    write(folder, cpu__stat=text)


@pytest.mark.parametrize("version", [1, 2])
def test_a_cpu_quota_is_felt_by_how_many_of_its_periods_had_to_wait(tmp_path: Path, version: int) -> None:
    own = v2(tmp_path)[1] if version == 2 else v1(tmp_path) / "cpu,cpuacct/docker/4f6e"
    quota = (
        {"cpu__max": "50000 100000\n"} if version == 2 else {"cpu__cfs_quota_us": 50000, "cpu__cfs_period_us": 100000}
    )
    write(own, **quota)
    cpu_stat(own, 1000, 500)
    throttling = CpuThrottling(find_cgroup("cpu", tmp_path).having("cpu.max", "cpu.cfs_quota_us"))
    assert throttling.read() is None  # what was long ago says nothing
    cpu_stat(own, 1050, 510)
    assert throttling.read() == Reading(20.0)
    assert throttling.read() == Reading(0.0)  # idle


def test_a_cpu_quota_that_is_lifted_has_nothing_more_to_say(tmp_path: Path) -> None:
    _, own = v2(tmp_path)
    write(own, cpu__max="50000 100000\n")
    cpu_stat(own, 10, 5)
    throttling = CpuThrottling(find_cgroup("cpu", tmp_path).having("cpu.max", "cpu.cfs_quota_us"))
    throttling.read()
    write(own, cpu__max="max 100000\n")
    cpu_stat(own, 20, 15)
    assert throttling.read() is None
