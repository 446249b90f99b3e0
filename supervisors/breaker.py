"""`CircuitBreaker`: a plain guard around calls to what may be broken, in or out of an actor.

    breaker = CircuitBreaker("search", failures=3, duration=10.0, counts=OSError)
    pages = await breaker.call(fetch, url)
    async with breaker:
        pages = await fetch(url)

After `failures` failed calls in a row it refuses calls with CircuitOpen, for a time; then one call is let through, and
its end decides (see `circuit`). Where the far side is an actor, its supervisor can do this for all its callers, with
`CircuitBreak` as the child's policy; this guard is for whatever else there is.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import NoReturn, ParamSpec, TypeAlias, TypeVar

import trio

from ..actors.errors import CircuitOpen, SpecError
from ..actors.reasons import describe, plain
from .circuit import Circuit, CircuitInfo, CircuitState
from .recovery.actions import FAILURES, OPEN, CircuitBreak

P = ParamSpec("P")
T = TypeVar("T")
Counts: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]

LONGEST_TEXT = 400
"""Characters kept of what a failure says."""


class CircuitBreaker:
    """One circuit and the calls through it, on trio's clock and in one trio run's thread.

    What a call's end means:

    - It returns: a success.
    - It raises an Exception: a failure, if `counts` says so: an exception class, a tuple of them, or a function that is
      given the exception. One that does not count is a success, since the far side has answered. A group counts if any
      of the exceptions in it does.
    - It is cancelled, or ended by KeyboardInterrupt or the like: neither; if it was the probe, the next call is the
      next probe. So a far side that hangs is noticed only by a time limit *inside* of what is called, whose
      `trio.TooSlowError` is an Exception; a limit around the breaker says nothing about the far side. In a group that
      holds both, the exceptions decide.

    What is called must not go through the same breaker again: as the probe it would be refused by itself.

    The settings are those of the action `CircuitBreak`, times in seconds; a wrong one is a SpecError that names it.
    `on_change(info)` is called at once upon each change of state, and when it is forced open. It must be quick and not
    raise; if it does, the state has changed nonetheless, and the error is that of the call which brought it about.
    """

    __slots__ = ("_circuit", "_counts", "_on_change", "_told")

    def __init__(
        self,
        name: str,
        *,
        failures: int = FAILURES,
        duration: float = OPEN,
        successes: int = 1,
        growth: float = 2.0,
        longest: float = 300.0,
        counts: Counts = Exception,
        on_change: Callable[[CircuitInfo], object] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise SpecError(f"CircuitBreaker: name={name!r} must be a text that is not empty")
        if on_change is not None and (not callable(on_change) or inspect.iscoroutinefunction(on_change)):
            raise SpecError(f"CircuitBreaker {name!r}: on_change={on_change!r} must be a plain function, or None")
        settings = CircuitBreak(duration, failures, successes, growth, longest)
        self._circuit = Circuit(settings, name)
        self._counts = _filter(name, counts)
        self._on_change = on_change
        self._told: CircuitState = "closed"

    @property
    def name(self) -> str:
        """What CircuitOpen names."""
        return self._circuit.name

    @property
    def settings(self) -> CircuitBreak:
        """As given."""
        return self._circuit.settings

    @property
    def state(self) -> CircuitState:
        """`half-open` as soon as a call would be let through as the probe. Only within a trio run."""
        return self._circuit.state_at(trio.current_time())

    def info(self) -> CircuitInfo:
        """The state, and how it came about. Only within a trio run."""
        return self._circuit.info(trio.current_time())

    async def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` and pass on what it returns or raises; CircuitOpen, if the circuit refuses it.

        Calls run side by side. A refusal is a checkpoint, so that asking again and again starves nobody.
        """
        if not callable(function):
            raise TypeError(f"call takes an async function and its arguments, as in call(fetch, url), not {function!r}")
        token = self._admit()
        if token is None:
            await self._refuse()
        try:
            answer = await function(*args, **kwargs)
        except BaseException as error:
            self._raised(token, error)
            raise
        self._returned(token)
        return answer

    async def __aenter__(self) -> None:
        """The same for the body of `async with`. It must be left in the task that entered it, as trio's own scopes."""
        token = self._admit()
        if token is None:
            await self._refuse()
        _entered.set((*_entered.get(), (self, token)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        token = self._take_entered()
        if error is None:
            self._returned(token)
        else:
            self._raised(token, error)

    def force_open(self, seconds: float | None = None) -> None:
        """Refuse all calls: for a time, and then come the probes; or, with None, until it is closed by hand.

        The calls that are under way go on, and don't count.
        """
        now = trio.current_time()
        self._circuit.force_open(now, seconds)
        self._tell(now)

    def force_closed(self) -> None:
        """Let all calls through again, and count failures from 0; the calls that are under way don't count."""
        now = trio.current_time()
        self._circuit.force_closed(now)
        self._tell_change(now)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r}>"

    def _admit(self) -> int | None:
        circuit = self._circuit
        if circuit.state == "closed":  # whatever the time is; to look at the clock is what would cost most
            return circuit.generation
        now = trio.current_time()
        token = circuit.admit(now)
        try:
            self._tell_change(now)
        except BaseException:
            if token is not None:
                circuit.abandoned(token)
            raise
        return token

    async def _refuse(self) -> NoReturn:
        await trio.lowlevel.checkpoint()
        raise CircuitOpen(self.name)

    def _returned(self, token: int) -> None:
        circuit = self._circuit
        if circuit.state == "closed" and not circuit.failures:  # a success changes nothing
            return
        now = trio.current_time()
        if circuit.succeeded(token, now):
            self._tell_change(now)

    def _raised(self, token: int, error: BaseException) -> None:
        """Note how a call ended. If `counts` itself raises, the call has failed."""
        errors = [leaf for leaf in _leaves(error) if isinstance(leaf, Exception)]
        if not errors:
            self._circuit.abandoned(token)
            return
        is_failure = True
        try:
            is_failure = any(self._counts(each) for each in errors)
        finally:
            if not is_failure:
                self._returned(token)
            elif self._circuit.failed(token, now := trio.current_time(), _text(error)):
                self._tell_change(now)

    def _take_entered(self) -> int:
        """The token of the innermost `async with` of this breaker in this task."""
        entered = _entered.get()
        for at in reversed(range(len(entered))):
            breaker, token = entered[at]
            if breaker is self:
                _entered.set(entered[:at] + entered[at + 1 :])
                return token
        raise RuntimeError(f"`async with` of {self!r} must be left in the task that entered it")

    def _tell_change(self, now: float) -> None:
        if self._circuit.state != self._told:
            self._tell(now)

    def _tell(self, now: float) -> None:
        self._told = self._circuit.state
        if self._on_change is not None:
            self._on_change(self._circuit.info(now))


_entered: ContextVar[tuple[tuple[CircuitBreaker, int], ...]] = ContextVar("entered", default=())
"""The bodies of `async with` in which a task is, and their tokens."""


def _filter(name: str, counts: object) -> Callable[[Exception], bool]:
    """`counts` as a function."""
    types = counts if isinstance(counts, tuple) else (counts,)
    if types and all(isinstance(each, type) and issubclass(each, Exception) for each in types):
        return lambda error: isinstance(error, types)
    if isinstance(counts, type | tuple) or not callable(counts) or inspect.iscoroutinefunction(counts):
        raise SpecError(
            f"CircuitBreaker {name!r}: counts={counts!r} must be a class of exceptions (of those that derive from "
            "Exception), a tuple of them, or a plain function of an exception"
        )
    return counts


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, and in the groups in it; any other exception by itself."""
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(reversed(each.exceptions))
        else:
            yield each


def _text(error: BaseException) -> str:
    """What a failure says, in a line of bounded length."""
    return describe(plain(error))[:LONGEST_TEXT]
