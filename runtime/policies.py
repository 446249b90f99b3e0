"""`ukemi policy`: what is done about which failure, by the spec's matrix or in a tree. Nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import click

from ..supervisors.recovery.describing import NONE, PolicyLine, action_text, describe_policy, rows_of, types_of
from ..supervisors.recovery.matrix import Row
from ..supervisors.recovery.policy import OTP, RECOVERY, Policy
from ..supervisors.spec import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from rich.console import Console


@attrs.frozen
class ChildPolicy:
    """The policy that one child of a tree is under."""

    path: str
    """With `/*` at its end: of those that are started at run time."""
    policy: Policy
    given_by: str | None
    """The path of what declares it; None where nobody does, and OTP's holds."""
    on_exhausted: str | None
    """None: each of them has its own."""


def policies_of(
    spec: ChildSpec, above: str = "", inherited: Policy = OTP, given_by: str | None = None
) -> Iterator[ChildPolicy]:
    """Each child's effective policy, from the top down: its own, or that of the nearest supervisor that has one."""
    path = f"{above}/{spec.name}"
    own = (inherited, given_by) if spec.policy is None else (spec.policy, path)
    yield ChildPolicy(path, *own, action_text(spec.on_exhausted))
    if spec.tree is None:
        return
    below = own if spec.tree.policy is None else (spec.tree.policy, path)
    if not isinstance(spec.tree, SupervisorSpec):
        yield ChildPolicy(f"{path}/*", *below, None)
        return
    for child in spec.tree.children:
        yield from policies_of(child, path, *below)


@click.command("policy")
@click.argument("target", required=False, metavar="[MODULE:TREE]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def policy_command(target: str | None, as_json: bool) -> None:
    """Print what is done about which failure: in a tree, or by the matrix that the bridge runs under."""
    from .target import load_tree

    children = [] if target is None else list(policies_of(load_tree(target)))
    policies = _labelled([RECOVERY] if target is None else [child.policy for child in children])
    if as_json:
        click.echo(json.dumps(_plain(children, policies), indent=2, ensure_ascii=False))
    else:
        _show(children, policies)


def _labelled(policies: Sequence[Policy]) -> dict[Policy, str]:
    """Each of them once, by a name that none of the others has."""
    labels: dict[Policy, str] = {}
    for policy in policies:
        if policy not in labels:
            same = sum(other.name == policy.name for other in labels)
            labels[policy] = f"{policy.name} ({same + 1})" if same else policy.name
    return labels


def _plain(children: Sequence[ChildPolicy], policies: dict[Policy, str]) -> dict[str, object]:
    plain: dict[str, object] = {
        "policies": [
            {"name": label, "rows": [_plain_row(row) for row in rows_of(policy)], "types": types_of(policy)}
            for policy, label in policies.items()
        ]
    }
    if children:
        plain["children"] = [
            {**attrs.asdict(each, recurse=False), "policy": policies[each.policy]} for each in children
        ]
    return plain


def _plain_row(row: Row) -> dict[str, object]:
    primary, fallback = row.called
    return {
        "category": row.category,
        "severity": row.severity,
        "primary": primary,
        "first": action_text(row.first),
        "retries": row.max_retries,
        "fallback": fallback,
        "then": None if row.then is None else action_text(row.then),
    }


# --- for people

_CHILDREN = ("child", "policy", "given by", "on_exhausted")
_TYPES = ("error", "what it is")
_ROWS = ("category", "severity", "first", "retries", "then")


def _show(children: Sequence[ChildPolicy], policies: dict[Policy, str]) -> None:
    from .debug.show import console

    out = console()
    between = "\n" if out.is_terminal else ": "
    if children:
        rows = [
            (each.path, policies[each.policy], each.given_by or NONE, each.on_exhausted or NONE) for each in children
        ]
        _print(out, "", _CHILDREN, rows)
    for policy, label in policies.items():
        _print(out, label, _ROWS, [_cells(line, between) for line in describe_policy(policy)])
        if types := types_of(policy):
            _print(out, "", _TYPES, list(types.items()))


def _cells(line: PolicyLine, between: str) -> tuple[str, ...]:
    first = between.join(filter(None, (line.primary, line.first)))
    then = between.join(filter(None, (line.fallback, line.then))) if line.then != NONE else NONE
    return line.category, line.severity, first, line.retries, then


def _print(out: Console, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal, else aligned lines, with a blank one behind each title's."""
    if not out.is_terminal:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]
        click.echo("\n".join([*([f"{title}:"] if title else []), *lines, ""]))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)
