"""A policy: which action meets which failure. Immutable, and decided by pure functions (rule S10).

`OTP` restarts whatever crashes; `RECOVERY` is the spec's matrix; an application makes its own of rows, or changes a
ready-made one. Which tries have been made, what else can answer and whether a message may be given again is not the
policy's to know: a `Case` says it, and whoever carries the action out counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from ...actors.errors import SpecError
from .actions import Action, Cancel, Defer, Degrade, Extend, Fallback, Restart, Resume, Retry, Throttle
from .classify import DEFAULT, Classifier
from .describing import action_text
from .failure import Category, Failure, Severity
from .kinds import Rule
from .matrix import GENERAL, MATRIX, Row

_Key: TypeAlias = tuple[Category | None, Severity | None]

RESTART = Restart()
CANCEL = Cancel()


def _rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    if not isinstance(rows, Iterable):
        raise SpecError(f"rows={rows!r} must be a list of rows")
    return tuple(rows)


def _table(rows: Iterable[Row]) -> dict[_Key, Row]:
    table: dict[_Key, Row] = {}
    for row in rows:
        if not isinstance(row, Row):
            raise SpecError(f"{action_text(row)} is no row; make it with Row(category, severity, first, then, retries)")
        if row.key in table:
            raise SpecError(f"two rows are about {row.name}; there may be one")
        table[row.key] = row
    return table


@attrs.frozen(repr=False)
class Policy:
    """What is done about failures: `rows`, and where none of them fits, `general` ones; at last a restart.

    The nearest row decides: of its category and severity, else of its category alone, of its severity alone, of any.
    """

    rows: tuple[Row, ...] = attrs.field(default=(), converter=_rows)
    classifier: Classifier = DEFAULT
    name: str = "a policy of its own"
    general: tuple[Row, ...] = attrs.field(default=GENERAL, converter=_rows)
    _tables: tuple[dict[_Key, Row], ...] = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise SpecError(f"name={self.name!r} must be printable text")
        if not isinstance(self.classifier, Classifier):
            raise SpecError(f"classifier={self.classifier!r} must be a Classifier")
        object.__setattr__(self, "_tables", (_table(self.rows), _table(self.general)))

    def __repr__(self) -> str:
        return f"<Policy {self.name}>"

    def row_for(self, category: Category, severity: Severity) -> Row | None:
        """The row that decides, if there is one."""
        for table in self._tables:
            for key in ((category, severity), (category, None), (None, severity), (None, None)):
                if key in table:
                    return table[key]
        return None

    def replacing(self, *rows: Row, name: str | None = None) -> Policy:
        """The same, with these rows in place of those about the same, or added to them."""
        merged = {**_table(self.rows), **_table(rows)}
        return attrs.evolve(self, rows=tuple(merged.values()), name=name or _changed(self.name))

    def with_types(self, types: Mapping[type[BaseException], Rule], *, name: str | None = None) -> Policy:
        """The same, with these types of errors known, too: see `Classifier.extended`."""
        return attrs.evolve(self, classifier=self.classifier.extended(types), name=name or _changed(self.name))

    def actions(self) -> Iterator[Action]:
        """All that it may answer."""
        for row in (*self.rows, *self.general):
            yield row.first
            if row.then is not None:
                yield row.then

    @property
    def retries(self) -> bool:
        """Whether it ever gives a message again."""
        return any(isinstance(action, Retry | Defer) for action in self.actions())

    def named_fallbacks(self) -> set[str]:
        """The handlers that its fallbacks name, and that have to be there."""
        return {action.handler for action in self.actions() if isinstance(action, Fallback) and action.handler}

    def named_targets(self) -> set[str]:
        """What its restarts name besides what failed: siblings, or paths."""
        return {action.target for action in self.actions() if isinstance(action, Restart) and action.target}

    def named_features(self) -> set[str]:
        """The features that it degrades by name."""
        return {action.feature for action in self.actions() if isinstance(action, Degrade) and action.feature}


PolicyLike: TypeAlias = Policy | Action | Row | Sequence[Row]
"""What may be given where a policy is wanted; see `as_policy`."""

OTP = Policy(name="OTP", general=())
"""Every crash is a restart, by the child's restart type. The default of an application's tree."""
RECOVERY = Policy(MATRIX, name="RECOVERY")
"""The spec's matrix. The bridge's own."""


def as_policy(given: object) -> Policy | None:
    """The policy that is meant: one as it is, one that always takes this action, one of these rows; None for None.

    Raises SpecError for anything else.
    """
    match given:
        case None | Policy():
            return given
        case Action():
            return Policy((Row(None, None, given),), name=action_text(given), general=())
        case Row():
            return Policy((given,))
        case Sequence() if not isinstance(given, str | bytes):
            return Policy(tuple(given))
    right = "a Policy, an action such as Restart(), rows, or None"
    if isinstance(given, type) and issubclass(given, Action):
        right = f"{given.__name__}(…), not the class itself"
    raise SpecError(f"{given!r} must be {right}")


@attrs.frozen(kw_only=True)
class Case:
    """What a decision is made on."""

    failure: Failure
    tried: int = 0
    """How often the first action of the failure's row has been carried out, for this message or this child."""
    has_message: bool = False
    """Whether a message is in hand; else a background task has failed, a link, a start."""
    may_repeat: bool = False
    """Whether that message may be given again: its method is declared so, or it is known not to have begun."""
    has_fallback: Callable[[Fallback], bool] = lambda _: False
    """Whether this fallback is there, for this message or for the child."""
    deadline_running: bool = False
    """Whether a default deadline has passed, and the handler still runs."""


def decide(policy: Policy, case: Case) -> Action:
    """The action: the row's first while its tries last and it applies, else what then follows, else a restart.

    Resume, Cancel and Throttle are about a message; where none is in hand they stand for a restart, and count as it
    would. A deadline that has passed is extended, or the operation is cancelled.
    """
    row = policy.row_for(case.failure.category, case.failure.severity)
    action = RESTART if row is None else _chosen(row, case)
    return CANCEL if case.deadline_running and not isinstance(action, Extend) else action


def is_bounded(row: Row | None, action: Action) -> bool:
    """Whether an action is a row's first, and something else follows after some tries of it."""
    return row is not None and row.then is not None and action is row.first


def _chosen(row: Row, case: Case) -> Action:
    first = _applied(row.first, case) if case.tried < row.tries else None
    if first is not None:
        return first
    then = _applied(row.then, case) if row.then is not None else None
    return RESTART if then is None else then


def _applied(action: Action, case: Case) -> Action | None:
    """What an action comes to in this case; None where it does not apply."""
    match action:
        case Resume() | Cancel() | Throttle():
            return action if case.has_message else RESTART
        case Retry():
            applies = case.has_message and case.may_repeat and case.failure.retryable
        case Defer():
            applies = case.has_message and case.may_repeat
        case Extend():
            applies = case.deadline_running
        case Fallback():
            applies = case.has_fallback(action)
        case _:
            applies = True
    return action if applies else None


def _changed(name: str) -> str:
    return name if name.endswith(", changed") else f"{name}, changed"
