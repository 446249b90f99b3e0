"""The three functions that describe a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import TypeVar

import attrs

from ..actors.actor import Actor
from .backoff import Backoff
from .dynamic import DynamicSupervisor
from .features import Feature
from .recovery.actions import Action
from .recovery.policy import Policy
from .spec import (
    ESCALATE,
    MAILBOX,
    MAX_RESTARTS,
    SHUTDOWN,
    WITHIN,
    ChildSpec,
    DynamicSupervisorSpec,
    Shutdown,
    SupervisorSpec,
    TreeSpec,
    check_count,
    check_intensity,
    check_name,
    check_tree,
    child_spec,
    policy_of,
)
from .strategy import AutoShutdown, GivesWay, RestartType, Strategy
from .supervisor import Supervisor

A = TypeVar("A", bound=Actor)


def child(
    name: str,
    factory: Callable[[], A],
    *,
    restart: RestartType = "permanent",
    shutdown: Shutdown = SHUTDOWN,
    depends_on: Iterable[str] = (),
    backoff: Backoff | None = None,
    significant: bool = False,
    mailbox: int = MAILBOX,
    start_timeout: float | None = None,
    handler_timeout: float | None = None,
    policy: Policy | Action | None = None,
    fallback: Callable[[], Actor] | Mapping[str, Callable[[], Actor]] | None = None,
    gives_way: GivesWay = "at once",
    goes_without: bool = True,
    feature: str | Feature | None = None,
    health_threshold: float | None = None,
    on_exhausted: Action = ESCALATE,
) -> ChildSpec:
    """Describe a child: `factory()` makes the actor, anew for each incarnation.

    - `restart`: "permanent" (always), "transient" (after an abnormal exit), "temporary" (never, and it is forgotten).
    - `shutdown`: seconds that it has to end, "kill" to end it at once, None for no limit.
    - `depends_on`: siblings that must be up before it; see the strategy "dependents".
    - `backoff`: how long to wait before a restart; None: at once, and START_BACKOFF where a start fails.
    - `significant`: whether its end may end the supervisor (`auto_shutdown`).
    - `mailbox`: how many messages may wait.
    - `start_timeout`: seconds that `on_start` may take; `handler_timeout`: seconds after which a handler counts as
      hung, and the actor as failed. None: no limit.
    - `policy`: what is done about its failures; an action stands for the policy that always takes it. None: the policy
      of the supervisor, or of the nearest one above that has one, at last OTP's: restart by type.
    - `fallback`: what takes its place behind the same Ref when it can't go on (rule S15): a factory, or several by
      name, in the order in which they are tried. It answers the same messages.
    - `gives_way`: "at once" puts the child back in its place as soon as it is well; with "on restart" a fallback stays
      until it has ended, since it holds something that nobody may take away, and then the child is tried first.
    - `goes_without`: whether a fallback runs, too, while something that the child depends on is down; False: it is held
      until that is up, as a child without a fallback is.
    - `feature`: what it provides, and `health_threshold`: the score from 0 to 1 below which that is degraded.
    - `on_exhausted`: what is done once its restarts are spent: Escalate(), CircuitBreak(…), Degrade(…) or Stop().

    Raises SpecError for a wrong value, and names it.
    """
    return child_spec(
        name,
        factory,
        restart=restart,
        shutdown=shutdown,
        depends_on=depends_on,
        backoff=backoff,
        significant=significant,
        mailbox=mailbox,
        start_timeout=start_timeout,
        handler_timeout=handler_timeout,
        policy=policy,
        fallback=fallback,
        gives_way=gives_way,
        goes_without=goes_without,
        feature=feature,
        health_threshold=health_threshold,
        on_exhausted=on_exhausted,
    )


def supervisor(
    name: str,
    *children: ChildSpec,
    strategy: Strategy = "one_for_one",
    max_restarts: int = MAX_RESTARTS,
    within: float = WITHIN,
    auto_shutdown: AutoShutdown = "never",
    policy: Policy | Action | None = None,
    features: Iterable[Feature] = (),
    restart: RestartType = "permanent",
    shutdown: Shutdown = None,
    depends_on: Iterable[str] = (),
    backoff: Backoff | None = None,
    significant: bool = False,
    on_exhausted: Action = ESCALATE,
) -> ChildSpec:
    """Describe a supervisor and its children; the root of a tree, or a child of another supervisor.

    - `strategy`, when a child fails: "one_for_one" restarts it; "one_for_all" all; "rest_for_one" it and those after
      it; "dependents" it and all that directly or indirectly depends on it.
    - `max_restarts` within `within` seconds: one more, and the supervisor gives up, which is an abnormal exit.
    - `auto_shutdown`: "any_significant" or "all_significant" end it (normally) when significant children have ended.
    - `policy`: of all the children below that have none of their own.
    - `features`: those that no child provides, such as what the far side shows.
    - The rest are a child's options; `shutdown` has no limit by default.

    Raises SpecError for a wrong value, an unknown name or a cycle.
    """
    check_name(name)
    intensity = (max_restarts, within, auto_shutdown)
    spec = SupervisorSpec(name, children, strategy, *intensity, policy_of(name, policy), tuple(features))
    return _subtree(name, check_tree(spec), restart, shutdown, depends_on, backoff, significant, on_exhausted)


def dynamic_supervisor(
    name: str,
    *,
    max_children: int | None = None,
    max_restarts: int = MAX_RESTARTS,
    within: float = WITHIN,
    policy: Policy | Action | None = None,
    restart: RestartType = "permanent",
    shutdown: Shutdown = None,
    depends_on: Iterable[str] = (),
    backoff: Backoff | None = None,
    significant: bool = False,
    on_exhausted: Action = ESCALATE,
) -> ChildSpec:
    """Describe a supervisor whose children are started at run time (`start_child`); None: any number of them."""
    check_name(name)
    check_intensity(name, max_restarts, within)
    if max_children is not None:
        check_count(name, "max_children", max_children, least=0)
    most = inf if max_children is None else max_children
    tree = DynamicSupervisorSpec(name, most, max_restarts, within, policy_of(name, policy))
    return _subtree(name, tree, restart, shutdown, depends_on, backoff, significant, on_exhausted)


@attrs.frozen
class _Launch:
    """Makes the supervisor that a description asks for. Unlike a `partial` it equals its like, so that trees do."""

    tree: TreeSpec = attrs.field(repr=False)

    def __call__(self) -> Supervisor:
        if isinstance(self.tree, DynamicSupervisorSpec):
            return DynamicSupervisor(self.tree)
        return Supervisor(self.tree)


def _subtree(
    name: str,
    tree: TreeSpec,
    restart: RestartType,
    shutdown: Shutdown,
    depends_on: Iterable[str],
    backoff: Backoff | None,
    significant: bool,
    on_exhausted: Action,
) -> ChildSpec:
    return child_spec(
        name,
        _Launch(tree),
        tree,
        restart=restart,
        shutdown=shutdown,
        depends_on=depends_on,
        backoff=backoff,
        significant=significant,
        mailbox=MAILBOX,
        start_timeout=None,
        handler_timeout=None,
        on_exhausted=on_exhausted,
    )
