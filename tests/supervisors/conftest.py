"""A stage for each test, and a clock that jumps ahead whenever nothing else is to do."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from .stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    return autojump_clock
