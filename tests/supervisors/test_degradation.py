"""The driver of features and quality: on trio's clock, told to all in order, whatever listeners do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Actor, ComponentNotFound, Runtime, SpecError, child, supervisor
from ukemi.actors.events import Event
from ukemi.actors.system import System
from ukemi.supervisors.degradation import FEATURES, Degradation, FeatureDegraded, FeatureRestored, QualityChanged
from ukemi.supervisors.feature_states import FAILURE, MANUAL, Change
from ukemi.supervisors.features import Feature
from ukemi.supervisors.quality import Quality
from ukemi.supervisors.vitals import Vitals

CHAIN = [Feature("page", depends_on=["search"]), Feature("search", depends_on=["index"]), Feature("index")]


@pytest.fixture
async def system(clock: MockClock) -> AsyncIterator[System]:
    async with System().open() as system:
        yield system


@pytest.fixture
def degradation(system: System) -> Degradation:
    return Degradation.of(system)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged, as loguru's records."""
    records: list[Any] = []
    number = logger.add(lambda message: records.append(message.record), level="INFO")
    yield records
    logger.remove(number)


class Ear:
    """A listener that writes down what it is told."""

    def __init__(self, degradation: Degradation, then: Callable[[Change], object] = lambda change: None) -> None:
        self.heard: list[str] = []
        self.then = then
        self.end = degradation.listen(self.listen)

    def listen(self, change: Change) -> None:
        self.heard.append(f"{'-' if change.degraded else '+'}{change.feature}")
        self.then(change)


def degraded(degradation: Degradation) -> list[str]:
    return [state.feature for state in degradation.states() if state.degraded]


async def test_a_system_has_one_degradation() -> None:
    one, other = System(), System()
    assert Degradation.of(one) is Degradation.of(one)
    assert Degradation.of(one) is not Degradation.of(other)


async def test_what_is_degraded_is_logged_in_the_words_of_the_spec(
    clock: MockClock, degradation: Degradation, logged: list[Any]
) -> None:
    degradation.declare([Feature("{odd} name")])
    degradation.degrade("{odd} name", MANUAL, path="/app/db")
    degradation.lift("{odd} name", MANUAL)
    assert [(record["level"].name, record["message"]) for record in logged] == [
        ("WARNING", "Feature {odd} name degraded"),
        ("INFO", "Feature {odd} name restored"),
    ]
    assert logged[0]["extra"] == {"actor": "/app/db", "because": "manual"}


async def test_changes_are_events_in_dependency_order(
    clock: MockClock, system: System, degradation: Degradation
) -> None:
    degradation.declare([*CHAIN[:2], Feature("index", fallback="slow search")])
    await trio.sleep(3)
    degradation.report("index", 0.25, "disk", "/app/db")
    degradation.report("index", 1.0, "disk", "/app/db")
    await trio.sleep(20)
    degradations = system.events.of(FeatureDegraded)
    assert [event.feature for event in degradations] == ["index", "search", "page"]
    assert {(event.path, event.time) for event in degradations} == {("/app/db", 3.0)}
    first, second, _ = degradations
    assert (first.because, first.because_of, first.score, first.fallback) == ("health", None, 0.25, "slow search")
    assert (second.because, second.because_of) == ("index is degraded", "index")
    restorations = system.events.of(FeatureRestored)
    assert [event.feature for event in restorations] == ["index", "search", "page"]
    assert {event.time for event in restorations} == {13.0}
    assert (restorations[0].because, restorations[0].score) == ("health is over", 1.0)


async def test_a_feature_that_got_well_is_restored_by_the_clock(clock: MockClock, degradation: Degradation) -> None:
    degradation.declare(CHAIN)
    ear = Ear(degradation)
    degradation.report("index", 0.1, "disk")
    await trio.sleep(5)
    degradation.report("index", 0.9, "disk")
    await trio.sleep(6)
    degradation.report("index", 0.55, "disk")
    await trio.sleep(100)
    assert ear.heard == ["-index", "-search", "-page"]
    degradation.report("index", 0.9, "disk")
    await trio.sleep(9)
    assert len(ear.heard) == 3
    await trio.sleep(2)
    assert ear.heard[3:] == ["+index", "+search", "+page"]


async def test_two_features_are_restored_each_in_its_time(clock: MockClock, degradation: Degradation) -> None:
    degradation.declare([Feature("slow", hold=60.0), Feature("fast", hold=1.0)])
    ear = Ear(degradation)
    for name in ("slow", "fast"):
        degradation.report(name, 0.0, "own")
        degradation.report(name, 1.0, "own")
    await trio.sleep(2)
    assert ear.heard == ["-slow", "-fast", "+fast"]
    await trio.sleep(60)
    assert ear.heard[3:] == ["+slow"]


async def test_nothing_is_left_in_the_timers_when_nothing_is_due(
    clock: MockClock, system: System, degradation: Degradation
) -> None:
    degradation.declare([Feature("index")])
    for _ in range(1000):
        degradation.report("index", 0.1, "disk")
        degradation.report("index", 0.9, "disk")
        degradation.lower_quality()
        degradation.pressure(99)
    degradation.report("index", 0.1, "disk")
    assert len(system.timers) == 0


async def test_a_child_and_an_application_report_through_the_same_seam(
    clock: MockClock, degradation: Degradation
) -> None:
    degradation.declare([Feature("search")])
    vitals = Vitals(degradation.report, "search", "/app/db")
    degradation.report("search", 0.9, "own")
    assert degradation.state_of("search").score == 0.9
    for _ in range(20):
        vitals.operation(ok=False)
    assert degradation.state_of("search").score == 0.0
    vitals.reset()
    assert degradation.state_of("search").score == 0.9
    await trio.sleep(11)
    assert degraded(degradation) == []


async def test_a_listener_is_told_until_it_ends(clock: MockClock, degradation: Degradation) -> None:
    degradation.declare([Feature("index")])
    ear, other = Ear(degradation), Ear(degradation)
    degradation.degrade("index", MANUAL)
    ear.end()
    ear.end()
    degradation.lift("index", MANUAL)
    assert (ear.heard, other.heard) == (["-index"], ["-index", "+index"])


async def test_the_same_function_may_listen_twice(clock: MockClock, degradation: Degradation) -> None:
    degradation.declare([Feature("index")])
    heard: list[Change] = []
    end, _ = degradation.listen(heard.append), degradation.listen(heard.append)
    end()
    degradation.degrade("index", MANUAL)
    assert len(heard) == 1


async def test_a_listener_that_raises_is_logged_and_harms_nobody(
    clock: MockClock, degradation: Degradation, logged: list[Any]
) -> None:
    def fail(change: Change) -> None:
        raise RuntimeError("no ear for this")

    degradation.declare(CHAIN)
    first, _, last = Ear(degradation), Ear(degradation, fail), Ear(degradation)
    degradation.degrade("index", MANUAL)
    await trio.sleep(1)
    degradation.lift("index", MANUAL)
    assert first.heard == last.heard == ["-index", "-search", "-page", "+index", "+search", "+page"]
    errors = [record for record in logged if record["level"].name == "ERROR"]
    assert len(errors) == 6
    assert "could not take that" in errors[0]["message"]
    assert str(errors[0]["exception"].value) == "no ear for this"


async def test_what_a_listener_brings_about_is_told_after_what_it_was_told(
    clock: MockClock, degradation: Degradation
) -> None:
    degradation.declare([*CHAIN, Feature("colours")])

    def react(change: Change) -> None:
        if change.feature == "index":
            (degradation.degrade if change.degraded else degradation.lift)("colours", FAILURE)
            assert degradation.state_of("colours").degraded == change.degraded, "the states are ahead"

    before, _, after = Ear(degradation), Ear(degradation, react), Ear(degradation)
    degradation.degrade("index", MANUAL)
    assert before.heard == after.heard == ["-index", "-search", "-page", "-colours"]
    degradation.lift("index", MANUAL)
    assert before.heard == after.heard
    assert before.heard[4:] == ["+index", "+search", "+page", "+colours"]


async def test_a_listener_that_ends_another_silences_it_at_once(clock: MockClock, degradation: Degradation) -> None:
    degradation.declare(CHAIN)
    ears: list[Ear] = []
    Ear(degradation, lambda change: ears[0].end())
    ears.append(Ear(degradation))
    degradation.degrade("index", MANUAL)
    assert ears[0].heard == []


async def test_who_begins_to_listen_is_told_only_of_what_comes_after(
    clock: MockClock, degradation: Degradation
) -> None:
    degradation.declare(CHAIN)
    ears: list[Ear] = []
    Ear(degradation, lambda change: ears.append(Ear(degradation)) if not ears else None)
    degradation.degrade("index", MANUAL)
    assert ears[0].heard == [], "that all three are degraded it can see in the states"
    degradation.lift("index", MANUAL)
    assert ears[0].heard == ["+index", "+search", "+page"]


async def test_an_interrupt_in_a_listener_loses_no_change(clock: MockClock, degradation: Degradation) -> None:
    degradation.declare(CHAIN)
    interrupts = [KeyboardInterrupt()]

    def interrupt(change: Change) -> None:
        if interrupts:
            raise interrupts.pop()

    first, _ = Ear(degradation), Ear(degradation, interrupt)
    with pytest.raises(KeyboardInterrupt):
        degradation.degrade("index", MANUAL)
    assert first.heard == ["-index"]
    degradation.report("index", 1.0, "disk")
    assert first.heard == ["-index", "-search", "-page"]


async def test_actors_hear_of_changes_on_a_topic(clock: MockClock) -> None:
    heard: list[str] = []

    class Follower(Actor):
        def on_start(self) -> None:
            self.ctx.subscribe(FEATURES, self.changed)

        def changed(self, event: FeatureDegraded | FeatureRestored | QualityChanged) -> None:
            heard.append(type(event).__name__)

    async with Runtime(supervisor("app", child("follower", Follower))) as runtime:
        degradation = Degradation.of(runtime.system)
        degradation.declare([Feature("index")])
        degradation.degrade("index", MANUAL)
        degradation.lift("index", MANUAL)
        degradation.lower_quality()
        await wait_all_tasks_blocked()
        assert heard == ["FeatureDegraded", "FeatureRestored", "QualityChanged"]


async def test_lower_quality_turns_features_off_and_quiet_brings_them_back(
    clock: MockClock, system: System, degradation: Degradation
) -> None:
    degradation.declare(
        [Feature("shell_integration"), Feature("decorations"), Feature("prompt", depends_on=["decorations"])]
    )
    ear = Ear(degradation)
    degradation.lower_quality(2, "failure", "/app/monitor")
    assert ear.heard == ["-shell_integration", "-decorations", "-prompt"]
    assert degradation.quality.turned_off == ("shell_integration", "decorations")
    assert degradation.state_of("decorations").reasons == ("quality",)
    (event,) = system.events.of(QualityChanged)
    assert (event.before, event.level, event.because, event.path) == (3, 1, "failure", "/app/monitor")
    await trio.sleep(31)
    assert (degradation.quality.level, ear.heard[3:]) == (2, ["+shell_integration"])
    await trio.sleep(30)
    assert (degradation.quality.level, ear.heard[4:]) == (3, ["+decorations", "+prompt"])
    assert [event.level for event in system.events.of(QualityChanged)] == [1, 2, 3]


async def test_a_high_pressure_holds_the_quality_down(clock: MockClock, degradation: Degradation) -> None:
    degradation.lower_quality()
    degradation.pressure(61)
    await trio.sleep(100)
    assert degradation.quality.level == 2
    degradation.pressure(12)
    await trio.sleep(31)
    assert degradation.quality.level == 3


async def test_lowering_the_least_quality_tells_nothing_new(
    clock: MockClock, system: System, degradation: Degradation
) -> None:
    degradation.lower_quality(3)
    degradation.lower_quality(1)
    assert len(system.events.of(QualityChanged)) == 1


async def test_a_feature_declared_while_the_quality_is_low_begins_turned_off(
    clock: MockClock, degradation: Degradation
) -> None:
    degradation.lower_quality()
    ear = Ear(degradation)
    degradation.declare([Feature("decorations"), Feature("search")])
    assert ear.heard == ["-decorations"]


async def test_what_depended_on_a_withdrawn_feature_is_restored(clock: MockClock, degradation: Degradation) -> None:
    degradation.declare(CHAIN)
    degradation.degrade("index", MANUAL)
    ear = Ear(degradation)
    degradation.withdraw(["index"])
    assert ear.heard == ["+search", "+page"]
    assert [state.feature for state in degradation.states()] == ["search", "page"]


async def test_a_pinned_quality_stays_until_it_is_released(
    clock: MockClock, system: System, degradation: Degradation
) -> None:
    degradation.declare([Feature("decorations")])
    degradation.set_quality(0)
    assert degraded(degradation) == ["decorations"]
    await trio.sleep(1000)
    assert degradation.quality.level == 0
    degradation.set_quality(None)
    assert (degradation.quality.level, degraded(degradation)) == (3, [])
    assert [event.because for event in system.events.of(QualityChanged)] == ["manual", "manual"]


async def test_a_quality_table_of_ones_own_is_put_in_before_anybody_asks(clock: MockClock, system: System) -> None:
    quality = Quality((["sound"], ["sound"], ["sound"], []), quiet=1.0)
    degradation = system.only(Degradation, lambda: Degradation(system, quality))
    assert Degradation.of(system) is degradation
    degradation.declare([Feature("sound")])
    degradation.lower_quality()
    assert degraded(degradation) == ["sound"]
    await trio.sleep(2)
    assert degraded(degradation) == []


@pytest.mark.parametrize("score", [1.5, float("nan")])
async def test_wrong_values_are_refused_and_change_nothing(
    clock: MockClock, degradation: Degradation, score: float
) -> None:
    degradation.declare(CHAIN)
    before = degradation.states(), degradation.quality
    asked: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ValueError, "a health score is", lambda: degradation.report("index", score, "disk")),
        (ValueError, "levels=0", lambda: degradation.lower_quality(0)),
        (ValueError, "level=7", lambda: degradation.set_quality(7)),
        (ValueError, "pressure", lambda: degradation.pressure(101)),
        (ValueError, "use set_quality", lambda: degradation.degrade("index", "quality")),
        (ValueError, "use set_quality", lambda: degradation.lift("index", "quality")),
        (ValueError, "report one", lambda: degradation.degrade("index", "health")),
        (ComponentNotFound, "the features are: index, search, page", lambda: degradation.degrade("x", MANUAL)),
        (SpecError, "feature cycle", lambda: degradation.declare(cycle())),
    ]
    for error, why, ask in asked:
        with pytest.raises(error, match=why):
            ask()
    assert (degradation.states(), degradation.quality) == before


def cycle() -> list[Feature]:
    return [Feature("a", depends_on=["b"]), Feature("b", depends_on=["a"])]


Reaction = tuple[str, bool, str, bool]
reactions = st.lists(
    st.tuples(st.sampled_from("abcd"), st.booleans(), st.sampled_from("abcd"), st.booleans()), max_size=6
)


@settings(max_examples=100, deadline=None)
@given(reactions=reactions, steps=st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=8))
def test_whatever_listeners_do_all_hear_the_same_and_it_adds_up(
    reactions: list[Reaction], steps: list[tuple[str, bool]]
) -> None:
    async def play() -> None:
        async with System().open() as system:
            degradation = Degradation.of(system)
            degradation.declare([Feature("a"), Feature("b", depends_on=["a"]), Feature("c"), Feature("d")])
            left = list(reactions)

            def react(change: Change) -> None:
                for reaction in [r for r in left if r[:2] == (change.feature, change.degraded)]:
                    left.remove(reaction)
                    change_it(*reaction[2:])
                    raise_if(len(left) % 2 == 1)

            def change_it(name: str, down: bool) -> None:
                (degradation.degrade if down else degradation.lift)(name, MANUAL)

            first, _, last = Ear(degradation), Ear(degradation, react), Ear(degradation)
            for name, down in steps:
                change_it(name, down)
                await trio.lowlevel.checkpoint()
            assert first.heard == last.heard
            view = dict.fromkeys("abcd", False)
            for news in first.heard:
                down = news[0] == "-"
                assert view[news[1]] != down, "told twice"
                view[news[1]] = down
            assert [name for name, down in view.items() if down] == sorted(degraded(degradation))

    trio.run(play, clock=MockClock(autojump_threshold=0))


def raise_if(wrong: bool) -> None:
    if wrong:
        raise RuntimeError("a listener's own fault")


async def test_events_hold_text_and_numbers_only(clock: MockClock, system: System, degradation: Degradation) -> None:
    degradation.declare(CHAIN)
    degradation.degrade("index", MANUAL, path="/app")
    degradation.lift("index", MANUAL)
    degradation.lower_quality()
    events: list[Event] = list(system.events)
    assert len(events) == 7
    for event in events:
        values = attrs.astuple(event)
        assert all(value is None or isinstance(value, str | int | float) for value in values)
