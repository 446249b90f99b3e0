"""How long to wait before a restart: the pure part."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi import Backoff, SpecError
from ukemi.supervisors.backoff import START_BACKOFF


class Fixed(Random):
    """A source that always draws the same."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


@st.composite
def backoffs(draw: st.DrawFn, jitter: float | None = None) -> Backoff:
    initial = draw(st.floats(0, 100))
    return Backoff(
        initial=initial,
        maximum=draw(st.floats(initial, 10_000)),
        base=draw(st.floats(1, 10)),
        jitter=draw(st.floats(0, 1)) if jitter is None else jitter,
    )


attempts = st.integers(0, 5000)


@given(backoffs(jitter=0.0), attempts)
@pytest.mark.rule("S6")
def test_it_begins_at_the_initial_delay_and_never_exceeds_the_maximum(backoff: Backoff, attempt: int) -> None:
    assert backoff.delay(0, Random(0)) == backoff.initial
    assert backoff.initial <= backoff.delay(attempt, Random(0)) <= backoff.maximum


@given(backoffs(jitter=0.0), st.integers(0, 50))
def test_it_grows_by_the_base_until_the_cap(backoff: Backoff, attempt: int) -> None:
    this, following = (backoff.delay(n, Random(0)) for n in (attempt, attempt + 1))
    assert following >= this
    assert following == pytest.approx(min(backoff.maximum, this * backoff.base))


@given(backoffs(), attempts, st.floats(0, 1, exclude_max=True))
def test_jitter_is_a_part_of_the_capped_delay_and_added_after_the_cap(
    backoff: Backoff, attempt: int, drawn: float
) -> None:
    bare = backoff.delay(attempt, Fixed(0.0))
    assert bare <= backoff.maximum
    assert backoff.delay(attempt, Fixed(drawn)) == pytest.approx(bare * (1 + backoff.jitter * drawn))


def test_jitter_is_up_to_ten_percent_unless_said_otherwise() -> None:
    backoff = Backoff(initial=1.0, maximum=8.0)
    random = Random(7)
    delays = [backoff.delay(10, random) for _ in range(1000)]
    assert all(8.0 <= delay <= 8.8 for delay in delays)
    assert max(delays) > 8.7 > 8.1 > min(delays)


def test_the_same_seed_gives_the_same_delays() -> None:
    backoff = Backoff(initial=1.0, maximum=8.0)
    first, second = ([backoff.delay(n, random) for n in range(9)] for random in (Random(3), Random(3)))
    assert first == second


def test_a_start_that_fails_waits_a_tenth_of_a_second_doubling_up_to_five_seconds() -> None:
    delays = [START_BACKOFF.delay(n, Fixed(0.0)) for n in range(8)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("initial", -1.0),
        ("initial", float("nan")),
        ("initial", "1"),
        ("initial", True),
        ("maximum", 0.5),
        ("maximum", float("inf")),
        ("base", 0.9),
        ("base", None),
        ("jitter", -0.1),
        ("jitter", float("inf")),
        ("max_attempts", 0),
        ("max_attempts", -1),
        ("max_attempts", 1.5),
        ("max_attempts", True),
    ],
)
def test_a_wrong_value_is_a_spec_error_that_names_it(option: str, value: object) -> None:
    options = {"initial": 1.0, "maximum": 2.0, option: value}
    with pytest.raises(SpecError, match=option) as caught:
        Backoff(**options)  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)
