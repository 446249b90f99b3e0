"""Descriptions of trees: checked when made, immutable, comparable, printable, nested."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from ukemi import Actor, Backoff, SpecError, child, dynamic_supervisor, supervisor
from ukemi.supervisors import ChildSpec
from ukemi.supervisors.spec import SupervisorSpec


class Part(Actor):
    pass


def names(tree: ChildSpec) -> list[str]:
    assert isinstance(tree.tree, SupervisorSpec)
    return [each.name for each in tree.tree.children]


WRONG_CHILD_OPTIONS = [
    ("restart", "always"),
    ("restart", None),
    ("shutdown", -1),
    ("shutdown", float("inf")),
    ("shutdown", float("nan")),
    ("shutdown", "brutal"),
    ("shutdown", True),
    ("depends_on", "other"),
    ("depends_on", 7),
    ("backoff", 1.0),
    ("significant", "yes"),
    ("significant", 1),
    ("mailbox", 0),
    ("mailbox", 1.5),
    ("mailbox", None),
    ("start_timeout", 0),
    ("start_timeout", -1.0),
    ("start_timeout", "1"),
    ("handler_timeout", 0),
    ("handler_timeout", float("inf")),
]


@pytest.mark.parametrize(("option", "value"), WRONG_CHILD_OPTIONS)
@pytest.mark.rule("S7")
def test_a_wrong_option_is_a_spec_error_that_names_child_option_and_value(option: str, value: object) -> None:
    with pytest.raises(SpecError) as caught:
        child("part", Part, **{option: value})  # type: ignore[arg-type]
    assert "'part'" in str(caught.value)
    assert f"{option}={value!r}" in str(caught.value)


@pytest.mark.parametrize(("option", "value"), [o for o in WRONG_CHILD_OPTIONS if o[0] in ("restart", "shutdown")])
@pytest.mark.parametrize("describe", [supervisor, dynamic_supervisor])
@pytest.mark.rule("S2")
def test_a_subtree_is_checked_like_a_child(describe: Callable[..., ChildSpec], option: str, value: object) -> None:
    with pytest.raises(SpecError) as caught:
        describe("sub", **{option: value})
    assert f"'sub': {option}={value!r}" in str(caught.value)


@pytest.mark.parametrize("describe", [supervisor, dynamic_supervisor])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_restarts", -1),
        ("max_restarts", 10**30),
        ("max_restarts", 1.0),
        ("max_restarts", None),
        ("max_restarts", True),
        ("within", 0),
        ("within", -1),
        ("within", None),
        ("within", float("inf")),
        ("within", "5"),
    ],
)
def test_a_wrong_intensity_is_a_spec_error(describe: Callable[..., ChildSpec], option: str, value: object) -> None:
    with pytest.raises(SpecError) as caught:
        describe("sub", **{option: value})
    assert f"'sub': {option}={value!r}" in str(caught.value)


@pytest.mark.parametrize(("option", "value"), [("strategy", "one_for_two"), ("auto_shutdown", True)])
def test_a_wrong_choice_is_a_spec_error_that_lists_the_right_ones(option: str, value: object) -> None:
    with pytest.raises(SpecError, match="one of") as caught:
        supervisor("sub", **{option: value})  # type: ignore[arg-type]
    assert f"'sub': {option}={value!r}" in str(caught.value)


@pytest.mark.parametrize("value", [-1, 1.5, True, "3"])
def test_a_wrong_number_of_dynamic_children_is_a_spec_error(value: object) -> None:
    with pytest.raises(SpecError, match="max_children") as caught:
        dynamic_supervisor("pool", max_children=value)  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", None, 7, b"a"])
@pytest.mark.parametrize("describe", [lambda n: child(n, Part), supervisor, dynamic_supervisor])
def test_a_name_that_cannot_be_part_of_a_path_is_a_spec_error(describe: Callable[..., ChildSpec], name: object) -> None:
    with pytest.raises(SpecError) as caught:
        describe(name)
    assert repr(name) in str(caught.value)


def test_a_factory_that_cannot_be_called_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match=r"'part': factory=7 must be an Actor class or a function"):
        child("part", 7)  # type: ignore[arg-type, type-var]


def test_what_is_no_child_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match=r"'top'.*Part.* is no child"):
        supervisor("top", Part)  # type: ignore[arg-type]


def test_two_children_of_one_name_are_a_spec_error() -> None:
    with pytest.raises(SpecError, match="'top' has two children named 'a'"):
        supervisor("top", child("a", Part), child("a", Part))


@pytest.mark.rule("S7")
def test_an_unknown_dependency_is_a_spec_error_that_lists_the_siblings() -> None:
    with pytest.raises(SpecError, match=r"'b': depends_on='x' .*'top', which are: 'a', 'c'"):
        supervisor("top", child("a", Part), child("b", Part, depends_on=["x"]), child("c", Part))


def test_a_dependency_that_is_no_name_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="'b': depends_on=7"):
        child("b", Part, depends_on=[7])  # type: ignore[list-item]


def test_depending_on_oneself_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="'a': depends_on='a'"):
        supervisor("top", child("a", Part, depends_on=["a"]))


def test_a_cycle_is_a_spec_error_that_shows_it() -> None:
    with pytest.raises(SpecError, match=r"'top'.*a -> b -> c -> a"):
        supervisor(
            "top",
            child("a", Part, depends_on=["b"]),
            child("b", Part, depends_on=["c"]),
            child("c", Part, depends_on=["a"]),
        )


@pytest.mark.rule("S7")
def test_depending_on_a_temporary_child_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match=r"'b': depends_on='a'.*temporary"):
        supervisor("top", child("a", Part, restart="temporary"), child("b", Part, depends_on=["a"]))


def test_a_permanent_child_cannot_be_significant() -> None:
    with pytest.raises(SpecError, match=r"'a': significant=True .*permanent"):
        child("a", Part, significant=True)


def test_significant_children_may_not_exist_where_auto_shutdown_is_never() -> None:
    with pytest.raises(SpecError, match=r"'a': significant=True .*'top' has auto_shutdown=\"never\""):
        supervisor("top", child("a", Part, restart="transient", significant=True))


@pytest.mark.rule("S1")
def test_the_children_lie_in_start_order() -> None:
    tree = supervisor(
        "top",
        child("web", Part, depends_on=["db", "cache"]),
        child("log", Part),
        child("db", Part),
        child("cache", Part, depends_on=["db"]),
    )
    assert names(tree) == ["db", "cache", "web", "log"]


@pytest.mark.rule("S2")
def test_a_subtree_takes_the_options_of_a_child_and_is_a_node() -> None:
    backoff = Backoff(1.0, 2.0)
    options = {"restart": "transient", "shutdown": 2.5, "depends_on": ["db"], "backoff": backoff, "significant": True}
    for describe in (supervisor, dynamic_supervisor):
        sub = describe("sub", **options)  # type: ignore[arg-type]
        tree = supervisor("top", sub, child("db", Part), auto_shutdown="any_significant")
        assert names(tree) == ["db", "sub"]
        assert (sub.restart, sub.shutdown, sub.depends_on) == ("transient", 2.5, ("db",))
        assert (sub.backoff, sub.significant) == (backoff, True)


def test_a_worker_has_five_seconds_to_end_and_a_supervisor_no_limit() -> None:
    assert child("a", Part).shutdown_time == 5.0
    assert supervisor("sub").shutdown_time is None
    assert dynamic_supervisor("sub").shutdown_time is None
    assert child("a", Part, shutdown="kill").shutdown_time == 0.0
    assert child("a", Part, shutdown=None).shutdown_time is None


def test_three_restarts_within_five_seconds_are_allowed_unless_said_otherwise() -> None:
    for tree in (supervisor("top"), dynamic_supervisor("top")):
        assert tree.tree is not None
        assert (tree.tree.max_restarts, tree.tree.within) == (3, 5.0)


def test_a_description_is_frozen() -> None:
    tree = supervisor("top", child("a", Part))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        tree.name = "other"  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        tree.tree.strategy = "dependents"  # type: ignore[misc, union-attr]


def test_depends_on_is_copied_so_that_later_changes_do_not_reach_it() -> None:
    needed = ["a"]
    spec = child("b", Part, depends_on=needed)
    needed.append("x")
    assert spec.depends_on == ("a",)


def test_equal_descriptions_of_children_are_equal() -> None:
    backoff = Backoff(1.0, 2.0)
    assert child("a", Part, backoff=backoff) == child("a", Part, backoff=Backoff(1.0, 2.0))
    assert child("a", Part) != child("a", Part, restart="transient")
    assert child("a", Part) != child("b", Part)


def test_equal_descriptions_of_trees_are_equal() -> None:
    def tree(strategy: str = "dependents") -> ChildSpec:
        sub = supervisor("sub", child("a", Part), strategy=strategy)  # type: ignore[arg-type]
        return supervisor("top", sub, dynamic_supervisor("pool"))

    assert tree() == tree()
    assert hash(tree()) == hash(tree())
    assert tree() != tree("one_for_all")


def test_a_description_prints_what_is_in_it() -> None:
    text = repr(supervisor("top", supervisor("sub", child("a", Part, shutdown=2.5)), strategy="rest_for_one"))
    for part in ("'top'", "'sub'", "'a'", "Part", "rest_for_one", "2.5"):
        assert part in text
