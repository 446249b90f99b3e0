"""The files in which Linux says how much of what is used: text in, values out.

All pure. What is not as the kernel writes it is a ValueError that quotes it. They are described in the kernel's
documentation: cgroup-v1, cgroup-v2, accounting/psi, and proc(5).
"""

from __future__ import annotations

import re

import attrs

NO_LIMIT = 2**60
"""Bytes from which on a limit is none: cgroup v1 writes the highest number of whole pages for it."""
SHOWN = 80
"""Characters of a text that an error quotes."""

_PSI = re.compile(r"(some|full) avg10=(\d+(?:\.\d+)?) avg60=\d+(?:\.\d+)? avg300=\d+(?:\.\d+)? total=\d+")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@attrs.frozen
class Membership:
    """A line of /proc/self/cgroup: in which cgroup the process is."""

    controllers: frozenset[str]
    """Those of a v1 hierarchy; empty for v2's."""
    path: str


@attrs.frozen
class Mount:
    """A cgroup hierarchy in /proc/self/mountinfo: `root` is the path in it that is found at `point`."""

    is_unified: bool
    """Whether it is v2's."""
    controllers: frozenset[str]
    root: str
    point: str


def parse_psi(text: str) -> dict[str, float]:
    """How many percent of the last 10 s were lost: `some` task waited, or (`full`) all that could run did."""
    stalls = {}
    for line in text.splitlines():
        found = _PSI.fullmatch(line.strip())
        if found is None:
            raise _wrong(line, "as 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0'")
        stalls[found[1]] = float(found[2])
    if "some" not in stalls:
        raise _wrong(text, "a line that begins with 'some'")
    return stalls


def parse_count(text: str) -> int:
    """A number from 0 up."""
    word = text.strip()
    if not (word.isascii() and word.isdigit()):
        raise _wrong(text, "a whole number from 0 up")
    return int(word)


def parse_limit(text: str) -> int | None:
    """A limit; None for none, which is `max` (v2), -1, or a number that no machine has (v1)."""
    if text.strip() in ("max", "-1"):
        return None
    limit = parse_count(text)
    return limit if limit < NO_LIMIT else None


def parse_table(text: str) -> dict[str, int]:
    """Lines of a name and a number, such as memory.stat."""
    table = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) != 2:
            raise _wrong(line, "a name and a number")
        table[words[0]] = parse_count(words[1])
    return table


def parse_cpu_max(text: str) -> float | None:
    """v2's cpu.max, quota and period in microseconds: how many CPUs may be used; None for all."""
    words = text.split()
    if len(words) != 2:
        raise _wrong(text, "a quota and a period")
    return cpus_of(parse_limit(words[0]), parse_count(words[1]))


def cpus_of(quota: int | None, period: int) -> float | None:
    """How many CPUs a quota for each period allows."""
    if period == 0:
        raise ValueError("a period of 0 must be above it")
    return None if quota is None else quota / period


def parse_threads(text: str) -> int:
    """How many threads the system has, from /proc/loadavg."""
    words = text.split()
    if len(words) != 5 or "/" not in words[3]:
        raise _wrong(text, "as '0.00 0.01 0.05 1/123 4567'")
    return parse_count(words[3].partition("/")[2])


def parse_memberships(text: str) -> list[Membership]:
    """/proc/self/cgroup."""
    memberships = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon or not number.isdigit() or not path.startswith("/"):
            raise _wrong(line, "as '0::/user.slice' or '4:memory:/user.slice'")
        memberships.append(Membership(frozenset(filter(None, controllers.split(","))), path))
    return memberships


def parse_mounts(text: str) -> list[Mount]:
    """The cgroup hierarchies in /proc/self/mountinfo, in its order."""
    mounts = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6 or len(rest) < 3:
            raise _wrong(line, "a line of mountinfo")
        if rest[0] in ("cgroup", "cgroup2"):
            is_unified = rest[0] == "cgroup2"
            controllers = frozenset() if is_unified else frozenset(rest[2].split(","))
            mounts.append(Mount(is_unified, controllers, _unescaped(fields[3]), _unescaped(fields[4])))
    return mounts


def _unescaped(path: str) -> str:
    """A space in a path stands there as an octal number."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), path)


def _wrong(text: str, right: str) -> ValueError:
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return ValueError(f"{shown!r} must be {right}")
