"""How actors are kept alive: specs, strategies, dependency order, intensity, recovery, and the supervisor itself."""

if __name__ == "supervisors":
    raise ImportError(
        "import ukemi.supervisors, not supervisors: as a top-level package it would be a second copy of the module"
    )

from .alerts import AlertRaised
from .backoff import Backoff
from .breaker import CircuitBreaker
from .degradation import Degradation, FeatureDegraded, FeatureRestored, QualityChanged
from .dynamic import DynamicSupervisor
from .errors import ChildStateError, StartFailed, SupervisorGaveUp
from .events import (
    ChildRestarted,
    CircuitOpened,
    CircuitShut,
    Exhausted,
    FellBack,
    GaveUp,
    Recovered,
    RestartDelayed,
)
from .features import Feature
from .record import ChildInfo
from .recovery import OTP, RECOVERY, Policy, Row
from .recovery.actions import (
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
from .spec import ChildSpec
from .supervisor import Supervisor
from .tree import child, dynamic_supervisor, supervisor

__all__ = [
    "OTP",
    "RECOVERY",
    "Alert",
    "AlertRaised",
    "Backoff",
    "Cancel",
    "ChildInfo",
    "ChildRestarted",
    "ChildSpec",
    "ChildStateError",
    "CircuitBreak",
    "CircuitBreaker",
    "CircuitOpened",
    "CircuitShut",
    "Defer",
    "Degradation",
    "Degrade",
    "DynamicSupervisor",
    "Escalate",
    "Exhausted",
    "Extend",
    "Fallback",
    "Feature",
    "FeatureDegraded",
    "FeatureRestored",
    "FellBack",
    "GaveUp",
    "Policy",
    "QualityChanged",
    "Recovered",
    "Restart",
    "RestartDelayed",
    "Resume",
    "Retry",
    "Row",
    "StartFailed",
    "Stop",
    "Supervisor",
    "SupervisorGaveUp",
    "Throttle",
    "child",
    "dynamic_supervisor",
    "supervisor",
]
