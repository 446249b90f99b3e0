"""What to run and how to keep it alive: immutable descriptions, checked when they are made.

`child(…)` describes one child, `supervisor(…)` and `dynamic_supervisor(…)` a subtree, which is a child too and takes a
child's options (rule S2). What is wrong is a `SpecError` that names the child, the option and its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import attrs

from ..actors.actor import Actor
from ..actors.errors import SpecError
from .backoff import Backoff
from .fallbacks import Fallbacks, as_fallbacks
from .features import Feature, check_features
from .graph import find_cycle, start_order
from .recovery.actions import Action, CircuitBreak, Degrade, Escalate, Fallback, Stop
from .recovery.policy import Policy, as_policy
from .strategy import AutoShutdown, GivesWay, RestartType, Strategy

Shutdown: TypeAlias = float | Literal["kill"] | None
"""Seconds to end in before the kill, "kill" for at once, None for no limit."""

ESCALATE = Escalate()
MAILBOX = 4096
SHUTDOWN = 5.0
MAX_RESTARTS = 3
MOST_RESTARTS = 10**9
WITHIN = 5.0


@attrs.frozen
class ChildSpec:
    """One child, or one subtree. Made by `child`, `supervisor` and `dynamic_supervisor`."""

    name: str
    factory: Callable[[], Actor]
    restart: RestartType
    shutdown: Shutdown
    depends_on: tuple[str, ...]
    backoff: Backoff | None
    significant: bool
    mailbox: int
    start_timeout: float | None
    handler_timeout: float | None
    policy: Policy | None = None
    """What is done about its failures; None: what its supervisor's children have, at last OTP's."""
    fallback: Fallbacks = ()
    """What takes its place, by name, in order."""
    gives_way: GivesWay = "at once"
    """When a fallback gives the place back: as soon as the child is well, or only once the fallback has ended."""
    goes_without: bool = True
    """Whether a fallback runs while something that it depends on is down; else it is held until that is up."""
    feature: Feature | None = None
    """What it provides."""
    on_exhausted: Action = ESCALATE
    """What is done once its restarts are spent."""
    tree: TreeSpec | None = None
    """What is below it, if it is a supervisor."""

    @property
    def shutdown_time(self) -> float | None:
        """Seconds to end in, None for no limit."""
        return 0.0 if self.shutdown == "kill" else self.shutdown


@attrs.frozen
class SupervisorSpec:
    """The inside of a supervisor: its children in start order, and how they are restarted."""

    name: str
    children: tuple[ChildSpec, ...]
    strategy: Strategy
    max_restarts: int
    within: float
    auto_shutdown: AutoShutdown
    policy: Policy | None = None
    """Of all children below that have none of their own."""
    features: tuple[Feature, ...] = ()
    """Those that no child provides."""


@attrs.frozen
class DynamicSupervisorSpec:
    """The inside of a supervisor whose children come at run time."""

    name: str
    max_children: float
    max_restarts: int
    within: float
    policy: Policy | None = None


TreeSpec: TypeAlias = SupervisorSpec | DynamicSupervisorSpec


def child_spec(name: str, factory: Callable[[], Actor], tree: TreeSpec | None = None, **options: Any) -> ChildSpec:
    """A checked `ChildSpec`."""
    check_name(name)
    if not callable(factory):
        raise _wrong(name, "factory", factory, "an Actor class or a function without parameters that makes an Actor")
    spec = ChildSpec(name=name, factory=factory, tree=tree, **_converted(name, factory, options))
    _check_choice(name, "restart", spec.restart, RestartType)
    _check_choice(name, "gives_way", spec.gives_way, GivesWay)
    if not isinstance(spec.goes_without, bool):
        raise _wrong(name, "goes_without", spec.goes_without, "True or False")
    if spec.shutdown != "kill":
        _check_seconds(name, "shutdown", spec.shutdown, 'seconds from 0 up, "kill", or None for no limit')
    for option in ("start_timeout", "handler_timeout"):
        _check_seconds(name, option, getattr(spec, option), "seconds above 0, or None for no limit", above_zero=True)
    check_count(name, "mailbox", spec.mailbox, least=1)
    if spec.backoff is not None and not isinstance(spec.backoff, Backoff):
        raise _wrong(name, "backoff", spec.backoff, "a Backoff(…), or None")
    if not isinstance(spec.significant, bool):
        raise _wrong(name, "significant", spec.significant, "True or False")
    if spec.significant and spec.restart == "permanent":
        raise _wrong(
            name, "significant", True, 'False, since it is permanent and never ends for good; or restart="transient"'
        )
    _check_recovery(spec)
    return spec


def check_tree(spec: SupervisorSpec) -> SupervisorSpec:
    """The same with its children in start order; SpecError if they don't fit together."""
    where = spec.name
    _check_choice(where, "strategy", spec.strategy, Strategy)
    _check_choice(where, "auto_shutdown", spec.auto_shutdown, AutoShutdown)
    check_intensity(where, spec.max_restarts, spec.within)
    by_name: dict[str, ChildSpec] = {}
    for item in spec.children:
        if not isinstance(item, ChildSpec):
            raise SpecError(f"supervisor {where!r}: {item!r} is no child; make it with child(name, factory)")
        if item.name in by_name:
            raise SpecError(f"supervisor {where!r} has two children named {item.name!r}; names must differ")
        by_name[item.name] = item
    for item in spec.children:
        check_sibling(where, item, by_name, spec.auto_shutdown)
    depends_on = {item.name: item.depends_on for item in spec.children}
    cycle = find_cycle(depends_on)
    if cycle is not None:
        raise SpecError(f"supervisor {where!r}: its children depend on each other in a cycle: {' -> '.join(cycle)}")
    order = start_order(list(by_name), depends_on)
    spec = attrs.evolve(spec, children=tuple(by_name[name] for name in order))
    check_features(features_below(spec), whole=False)
    return spec


def check_sibling(where: str, spec: ChildSpec, siblings: dict[str, ChildSpec], auto_shutdown: AutoShutdown) -> None:
    """Raise SpecError if a child doesn't fit beside its siblings."""
    for needed in spec.depends_on:
        if needed == spec.name:
            raise _wrong(spec.name, "depends_on", needed, "another child; it can't depend on itself")
        if needed not in siblings:
            known = ", ".join(map(repr, (name for name in siblings if name != spec.name))) or "none"
            raise _wrong(spec.name, "depends_on", needed, f"a sibling under {where!r}, which are: {known}")
        if siblings[needed].restart == "temporary":
            raise _wrong(spec.name, "depends_on", needed, f"a child that is restarted, but {needed!r} is temporary")
    if spec.policy is not None:
        for target in sorted(spec.policy.named_targets()):
            if not target.startswith("/") and target not in siblings and target != spec.name:
                raise _wrong(spec.name, "policy", f"Restart({target!r})", f"of a sibling under {where!r}, or of a path")
    if spec.significant and auto_shutdown == "never":
        raise _wrong(spec.name, "significant", True, f'False, since {where!r} has auto_shutdown="never"')


def policy_of(where: str, policy: object) -> Policy | None:
    """A policy from what stands for one; SpecError names what doesn't."""
    try:
        return as_policy(policy)
    except SpecError as error:
        raise SpecError(f"{where!r}: policy: {error}") from None


def features_of(spec: SupervisorSpec) -> list[Feature]:
    """The features of one supervisor's own."""
    siblings = {item.name: item for item in spec.children}
    return [*spec.features, *(feature_beside(item, siblings) for item in spec.children if item.feature is not None)]


def feature_beside(spec: ChildSpec, siblings: Mapping[str, ChildSpec]) -> Feature:
    """The feature that a child provides; it depends, too, on the nearest features of what the child depends on."""
    assert spec.feature is not None
    needed = dict.fromkeys(spec.feature.depends_on)
    seen: set[str] = set()
    names = list(reversed(spec.depends_on))
    while names:
        other = siblings[names.pop()]
        if other.name in seen:
            continue
        seen.add(other.name)
        if other.feature is None:
            names.extend(reversed(other.depends_on))
        elif other.feature.name != spec.feature.name:  # several children may provide one
            needed[other.feature.name] = None
    return attrs.evolve(spec.feature, depends_on=tuple(needed))


def features_below(spec: TreeSpec) -> list[Feature]:
    """The features of a supervisor and of all below it."""
    if isinstance(spec, DynamicSupervisorSpec):
        return []
    below = [feature for item in spec.children if item.tree is not None for feature in features_below(item.tree)]
    return [*features_of(spec), *below]


def check_name(name: object) -> None:
    """Raise SpecError if this can't be part of a path."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise SpecError(f"a child's name is printable text without '/', and not '.' or '..': {name!r} is none")


def check_intensity(where: str, max_restarts: object, within: object) -> None:
    """Raise SpecError if this is no restart intensity."""
    check_count(where, "max_restarts", max_restarts, least=0, most=MOST_RESTARTS)
    if within is None:
        raise _wrong(where, "within", within, "seconds above 0")
    _check_seconds(where, "within", within, "seconds above 0", above_zero=True)


def check_count(where: str, option: str, value: object, least: int, most: int | None = None) -> None:
    """Raise SpecError if the value is no whole number from `least` up (to `most`)."""
    is_count = isinstance(value, int) and not isinstance(value, bool)
    if not is_count or value < least or (most is not None and value > most):  # type: ignore[operator]
        raise _wrong(where, option, value, f"a whole number from {least} {'up' if most is None else f'to {most}'}")


def _converted(name: str, factory: Callable[[], Actor], options: dict[str, Any]) -> dict[str, Any]:
    """A child's options, those that may be written in several ways in the one that is kept."""
    converted = {**options, "depends_on": _names(name, options["depends_on"])}
    threshold = converted.pop("health_threshold", None)
    if "policy" in options:
        converted["policy"] = policy_of(name, options["policy"])
        converted["fallback"] = as_fallbacks(name, factory, options["fallback"])
        converted["feature"] = _feature(name, options["feature"], threshold)
    return converted


def _feature(name: str, feature: object, threshold: float | None) -> Feature | None:
    """What a child provides: a Feature, or the name of one; with a threshold alone, one of the child's own name."""
    if feature is None and threshold is None:
        return None
    if feature is None:
        feature = name
    if isinstance(feature, str):
        feature = Feature(feature)
    if not isinstance(feature, Feature):
        raise _wrong(name, "feature", feature, "a feature's name, a Feature(…), or None")
    return feature if threshold is None else attrs.evolve(feature, threshold=threshold)


def _check_recovery(spec: ChildSpec) -> None:
    name = spec.name
    fates = (Escalate, CircuitBreak, Degrade, Stop)
    if not isinstance(spec.on_exhausted, fates):
        right = "one of Escalate(), CircuitBreak(…), Degrade(…), Stop()"
        raise _wrong(name, "on_exhausted", spec.on_exhausted, right)
    if spec.on_exhausted == Degrade() and spec.feature is None and not spec.fallback:
        raise _wrong(name, "on_exhausted", spec.on_exhausted, "of a child with a feature or a fallback")
    known = handlers_of(spec)
    if spec.policy is None or known is None:
        return
    for handler in sorted(spec.policy.named_fallbacks() - known):
        where = f"a method of {getattr(spec.factory, '__qualname__', '')} or one of its fallbacks"
        raise _wrong(name, "policy", Fallback(handler), f"{where}, which are: {', '.join(sorted(known)) or 'none'}")


def handlers_of(spec: ChildSpec) -> set[str] | None:
    """What a child's failures may be handled by: its methods and fallbacks; None where its class can't be told."""
    if not (isinstance(spec.factory, type) and issubclass(spec.factory, Actor)):
        return None
    return {name for name, _ in spec.fallback} | set(spec.factory._ukemi_methods.own)


def _names(name: str, depends_on: object) -> tuple[str, ...]:
    if isinstance(depends_on, str) or not isinstance(depends_on, Iterable):
        raise _wrong(name, "depends_on", depends_on, "a list of siblings' names")
    names = tuple(depends_on)
    for needed in names:
        if not isinstance(needed, str):
            raise _wrong(name, "depends_on", needed, "a sibling's name")
    return names


def _check_choice(where: str, option: str, value: object, choices: Any) -> None:
    if value not in get_args(choices):
        raise _wrong(where, option, value, "one of " + ", ".join(map(repr, get_args(choices))))


def _check_seconds(where: str, option: str, value: object, right: str, *, above_zero: bool = False) -> None:
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf or (above_zero and value == 0):  # type: ignore[operator]
        raise _wrong(where, option, value, right)


def _wrong(where: str, option: str, value: object, right: str) -> SpecError:
    return SpecError(f"{where!r}: {option}={value!r} must be {right}")
