"""Restart, stop and degradation follow one graph: for random trees, the order and exactly once for each child."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Actor, Backoff, Runtime, child, supervisor
from ukemi.supervisors import ChildInfo, ChildSpec, FeatureDegraded, FeatureRestored, Supervisor

NAMES = "abcdefghi"
EXACT = Backoff(initial=1.0, maximum=1.0, jitter=0.0)


@attrs.frozen
class Node:
    """One child of a random graph."""

    name: str
    needs: tuple[str, ...]
    restart: str
    falls_back: bool
    provides: bool
    seconds: float
    """How long its starts and stops take."""


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Children in start order; what is needed by another is never temporary."""
    nodes: list[Node] = []
    for name in NAMES[: draw(st.integers(2, len(NAMES)))]:
        lasting = [node.name for node in nodes if node.restart != "temporary"]
        needs = draw(st.lists(st.sampled_from(lasting), max_size=3, unique=True)) if lasting else []
        restart = draw(st.sampled_from(["permanent", "permanent", "transient", "temporary"]))
        seconds = draw(st.sampled_from([0.0, 0.0, 0.25, 0.5]))
        nodes.append(Node(name, tuple(needs), restart, draw(st.booleans()), draw(st.booleans()), seconds))
    return nodes


class Part(Actor):
    """Writes down when it begins and ends; `word` is its name, with an apostrophe if it is a fallback."""

    def __init__(self, play: Play, node: Node, word: str) -> None:
        self.play, self.node, self.word = play, node, word

    async def on_start(self) -> None:
        await trio.sleep(self.node.seconds)
        self.play.log.append(f"+{self.word}")

    async def on_stop(self, reason: object) -> None:
        self.play.log.append(f"-{self.word}")
        await trio.sleep(self.node.seconds)

    def boom(self) -> None:
        raise ValueError(self.word)

    def word_of(self) -> str:
        return self.word


class Play:
    """One graph, run for real; its parts' log and what the graph says of it."""

    def __init__(self, nodes: list[Node], root: int) -> None:
        self.log: list[str] = []
        self.nodes = {node.name: node for node in nodes}
        self.root = nodes[root % len(nodes)]
        self.below = self.needing({self.root.name})
        self.runtime: Runtime

    def needing(self, names: set[str]) -> set[str]:
        """All that directly or indirectly need one of these."""
        reached = set(names)
        while more := {n.name for n in self.nodes.values() if reached & set(n.needs)} - reached:
            reached |= more
        return reached - names

    def spec_of(self, node: Node) -> ChildSpec:
        return child(
            node.name,
            lambda: Part(self, node, node.name),
            restart=node.restart,  # type: ignore[arg-type]
            depends_on=node.needs,
            fallback=(lambda: Part(self, node, f"{node.name}'")) if node.falls_back else None,
            feature=f"{node.name}s" if node.provides else None,
            backoff=None,
        )

    def run(self, scene: Callable[[Play], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            children = [self.spec_of(node) for node in self.nodes.values()]
            async with Runtime(supervisor("top", *children, strategy="dependents")) as self.runtime:
                self.check_starts(self.take(), set(self.nodes))
                await scene(self)
                left = {name for name, info in (await self.infos()).items() if info.state in ("running", "degraded")}
                self.take()
            self.check_stops([line.replace("'", "") for line in self.take()], left)

        trio.run(main, clock=MockClock(autojump_threshold=0))

    def take(self) -> list[str]:
        taken, self.log = self.log, []
        return taken

    async def infos(self) -> dict[str, ChildInfo]:
        return {info.name: info for info in await self.runtime.ref("top").call(Supervisor.children)}

    async def settle(self, seconds: float = 10.0) -> None:
        await trio.sleep(seconds)
        await wait_all_tasks_blocked()

    async def ask(self, method: Callable[..., Any], *args: Any) -> None:
        await self.runtime.ref("top", Supervisor).within(None).call(method, *args)

    # --- what the graph says

    def check_stops(self, log: list[str], names: set[str]) -> None:
        """Exactly these were stopped, each once, before what it needs."""
        stops = [line[1:] for line in log if line[0] == "-"]
        assert sorted(stops) == sorted(names), log
        for name in names:
            for needed in set(self.nodes[name].needs) & names:
                assert stops.index(name) < stops.index(needed), log

    def check_starts(self, log: list[str], names: set[str]) -> None:
        """Exactly these were started, each once, after what it needs."""
        starts = [line[1:] for line in log if line[0] == "+"]
        assert sorted(starts) == sorted(names), log
        for name in names:
            for needed in set(self.nodes[name].needs) & names:
                assert starts.index(needed) < starts.index(name), log

    def lasting(self, names: set[str]) -> set[str]:
        return {name for name in names if self.nodes[name].restart != "temporary"}

    def do_without(self) -> tuple[set[str], set[str]]:
        """While the root is down: who runs a fallback, and who is held."""
        back: set[str] = set()
        held: set[str] = set()
        for name, node in self.nodes.items():  # in start order
            if node.restart != "temporary" and {self.root.name, *held} & set(node.needs):
                (back if node.falls_back else held).add(name)
        if self.root.provides:  # its feature is degraded with it, and so are those that need that
            off = self.lasting(degraded_with(self) - {self.root.name} - held)
            back |= {name for name in off if self.nodes[name].falls_back}
        return back, held


@pytest.mark.rule("S4")
@settings(max_examples=90, deadline=None)
@given(nodes=graphs(), root=st.integers(0, 8))
def test_a_restart_stops_dependents_first_and_starts_them_after_and_each_once(nodes: list[Node], root: int) -> None:
    async def scene(play: Play) -> None:
        play.runtime.ref(play.root.name, Part).cast(Part.boom)
        await play.settle()
        log = play.take()
        stopped = {play.root.name} | (play.below if play.root.restart != "temporary" else set())
        assert log[0] == f"-{play.root.name}", "it has failed before anybody else is stopped"
        play.check_stops(log[1:], stopped - {play.root.name})
        play.check_starts(log, play.lasting(stopped))
        assert {info.state for info in (await play.infos()).values()} <= {"running"}

    Play(nodes, root).run(scene)


@pytest.mark.rule("S7")
@settings(max_examples=60, deadline=None)
@given(nodes=graphs(), root=st.integers(0, 8))
def test_a_stop_by_hand_stops_dependents_first_and_a_start_brings_them_back_in_order(
    nodes: list[Node], root: int
) -> None:
    async def scene(play: Play) -> None:
        await play.ask(Supervisor.stop_child, play.root.name)
        await play.settle()
        play.check_stops(log := play.take(), {play.root.name} | play.below)
        play.check_starts(log, set())
        if play.root.restart == "temporary":
            return
        await play.ask(Supervisor.restart_child, play.root.name)
        await play.settle()
        play.check_starts(log := play.take(), play.lasting({play.root.name} | play.below))
        play.check_stops(log, set())

    Play(nodes, root).run(scene)


@pytest.mark.rule("S14", "S15")
@settings(max_examples=90, deadline=None)
@given(nodes=graphs(), root=st.integers(0, 8), by_hand=st.booleans())
def test_while_a_circuit_is_open_dependents_run_their_fallbacks_or_are_held_and_all_come_back_in_order(
    nodes: list[Node], root: int, by_hand: bool
) -> None:
    async def scene(play: Play) -> None:
        back, held = play.do_without()
        top = play.root.name
        await play.ask(Supervisor.open_circuit, top, None if by_hand else 20.0)
        await play.settle()
        log = play.take()
        play.check_stops([line for line in log if "'" not in line], {top} | play.below)
        in_fallback = {f"{name}'" for name in back}
        assert {line[1:] for line in log if line[0] == "+"} == in_fallback | play.lasting(play.below - back - held)
        assert len([line for line in log if line[0] == "+"]) == len(play.lasting(play.below - held))
        states = {name: info.state for name, info in (await play.infos()).items()}
        assert {name for name, state in states.items() if state == "stopped"} == held
        assert {name for name, state in states.items() if state == "degraded"} >= back
        if by_hand:
            await play.ask(Supervisor.close_circuit, top)
        await play.settle(90.0)
        log = play.take()
        assert log[0] == f"+{top}"
        back_again = [line for line in log if line[1:] in back]
        play.check_starts(back_again, back)
        play.check_starts([line for line in log if line not in back_again], {top} | held)
        assert {line for line in log if line[0] == "-"} == {f"-{name}" for name in in_fallback}
        for name in back:
            assert log.index(f"+{name}") < log.index(f"-{name}'"), "the way back is made before it is broken off"
        infos = await play.infos()
        assert {info.state for info in infos.values()} <= {"running"}
        assert {info.fallback for info in infos.values()} <= {None}

    Play(nodes, root).run(scene)


@pytest.mark.rule("S15")
@settings(max_examples=90, deadline=None)
@given(nodes=graphs(), root=st.integers(0, 8))
def test_degradation_goes_through_the_graph_in_order_and_so_does_what_runs_in_a_fallback(
    nodes: list[Node], root: int
) -> None:
    play = Play(nodes, root)
    if not play.root.provides:
        play.nodes[play.root.name] = play.root = attrs.evolve(play.root, provides=True)

    async def scene(play: Play) -> None:
        features = play.runtime.features
        below = degraded_with(play)
        swapped = {name for name in below if play.nodes[name].falls_back}
        before = len(play.runtime.events)

        features.degrade(f"{play.root.name}s", "manual")
        await play.settle()
        told = [event.feature[:-1] for event in play.runtime.events.of(FeatureDegraded)]
        play.check_starts([f"+{name}" for name in told], below)
        log = play.take()
        assert sorted(log) == sorted([f"+{name}'" for name in swapped] + [f"-{name}" for name in swapped])
        states = {name: info.state for name, info in (await play.infos()).items()}
        assert {name for name, state in states.items() if state == "degraded"} == below

        features.lift(f"{play.root.name}s", "manual")
        await play.settle(90.0)
        told = [
            event.feature[:-1] for event in list(play.runtime.events)[before:] if isinstance(event, FeatureRestored)
        ]
        play.check_starts([f"+{name}" for name in told], below)
        log = play.take()
        play.check_starts(log, swapped)
        assert sorted(line for line in log if line[0] == "-") == sorted(f"-{name}'" for name in swapped)
        for name in swapped:
            assert log.index(f"+{name}") < log.index(f"-{name}'")
        assert {info.state for info in (await play.infos()).values()} == {"running"}

    play.run(scene)


def degraded_with(play: Play) -> set[str]:
    """The root and the providers that need its feature: through siblings without a feature of their own, too."""
    through: dict[str, set[str]] = {}
    found = {play.root.name}
    for name, node in play.nodes.items():
        needed = set().union(*(through[n] for n in node.needs))
        through[name] = {name} if node.provides else needed
        if node.provides and needed & found:
            found.add(name)
    return found
