"""Actions and policies as text, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from .actions import Restart
from .classify import DEFAULT
from .kinds import Key, Kind, Rule
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
    """What it does, row by row, as text."""
    return [_line(row) for row in rows_of(policy)]


def rows_of(policy: Policy) -> list[Row]:
    """The rows that decide: its own, the general ones that none of its own stands in front of, at last a restart."""
    general = [row for row in policy.general if not any(_covers(own, row) for own in policy.rows)]
    rows = [*policy.rows, *general]
    if not any(row.key == (None, None) for row in rows):
        rows.append(_REST)
    return rows


def types_of(policy: Policy) -> dict[str, str]:
    """What it knows of errors beyond the default classifier: the classes' names, and what they are."""
    beyond = dict(policy.classifier.known).items() - dict(DEFAULT.known).items()
    told = {_key_text(key): _rule_text(rule) for key, rule in beyond}
    return dict(sorted(told.items()))


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


def _key_text(key: Key) -> str:
    module, name = (key.__module__, key.__qualname__) if isinstance(key, type) else key
    return name if module == "builtins" else f"{module}.{name}"


def _rule_text(rule: Rule) -> str:
    if isinstance(rule, Kind):
        return f"{rule.category}/{rule.severity}{', retryable' if rule.retryable else ''}"
    return f"as {getattr(rule, '__qualname__', repr(rule))} says"
