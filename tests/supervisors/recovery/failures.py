"""Failures, rows and policies for tests, and strategies that draw them."""

from __future__ import annotations

from hypothesis import strategies as st

from ukemi import Backoff
from ukemi.supervisors.recovery import (
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
    Failure,
    Fallback,
    Policy,
    Restart,
    Resume,
    Retry,
    Row,
    Severity,
    Stop,
    Throttle,
)


def failure(category: str = "Unknown", severity: str = "Critical", *, retryable: bool = True) -> Failure:
    return Failure(
        category=Category(category), severity=Severity(severity), retryable=retryable, error="Boom", message="boom"
    )


def present(_: Fallback) -> bool:
    return True


def absent(_: Fallback) -> bool:
    return False


categories = st.sampled_from(Category)
severities = st.sampled_from(Severity)
texts = st.text(max_size=20)
seconds = st.none() | st.floats(min_value=0, allow_infinity=False, allow_nan=False)

failures = st.builds(
    Failure,
    category=categories,
    severity=severities,
    retryable=st.booleans(),
    error=texts,
    message=texts,
    component=texts,
    fallback_available=st.booleans(),
    retry_after=seconds,
    begun=st.none() | st.booleans(),
)
backoffs = st.builds(Backoff, st.just(0.1), st.just(5.0), max_attempts=st.none() | st.integers(1, 5))
names = st.sampled_from(["a", "b", "/x/c"])
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(Resume),
    st.builds(Retry, backoffs, st.integers(1, 4)),
    st.builds(Extend, st.integers(1, 4)),
    st.builds(Restart, st.none() | names),
    st.builds(Fallback, st.none() | names, st.none() | names),
    st.builds(Defer),
    st.builds(Throttle),
    st.builds(Degrade, st.none() | names),
    st.builds(CircuitBreak),
    st.builds(Cancel),
    st.builds(Escalate),
    st.builds(Stop, st.booleans()),
    st.builds(Alert),
)
rows = st.builds(
    Row,
    st.none() | categories,
    st.none() | severities,
    actions,
    st.none() | actions,
    st.none() | st.integers(0, 4),
)
policies = st.builds(
    Policy,
    rows=st.lists(rows, max_size=8, unique_by=lambda row: row.key).map(tuple),
    general=st.just(()) | st.just(Policy().general),
)
cases = st.builds(
    Case,
    failure=failures,
    tried=st.integers(0, 6),
    has_message=st.booleans(),
    may_repeat=st.booleans(),
    has_fallback=st.sampled_from([present, absent]),
    deadline_running=st.booleans(),
)
