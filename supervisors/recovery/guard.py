"""`Guard`: carries a policy out at one child's own cell (rule S10), and keeps its circuit and its vitals.

It is the `Recovery` that the cell asks when a handler has raised or an incarnation has ended. It classifies, asks the
policy, and turns the action into a verdict: what the cell can do, it does at once; what takes the supervisor comes to
it with the child's exit, or as a `ChildTells` where the child goes on. It outlives the child's incarnations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ...actors.errors import HandlerTimeout, OperationTimeout
from ...actors.messages import ChildTells, Message
from ...actors.reasons import Reason, describe
from ...actors.recovery import Answer, AnswerBy, Crash, Repeat, Verdict
from ..alerts import raise_alert
from ..circuit import Circuit, CircuitInfo
from ..degradation import Degradation
from ..events import Recovered
from ..vitals import Vitals
from .actions import (
    Action,
    Alert,
    Cancel,
    CircuitBreak,
    Defer,
    Degrade,
    Extend,
    Fallback,
    Restart,
    Resume,
    Retry,
    Throttle,
)
from .failure import Category, Failure, Severity
from .policy import Case, Policy, decide

if TYPE_CHECKING:
    from ...actors.cell import Cell
    from ...actors.incarnation import Incarnation
    from ..features import Feature

QUIET = 5.0
"""Seconds without a failure after which the tries of a child count from 0 again."""

Key: TypeAlias = tuple[Category, Severity]
Tries: TypeAlias = Mapping[Key, int]


class CircuitClosed(Action):
    """What a supervisor is told when a child's probe went well."""


class Guard:
    """Of one child. Made and asked by its supervisor, and asked by its cell."""

    __slots__ = (
        "_has_fallback",
        "_last",
        "_probe",
        "_relief",
        "_tried",
        "cell",
        "circuit",
        "feature",
        "policy",
        "vitals",
        "watches",
    )

    def __init__(
        self,
        cell: Cell,
        policy: Policy,
        *,
        feature: Feature | None = None,
        circuit: CircuitBreak | None = None,
        has_fallback: Callable[[str | None], bool],
    ) -> None:
        self.cell = cell
        self.policy = policy
        self.circuit = Circuit(circuit, cell.path) if circuit is not None else None
        self.watches = circuit is not None or feature is not None
        """Whether it is told of each message that was handled."""
        self.feature = feature
        self.vitals: Vitals | None = None
        if feature is not None:
            self.vitals = Vitals(Degradation.of(cell.system).report, feature.name, cell.path)
        self._has_fallback = has_fallback
        self._last = 0.0
        """When it last failed."""
        self._probe: int | None = None
        """The token of the probe that is under way."""
        self._relief: Any = None
        """The timer that ends the throttle."""
        self._tried: dict[Key, int] = {}
        """How often the first action of each row was carried out for the child."""

    # --- the cell's side

    def message_failed(self, life: Incarnation, message: Message | None, error: BaseException, history: Any) -> Verdict:
        """See `Recovery`."""
        now = self._now()
        self._forget_old(now)
        failure = self._classify(error)
        method = life.methods.own.get(message[0]) if message is not None else None
        tries: Tries = history or {}
        key = (failure.category, failure.severity)
        may_repeat = message is not None and (failure.begun is False or (method is not None and method.retryable))

        def has_fallback(action: Fallback) -> bool:
            return self._answering(life, method, action) is not None or self._has_fallback(
                action.handler or action.like
            )

        row = self.policy.row_for(*key)
        first = row.first if row is not None else None
        tried = tries.get(key, 0) if isinstance(first, Retry) else self._tried.get(key, 0)
        if isinstance(first, Retry) and may_repeat:
            may_repeat = self._has_time(message, self._pause(first, failure, tried), now)
        case = Case(
            failure=failure,
            tried=tried,
            has_message=message is not None,
            may_repeat=may_repeat,
            has_fallback=has_fallback,
        )
        action = decide(self.policy, case)
        if self.vitals is not None:
            self.vitals.operation(ok=failure.severity.rank >= Severity.WARNING.rank)
        if action is first and not isinstance(action, Retry):
            self._tried[key] = tried + 1
        action = self._through_circuit(action, failure, now)
        self._tell_of(action, failure, message, tried + 1)
        return self._verdict(life, message, method, action, failure, {**tries, key: tried + 1}, may_repeat)

    def ended(self, life: Incarnation, reason: Reason) -> Action:
        """See `Recovery`: what the supervisor is to do about an end that no message has brought about."""
        if not isinstance(reason, BaseException):
            return Restart()  # it was killed
        now = self._now()
        self._forget_old(now)
        if isinstance(reason, HandlerTimeout) and self.vitals is not None:
            self.vitals.hung()
        return self._act_on(reason, now)

    def start_failed(self, error: BaseException) -> Action:
        """What the supervisor is to do about a restart whose start has failed."""
        return self._act_on(error, self._now())

    def succeeded(self, method: str, seconds: float) -> None:
        """See `Recovery`."""
        if self.vitals is not None:
            self.vitals.operation(ok=True)
        circuit = self.circuit
        if circuit is None or (circuit.state == "closed" and not circuit.failures):
            return
        now = self._now()
        token = self._probe if self._probe is not None else circuit.admit(now)
        if token is None:
            return
        self._probe = None
        if circuit.succeeded(token, now):
            self.cell.close_circuit()
            self._tell(CircuitClosed(), None)
        elif circuit.state == "half-open":
            self._probe = circuit.admit(now)

    def more_time(self, operation: str, seconds: float, extended: int) -> float:
        """See `Recovery`: the default time of the operation once more, where the policy says Extend."""
        failure = self._classify(OperationTimeout(operation, seconds))
        case = Case(failure=failure, tried=extended, has_message=True, deadline_running=True)
        action = decide(self.policy, case)
        if not isinstance(action, Extend):
            return 0.0
        self._emit(action, failure, operation, extended + 1)
        return self.cell.system.timeouts.of(operation)

    # --- the supervisor's side

    def open_circuit(self, why: str, *, seconds: float | None = None, by_hand: bool = False) -> None:
        """Let its circuit be open: by hand, or unless the failure that has led to this has opened it already."""
        assert self.circuit is not None
        self._probe = None
        if by_hand:
            self.circuit.force_open(self._now(), seconds)
        elif self.circuit.state != "open":
            self.circuit.trip(self._now(), why)

    def end_circuit(self) -> None:
        """Close it as if it were new."""
        self._probe = None
        if self.circuit is not None and self.circuit.state != "closed":
            self.circuit.force_closed(self._now())

    @property
    def seconds_left(self) -> float | None:
        """Until a probe may be made; None: not before it is closed by hand."""
        assert self.circuit is not None
        return self.circuit.info(self._now()).seconds_left

    def probe(self) -> bool:
        """A probe is about to be made; False where it is too soon for that."""
        assert self.circuit is not None
        self._probe = self.circuit.admit(self._now())
        return self._probe is not None

    def probe_failed(self, error: Reason) -> None:
        """The start that was to be the probe has failed, or what was started has ended before it had answered."""
        assert self.circuit is not None
        if self._probe is not None:
            self.circuit.failed(self._probe, self._now(), describe(error))
        self._probe = None

    def give_probe_up(self) -> None:
        """What was being probed was stopped: neither good nor bad, and another probe may be made."""
        if self.circuit is not None and self._probe is not None:
            self.circuit.abandoned(self._probe)
        self._probe = None

    def probe_is_quiet(self) -> bool:
        """Nobody has called: the start alone is the probe. Whether that closed the circuit."""
        while self.circuit is not None:
            token, self._probe = self._probe, None
            if token is None:
                token = self.circuit.admit(self._now())
            if token is None:
                return False
            if self.circuit.succeeded(token, self._now()):
                self.cell.close_circuit()
                return True
        return False

    def circuit_info(self) -> CircuitInfo | None:
        """What is told of its circuit."""
        return self.circuit.info(self._now()) if self.circuit is not None else None

    @property
    def is_ill(self) -> bool:
        """Whether its own sources say that it is not well."""
        if self.vitals is None or self.feature is None:
            return False
        return self.feature.is_ill_at(self.vitals.score)

    def begin_anew(self) -> None:
        """Another runs in its place from now on, or it does again: what was before does not count any more."""
        self._tried.clear()
        if self.vitals is not None:
            self.vitals.reset()

    def end_vitals(self) -> None:
        """What it provides is taken away: nothing more is told of how it does."""
        if self.vitals is not None:
            self.vitals.reset()
            self.vitals = None

    # --- deciding

    def _act_on(self, error: BaseException, now: float) -> Action:
        """The action on a failure with no message in hand."""
        failure = self._classify(error)
        key = (failure.category, failure.severity)
        tried = self._tried.get(key, 0)
        case = Case(
            failure=failure,
            tried=tried,
            has_fallback=lambda action: self._has_fallback(action.handler or action.like),
        )
        action = self._through_circuit(decide(self.policy, case), failure, now)
        self._tried[key] = tried + 1
        self._tell_of(action, failure, None, tried + 1)
        return action

    def _through_circuit(self, action: Action, failure: Failure, now: float) -> Action:
        """With a circuit, this failure may be what opens it."""
        circuit = self.circuit
        if circuit is None:
            return action
        if circuit.state != "closed":
            if self._probe is None or isinstance(action, Resume | Cancel):
                return action
            circuit.failed(self._probe, now, failure.message)
            self._probe = None
            return CircuitBreak()
        if not isinstance(action, CircuitBreak):
            return action
        token = circuit.admit(now)
        if token is not None and circuit.failed(token, now, failure.message):
            return action
        return Restart()

    def _verdict(
        self,
        life: Incarnation,
        message: Message | None,
        method: Any,
        action: Action,
        failure: Failure,
        history: Tries,
        may_repeat: bool,
    ) -> Verdict:
        match action:
            case Resume() | Cancel():
                return Answer()
            case Retry():
                return Repeat(self._pause(action, failure, history[failure.category, failure.severity] - 1), history)
            case Fallback():
                other = self._answering(life, method, action)
                return AnswerBy(other) if other is not None else Crash(action, keep=may_repeat)
            case Defer():
                if failure.component not in ("", self.cell.path):
                    return Repeat(0.0, history, until_up=failure.component)
                return Crash(Restart(), keep=True, history=history)
            case Throttle():
                self._throttle(action)
                return Answer()
            case Alert() if message is not None:
                return Answer()
            case Degrade() if message is not None and not self._is_own(action):
                self._tell(action, failure)
                return Answer()
            case Degrade():
                return Crash(action, keep=may_repeat)
            case _:
                return Crash(action)

    def _answering(self, life: Incarnation, method: Any, action: Fallback) -> str | None:
        """The method that answers in place of one that failed, if there is one that takes its arguments."""
        name = action.handler if action.handler in life.methods.own else None
        if name is None and action.handler is None and method is not None:
            name = method.falls_back_to
        return name if name is not None and method is not None and name != method.name else None

    def _is_own(self, action: Degrade) -> bool:
        """Whether it is the child itself that can't go on as it is."""
        own = self.feature.name if self.feature is not None else None
        return not action.levels and action.feature in (None, own)

    def _pause(self, action: Retry, failure: Failure, tried: int) -> float:
        if failure.retry_after is not None:
            return failure.retry_after
        return action.backoff.delay(tried, self.cell.system.random)

    def _has_time(self, message: Message | None, pause: float, now: float) -> bool:
        """Whether the caller still waits when the message is given again."""
        call = message[3] if message is not None else None
        return call is None or not call.deadline or now + pause < call.deadline

    def _throttle(self, action: Throttle) -> None:
        if self._relief is not None:
            self._relief.cancel()
        self.cell.throttle(1 / action.rate)
        self._relief = self.cell.system.timers.at(self._now() + action.quiet, self._let_through)

    def _let_through(self) -> None:
        self._relief = None
        self.cell.throttle(None)

    # --- keeping count

    def _forget_old(self, now: float) -> None:
        if now - self._last >= QUIET:
            self._tried.clear()
        self._last = now

    def _classify(self, error: BaseException) -> Failure:
        return self.policy.classifier.classify(error, self.cell.path)

    def _tell_of(self, action: Action, failure: Failure, message: Message | None, attempt: int) -> None:
        if isinstance(action, Alert):
            raise_alert(
                self.cell.system,
                path=self.cell.path,
                severity=failure.severity,
                message=f"{failure.error}: {failure.message}",
                kind="failure",
            )
        self._emit(action, failure, message[0] if message is not None else None, attempt)

    def _emit(self, action: Action, failure: Failure, method: str | None, attempt: int) -> None:
        self.cell.system.events.emit(
            Recovered(
                path=self.cell.path,
                method=method,
                action=sys.intern(str(action)),  # one text for all that is remembered
                category=failure.category,
                severity=failure.severity,
                error=failure.error,
                message=failure.message,
                attempt=attempt,
            )
        )

    def _tell(self, action: Action, failure: Failure | None) -> None:
        """Let the supervisor do something while the child goes on."""
        life = getattr(self.cell.parent, "incarnation", None)
        if life is not None:
            life.post(ChildTells(self.cell, action, failure))

    def _now(self) -> float:
        return self.cell.system.now()
