"""Actions and policies as text, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from .actions import Restart
from .matrix import Row

if TYPE_CHECKING:
    from .policy import Policy

NONE = "–"


@attrs.frozen
class PolicyLine:
    """One row of a policy, as text."""

    category: str
    severity: str
    primary: str
    """What people call the first action; empty where nobody has given it a name."""
    first: str
    retries: str
    fallback: str
    """What people call what follows."""
    then: str


def describe_policy(policy: Policy) -> list[PolicyLine]:
    """Its rows in order, then those general ones that no row of its own is in front of; a restart is the last."""
    general = [row for row in policy.general if not any(_covers(own, row) for own in policy.rows)]
    rows = [*policy.rows, *general]
    if not any(row.key == (None, None) for row in rows):
        rows.append(_REST)
    return [_line(row) for row in rows]


def action_text(value: Any) -> str:
    """An action, and the values in it, as they would be written, without what is as by default."""
    if not attrs.has(type(value)):
        return repr(value)
    given = [
        repr(there) if field.default is attrs.NOTHING else f"{field.name}={action_text(there)}"
        for field in attrs.fields(type(value))
        if (there := getattr(value, field.name)) != field.default
    ]
    return f"{type(value).__name__}({', '.join(given)})"


_REST = Row(None, None, Restart())


def _covers(row: Row, other: Row) -> bool:
    """Whether the one decides wherever the other would."""
    return row.category in (None, other.category) and row.severity in (None, other.severity)


def _line(row: Row) -> PolicyLine:
    primary, fallback = row.called
    return PolicyLine(
        category=str(row.category or "any"),
        severity=str(row.severity or "any"),
        primary=primary,
        first=action_text(row.first),
        retries=NONE if row.max_retries is None else str(row.max_retries),
        fallback=fallback,
        then=NONE if row.then is None else action_text(row.then),
    )
