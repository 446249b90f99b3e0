"""Degradation: what keeps the features and the quality level of one actor system, on its clock.

Whatever knows of a feature's health reports here, whatever is to run differently while a feature is degraded listens
here: a supervisor puts the child that provides it into its fallback, the bridge tells its clients. There is one for
each system, `Degradation.of(system)`. It has no task of its own: a timer wakes it when something is due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from ..actors.events import Event
from .feature_states import QUALITY, Change, Features, FeatureState
from .features import Feature
from .quality import FULL, Quality, QualityState

if TYPE_CHECKING:
    from ..actors.system import System
    from ..actors.timers import Timer

FEATURES = "ukemi.features"
"""The topic of `FeatureDegraded`, `FeatureRestored` and `QualityChanged` events."""


@attrs.frozen(kw_only=True)
class FeatureDegraded(Event):
    """A feature runs in its fallback from now on. `path` is the component at the root of it, if one is."""

    feature: str
    because: str
    because_of: str | None
    """The dependency that is degraded, if one is."""
    score: float | None
    fallback: str | None
    """The mode it runs in, as it is shown to users."""


@attrs.frozen(kw_only=True)
class FeatureRestored(Event):
    """A feature is whole again."""

    feature: str
    because: str
    score: float | None


@attrs.frozen(kw_only=True)
class QualityChanged(Event):
    """The quality level is another one."""

    before: int
    level: int
    because: str


class Degradation:
    """The features and the quality of one actor system. To be used from the actors' thread only.

    What a method brings about is told before it returns: logged, as events, on the topic, and to the listeners in the
    order of their coming. Where a listener brings about further changes, these are told once those before them have
    been told to everybody: all see the same changes in the same order, while `states()` may be ahead of them. Unknown
    features are ComponentNotFound, naming those that there are.
    """

    def __init__(self, system: System, quality: Quality | None = None) -> None:
        self._system = system
        self._features = Features()
        self._quality = quality or Quality()
        self._listeners: dict[object, Callable[[Change], object]] = {}
        self._untold: deque[tuple[Change | QualityChanged, tuple[object, ...]]] = deque()
        """What has changed, and who listened then."""
        self._is_telling = False
        self._due: float | None = None
        self._timer: Timer | None = None

    @classmethod
    def of(cls, system: System) -> Degradation:
        """That of this system; made when it is first asked for."""
        return system.only(cls, lambda: cls(system))

    # --- features

    def declare(self, features: Iterable[Feature], *, whole: bool = True) -> None:
        """Add features; SpecError, and none is added, if one does not fit.

        The same feature may be declared several times: it is there until it was withdrawn as often. Unless these are
        the `whole`, one may depend on a feature that is still to come.
        """
        features, now = tuple(features), self._system.now()
        changes = self._features.declare(features, now, whole=whole)
        for feature in features:
            if feature.name in self._quality.turned_off:
                changes += self._features.degrade(feature.name, QUALITY, now)
        self._take(changes)

    def withdraw(self, names: Iterable[str]) -> None:
        """Take features away. Nothing is told of these, only of what depends on them."""
        self._take(self._features.withdraw(names, self._system.now()))

    def report(self, feature: str, score: float | None, source: str, path: str = "") -> None:
        """The score that a source gives a feature, from 0.0 (useless) to 1.0 (well): the seam for all sources.

        It stands until the source reports another; None ends the source. The feature's score is the worst of all.
        `path` is the component whose health that is. ValueError if it is no score.
        """
        self._take(self._features.report(feature, score, source, self._system.now(), path))

    def degrade(self, feature: str, because: str, path: str = "") -> None:
        """Degrade a feature, until `lift` with the same reason. `path` is the component that has caused it."""
        _refuse_quality(because)
        self._take(self._features.degrade(feature, because, self._system.now(), path))

    def lift(self, feature: str, because: str, path: str | None = None) -> None:
        """Take away a reason, or only what this component has caused. The feature is restored if no other is left."""
        _refuse_quality(because)
        self._take(self._features.lift(feature, because, self._system.now(), path))

    def state_of(self, feature: str) -> FeatureState:
        """The state of one feature."""
        return self._features.state_of(feature)

    def states(self) -> list[FeatureState]:
        """The state of every feature, in dependency order."""
        return self._features.states()

    def listen(self, listener: Callable[[Change], object]) -> Callable[[], None]:
        """Call `listener` with each change of a feature to come. The result ends it.

        It must be quick, and not answer a change with its opposite, which would go on for ever. One that raises is
        logged, and harms nobody. What is degraded already is in `states()`.
        """
        key = object()
        self._listeners[key] = listener

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    # --- quality

    @property
    def quality(self) -> QualityState:
        """The quality level, what it turns off, and what is to become of it."""
        return self._quality.state

    def lower_quality(self, levels: int = 1, because: str = "", path: str = "") -> None:
        """Lower the quality by so many levels, to 0 at most. It comes up again by itself."""
        before = self._quality.level
        self._quality.lower(self._system.now(), levels)
        self._take(self._quality_news(before, because, path))

    def pressure(self, value: float | None) -> None:
        """The resource pressure, 0 to 100: the quality rises only while it is low. None: nobody measures it."""
        self._quality.pressure(value, self._system.now())
        self._take([])

    def set_quality(self, level: int | None, because: str = "manual") -> None:
        """Pin the quality to this level whatever happens; None: let it go by what happens again."""
        before = self._quality.level
        if level is None:
            self._quality.release()
        else:
            self._quality.pin(level)
        self._take(self._quality_news(before, because))

    def _quality_news(self, before: int, because: str, path: str = "") -> list[Change | QualityChanged]:
        """What follows where the level was another one before."""
        level = self._quality.level
        if level == before:
            return []
        changed = QualityChanged(path=path, time=self._system.now(), before=before, level=level, because=because)
        return [changed, *self._features.mark(QUALITY, self._quality.turned_off, changed.time, path)]

    # --- the clock

    def _tick(self) -> None:
        self._due = self._timer = None
        now, before = self._system.now(), self._quality.level
        changes = self._features.tick(now)
        self._quality.tick(now)
        self._take([*changes, *self._quality_news(before, "it has been quiet")])

    def _arm(self) -> None:
        """Be woken when the next thing is due."""
        due, other = self._features.next_due, self._quality.next_due
        if other is not None and (due is None or other < due):
            due = other
        if due != self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = None if due is None else self._system.timers.at(due, self._tick)

    # --- the telling

    def _take(self, news: Iterable[Change | QualityChanged]) -> None:
        """Let it be known what has changed, and wait for what is due next."""
        self._untold.extend((item, tuple(self._listeners)) for item in news)
        self._arm()
        if self._is_telling or not self._untold:
            return
        self._is_telling = True
        try:
            while self._untold:
                self._tell(*self._untold.popleft())
        finally:
            self._is_telling = False

    def _tell(self, news: Change | QualityChanged, listeners: Iterable[object]) -> None:
        event = news if isinstance(news, QualityChanged) else _event_of(news)
        _log(event)
        self._system.events.emit(event)
        self._system.topics.publish(FEATURES, event)
        if isinstance(news, Change):
            for key in listeners:
                listener = self._listeners.get(key)
                if listener is not None:  # it may have ended meanwhile
                    _call(listener, news)


def _event_of(change: Change) -> FeatureDegraded | FeatureRestored:
    if not change.degraded:
        return FeatureRestored(
            path=change.path, time=change.at, feature=change.feature, because=change.because, score=change.score
        )
    return FeatureDegraded(
        path=change.path,
        time=change.at,
        feature=change.feature,
        because=change.because,
        because_of=change.because_of,
        score=change.score,
        fallback=change.fallback,
    )


def _log(event: FeatureDegraded | FeatureRestored | QualityChanged) -> None:
    from loguru import logger

    log = logger.bind(actor=event.path or "-", because=event.because)
    if isinstance(event, FeatureDegraded):
        log.warning("Feature {} degraded", event.feature)
    elif isinstance(event, FeatureRestored):
        log.info("Feature {} restored", event.feature)
    else:
        log.log("WARNING" if event.level < event.before else "INFO", "Quality level {} of {}", event.level, FULL)


def _call(listener: Callable[[Change], object], change: Change) -> None:
    from loguru import logger

    try:
        listener(change)
    except Exception as error:
        logger.opt(exception=error).error("{!r} could not take that {}: {!r}", listener, change, error)


def _refuse_quality(because: str) -> None:
    if because == QUALITY:
        raise ValueError(f"the reason {QUALITY!r} comes and goes with the quality level; use set_quality")
