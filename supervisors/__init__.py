"""How actors are kept alive: specs, strategies, dependency order, intensity, backoff, and the supervisor itself."""

if __name__ == "supervisors":
    raise ImportError(
        "import ukemi.supervisors, not supervisors: as a top-level package it would be a second copy of the module"
    )

from .backoff import Backoff
from .dynamic import DynamicSupervisor
from .errors import ChildStateError, StartFailed, SupervisorGaveUp
from .events import ChildRestarted, GaveUp, RestartDelayed
from .record import ChildInfo
from .spec import ChildSpec
from .supervisor import Supervisor
from .tree import child, dynamic_supervisor, supervisor

__all__ = [
    "Backoff",
    "ChildInfo",
    "ChildRestarted",
    "ChildSpec",
    "ChildStateError",
    "DynamicSupervisor",
    "GaveUp",
    "RestartDelayed",
    "StartFailed",
    "Supervisor",
    "SupervisorGaveUp",
    "child",
    "dynamic_supervisor",
    "supervisor",
]
