"""What is done about a failure: classified, looked up in a policy, and turned into an action.

`classify(error)` says what an error is, a `Policy` of rows what is done about it, `decide(policy, case)` which of the
actions it is this time. Supervisors carry it out. docs/recovery.md is the whole story.
"""

from .actions import (
    Action,
    Alert,
    Cancel,
    CircuitBreak,
    Defer,
    Degrade,
    Escalate,
    Extend,
    Fallback,
    Restart,
    Resume,
    Retry,
    Stop,
    Throttle,
)
from .classify import Classifier, classify
from .describing import PolicyLine, describe_policy
from .encoding import from_json, to_json
from .failure import Category, Failure, Severity
from .kinds import Kind
from .matrix import GENERAL, MATRIX, Row
from .policy import OTP, RECOVERY, Case, Policy, PolicyLike, as_policy, decide

__all__ = [
    "GENERAL",
    "MATRIX",
    "OTP",
    "RECOVERY",
    "Action",
    "Alert",
    "Cancel",
    "Case",
    "Category",
    "CircuitBreak",
    "Classifier",
    "Defer",
    "Degrade",
    "Escalate",
    "Extend",
    "Failure",
    "Fallback",
    "Kind",
    "Policy",
    "PolicyLike",
    "PolicyLine",
    "Restart",
    "Resume",
    "Retry",
    "Row",
    "Severity",
    "Stop",
    "Throttle",
    "as_policy",
    "classify",
    "decide",
    "describe_policy",
    "from_json",
    "to_json",
]
