"""The spec's matrix, cell by cell: what is done at each try, and that what is the same is one thing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ukemi import Backoff, SpecError
from ukemi.supervisors.backoff import START_BACKOFF
from ukemi.supervisors.recovery import (
    MATRIX,
    RECOVERY,
    Action,
    Alert,
    Cancel,
    Case,
    Category,
    Defer,
    Degrade,
    Extend,
    Fallback,
    Restart,
    Resume,
    Retry,
    Row,
    Severity,
    Stop,
    Throttle,
    decide,
)

from .failures import absent, failure, present

SPEC = """
| Terminal | Critical | Recreate terminal | Alert user | 1 |
| Terminal | Recoverable | Retry command | Raw output mode | 3 |
| FileSystem | Critical | Alert user | None | 0 |
| FileSystem | Recoverable | Retry with backoff | Cache previous | 3 |
| Network | Critical | Reconnect IPC | Local mode | 5 |
| Network | Recoverable | Retry request | Queue for later | 3 |
| Parser | Critical | Reset parser state | Skip markers | 0 |
| Parser | Recoverable | Buffer & retry | Raw passthrough | 1 |
| Resource | Critical | Free resources | Graceful shutdown | 0 |
| Resource | Recoverable | Throttle operations | Reduce quality | N/A |
| Timeout | Recoverable | Increase timeout | Cancel operation | 2 |
"""
"""As it stands there."""


def test_the_matrix_is_the_specifications() -> None:
    lines = [
        f"| {row.category} | {row.severity} | {row.called[0]} | {row.called[1]} | "
        f"{'N/A' if row.max_retries is None else row.max_retries} |"
        for row in MATRIX
    ]
    assert lines == SPEC.strip().splitlines()


RESTART, RETRY, ALERT = Restart(), Retry(), Alert()

# For a message that may be given again, and a child with every fallback: the action at tries 0, 1, 2 …
WITH_EVERYTHING: dict[tuple[str, str], list[Action]] = {
    ("Terminal", "Critical"): [RESTART, RESTART, ALERT, ALERT],
    ("Terminal", "Recoverable"): [*[RETRY] * 3, *[Fallback(like="next mode")] * 2],
    ("FileSystem", "Critical"): [ALERT, ALERT],
    ("FileSystem", "Recoverable"): [*[RETRY] * 3, *[Fallback(like="cache")] * 2],
    ("Network", "Critical"): [*[Restart(backoff=START_BACKOFF)] * 6, Degrade(), Degrade()],
    ("Network", "Recoverable"): [*[RETRY] * 3, Defer(), Defer()],
    ("Parser", "Critical"): [RESTART, Fallback(like="skip markers"), Fallback(like="skip markers")],
    ("Parser", "Recoverable"): [RETRY, Fallback(like="raw passthrough"), Fallback(like="raw passthrough")],
    ("Resource", "Critical"): [Fallback(like="free resources"), Stop(runtime=True), Stop(runtime=True)],
    ("Resource", "Recoverable"): [Throttle(), Degrade(levels=1), Degrade(levels=1)],
    ("Timeout", "Recoverable"): [Extend(), Extend(), Cancel(), Cancel()],
}
# With neither a message nor a fallback: a background task, a link, a start.
WITH_NOTHING: dict[tuple[str, str], list[Action]] = {
    ("Terminal", "Critical"): [RESTART, RESTART, ALERT],
    ("Terminal", "Recoverable"): [RESTART] * 4,
    ("FileSystem", "Critical"): [ALERT, ALERT],
    ("FileSystem", "Recoverable"): [RESTART] * 4,
    ("Network", "Critical"): [*[Restart(backoff=START_BACKOFF)] * 6, Degrade()],
    ("Network", "Recoverable"): [RESTART] * 4,
    ("Parser", "Critical"): [RESTART, RESTART],
    ("Parser", "Recoverable"): [RESTART] * 2,
    ("Resource", "Critical"): [Stop(runtime=True), Stop(runtime=True)],
    ("Resource", "Recoverable"): [RESTART, Degrade(levels=1)],
    ("Timeout", "Recoverable"): [RESTART] * 3,
}


def cells(table: dict[tuple[str, str], list[Action]]) -> list[tuple[str, str, int, Action]]:
    return [(*key, tried, action) for key, actions in table.items() for tried, action in enumerate(actions)]


@pytest.mark.rule("S10")
@pytest.mark.parametrize(("category", "severity", "tried", "action"), cells(WITH_EVERYTHING))
def test_a_failure_in_a_message_is_met_as_the_matrix_says(
    category: str, severity: str, tried: int, action: Action
) -> None:
    case = Case(
        failure=failure(category, severity),
        tried=tried,
        has_message=True,
        may_repeat=True,
        has_fallback=present,
        deadline_running=category == "Timeout",
    )
    assert decide(RECOVERY, case) == action


@pytest.mark.parametrize(("category", "severity", "tried", "action"), cells(WITH_NOTHING))
def test_a_failure_outside_of_any_message_is_met_with_what_applies(
    category: str, severity: str, tried: int, action: Action
) -> None:
    case = Case(failure=failure(category, severity), tried=tried, has_fallback=absent)
    assert decide(RECOVERY, case) == action


def test_both_tables_are_whole() -> None:
    keys = [row.key for row in MATRIX]
    assert list(WITH_EVERYTHING) == list(WITH_NOTHING) == keys
    for row in MATRIX:
        assert row.max_retries is None or len(WITH_EVERYTHING[row.key]) >= row.max_retries + 1  # type: ignore[index]


def test_rows_that_name_the_same_mechanism_share_it() -> None:
    """One object for each thing that is said of actions, however many rows say it."""
    actions = [action for row in MATRIX for action in (row.first, row.then) if action is not None]
    for action in actions:
        assert all(other is action for other in actions if other == action), action


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize("severity", ["Warning", "Info"])
def test_a_warning_leaves_the_actor_as_it_is(category: str, severity: str) -> None:
    assert decide(RECOVERY, Case(failure=failure(category, severity), has_message=True)) == Resume()
    assert decide(RECOVERY, Case(failure=failure(category, severity))) == RESTART


@pytest.mark.parametrize("severity", Severity)
def test_what_the_user_cancelled_leaves_the_actor_as_it_is(severity: str) -> None:
    assert decide(RECOVERY, Case(failure=failure("UserCancelled", severity), has_message=True)) == Resume()


@pytest.mark.parametrize(
    ("category", "severity"), [("Unknown", "Critical"), ("Unknown", "Recoverable"), ("Timeout", "Critical")]
)
def test_anything_else_is_a_restart(category: str, severity: str) -> None:
    for tried in range(5):
        case = Case(failure=failure(category, severity), tried=tried, has_message=True, may_repeat=True)
        assert decide(RECOVERY, case) == RESTART


# --- rows


def test_a_rows_tries_are_after_the_first() -> None:
    assert Row("Network", "Critical", Retry(attempts=2)).tries == 2
    assert Row("Network", "Critical", Retry(attempts=2), retries=4).tries == 4
    assert Row("Network", "Critical", Extend(times=2)).tries == 2
    assert Row("Network", "Critical", Restart(), Alert()).tries == 1
    assert Row("Network", "Critical", Restart(), Alert(), 4).tries == 5
    assert Row("Network", "Critical", Retry(), retries=0).tries == 0


def test_a_backoffs_bound_is_of_all_tries() -> None:
    bounded = Backoff(0.1, 1.0, max_attempts=2)
    assert Row("Network", "Critical", Retry(bounded, attempts=5)).tries == 1
    assert Row("Network", "Critical", Retry(Backoff(0.1, 1.0, max_attempts=9), attempts=5)).tries == 5


def test_where_nothing_follows_what_tries_nothing_again_has_no_end() -> None:
    assert Row("FileSystem", "Critical", Alert(), None, 0).tries == float("inf")
    assert Row("FileSystem", "Critical", Retry()).tries == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Row("Netwrk", "Critical", Restart()), "category='Netwrk' must be one of Terminal, "),
        (lambda: Row("Network", "Fatal", Restart()), "severity='Fatal' must be one of Critical, "),
        (lambda: Row("Network", "Critical", "Restart"), "the row Network/Critical: first='Restart' must be an action"),
        (lambda: Row("Network", "Critical", Restart), "must be an action, such as Restart()"),
        (lambda: Row("Network", None, Restart(), 3), "the row Network/any: then=3 must be an action"),
        (lambda: Row("Network", "Critical", Restart(), None, -1), "retries=-1 must be a whole number from 0 up"),
        (lambda: Row("Network", "Critical", Restart(), None, 1.5), "retries=1.5 must be a whole number from 0 up"),
        (lambda: Row("Network", "Critical", Restart(), None, True), "retries=True must be a whole number from 0 up"),
    ],
)
def test_a_wrong_row_is_refused_by_name(make: Callable[[], Row], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert said in str(caught.value)
