"""The errors of supervision."""

from __future__ import annotations

from ..actors.errors import UkemiError
from ..actors.reasons import Reason, describe


class StartFailed(UkemiError):
    """A child's start failed; what had been started before it was stopped again. `__cause__` says why (rule S3)."""

    def __init__(self, path: str, error: BaseException) -> None:
        why = str(error) if isinstance(error, StartFailed) else describe(error)
        super().__init__(f"{path} could not be started: {why}")
        self.path = path
        self.__cause__ = error


class SupervisorGaveUp(UkemiError):
    """A supervisor ended since a child failed too often. `child` is the child's path, `__cause__` its last error."""

    def __init__(self, path: str, child: str, why: str, reason: Reason) -> None:
        super().__init__(f"{path} gave up on {child}: {why}; the last failure: {describe(reason)}")
        self.path = path
        self.child = child
        if isinstance(reason, BaseException):
            self.__cause__ = reason


class ChildStateError(UkemiError):
    """What was asked of a supervisor does not fit the child's state, which `state` names."""

    def __init__(self, child: str, state: str, detail: str = "") -> None:
        super().__init__(f"child {child!r} is {state}{detail}")
        self.child = child
        self.state = state
