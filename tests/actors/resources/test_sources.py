"""The sources of this very system, and of others that are made of files; real limits, and a CPU that is really busy."""

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ukemi.actors.resources import Band, Reading, Source, find_sources, sources
from ukemi.actors.resources.pressure import band_of
from ukemi.actors.resources.sources import count_open_files
from ukemi.actors.resources.spare import Spare

from ...limited import run_limited
from . import systems
from .systems import make_proc, memory_v2, write

EVERYWHERE = {"memory", "CPU", "address space", "open files"}


def found(root: Path) -> dict[str, Source]:
    return {source.name: source for source in find_sources(root).sources}


# --- this system


def test_memory_cpu_and_files_are_measured_on_every_system(tmp_path: Path) -> None:
    here = find_sources(tmp_path)
    assert {source.name for source in here.sources} == EVERYWHERE
    assert all(here.absent.values())


@pytest.mark.skipif(sys.platform != "linux", reason="these are Linux's")
def test_what_this_system_has_can_be_read_and_what_not_has_a_reason() -> None:
    here = find_sources()
    assert {source.name for source in here.sources} >= {*EVERYWHERE, "threads"}
    for source in here.sources:
        reading = source.read()
        assert reading is None or 0 <= source.scale.pressure(reading.percent) <= 100
    assert all(here.absent.values())


@pytest.mark.skipif(not os.path.exists("/proc/pressure/cpu"), reason="this kernel does not tell of stalls")
def test_stalls_are_as_the_kernel_tells_them() -> None:
    reading = found(Path("/"))["CPU stalls"].read()
    assert reading is not None
    assert 0 <= reading.percent <= 100
    assert reading.limit is None


def test_the_memory_of_the_system_is_what_psutil_says() -> None:
    reading = found(Path("/"))["memory"].read()
    assert reading is not None
    assert reading.limit == psutil.virtual_memory().total
    assert reading.current is not None
    assert 0 < reading.current < reading.limit


def test_a_cpu_that_is_burnt_is_seen() -> None:
    cpu = found(Path("/"))["CPU"]
    burn = "while True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(os.cpu_count() or 1)]
    try:
        seen = 0.0
        patience = time.monotonic() + 30
        while seen < 85 and time.monotonic() < patience:
            time.sleep(0.3)
            reading = cpu.read()
            seen = max(seen, reading.percent if reading is not None else 0.0)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert seen >= 85
    assert band_of(round(cpu.scale.pressure(seen))).rank >= Band.MODERATE.rank


def test_the_use_of_the_cpu_is_not_taken_over_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    times = [(10.0, 20.0), (10.1, 20.2), (10.2, 20.3), (10.3, 21.0), (10.3, 21.3), (11.3, 22.0)]
    monkeypatch.setattr(sources, "_cpu_times", lambda: times.pop(0))
    cpu = found(Path("/"))["CPU"]
    busy = Reading(pytest.approx(70.0))
    assert [cpu.read() for _ in range(5)] == [None, None, busy, busy, Reading(0.0)]


def test_time_that_guests_used_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Times(tuple[float, ...]):
        idle, iowait, guest, guest_nice = 50.0, 5.0, 20.0, 1.0

    monkeypatch.setattr(psutil, "cpu_times", lambda: Times((40.0, 50.0, 5.0, 20.0, 1.0)))
    assert sources._cpu_times() == (55.0, 95.0)


# --- real limits


def test_an_address_space_that_fills_up_is_seen_before_it_is_full() -> None:
    code = """
from pathlib import Path
from ukemi.actors.resources.pressure import band_of
from ukemi.actors.resources import find_sources
(space,) = (each for each in find_sources(Path("/nowhere")).sources if each.name == "address space")
held = []
try:
    while True:
        print(band_of(round(space.scale.pressure(space.read().percent))), flush=True)
        held.append(bytearray(8 << 20))
except MemoryError:
    held.clear()
print("and then it was full")
"""
    *bands, last = run_limited(code, which=resource.RLIMIT_AS, limit=1 << 30).splitlines()
    assert last == "and then it was full"
    assert list(dict.fromkeys(bands)) == list(Band)


def test_without_a_limit_the_address_space_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert found(Path("/nowhere"))["address space"].read() is None
    assert found(Path("/nowhere"))["open files"].read() is None


def test_descriptors_are_counted_up_to_the_last_one_and_then_too() -> None:
    code = """
import errno, os
from pathlib import Path
from ukemi.actors.resources import find_sources
from ukemi.actors.resources.spare import Spare
spare = Spare()
sources = find_sources().sources
(files,) = (each for each in sources if each.name == "open files")
try:
    while True:
        os.open(os.devnull, os.O_RDONLY)
except OSError as error:
    assert error.errno == errno.EMFILE
with spare.lent():
    for each in sources:
        each.read()
spare.close()
spare = Spare()
print(files.read())
"""
    assert run_limited(code, which=resource.RLIMIT_NOFILE, limit=100) == f"{Reading(100.0, 100, 100)}\n"


def test_the_count_of_descriptors_grows_with_each() -> None:
    before = count_open_files()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    assert count_open_files() == before + 5
    for descriptor in opened:
        os.close(descriptor)
    assert count_open_files() == before


def test_an_older_kernel_lists_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count_open_files()
    monkeypatch.setattr(os, "stat", lambda path: SimpleNamespace(st_size=0))
    assert counted <= count_open_files() <= counted + 1


@pytest.mark.skipif("UKEMI_TEST_CGROUP" not in os.environ, reason="UKEMI_TEST_CGROUP names no cgroup to make others in")
def test_a_real_limit_of_a_cgroup_is_seen() -> None:
    top = Path(os.environ["UKEMI_TEST_CGROUP"])
    own = top / f"ukemi-test-{os.getpid()}"
    own.mkdir()
    try:
        is_v1 = (own / "memory.limit_in_bytes").exists()
        (own / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(200 << 20))
        code = f"""
import os
from pathlib import Path
Path({str(own)!r}, "cgroup.procs").write_text(str(os.getpid()))
from ukemi.actors.resources import find_sources
held = bytearray(os.urandom(1 << 20)) * 120
(memory,) = (each for each in find_sources().sources if each.name == "memory of the cgroup")
print(memory.read().percent, memory.read().limit)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        percent, limit = done.stdout.split()
        assert 60 <= float(percent) <= 100
        assert int(limit) == 200 << 20
    finally:
        own.rmdir()


# --- other systems


def test_a_container_of_version_2_with_everything(tmp_path: Path) -> None:
    make_proc(tmp_path, "0::/\n", systems.V2_MOUNTS)
    own = memory_v2(tmp_path / "sys/fs/cgroup", 500, 1000)
    write(own, cpu__max="max 100000\n", cpu__stat="usage_usec 1\nnr_periods 0\nnr_throttled 0\n")
    write(own, pids__max=40, pids__current=10, memory__pressure=systems.PSI.format(some="12.00"))
    write(own, cpu__pressure=systems.PSI.format(some="0.00"))
    here = find_sources(tmp_path)
    assert here.absent == {}
    readings = {source.name: source.read() for source in here.sources}
    assert readings["memory of the cgroup"] == Reading(50.0, 500, 1000)
    assert readings["memory stalls"] == Reading(2.04)
    assert readings["memory stalls of the cgroup"] == Reading(12.0)
    assert readings["CPU stalls"] == Reading(37.5)
    assert readings["CPU quota of the cgroup"] is None
    assert readings["processes of the cgroup"] == Reading(25.0, 10, 40)
    assert readings["threads"] == Reading(100 * 105 / 32768, 105, 32768)


def test_threads_that_are_counted_elsewhere_than_they_are_limited_say_nothing(tmp_path: Path) -> None:
    make_proc(tmp_path, "0::/\n", systems.V2_MOUNTS)
    write(tmp_path / "proc/sys/kernel", pid_max=100)
    assert found(tmp_path)["threads"].read() is None


def test_stalls_that_the_kernel_was_told_not_to_count_are_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_proc(tmp_path, "0::/\n", systems.V2_MOUNTS)
    real = Path.read_text

    def read_text(self: Path, **options: object) -> str:
        if "pressure" in self.parts:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), str(self))
        return real(self, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", read_text)
    assert "Operation not supported" in find_sources(tmp_path).absent["memory stalls"]


def test_a_source_that_is_there_and_can_not_be_read_is_a_fault(tmp_path: Path) -> None:
    make_proc(tmp_path, "0::/\n", systems.V2_MOUNTS)
    write(tmp_path / "proc/pressure", memory="the pressure is well\n")
    with pytest.raises(ValueError, match="proc/pressure/memory: 'the pressure is well' must be"):
        find_sources(tmp_path)


# --- the spare descriptor


def test_a_spare_descriptor_is_held_lent_and_held_again() -> None:
    before = count_open_files()
    spare = Spare()
    assert count_open_files() == before + 1
    with spare.lent():
        assert count_open_files() == before
    assert count_open_files() == before + 1
    spare.close()
    assert count_open_files() == before


def test_a_spare_descriptor_comes_back_after_an_error_too() -> None:
    spare, before = Spare(), count_open_files()
    with pytest.raises(OSError, match="on purpose"), spare.lent():
        raise OSError("on purpose")
    assert count_open_files() == before
    spare.close()
    spare.close()
    assert count_open_files() == before - 1
