"""Rule X3: an error that was dealt with is not kept alive, whatever was done about it; its frames would be, too."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import Alert, Backoff, Cancel, Degrade, Reject, Restart, Resume, Retry, Runtime, Throttle, child, supervisor

from .patients import Ward, make

GOES_ON = [Resume(), Cancel(), Alert(), Throttle(), Degrade(levels=1)]
ENDS = [Restart(), Retry(Backoff(1.0, 1.0)), None]


class Fault(OSError):
    """Can be watched."""


async def is_kept(policy: Any, method: str, *, reject: bool = False) -> bool:
    """Whether an error is still there when its caller has done with it."""
    ward = Ward()
    async with Runtime(supervisor("top", child("a", make(ward), policy=policy))) as runtime:
        fault = Fault("no")
        watched = weakref.ref(fault)
        ward.fail("once", Reject(fault) if reject else fault)
        del fault
        try:
            await runtime.ref("a").call(method)
        except Exception:
            pass
        await trio.sleep(10)
        await wait_all_tasks_blocked()
        gc.collect()
        return watched() is not None


@pytest.mark.rule("X3")
@pytest.mark.parametrize("policy", [*GOES_ON, *ENDS], ids=str)
async def test_an_error_of_an_inline_call_is_gone_when_its_caller_has_done_with_it(
    policy: Any, autojump_clock: MockClock
) -> None:
    assert not await is_kept(policy, "once")


@pytest.mark.rule("X3")
@pytest.mark.parametrize("policy", ENDS, ids=str)
async def test_an_error_that_has_ended_an_incarnation_is_gone_when_its_caller_has_done_with_it(
    policy: Any, autojump_clock: MockClock
) -> None:
    assert not await is_kept(policy, "once_async")


@pytest.mark.rule("X3")
@pytest.mark.parametrize("policy", GOES_ON, ids=str)
async def test_an_error_after_which_its_actor_goes_on_is_gone_when_its_caller_has_done_with_it(
    policy: Any, autojump_clock: MockClock
) -> None:
    assert not await is_kept(policy, "once_async")


@pytest.mark.rule("X3")
async def test_a_rejection_is_gone_when_its_caller_has_done_with_it(autojump_clock: MockClock) -> None:
    assert not await is_kept(None, "once_async", reject=True)
