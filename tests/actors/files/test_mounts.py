"""Which files are near."""

from __future__ import annotations

import os

from ukemi.actors.files.mounts import mounts_now, parse

LINES = r"""
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 27 0:45 / /home/me/far\040away rw shared:7 master:3 - nfs4 server:/export rw
32 27 0:46 / /mnt/ssh rw - fuse.sshfs me@there: rw
33 27 0:47 / /tmp rw - tmpfs none rw
34 27 259:70000 / /big rw - xfs /dev/nvme rw
""".strip().splitlines()


def test_what_another_machine_serves_is_far() -> None:
    mounts = parse(LINES)
    assert mounts.is_near("/etc/passwd", os.makedev(254, 0))
    assert mounts.is_near("/tmp/x", os.makedev(0, 47))
    assert mounts.is_near("/big/x", os.makedev(259, 70000))
    assert not mounts.is_near("/mnt/ssh/x", os.makedev(0, 46))
    assert not mounts.is_near("/elsewhere/x", os.makedev(0, 45))


def test_what_is_reached_through_a_far_folder_is_far() -> None:
    mounts = parse(LINES)
    assert not mounts.is_near("/home/me/far away/link/x", os.makedev(254, 0))
    assert mounts.is_near("/home/me/far away, and back/x", os.makedev(254, 0))


def test_what_is_on_no_mount_that_is_known_is_far() -> None:
    assert not parse(LINES).is_near("/x", os.makedev(0, 99))
    assert not parse(()).is_near("/x", os.makedev(254, 0))


def test_the_mounts_of_this_machine_can_be_read() -> None:
    assert os.stat("/proc").st_dev in mounts_now().devices
