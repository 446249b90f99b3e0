"""What the debug commands tell of features, quality and circuits, and what they do to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from ukemi import Actor, Runtime, child, supervisor
from ukemi.runtime.debug.commands import COMMANDS
from ukemi.runtime.debug.server import debug_services
from ukemi.runtime.debug.words import candidates
from ukemi.supervisors.features import Feature

from .debug_shop import Client, Counter, Shop, open_shop
from .test_debug_repl import ukemi
from .test_debug_wellbeing import shown, words


class Quick(Counter):
    """Counts, in place of another."""


class Idle(Actor):
    """Does nothing."""


TREE = supervisor(
    "shop",
    child("counter", Counter, fallback={"quick": Quick}, feature=Feature("counting", fallback="by estimate")),
    child("shelf", Idle, depends_on=["counter"]),
    strategy="dependents",
    features=[Feature("decorations", depends_on=["counting"]), Feature("file_watching")],
)


@asynccontextmanager
async def featured_shop(folder: Path) -> AsyncIterator[tuple[Shop, Client]]:
    """A shop with features, and a client of it."""
    path = folder / "debug.sock"
    async with Runtime(TREE, services=lambda runtime: debug_services(runtime, path)) as runtime:
        shop = Shop(runtime, path)
        async with shop.client() as client:
            yield shop, client


# --- features


async def test_features_shows_each_in_dependency_order_and_why_it_is_degraded(tmp_path: Path) -> None:
    async with featured_shop(tmp_path) as (shop, client):
        shop.runtime.features.report("counting", 0.25, "test")
        told = await client.ok("features")
        states = {each["state"]["feature"]: each["state"] for each in told}
        assert {name: state["degraded"] for name, state in states.items()} == {
            "counting": True,
            "decorations": True,
            "file_watching": False,
        }
        assert list(states).index("counting") < list(states).index("decorations")
        lines = {line.split()[0]: line.split() for line in shown("features", told)[1:]}
        assert lines["counting"][1] == "degraded"
        assert lines["counting"][4:] == ["0.25", "0.5", "health", "by", "estimate"]
        assert lines["decorations"][-3:] == ["counting", "is", "degraded"]
        assert lines["file_watching"][1] == "whole"


async def test_a_tree_without_features_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, shop.client() as client:
        assert shown("features", await client.ok("features")) == ["no feature is declared"]


# --- quality


async def test_quality_is_shown_held_and_let_go(tmp_path: Path) -> None:
    async with featured_shop(tmp_path) as (shop, client):
        whole = await client.ok("quality")
        assert (whole["level"], whole["of"], whole["pinned"], whole["turned_off"]) == (3, 3, False, [])
        held = await client.ok("quality", level="0")
        assert (held["level"], held["pinned"]) == (0, True)
        assert shop.runtime.features.state_of("file_watching").degraded
        assert held["turned_off"] == ["shell_integration", "file_watching", "decorations"]
        freed = await client.ok("quality", level="auto")
        assert (freed["level"], freed["pinned"]) == (3, False)
        shop.runtime.features.lower_quality()
        assert 0 < (await client.ok("quality"))["rises_in"] <= 30


@pytest.mark.parametrize("level", ["4", "-1", "", "full", 2, None])
async def test_a_level_that_is_none_is_refused_and_changes_nothing(tmp_path: Path, level: Any) -> None:
    async with featured_shop(tmp_path) as (shop, client):
        message = await client.error("quality", level=level)
        assert message == f"quality: level={level!r} must be one of '0', '1', '2', '3', 'auto'"
        assert shop.runtime.features.quality.level == 3


# --- circuits


async def test_a_circuit_is_opened_and_closed_by_hand(tmp_path: Path) -> None:
    async with featured_shop(tmp_path) as (_, client):
        opened = await client.ok("circuit", actor="counter", switch="open", seconds=1000)
        assert (opened["state"], opened["forced"]) == ("open", True)
        assert 0 < opened["seconds_left"] <= 1000
        assert (await client.ask("call", actor="counter", method="add", args=[1]))["error"]["type"] == "CircuitOpen"
        lines = shown("tree", await client.ok("tree"))
        assert "circuit open for" in next(line for line in lines if "counter" in line)
        assert (await client.ok("circuit", actor="counter", switch="close"))["state"] == "closed"
        assert await client.ok("call", actor="counter", method="add", args=[1]) == 1
        assert (await client.ok("circuit", actor="counter"))["opened"] == 1
        assert "circuit" not in "".join(shown("tree", await client.ok("tree")))


async def test_a_circuit_that_is_opened_without_a_time_stays_open(tmp_path: Path) -> None:
    async with featured_shop(tmp_path) as (_, client):
        assert (await client.ok("circuit", actor="counter", switch="open"))["seconds_left"] is None
        lines = shown("tree", await client.ok("tree"))
        assert "circuit open until it is closed by hand" in next(line for line in lines if "counter" in line)


@pytest.mark.parametrize("seconds", [0, -1, "soon", True, [], {}])
async def test_a_time_that_is_none_is_refused_and_opens_nothing(tmp_path: Path, seconds: Any) -> None:
    async with featured_shop(tmp_path) as (shop, client):
        message = await client.error("circuit", actor="counter", switch="open", seconds=seconds)
        assert message.startswith(f"circuit: seconds={seconds!r} must be a finite number above 0")
        assert shop.runtime.tree().find("counter").state == "running"
        assert shop.runtime.tree().restarts == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"actor": "shelf"}, "circuit: /shop/shelf has none; `circuit shelf open` makes one"),
        ({"actor": "shelf", "switch": "close"}, "child 'shelf' is running; its circuit is not open"),
        ({"actor": "shop", "switch": "open"}, "circuit: /shop is the root of its tree; nobody could start it again"),
        ({"actor": "shop"}, "circuit: /shop has none"),
        ({"actor": "counter", "seconds": 3}, "circuit: seconds=3 goes with `open` only"),
        ({"actor": "nobody"}, "Component not found: nobody"),
        ({"actor": "counter", "switch": "shut"}, "circuit: switch='shut' must be one of 'open', 'close'"),
    ],
)
async def test_what_can_not_be_done_about_a_circuit_is_explained(
    tmp_path: Path, args: dict[str, Any], says: str
) -> None:
    async with featured_shop(tmp_path) as (_, client):
        assert says in await client.error("circuit", **args)


async def test_a_client_can_not_cut_its_own_connection(tmp_path: Path) -> None:
    async with featured_shop(tmp_path) as (_, client):
        tree = await client.ok("tree", actor="/ukemi")
        path = tree["children"][0]["path"]
        assert "carries this connection" in await client.error("circuit", actor=path, switch="open")


# --- the tree


async def test_the_tree_shows_what_runs_in_an_actors_place(tmp_path: Path) -> None:
    async with featured_shop(tmp_path) as (shop, client):
        shop.runtime.features.degrade("counting", "manual")
        while shop.runtime.tree().find("counter").fallback is None:
            await client.ok("tree")
        line = next(line for line in shown("tree", await client.ok("tree")) if "counter" in line)
        assert "degraded" in line
        assert "as quick" in line


# --- as commands, and completed


async def test_each_is_a_command_of_its_own(tmp_path: Path) -> None:
    async with featured_shop(tmp_path) as (shop, _):
        assert "file_watching" in words(await ukemi(tmp_path, "features"))
        assert words(await ukemi(tmp_path, "quality", "2"))[:2] == ["level", "2"]
        assert shop.runtime.features.quality.level == 2
        opened = await ukemi(tmp_path, "circuit", "counter", "open", "0.5", "--json")
        assert orjson.loads(opened.stdout)["forced"] is True


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("quality ", ["0", "1", "2", "3", "auto"]),
        ("quality a", ["auto"]),
        ("circuit counter ", ["open", "close"]),
        ("circuit c", ["counter"]),
        ("fea", ["features"]),
    ],
)
def test_what_is_typed_is_completed(text: str, found: list[str]) -> None:
    described = {name: command.description for name, command in COMMANDS.items()}
    assert candidates(text, described, lambda command, args: ["counter", "shelf"]) == found
