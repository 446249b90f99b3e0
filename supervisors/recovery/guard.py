"""`Guard`: carries a policy out at one child's own cell (rule S10).

It is the `Recovery` that the cell asks when a handler has raised or an incarnation has ended. It classifies, asks the
policy, and turns the action into a verdict: what the cell can do, it does at once; what takes the supervisor comes to
it as an `Order` with the child's exit, or as a `ChildTells` where the child goes on. It outlives the child's
incarnations. What it keeps for the child is in `Tries`, `ChildCircuit`, `Throttling` and `Vitals`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...actors.errors import HandlerTimeout, OperationTimeout
from ...actors.messages import ChildTells, Message
from ...actors.reasons import Reason
from ...actors.recovery import Answer, AnswerBy, Crash, Repeat, Verdict
from ..alerts import alert_of_failure
from ..circuit import CircuitInfo
from ..degradation import Degradation
from ..events import Recovered
from ..vitals import Vitals
from .actions import (
    RETRY_BACKOFF,
    Action,
    Alert,
    Cancel,
    CircuitBreak,
    Defer,
    Degrade,
    Extend,
    Fallback,
    Order,
    Restart,
    Resume,
    Retry,
    Throttle,
)
from .failure import Failure, Severity
from .policy import Case, Policy, decide, is_bounded
from .probing import ChildCircuit
from .throttling import Throttling
from .tries import History, Key, Tries

if TYPE_CHECKING:
    from ...actors.cell import Cell
    from ...actors.incarnation import Incarnation
    from ...actors.protocol import Method
    from ..features import Feature
    from .matrix import Row

DEFERRED = 30.0
"""Seconds for which a message is deferred at most, however often it fails meanwhile."""
LONGEST_PAUSE = 600.0
"""Seconds after which a message is not given again that nobody's deadline bounds: later mail would wait as long."""
LOWER_AGAIN = 5.0
"""Seconds between two times that one child's failures lower the quality."""


class CircuitClosed(Action):
    """What a supervisor is told when a child's probe went well."""


class Guard:
    """Of one child. Made and asked by its supervisor, and asked by its cell."""

    __slots__ = (
        "_has_fallback",
        "_lowered_at",
        "_throttling",
        "_tries",
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
        self.circuit = ChildCircuit(cell, circuit) if circuit is not None else None
        self.watches = circuit is not None or feature is not None
        """Whether it is told of each message that was handled."""
        self.feature = feature
        self.vitals: Vitals | None = None
        if feature is not None:
            self.vitals = Vitals(Degradation.of(cell.system).report, feature.name, cell.path)
        self._has_fallback = has_fallback
        self._throttling = Throttling(cell)
        self._lowered_at: float | None = None
        """When its failures last lowered the quality."""
        self._tries = Tries()

    # --- the cell's side

    def message_failed(self, life: Incarnation, message: Message | None, error: BaseException, history: Any) -> Verdict:
        """See `Recovery`."""
        now = self._now()
        self._tries.failed(now)
        failure = self._classify(error)
        row, key = self._row(failure)
        first = row.first if row is not None else None
        known: History = history or History()
        method = life.methods.own.get(message[0]) if message is not None else None
        tried = known.tried(key) if isinstance(first, Retry) else self._tries.tried(key)
        may_repeat = message is not None and (failure.begun is False or (method is not None and method.retryable))
        if isinstance(first, Retry) and may_repeat:
            may_repeat = self._has_time(message, self._pause(first, failure, tried), now)

        def has_fallback(action: Fallback) -> bool:
            wanted = action.handler or action.like
            return self._answering(life, method, message, action) is not None or self._has_fallback(wanted)

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
            self._tries.again(key)
        order = Order(self._through_circuit(action, failure), is_bounded(row, action))
        self._tell_of(order.action, failure, message, tried + 1, error)
        return self._verdict(life, message, method, order, failure, known.again(key), may_repeat)

    def ended(self, life: Incarnation, reason: Reason) -> Order:
        """See `Recovery`: what the supervisor is to do about an end that no message has brought about."""
        if not isinstance(reason, BaseException):
            return Order(Restart())  # it was killed
        if isinstance(reason, HandlerTimeout) and self.vitals is not None:
            self.vitals.hung()
        self._tries.failed(self._now())
        return self._order_on(reason)

    def start_failed(self, error: BaseException) -> Order:
        """What the supervisor is to do about a restart whose start has failed."""
        return self._order_on(error)

    def gives_again(
        self, life: Incarnation, method: str, history: Any = None, *, moved_on: bool = False
    ) -> History | None:
        """See `Recovery`: where the policy gives messages again at all, and the method bears it."""
        known = life.methods.own.get(method)
        if known is None or not known.retryable or not self.policy.retries:
            return None
        past: History = history or History()
        return past.keep(self._now(), own=False, moved_on=moved_on)

    def succeeded(self) -> None:
        """See `Recovery`."""
        if self.vitals is not None:
            self.vitals.operation(ok=True)
        if self.circuit is not None and self.circuit.succeeded():
            self._tell(CircuitClosed(), None)

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

    def add_circuit(self, settings: CircuitBreak) -> ChildCircuit:
        """Give the child a circuit, which it had none of."""
        self.circuit = ChildCircuit(self.cell, settings)
        self.watches = True
        return self.circuit

    def end(self) -> None:
        """The child is down, and stays down: its circuit is closed, its mail is not throttled any more."""
        if self.circuit is not None:
            self.circuit.end()
        self._throttling.end()

    def circuit_info(self) -> CircuitInfo | None:
        """What is told of its circuit."""
        return self.circuit.info() if self.circuit is not None else None

    @property
    def is_ill(self) -> bool:
        """Whether its own sources say that it is not well."""
        if self.vitals is None or self.feature is None:
            return False
        return self.feature.is_ill_at(self.vitals.score)

    def begin_anew(self) -> None:
        """Another runs in its place from now on, or it does again: what was before does not count any more."""
        self._tries.clear()
        if self.vitals is not None:
            self.vitals.reset()

    def end_vitals(self) -> None:
        """What it provides is taken away: nothing more is told of how it does."""
        if self.vitals is not None:
            self.vitals.reset()
            self.vitals = None

    # --- deciding

    def _row(self, failure: Failure) -> tuple[Row | None, Key]:
        """The row that decides, and under which key its tries are counted."""
        row = self.policy.row_for(failure.category, failure.severity)
        return row, row.key if row is not None else (failure.category, failure.severity)

    def _order_on(self, error: BaseException) -> Order:
        """What the supervisor is to do about a failure with no message in hand."""
        failure = self._classify(error)
        row, key = self._row(failure)
        tried = self._tries.tried(key)
        case = Case(
            failure=failure,
            tried=tried,
            has_fallback=lambda action: self._has_fallback(action.handler or action.like),
        )
        action = decide(self.policy, case)
        order = Order(self._through_circuit(action, failure), is_bounded(row, action))
        self._tries.again(key)
        self._tell_of(order.action, failure, None, tried + 1, error)
        return order

    def _through_circuit(self, action: Action, failure: Failure) -> Action:
        return action if self.circuit is None else self.circuit.failed(action, failure)

    def _verdict(
        self,
        life: Incarnation,
        message: Message | None,
        method: Method | None,
        order: Order,
        failure: Failure,
        history: History,
        may_repeat: bool,
    ) -> Verdict:
        match order.action:
            case Resume() | Cancel():
                return Answer()
            case Retry() as action:
                return Repeat(self._pause(action, failure, history.tried(self._row(failure)[1]) - 1), history)
            case Fallback() as action:
                other = self._answering(life, method, message, action)
                return AnswerBy(other) if other is not None else self._crash(order, history, may_repeat)
            case Defer():
                return self._deferred(message, failure, history)
            case Throttle() as action:
                self._throttling.begin(action)
                return Answer()
            case Alert() if message is not None:
                return Answer()
            case Degrade() as action if message is not None and not self._is_own(action):
                self._degrade_beside(action, failure)
                return Answer()
            case Degrade():
                return self._crash(order, history, may_repeat)
            case _:
                return Crash(order)

    def _crash(self, order: Order, history: History, may_repeat: bool) -> Crash:
        """The incarnation ends, and the message goes to what comes next, if it may be given again; not without end."""
        kept = history.keep(self._now(), own=True) if may_repeat else None
        return Crash(order, keep=kept is not None, history=kept)

    def _deferred(self, message: Message | None, failure: Failure, history: History) -> Verdict:
        """Keep the message until what has failed is up again. If that is up, and fails again, later and later."""
        now = self._now()
        pause = RETRY_BACKOFF.delay(history.deferred, self.cell.system.random)
        history = history.defer(now)
        is_own = failure.component in ("", self.cell.path)
        assert history.deferred_since is not None
        if now + pause > history.deferred_since + DEFERRED or not self._has_time(message, pause, now):
            return Crash(Order(Restart())) if is_own else Answer()
        if is_own:
            return Crash(Order(Restart(), is_bounded=True), keep=True, history=history, delay=pause)
        left = history.deferred_since + DEFERRED - now
        return Repeat(pause, history, until_up=failure.component, at_most=left)

    def _degrade_beside(self, action: Degrade, failure: Failure) -> None:
        """The child goes on; several failures in a row, as they come where something runs out, lower one level."""
        now = self._now()
        self._throttling.renew()
        if action.levels and self._lowered_at is not None and now - self._lowered_at < LOWER_AGAIN:
            return
        if action.levels:
            self._lowered_at = now
        self._tell(action, failure)

    def _answering(
        self, life: Incarnation, method: Method | None, message: Message | None, action: Fallback
    ) -> str | None:
        """The method that answers in place of one that failed, if there is one that takes its arguments."""
        if method is None or message is None:
            return None
        name = action.handler if action.handler is not None else method.falls_back_to
        other = life.methods.own.get(name) if name is not None else None
        if other is None or other.name == method.name:
            return None
        try:
            other.check(message[1], message[2])
        except TypeError:
            return None
        return other.name

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
        return pause <= LONGEST_PAUSE and (call is None or not call.deadline or now + pause < call.deadline)

    def _classify(self, error: BaseException) -> Failure:
        return self.policy.classifier.classify(error, self.cell.path)

    # --- telling of it

    def _tell_of(
        self, action: Action, failure: Failure, message: Message | None, attempt: int, error: BaseException
    ) -> None:
        if isinstance(action, Alert):
            alert_of_failure(self.cell.system, self.cell.path, failure, error)
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
