"""Policies as values, and decisions as a pure function of them (rule S10)."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given

from ukemi import Backoff, SpecError
from ukemi.supervisors.recovery import (
    GENERAL,
    MATRIX,
    OTP,
    RECOVERY,
    Action,
    Alert,
    Cancel,
    Case,
    Category,
    CircuitBreak,
    Defer,
    Degrade,
    Escalate,
    Extend,
    Fallback,
    Kind,
    Policy,
    Restart,
    Resume,
    Retry,
    Row,
    Severity,
    Stop,
    Throttle,
    as_policy,
    decide,
    describe_policy,
)
from ukemi.supervisors.recovery.describing import action_text, rows_of, types_of

from .failures import absent, actions, cases, failure, policies, present

pytestmark = pytest.mark.rule("S10")


@given(policies, cases)
def test_there_is_always_an_action_and_always_the_same(policy: Policy, case: Case) -> None:
    action = decide(policy, case)
    assert isinstance(action, Action)
    assert decide(policy, case) is action


@given(policies, cases)
def test_an_action_is_one_of_the_policys_or_a_restart_or_a_cancelled_operation(policy: Policy, case: Case) -> None:
    named = (*policy.actions(), Restart(), *([Cancel()] if case.deadline_running else []))
    assert decide(policy, case) in named


@given(policies, cases)
def test_what_comes_after_the_first_stays(policy: Policy, case: Case) -> None:
    """The more tries, the further; never back."""
    decided = [decide(policy, attrs.evolve(case, tried=tried)) for tried in range(8)]
    changes = sum(before != after for before, after in itertools.pairwise(decided))
    assert changes <= 1


@given(policies, cases)
def test_an_action_is_only_taken_where_it_can_be_carried_out(policy: Policy, case: Case) -> None:
    match decide(policy, case):
        case Retry():
            assert case.has_message
            assert case.may_repeat
            assert case.failure.retryable
        case Defer():
            assert case.has_message
            assert case.may_repeat
        case Resume() | Throttle():
            assert case.has_message
        case Cancel():
            assert case.has_message or case.deadline_running
        case Extend():
            assert case.deadline_running
        case Fallback() as action:
            assert case.has_fallback(action)


@given(policies, cases)
def test_a_deadline_that_has_passed_is_extended_or_the_operation_cancelled(policy: Policy, case: Case) -> None:
    action = decide(policy, attrs.evolve(case, deadline_running=True))
    assert isinstance(action, Extend | Cancel)


@given(cases)
def test_by_otps_policy_every_crash_is_a_restart(case: Case) -> None:
    assert decide(OTP, attrs.evolve(case, deadline_running=False)) == Restart()


@given(actions, cases)
def test_an_action_that_stands_for_a_policy_is_always_taken_where_it_applies(action: Action, case: Case) -> None:
    policy = as_policy(action)
    assert policy is not None
    decided = decide(policy, attrs.evolve(case, deadline_running=False))
    assert decided in (action, Restart())
    if isinstance(action, Alert | CircuitBreak | Degrade | Escalate | Stop):
        assert decided == action


# --- when an action applies

RETRYABLE = failure("Network", "Recoverable")
ONE_ROW = [
    (Resume(), {"has_message": True}, True),
    (Resume(), {}, False),
    (Cancel(), {"has_message": True}, True),
    (Cancel(), {}, False),
    (Throttle(), {"has_message": True}, True),
    (Throttle(), {}, False),
    (Retry(), {"has_message": True, "may_repeat": True}, True),
    (Retry(), {"has_message": True}, False),
    (Retry(), {"has_message": True, "may_repeat": True, "failure": failure(retryable=False)}, False),
    (Retry(), {"may_repeat": True}, False),
    (Defer(), {"has_message": True, "may_repeat": True, "failure": failure(retryable=False)}, True),
    (Defer(), {"has_message": True}, False),
    (Extend(), {"has_message": True}, False),
    (Extend(), {"has_message": True, "deadline_running": True}, True),
    (Fallback("other"), {"has_fallback": present}, True),
    (Fallback("other"), {"has_fallback": absent}, False),
    *[(action, {}, True) for action in (Alert(), CircuitBreak(), Degrade(), Escalate(), Stop())],
]


@pytest.mark.parametrize(("action", "given", "applies"), ONE_ROW)
def test_an_action_applies_or_the_next_is_taken(action: Action, given: dict[str, object], applies: bool) -> None:
    policy = Policy((Row(None, None, action, Restart("next")),), general=())
    case = Case(**{"failure": RETRYABLE, **given})  # type: ignore[arg-type]
    stands_for_restart = isinstance(action, Resume | Cancel | Throttle)
    otherwise = Restart() if stands_for_restart else Restart("next")
    assert decide(policy, case) == (action if applies else otherwise)


def test_the_fallback_that_is_asked_for_is_the_rows_own() -> None:
    asked: list[Fallback] = []

    def has(fallback: Fallback) -> bool:
        asked.append(fallback)
        return True

    policy = as_policy(Row("Parser", "Critical", Fallback(like="skip markers")))
    assert policy is not None
    decide(policy, Case(failure=failure("Parser"), has_fallback=has))
    assert asked == [Fallback(like="skip markers")]


# --- which row


def test_the_nearest_row_decides() -> None:
    exact, of_category = Row("Network", "Critical", Alert()), Row("Network", None, Escalate())
    of_severity, of_any = Row(None, "Critical", Stop()), Row(None, None, Degrade())
    policy = Policy((of_any, of_severity, of_category, exact))
    assert policy.row_for(Category.NETWORK, Severity.CRITICAL) is exact
    assert policy.row_for(Category.NETWORK, Severity.INFO) is of_category
    assert policy.row_for(Category.PARSER, Severity.CRITICAL) is of_severity
    assert policy.row_for(Category.PARSER, Severity.INFO) is of_any


def test_a_policys_own_rows_come_before_the_general_ones() -> None:
    policy = as_policy([Row(None, None, Alert())])
    assert policy is not None
    assert decide(policy, Case(failure=failure("Network", "Warning"), has_message=True)) == Alert()
    assert [line.first for line in describe_policy(policy)] == ["Alert()"]


def test_rows_alone_leave_the_rest_to_the_general_ones() -> None:
    policy = as_policy(Row("Network", "Critical", Alert()))
    assert policy is not None
    assert decide(policy, Case(failure=failure("Network", "Critical"))) == Alert()
    assert decide(policy, Case(failure=failure("Network", "Warning"), has_message=True)) == Resume()
    assert decide(policy, Case(failure=failure("Parser", "Critical"))) == Restart()


# --- policies as values


def test_a_policy_with_a_row_replaced_is_another() -> None:
    changed = RECOVERY.replacing(Row("Network", "Critical", Escalate()), Row("Unknown", None, Alert()))
    assert decide(changed, Case(failure=failure("Network"))) == Escalate()
    assert decide(changed, Case(failure=failure("Unknown"))) == Alert()
    assert [row.key for row in changed.rows[: len(MATRIX)]] == [row.key for row in MATRIX]
    assert RECOVERY.rows == MATRIX
    assert changed.name == "RECOVERY, changed"
    assert changed.replacing(Row("Network", "Info", Alert())).name == "RECOVERY, changed"
    assert changed.replacing(Row("Network", "Info", Alert()), name="mine").name == "mine"


def test_a_policy_may_know_an_applications_errors() -> None:
    class Flaky(Exception):
        pass

    def kind_of(_: Flaky) -> Kind:
        return Kind("Network", "Recoverable", retryable=True)

    policy = RECOVERY.with_types({Flaky: kind_of, ZeroDivisionError: Kind("Parser", "Info")})
    case = Case(failure=policy.classifier.classify(Flaky()), has_message=True, may_repeat=True)
    assert decide(policy, case) == Retry()
    assert RECOVERY.classifier.classify(Flaky()).category is Category.UNKNOWN
    assert list(types_of(policy)) == ["ZeroDivisionError", f"{Flaky.__module__}.{Flaky.__qualname__}"]
    assert types_of(policy)["ZeroDivisionError"] == "Parser/Info"
    assert types_of(policy)[f"{Flaky.__module__}.{Flaky.__qualname__}"].endswith("kind_of says")
    assert types_of(RECOVERY) == {}


def test_policies_are_equal_by_value_and_can_be_keys() -> None:
    assert Policy(MATRIX, name="RECOVERY") == RECOVERY != OTP
    assert len({Policy(MATRIX, name="RECOVERY"), RECOVERY, OTP}) == 2
    assert as_policy(Restart("db")) == as_policy(Restart("db"))
    assert Policy([Row("Network", None, Alert())]) == Policy((Row("Network", None, Alert()),))  # type: ignore[arg-type]


def test_a_policy_can_not_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RECOVERY.rows = ()  # type: ignore[misc]


def test_a_policy_reads_well() -> None:
    assert (repr(OTP), repr(RECOVERY)) == ("<Policy OTP>", "<Policy RECOVERY>")
    assert repr(as_policy(Restart("db"))) == "<Policy Restart(target='db')>"


def test_what_stands_for_a_policy() -> None:
    row = Row("Network", "Critical", Alert())
    assert as_policy(None) is None
    assert as_policy(RECOVERY) is RECOVERY
    assert as_policy(row) == as_policy([row]) == as_policy((row,)) == Policy((row,))
    assert as_policy([]) == Policy()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "3 must be a Policy, an action such as Restart(), rows, or None"),
        ("OTP", "'OTP' must be a Policy, an action such as Restart(), rows, or None"),
        (Restart, "must be Restart(…), not the class itself"),
        ([Restart()], "Restart() is no row; make it with Row("),
        ([Row("Network", None, Alert()), Row("Network", None, Stop())], "two rows are about Network/any"),
    ],
)
def test_what_stands_for_no_policy_is_refused_by_name(given: object, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        as_policy(given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Policy((Row("Network", None, Alert()),) * 2), "two rows are about Network/any; there may be one"),
        (lambda: Policy(general=GENERAL * 2), "two rows are about any/Warning; there may be one"),
        (lambda: Policy(("Restart",)), "'Restart' is no row"),
        (lambda: Policy(Row("Network", None, Alert())), "must be a list of rows"),
        (lambda: Policy(classifier="default"), "classifier='default' must be a Classifier"),
        (lambda: Policy(name=""), "name='' must be printable text"),
        (lambda: Policy(name="a\nb"), "name='a\\nb' must be printable text"),
        (lambda: RECOVERY.replacing(Restart()), "Restart() is no row"),
        (lambda: RECOVERY.with_types({3: Kind("Network", "Critical")}), "3 must be a class of exceptions"),
    ],
)
def test_a_wrong_policy_is_refused_by_name(make: Callable[[], Policy], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert said in str(caught.value)


def test_what_a_policy_names_can_be_checked() -> None:
    policy = Policy(
        (
            Row("Network", "Critical", Fallback("local"), Degrade("search")),
            Row("Parser", "Critical", Restart("pty"), Fallback(like="raw")),
            Row("Resource", "Critical", Degrade(levels=1), Restart("/app/db")),
        )
    )
    assert policy.named_fallbacks() == {"local"}
    assert policy.named_targets() == {"pty", "/app/db"}
    assert policy.named_features() == {"search"}
    assert RECOVERY.named_fallbacks() == RECOVERY.named_targets() == RECOVERY.named_features() == set()


# --- as text


def test_an_action_is_told_as_it_would_be_written() -> None:
    assert action_text(Restart()) == "Restart()"
    assert action_text(Restart(backoff=Backoff(0.5, 30.0))) == "Restart(backoff=Backoff(0.5, 30.0))"
    assert (
        action_text(Retry(Backoff(1, 2, jitter=0), attempts=5)) == "Retry(backoff=Backoff(1, 2, jitter=0), attempts=5)"
    )
    assert action_text(Fallback(like="cache")) == "Fallback(like='cache')"


@given(actions)
def test_the_text_of_an_action_makes_the_same_one(action: Action) -> None:
    names = {cls.__name__: cls for cls in [*Action.__subclasses__(), Backoff]}
    assert eval(action_text(action), names) == action


def test_a_policy_is_told_row_by_row_and_ends_in_what_holds_for_the_rest() -> None:
    lines = describe_policy(RECOVERY)
    assert len(lines) == len(MATRIX) + len(GENERAL)
    network = lines[4]
    assert (network.category, network.severity, network.retries) == ("Network", "Critical", "5")
    assert (network.primary, network.first) == ("Reconnect IPC", "Restart(backoff=Backoff(0.1, 5.0))")
    assert (network.fallback, network.then) == ("Local mode", "Degrade()")
    assert [(line.category, line.severity, line.first) for line in lines[-2:]] == [
        ("UserCancelled", "any", "Resume()"),
        ("any", "any", "Restart()"),
    ]
    assert [(line.category, line.first, line.retries) for line in describe_policy(OTP)] == [("any", "Restart()", "–")]


@given(policies, cases)
def test_what_is_told_of_a_policy_is_what_it_does(policy: Policy, case: Case) -> None:
    told = rows_of(policy)
    assert told[: len(policy.rows)] == list(policy.rows)
    assert decide(attrs.evolve(policy, general=told[len(policy.rows) :]), case) == decide(policy, case)


def test_policies_travel_between_processes() -> None:
    for policy in (RECOVERY, OTP, as_policy(Restart("db"))):
        assert pickle.loads(pickle.dumps(policy)) == policy
