"""From an exception to a `Failure`: what has failed, how badly, and whether to try again.

An actor's crash is classified as what it crashed of, a group as its worst member, an open circuit as what opened it. An
application adds its own types with `Classifier.extended`; of several that fit, the most specific class decides.
Classifying never raises, whatever the error's own methods do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from ...actors.errors import ActorCrashed, CircuitOpen, Reject, SpecError, UkemiError
from ..errors import StartFailed, SupervisorGaveUp
from .failure import Failure, Severity
from .kinds import KINDS, UNKNOWN, Key, Kind, Rule, sane_seconds

LONGEST = 4000
"""Characters of a failure's message."""
SHARED = 200
"""Characters up to which messages that are the same share one text: what fails again and again is remembered often."""

_MADE_OF_OTHERS = frozenset(
    {ActorCrashed, StartFailed, SupervisorGaveUp, BaseExceptionGroup, Reject, CircuitOpen, SystemError}
)
"""SystemError: where Python's own code has not noticed an error at once, a missing memory mostly."""


@attrs.frozen
class _Leaf:
    """An error that no other stands behind, and what led to it."""

    error: BaseException
    path: str = ""
    """Of what has failed, where the errors say so."""
    crashed: bool = False
    """Whether an actor crashed of it, in the middle of a message."""
    circuit: CircuitOpen | None = None
    """The open circuit that it stands behind."""


@attrs.frozen(repr=False)
class Classifier:
    """Knows types of errors. Immutable; `extended` makes another that knows more."""

    known: tuple[tuple[Key, Rule], ...]
    _rules: dict[Key, Rule] = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_rules", dict(self.known))

    def __repr__(self) -> str:
        return f"<Classifier of {len(self.known)} types>"

    def extended(self, types: Mapping[type[BaseException], Rule]) -> Classifier:
        """One that knows these, too, and rather: `{MyError: Kind("Network", "Recoverable", retryable=True)}`.

        A function in place of a Kind is given the error, and returns its Kind, or None to leave it to the error's
        base classes. Raises SpecError for what is neither, and for what is no class of exceptions.
        """
        if not isinstance(types, Mapping):
            raise SpecError(f"types={types!r} must be a dict from classes of exceptions to their Kind(…)")
        for cls, rule in types.items():
            if not (isinstance(cls, type) and issubclass(cls, BaseException)):
                raise SpecError(f"{cls!r} must be a class of exceptions")
            if not (isinstance(rule, Kind) or (callable(rule) and not isinstance(rule, type))):
                raise SpecError(
                    f"{cls.__name__}: {rule!r} must be a Kind(…), or a function that makes one of the error"
                )
        known: dict[Key, Rule] = dict((*self.known, *types.items()))
        return Classifier(tuple(known.items()))

    def classify(self, error: BaseException, component: str = "") -> Failure:
        """What is known of a failure of `component` (a path; of what it names itself, where it does)."""
        judged = [self._judged(leaf) for leaf in self._leaves(error)]
        leaf, kind, doubt = min(judged, key=lambda each: each[1].severity.rank) if len(judged) > 1 else judged[0]
        shown = leaf.circuit or leaf.error
        path = leaf.path or _own_path(leaf.error)
        retry_after = kind.retry_after
        if retry_after is None:
            retry_after = sane_seconds(_word(shown, "retry_after"))
        return Failure(
            category=kind.category,
            severity=kind.severity,
            retryable=kind.retryable,
            error=sys.intern(type(shown).__name__),
            message=_said(shown) + doubt,
            component=path or component,
            fallback_available=kind.fallback,
            retry_after=retry_after,
            begun=_begun(leaf, path, component),
        )

    def kind_of(self, error: BaseException) -> Kind:
        """What an error is by its own type, whatever stands behind it."""
        return self._kind_of(error)[0]

    def _judged(self, leaf: _Leaf) -> tuple[_Leaf, Kind, str]:
        kind, doubt = self._kind_of(leaf.error)
        if leaf.circuit is not None:
            kind = attrs.evolve(kind, severity=Severity.WARNING)  # its caller must not crash of an open circuit
        return leaf, kind, doubt

    def _kind_of(self, error: BaseException) -> tuple[Kind, str]:
        """The kind, and what went wrong in finding it."""
        for rule in self._rules_for(type(error)):
            if isinstance(rule, Kind):
                return rule, ""
            try:
                kind: object = rule(error)
            except Exception as fault:
                return UNKNOWN, f" (and classifying it failed: {type(fault).__name__}: {_said(fault)})"
            if isinstance(kind, Kind):
                return kind, ""
            if kind is not None:
                return UNKNOWN, f" (and classifying it failed: {_name(rule)} must return a Kind or None)"
        return UNKNOWN, ""

    def _rules_for(self, cls: type) -> Iterator[Rule]:
        for base in cls.__mro__:
            rule = self._rules.get(base) or self._rules.get((base.__module__, base.__qualname__))
            if rule is not None:
                yield rule

    def _leaves(self, error: BaseException) -> list[_Leaf]:
        """The errors that are behind this one, in order; itself, if none is."""
        leaves: list[_Leaf] = []
        seen: set[int] = set()
        left = [_Leaf(error)]
        while left:
            leaf = left.pop()
            if id(leaf.error) in seen:
                continue
            seen.add(id(leaf.error))
            behind = None if self._is_known_itself(type(leaf.error)) else _behind(leaf)
            if behind:
                left.extend(reversed(behind))
            else:
                leaves.append(leaf)
        return leaves or [_Leaf(error)]

    def _is_known_itself(self, cls: type) -> bool:
        """Whether a rule is nearer than the fact that there are others behind it."""
        for base in cls.__mro__:
            has_rule = base in self._rules or (base.__module__, base.__qualname__) in self._rules
            if base in _MADE_OF_OTHERS:
                return has_rule and base is not CircuitOpen
            if has_rule:
                return True
        return True


DEFAULT = Classifier(tuple(KINDS.items()))
"""Knows ukemi's own errors, Python's and trio's."""


def classify(error: BaseException, component: str = "") -> Failure:
    """What is known of a failure, by the default classifier."""
    return DEFAULT.classify(error, component)


def _behind(leaf: _Leaf) -> list[_Leaf]:
    error = leaf.error
    if isinstance(error, BaseExceptionGroup):
        return [attrs.evolve(leaf, error=each) for each in error.exceptions]
    if isinstance(error, Reject):
        return [attrs.evolve(leaf, error=error.error)]
    cause = error.__cause__
    if cause is None:
        return []
    if isinstance(error, CircuitOpen):
        circuit = leaf.circuit or error
        return [attrs.evolve(leaf, error=cause, path=circuit.component, circuit=circuit)]
    if leaf.circuit is not None:
        return [attrs.evolve(leaf, error=cause)]
    crashed = leaf.crashed or isinstance(error, ActorCrashed)
    return [attrs.evolve(leaf, error=cause, path=_own_path(error), crashed=crashed)]


def _begun(leaf: _Leaf, path: str, component: str) -> bool | None:
    """Whether what failed had begun.

    That it had not counts only where it is about the component's own doing: a handler that passes on the error of a
    call of its own may have done other things before.
    """
    begun = False if isinstance(leaf.circuit or leaf.error, CircuitOpen) else _word(leaf.error, "began")
    if not isinstance(begun, bool):
        return True if leaf.crashed or isinstance(leaf.error, ActorCrashed) else None
    is_own = not component or not path or component == path or component.startswith(f"{path}/")
    return begun if begun or is_own else None


def _own_path(error: BaseException) -> str:
    """The actor's that one of ukemi's errors is about; an application's `path` may be anything."""
    path = error.component if isinstance(error, CircuitOpen) else _word(error, "path")
    return path if isinstance(error, UkemiError) and isinstance(path, str) else ""


def _word(error: BaseException, attribute: str) -> Any:
    try:
        return getattr(error, attribute, None)
    except Exception:
        return None


def _said(error: BaseException) -> str:
    """Its message, as text that can be encoded; an error whose `str` raises is told from one that says nothing."""
    try:
        text = str(error)
    except Exception as fault:
        return f"<{type(error).__name__}, whose str raises {type(fault).__name__}>"
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) > SHARED else sys.intern(text)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
