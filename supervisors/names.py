"""Names in what a tree declares about failures: each has to be that of something that is there.

A policy may name a feature, a component to restart, a method or a fallback; what is done when restarts are spent may
name a feature. Some of that can be seen of one child, and is checked when it is described; here is what takes a tree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ..actors.errors import SpecError
from .features import check_features
from .recovery.actions import Degrade
from .recovery.policy import Policy
from .spec import ChildSpec, DynamicSupervisorSpec, SupervisorSpec, TreeSpec, features_below, handlers_of


def check_whole(root: ChildSpec) -> None:
    """Raise SpecError for what can only be seen of a whole tree: names of features, targets and handlers."""
    assert root.tree is not None
    features = features_below(root.tree)
    check_features(features, whole=True)
    paths = dict(paths_of(root))
    check_names(root, f"/{root.name}", {feature.name for feature in features}, paths.__contains__)


def check_names(spec: ChildSpec, path: str, features: Collection[str], is_path: Callable[[str], bool]) -> None:
    """Raise SpecError for a name in what a child or subtree at `path` declares about failures that nothing has.

    `features` are all that there are, `is_path` says whether something is at a path.
    """
    for place, each in paths_of(spec, path):
        if isinstance(each.on_exhausted, Degrade):
            _check_features(place, "on_exhausted", {each.on_exhausted.feature} - {None}, features)
        for policy in (each.policy, each.tree.policy if each.tree is not None else None):
            if policy is None:
                continue
            _check_features(place, "policy", policy.named_features(), features)
            for target in sorted(policy.named_targets()):
                if target == f"/{path.split('/')[1]}":
                    raise SpecError(f"{place}: its policy restarts {target!r}, the root, which nobody restarts")
                if target.startswith("/") and not is_path(target):
                    raise SpecError(f"{place}: its policy restarts {target!r}, which is not in this tree")
        if each.tree is not None and each.tree.policy is not None and isinstance(each.tree, SupervisorSpec):
            _check_inherited(place, each.tree.policy, each.tree)


def _check_features(place: str, what: str, named: Iterable[str | None], known: Collection[str]) -> None:
    for name in sorted(filter(None, named)):
        if name not in known:
            raise SpecError(f"{place}: its {what} degrades {name!r}, which is no feature of this tree")


def _check_inherited(place: str, policy: Policy, tree: SupervisorSpec) -> None:
    """What a policy for many names has to be there for one of them at least, as far as can be told."""
    heirs = list(_heirs(tree))
    if any(siblings is None for _, siblings in heirs):
        return  # children that come at run time are checked then
    names = {name for _, siblings in heirs for name in siblings or ()}
    for target in sorted(policy.named_targets()):
        if not target.startswith("/") and target not in names:
            raise SpecError(f"{place}: its policy restarts {target!r}, which is beside none of its children")
    handlers = [handlers_of(heir) for heir, _ in heirs]
    if None not in handlers:
        for handler in sorted(policy.named_fallbacks()):
            if not any(handler in known for known in handlers if known is not None):
                raise SpecError(f"{place}: its policy falls back to {handler!r}, which none of its children has")


def _heirs(tree: TreeSpec) -> Iterable[tuple[ChildSpec, Collection[str] | None]]:
    """Those below that have no nearer policy, and the names beside each; None where any may come."""
    if isinstance(tree, DynamicSupervisorSpec):
        return
    siblings = [item.name for item in tree.children]
    for item in tree.children:
        if item.tree is None and item.policy is None:
            yield item, siblings
        elif isinstance(item.tree, DynamicSupervisorSpec) and item.tree.policy is None:
            yield item, None
        elif item.tree is not None and item.tree.policy is None:
            yield from _heirs(item.tree)


def paths_of(spec: ChildSpec, path: str | None = None) -> Iterable[tuple[str, ChildSpec]]:
    """A child and all that is declared below it, with their paths."""
    path = f"/{spec.name}" if path is None else path
    yield path, spec
    if isinstance(spec.tree, SupervisorSpec):
        for item in spec.tree.children:
            yield from paths_of(item, f"{path}/{item.name}")
