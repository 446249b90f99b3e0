"""Watches as a client of the bridge has them: over a real socket, of a real disk, with real faults."""

import base64
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from ukemi.actors.events import ActorStarted, DeadLetter
from ukemi.actors.watcher import Change, ChangeKind, Watcher, WatchInfo
from ukemi.runtime.bridge import watch_methods
from ukemi.supervisors import ChildRestarted
from ukemi.supervisors.events import FellBack

from ..actors.watcher.disk import check, listing
from ..bridge import Bridge, Client, Failed, running_bridge
from ..expecting import PATIENCE, expecting
from .launched import launched


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "state").mkdir()
    async with running_bridge(tmp_path / "state") as bridge:
        yield bridge
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "watched"
    folder.mkdir()
    return folder


async def failure(client: Client, method: str, **params: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        await client.request(method, **params)
    return caught.value


async def watch(client: Client, path: Path, **params: Any) -> str:
    answer = await client.request("watch/add", path=str(path), **params)
    return str(answer["watch"])


def told(client: Client, watch: str | None = None) -> list[dict[str, Any]]:
    """All changes that the client was told of, in order."""
    notes = [note["params"] for note in client.notes if note["method"] == "watch/changed"]
    return [change for note in notes if watch in (None, note["watch"]) for change in note["changes"]]


async def hears(client: Client, path: Path, kind: str = "created", watch: str | None = None) -> None:
    """Wait until this change was told."""
    wanted = {"path": str(path), "kind": kind}
    await client.until(lambda: any(wanted.items() <= change.items() for change in told(client, watch)))


async def watches(bridge: Bridge) -> tuple[WatchInfo, ...]:
    return await bridge.runtime.ref("watcher", Watcher).call(Watcher.watches)


async def until_watched(bridge: Bridge, count: int) -> None:
    """Wait until there are so many watches; each look is a message behind those that were sent before."""
    with trio.fail_after(PATIENCE):
        while len(await watches(bridge)) != count:
            await trio.sleep(0.001)


# --- what is told


async def test_each_change_is_told_with_its_watch_and_a_number(client: Client, folder: Path) -> None:
    name = await watch(client, folder)
    (folder / "a").write_text("1")
    await hears(client, folder / "a")
    (folder / "a").rename(folder / "b")
    await hears(client, folder / "b", "moved")
    (folder / "b").unlink()
    await hears(client, folder / "b", "deleted")
    assert {note["params"]["watch"] for note in client.notes} == {name}
    assert [note["params"]["seq"] for note in client.notes] == list(range(1, len(client.notes) + 1))
    moves = [change for change in told(client) if change["kind"] == "moved"]
    assert moves == [{"path": str(folder / "b"), "kind": "moved", "source": str(folder / "a")}]


async def test_only_a_recursive_watch_tells_of_what_is_deeper(client: Client, folder: Path) -> None:
    (folder / "sub").mkdir()
    flat, deep = await watch(client, folder), await watch(client, folder, recursive=True)
    (folder / "sub" / "a").touch()
    await hears(client, folder / "sub" / "a", watch=deep)
    (folder / "last").touch()
    await hears(client, folder / "last", watch=flat)
    assert [change["path"] for change in told(client, flat)] == [str(folder / "last")]


async def test_names_that_are_no_utf_8_come_and_go_as_base64(client: Client, folder: Path) -> None:
    odd = os.fsencode(folder) + b"/\xff"
    os.mkdir(odd)

    def encoded(path: bytes) -> str:
        return base64.b64encode(path).decode()

    answer = await client.request("watch/add", path=encoded(odd), encoding="base64")
    os.mkdir(odd + b"/a")
    await client.until(lambda: client.notes != [])
    assert client.notes[0]["params"] == {
        "watch": answer["watch"],
        "changes": [{"path": encoded(odd + b"/a"), "kind": "created", "encoding": "base64"}],
        "seq": 1,
    }


async def test_what_changes_while_a_watch_is_added_is_told_behind_its_answer(client: Client, folder: Path) -> None:
    """A thousand files, made while the watch is added, by the client's own terminal or anybody."""
    for n in range(20):
        (folder / f"{n}").mkdir()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_files, folder)
        ids = [await client.ask("watch/add", path=str(folder), recursive=True) for _ in range(5)]
        names = [(await client.answer(id))["watch"] for id in ids]
    (folder / "last").touch()
    for id, name in zip(ids, names, strict=True):
        await hears(client, folder / "last", watch=name)
        seqs = [note["params"]["seq"] for note in client.notes if note["params"]["watch"] == name]
        assert client.order.index(id) < client.order.index(("seq", seqs[0]))
        paths = {change["path"] for change in told(client, name) if change["kind"] == "created"}
        assert str(folder / "last") in paths


async def make_files(folder: Path) -> None:
    for n in range(1_000):
        (folder / f"{n % 20}" / f"{n}").touch()
        await trio.lowlevel.checkpoint()


# --- whose it is


async def test_a_watch_is_its_sessions_own(bridge: Bridge, client: Client, folder: Path) -> None:
    async with bridge.client() as other:
        name, others = await watch(client, folder), await watch(other, folder)
        error = await failure(other, "watch/remove", watch=name)
        assert str(error) == f"this session has no watch {name!r}"
        assert (error.code, error.data["severity"]) == (-32602, "Warning")
        (folder / "a").touch()
        await hears(client, folder / "a")
        await hears(other, folder / "a")
        assert {note["params"]["watch"] for note in client.notes} == {name}
        assert {note["params"]["watch"] for note in other.notes} == {others}


async def test_nothing_is_told_of_a_watch_that_was_removed(bridge: Bridge, client: Client, folder: Path) -> None:
    first, second = await watch(client, folder), await watch(client, folder)
    assert await client.request("watch/remove", watch=first) == {}
    assert [info.watch for info in await watches(bridge)] == [second]
    (folder / "a").touch()
    await hears(client, folder / "a", watch=second)
    assert told(client, first) == []
    assert "has no watch" in str(await failure(client, "watch/remove", watch=first))


@pytest.mark.parametrize("how", ["exit", "killed", "stopped", "all are killed"])
async def test_a_session_that_ends_takes_its_watches_with_it(
    bridge: Bridge, client: Client, folder: Path, how: str
) -> None:
    (session,) = await bridge.runtime.ref("sessions").call("children")
    names = {await watch(client, folder) for _ in range(3)}
    if how == "exit":
        await client.notify("exit")
    elif how == "killed":
        session.ref.kill()
    elif how == "stopped":
        await bridge.runtime.ref("sessions").call("stop_child", session.name)
    else:
        async with expecting(bridge.runtime, ActorStarted, "/bridge/listener"):
            bridge.runtime.ref("sessions").kill()
    await client.closed()
    await until_watched(bridge, 0)
    async with bridge.client() as other:
        kept = await watch(other, folder)
        assert kept not in names
        assert [info.watch for info in await watches(bridge)] == [kept]
        assert bridge.runtime.events.of(DeadLetter) == []


async def test_a_client_that_comes_back_gets_what_has_changed_meanwhile(bridge: Bridge, folder: Path) -> None:
    client = await bridge.connect()
    async with client.stream:
        session = (await client.request("initialize"))["session"]
        name = await watch(client, folder)
        (folder / "a").touch()
        await hears(client, folder / "a")
        seen = client.notes[-1]["params"]["seq"]
    (folder / "b").touch()
    async with bridge.client(session=session, lastSeq=seen) as again:
        await hears(again, folder / "b", watch=name)
        assert again.notes[0]["params"]["seq"] == seen + 1
        await again.request("watch/remove", watch=name)


async def test_a_watch_whose_request_was_cancelled_is_not_there(bridge: Bridge, client: Client, folder: Path) -> None:
    for n in range(300):
        (folder / f"{n}").mkdir()
    for _ in range(5):
        id = await client.ask("watch/add", path=str(folder), recursive=True)
        await client.notify("$/cancelRequest", id=id)
        try:
            name = (await client.answer(id))["watch"]  # it may have been quicker
        except Failed:
            pass
        else:
            await client.request("watch/remove", watch=name)
    await until_watched(bridge, 0)


async def test_a_watch_that_is_removed_before_its_id_was_told_is_gone(
    bridge: Bridge, client: Client, folder: Path
) -> None:
    for n in range(2_000):
        (folder / f"{n}").mkdir()
    first = await watch(client, folder)
    guessed = f"w{int(first[1:]) + 1}"
    added = await client.ask("watch/add", path=str(folder), recursive=True)
    watcher = bridge.runtime.ref("watcher").cell.incarnation.actor
    with trio.fail_after(PATIENCE):
        while not watcher._adding:
            await trio.lowlevel.checkpoint()
    removed = await client.ask("watch/remove", watch=guessed)
    await client.answer(removed)
    with suppress(Failed):
        assert (await client.answer(added))["watch"] == guessed
    await client.request("watch/remove", watch=first)
    await until_watched(bridge, 0)


async def test_a_client_has_no_more_watches_than_it_may(
    bridge: Bridge, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_methods, "MOST_WATCHES", 2)
    first, _ = await watch(client, folder), await watch(client, folder)
    error = await failure(client, "watch/add", path=str(folder))
    assert str(error) == "Resource exhausted: watches of this session"
    assert (error.data["category"], error.data["severity"]) == ("Resource", "Critical")
    await client.request("watch/remove", watch=first)
    await watch(client, folder)


@pytest.mark.parametrize(
    ("params", "said", "category"),
    [
        ({}, "'path' is missing", "Unknown"),
        ({"path": "{tmp}/missing"}, "No such file or directory", "FileSystem"),
        ({"path": ""}, "path='' must name a file or a folder", "Unknown"),
        ({"path": "a\0b"}, "without NUL", "Unknown"),
        ({"path": "{tmp}", "encoding": "latin-1"}, "'latin-1' must be 'utf-8' or 'base64'", "Unknown"),
        ({"path": "{tmp}", "recursive": 1}, "1 must be true or false @ params.recursive", "Unknown"),
    ],
)
async def test_what_can_not_be_watched_is_said_so(
    bridge: Bridge, client: Client, folder: Path, params: dict[str, Any], said: str, category: str
) -> None:
    params = {key: value.format(tmp=folder) if isinstance(value, str) else value for key, value in params.items()}
    error = await failure(client, "watch/add", **params)
    assert said in str(error)
    assert (error.code, error.data["severity"], error.data["category"]) == (-32602, "Warning", category)
    assert await watches(bridge) == ()


# --- when the watcher fails, is turned off, and comes back


async def test_a_watcher_that_is_killed_comes_back_and_loses_nothing(
    bridge: Bridge, client: Client, folder: Path
) -> None:
    name = await watch(client, folder, recursive=True)
    for n in range(5):
        async with expecting(bridge.runtime, ChildRestarted, "/bridge/watcher"):
            (folder / f"before-{n}").touch()
            bridge.runtime.ref("watcher").kill()
            (folder / f"after-{n}").touch()
        await hears(client, folder / f"before-{n}")
        await hears(client, folder / f"after-{n}")
    created = [change["path"] for change in told(client, name) if change["kind"] == "created"]
    assert len(created) == len(set(created)) == 10
    tree = await client.request("runtime/tree")
    (watcher,) = [each for each in tree["children"] if each["name"] == "watcher"]
    assert (watcher["state"], watcher["restarts"], watcher["fallback"]) == ("running", 5, None)


async def test_at_the_least_quality_nothing_is_told_and_afterwards_everything(
    bridge: Bridge, client: Client, folder: Path
) -> None:
    name = await watch(client, folder, recursive=True)
    async with expecting(bridge.runtime, FellBack, "/bridge/watcher"):
        bridge.runtime.features.set_quality(0)
    answer = await client.request("runtime/features")
    (feature,) = [each for each in answer["features"] if each["feature"] == "file_watching"]
    assert (feature["state"], feature["reasons"], feature["fallback"]) == (
        "degraded",
        ["quality"],
        "changes are told late",
    )
    tree = await client.request("runtime/tree")
    (watcher,) = [each for each in tree["children"] if each["name"] == "watcher"]
    assert (watcher["state"], watcher["fallback"]) == ("degraded", "off")
    (folder / "sub").mkdir()
    (folder / "sub" / "a").touch()
    second = await watch(client, folder)
    (folder / "b").touch()
    await trio.testing.wait_all_tasks_blocked(0.1)
    assert told(client) == []
    async with expecting(bridge.runtime, FellBack, "/bridge/watcher"):
        bridge.runtime.features.set_quality(None)
    await hears(client, folder / "b", watch=second)
    await hears(client, folder / "sub" / "a", watch=name)
    assert [change["path"] for change in told(client, second)] == [str(folder / "b")]
    features = [note["params"] for note in client.notes if note["method"] == "runtime/feature"]
    assert [each["state"] for each in features if each["feature"] == "file_watching"] == ["degraded", "whole"]


async def test_a_watcher_that_hears_nothing_any_more_is_made_anew_at_its_health_check(
    bridge: Bridge, client: Client, folder: Path
) -> None:
    name = await watch(client, folder)
    (fd,) = [each for each in os.listdir("/proc/self/fd") if is_inotify(each)]
    deaf = os.open(folder, os.O_RDONLY)
    os.dup2(deaf, int(fd))  # somebody has closed the descriptor, and opened another file under its number
    os.close(deaf)
    (folder / "a").touch()
    watcher = bridge.runtime.ref("watcher").cell.incarnation.actor
    async with expecting(bridge.runtime, ChildRestarted, "/bridge/watcher"):
        watcher.ctx.after(0, watcher._check_health)  # it is time for it
    os.close(int(fd))
    await hears(client, folder / "a", watch=name)
    (folder / "b").touch()
    await hears(client, folder / "b", watch=name)


def is_inotify(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:inotify"
    except FileNotFoundError:
        return False


# --- all of it at once


STORM = Path(__file__).parents[1] / "actors" / "watcher" / "storm.py"


@pytest.mark.parametrize("seed", range(2))
async def test_a_client_that_is_cut_off_in_a_storm_while_the_watcher_is_killed_and_turned_off_misses_nothing(
    bridge: Bridge, folder: Path, seed: int
) -> None:
    chance = Random(seed)
    client = await bridge.connect()
    session = (await client.request("initialize"))["session"]
    await watch(client, folder, recursive=True)
    before, notes = listing(str(folder)), list[dict[str, Any]]()
    async with trio.open_nursery() as nursery:
        command = [sys.executable, str(STORM), str(folder), str(seed), "8000"]
        storm = await nursery.start(trio.run_process, command)
        for _ in range(6):
            match chance.randrange(3):
                case 0:
                    async with expecting(bridge.runtime, ChildRestarted, "/bridge/watcher"):
                        bridge.runtime.ref("watcher").kill()
                case 1:
                    for level in (0, None):
                        async with expecting(bridge.runtime, FellBack, "/bridge/watcher"):
                            bridge.runtime.features.set_quality(level)
                case 2:
                    notes += client.notes
                    await trio.aclose_forcefully(client.stream)
                    seen = notes[-1]["params"]["seq"] if notes else 0
                    client = await bridge.connect()
                    await client.request("initialize", session=session, lastSeq=seen)
        await storm.wait()
    (folder / "over").touch()
    after = listing(str(folder))

    def is_all_told() -> bool:
        try:
            check(before, changes_in([*notes, *client.notes]), after)
        except AssertionError:
            return False
        return True

    async with client.stream:
        await hears(client, folder / "over")
        await client.until(is_all_told)
    seqs = [note["params"]["seq"] for note in [*notes, *client.notes]]
    assert seqs == list(range(1, len(seqs) + 1))


def changes_in(notes: list[dict[str, Any]]) -> list[Change]:
    told = [note["params"]["changes"] for note in notes if note["method"] == "watch/changed"]
    return [Change(**{**change, "kind": ChangeKind(change["kind"])}) for each in told for change in each]


# --- a limit of the system's


SET_LIMIT = "echo {} > /proc/sys/user/max_inotify_watches"
FEW_WATCHES = ["unshare", "--user", "--map-root-user", "sh", "-c", f'{SET_LIMIT.format(40)}; exec "$@"', "sh"]


async def test_where_no_more_can_be_watched_it_is_looked_for_changes_until_more_can(tmp_path: Path) -> None:
    """Resource/Critical, in a user namespace that may watch forty folders."""
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir()
    for n in range(100):
        (many / f"{n}").mkdir(parents=True)
    if (await trio.run_process([*FEW_WATCHES, "true"], check=False, capture_stderr=True)).returncode:
        pytest.skip("this system allows no user namespaces, in which the limit could be lowered")
    async with launched(tmp_path, within=FEW_WATCHES) as program:
        await program.says("is up")
        client = Client(await trio.open_unix_socket(str(program.state / "bridge.sock")))
        async with client.stream:
            await client.request("initialize")
            first = await watch(client, few)
            second = await watch(client, many, recursive=True)  # it does not fail, though another answers it
            assert await fallback_of(client, "watcher") == "polling"
            await client.until(lambda: changes_of_feature(client, "file_watching") == ["degraded"])
            (many / "99" / "a").touch()
            (few / "a").touch()
            await hears(client, many / "99" / "a", watch=second)
            await hears(client, few / "a", watch=first)
            enter = ["nsenter", "--user", "--target", str(program.process.pid)]
            await trio.run_process([*enter, "sh", "-c", SET_LIMIT.format(10_000)])
            await client.until(lambda: changes_of_feature(client, "file_watching") == ["degraded", "whole"])
            assert await fallback_of(client, "watcher") is None
            (many / "99" / "b").touch()
            await hears(client, many / "99" / "b", watch=second)


async def fallback_of(client: Client, name: str) -> str | None:
    tree = await client.request("runtime/tree")
    (node,) = [each for each in tree["children"] if each["name"] == name]
    fallback: str | None = node["fallback"]
    return fallback


def changes_of_feature(client: Client, feature: str) -> list[str]:
    notes = [note["params"] for note in client.notes if note["method"] == "runtime/feature"]
    return [note["state"] for note in notes if note["feature"] == feature]
