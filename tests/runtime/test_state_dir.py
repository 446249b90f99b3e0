"""The folder of a running tree."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from ukemi.actors.ipc.sockets import LONGEST
from ukemi.runtime import state_dir
from ukemi.runtime.state_dir import StateDir, StateDirError, default_state_dir, find_debug_socket, is_live


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state_dir, "base_dir", lambda: tmp_path / "base")
    return tmp_path / "base"


def test_it_is_made_for_its_owner_only_with_all_that_is_needed(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with StateDir(tmp_path / "new" / "state") as folder:
            for path in (folder.path, folder.crashes):
                assert stat.S_IMODE(path.stat().st_mode) == 0o700
            names = [path.name for path in (folder.bridge_socket, folder.debug_socket, folder.log, folder.crashes)]
            assert names == ["bridge.sock", "debug.sock", "log.jsonl", "crashes"]
    finally:
        os.umask(before)


def test_one_runtime_lives_in_it_at_a_time(tmp_path: Path) -> None:
    with StateDir(tmp_path):
        assert is_live(tmp_path)
        with pytest.raises(StateDirError, match="is in use by a live runtime; choose another, or stop that one"):
            StateDir(tmp_path).__enter__()
    assert not is_live(tmp_path)
    with StateDir(tmp_path):
        pass


def test_a_folder_that_is_not_there_is_not_live(tmp_path: Path) -> None:
    assert not is_live(tmp_path / "none")


def test_a_folder_on_a_full_disk_is_said_to_be(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("no small file system may be mounted here")
    try:
        with pytest.raises(StateDirError, match=f"the state dir {disk} can't be written: No space left on device"):
            StateDir(disk).__enter__()
        assert os.listdir(disk) == ["crashes"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", ["crashes", "writes"])
def test_what_has_to_be_a_folder_in_it_is_named_where_it_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(StateDirError) as caught:
        StateDir(tmp_path).__enter__()
    assert str(caught.value) == (
        f"the state dir {tmp_path} can't be used: {tmp_path / name} has to be a folder; move it away"
    )


@pytest.mark.parametrize("name", ["log.jsonl", "crashes/errors.jsonl"])
def test_what_has_to_be_a_file_in_it_is_named_where_it_is_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(StateDirError, match=f"{name} has to be a file; move it away"):
        StateDir(tmp_path).__enter__()


def test_what_is_refused_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with StateDir(tmp_path):
        before = len(os.listdir("/proc/self/fd"))
        for path in (tmp_path, tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(StateDirError):
                StateDir(path).__enter__()
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_path_in_which_no_socket_fits_is_refused_before_it_is_made(tmp_path: Path) -> None:
    fits = tmp_path / ("x" * (LONGEST - len("/bridge.sock") - len(os.fsencode(tmp_path)) - 1))
    with StateDir(fits):
        pass
    too_long = fits.with_name(fits.name + "x")
    with pytest.raises(StateDirError, match="is too long"):
        StateDir(too_long).__enter__()
    assert not too_long.exists()


def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StateDirError, match="can't be written: Permission denied"):
        StateDir(tmp_path).__enter__()


def test_the_only_live_runtime_is_found(base: Path) -> None:
    assert default_state_dir("shop").name == "shop"
    with pytest.raises(StateDirError, match="no runtime is running"):
        find_debug_socket(None)
    (base / "dead").mkdir(parents=True)
    with StateDir(base / "one"):
        assert find_debug_socket(None) == base / "one" / "debug.sock"
        with StateDir(base / "two"), pytest.raises(StateDirError, match=r"several runtimes are running.*one.*two"):
            find_debug_socket(None)


def test_a_named_folder_has_a_runtime_or_is_told_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(StateDirError, match="no runtime has its state in"):
        find_debug_socket(tmp_path)
    (tmp_path / "debug.sock").write_text("")
    with StateDir(tmp_path):
        assert find_debug_socket(tmp_path) == tmp_path / "debug.sock"
