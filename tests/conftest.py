"""What all tests share: every message is encoded and decoded on its way (rule X5), and signals are as in a terminal."""

import os
import signal
from collections.abc import Generator

import pytest

os.environ.setdefault("UKEMI_ENCODE_MESSAGES", "1")

# Whoever runs the tests in the background may have had them ignored, for all that the tests start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Say why a test was skipped in the middle: pytest-trio, which finds that in a group, does not."""
    try:
        return (yield)
    except pytest.skip.Exception as skipped:
        why = skipped.__context__
        while isinstance(why, BaseExceptionGroup):
            why = why.exceptions[0]
        if isinstance(why, pytest.skip.Exception):
            raise why from None
        raise
