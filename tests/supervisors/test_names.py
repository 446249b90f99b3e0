"""Names in what is declared about failures: each is that of something that is there, in the tree or at run time."""

from __future__ import annotations

from typing import Any

import pytest

from ukemi import (
    RECOVERY,
    Actor,
    Degrade,
    DynamicSupervisor,
    Fallback,
    Feature,
    Policy,
    Restart,
    Row,
    Runtime,
    SpecError,
    Supervisor,
    child,
    dynamic_supervisor,
    supervisor,
)


class Part(Actor):
    def work(self) -> None:
        """Do nothing."""

    def instead(self) -> None:
        """Do less."""


def with_action(action: Any) -> Policy:
    return RECOVERY.replacing(Row("Unknown", None, action))


WRONG = [
    (child("a", Part, on_exhausted=Degrade("colours")), "/top/a: its on_exhausted degrades 'colours'"),
    (child("a", Part, policy=Degrade("colours")), "/top/a: its policy degrades 'colours', which is no feature"),
    (child("a", Part, policy=Restart("/top/x")), "/top/a: its policy restarts '/top/x', which is not in this tree"),
    (child("a", Part, policy=Restart("/top")), "/top/a: its policy restarts '/top', the root, which nobody restarts"),
]


@pytest.mark.parametrize(("spec", "said"), WRONG)
def test_a_name_that_nothing_in_the_tree_has_is_refused_when_the_tree_is_run(spec: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Runtime(supervisor("top", spec))


@pytest.mark.parametrize(("spec", "said"), WRONG)
@pytest.mark.parametrize("describe", [supervisor, dynamic_supervisor])
async def test_and_when_a_child_is_added_at_run_time(spec: Any, said: str, describe: Any) -> None:
    async with Runtime(supervisor("top", describe("pool"))) as runtime:
        with pytest.raises(SpecError, match=said.replace("/top/a", "/top/pool/a")):
            await runtime.ref("pool", Supervisor).call(Supervisor.start_child, spec)


async def test_what_is_there_or_comes_along_may_be_named_at_run_time() -> None:
    tree = supervisor("top", child("b", Part), dynamic_supervisor("pool"), features=[Feature("colours")])
    async with Runtime(tree) as runtime:
        start = runtime.ref("pool", DynamicSupervisor).call
        for spec in (
            child("1", Part, policy=Restart("/top/b"), on_exhausted=Degrade("colours")),
            child("2", Part, policy=Degrade("own"), feature="own"),
            supervisor("3", child("c", Part, policy=Restart("/top/pool/3/d")), child("d", Part)),
        ):
            await start(DynamicSupervisor.start_child, spec)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Restart("far"), "/top: its policy restarts 'far', which is beside none of its children"),
        (Fallback("nothing"), "/top: its policy falls back to 'nothing', which none of its children has"),
    ],
)
def test_a_policy_for_many_names_what_is_there_for_one_of_them_at_least(action: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Runtime(supervisor("top", child("a", Part), child("b", Part), policy=with_action(action)))


@pytest.mark.parametrize("action", [Restart("b"), Fallback("instead"), Fallback("simpler")])
def test_it_may_name_what_only_one_of_them_has(action: Any) -> None:
    inner = supervisor("inner", child("a", Part, fallback={"simpler": Part}), child("b", Part))
    Runtime(supervisor("top", inner, policy=with_action(action)))


@pytest.mark.parametrize("action", [Fallback("anything"), Restart("anything")])
def test_what_can_not_be_told_yet_is_not_refused(action: Any) -> None:
    Runtime(supervisor("top", child("a", lambda: Part()), dynamic_supervisor("pool"), policy=with_action(action)))


def test_health_tells_at_once() -> None:
    with pytest.raises(TypeError, match=r"Slow\.health is async; it tells at once"):

        class Slow(Part):
            async def health(self) -> float:  # type: ignore[override]
                return 1.0
