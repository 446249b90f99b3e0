"""Whatever fails, in whatever order: nobody waits for ever, and when it is over, all is as it was.

A tree of three children that depend on each other, with all that a child may have, under the policy RECOVERY, meets
drawn failures. Then nothing fails any more.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import CircuitBreak, Degrade, Runtime, Supervisor, child, supervisor
from ukemi.supervisors import AlertRaised

from . import real_errors
from .patients import Ward
from .test_matrix_through_a_tree import Part

NAMES = ("a", "b", "c")
ERRORS: dict[str, tuple[Callable[[], Exception], ...]] = {
    name: getattr(real_errors, name)
    for name in (
        "SHELL_ENDS",
        "LOST_UNBEGUN",
        "LOST_BEGUN",
        "DISK_FAILS",
        "FILE_BUSY",
        "LINK_GONE",
        "REQUEST_LOST",
        "ENDED_EARLY",
        "MALFORMED",
        "TOO_MUCH",
        "TOO_SLOW",
        "CALLERS",
        "UNREGISTERED",
        "INTERRUPTED",
        "LIMITED",
        "PARSER_LOST",
        "GIVEN_UP",
    )
}
"""All but those that end the runtime."""


@attrs.frozen
class Blow:
    """One thing that goes wrong."""

    who: str
    how: str
    errors: tuple[str, ...]
    then: float
    """Seconds until the next."""


blows = st.builds(
    Blow,
    st.sampled_from(NAMES),
    st.sampled_from(["once", "again", "fetch", "again_async", "cast again", "task", "kill", "start"]),
    st.lists(st.sampled_from(sorted(ERRORS)), min_size=1, max_size=5).map(tuple),
    st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.5, 7.0]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(blows, max_size=12),
    st.sampled_from(["one_for_one", "one_for_all", "rest_for_one", "dependents"]),
    st.integers(0, 2**32),
)
def test_nobody_waits_for_ever_and_in_the_end_all_is_as_it_was(drawn: list[Blow], strategy: str, seed: int) -> None:
    trio.run(play, drawn, strategy, seed, clock=MockClock(autojump_threshold=0))


async def play(drawn: list[Blow], strategy: str, seed: int) -> None:
    wards = {name: Ward() for name in NAMES}

    def part(name: str, label: str = "own") -> Callable[[], Part]:
        return lambda: Part(wards[name], label)

    a = child("a", part("a"), fallback=part("a", "second"), feature="as", on_exhausted=Degrade())
    b = child("b", part("b"), depends_on=["a"], feature="bs", on_exhausted=CircuitBreak(5.0))
    c = child("c", part("c"), depends_on=["b"], fallback=part("c", "second"), on_exhausted=CircuitBreak(2.0))
    tree = supervisor(
        "top",
        a,
        b,
        c,
        strategy=strategy,  # type: ignore[arg-type]
        policy=real_errors.WITH_OWN_TYPES,
        max_restarts=5,
    )
    async with Runtime(tree, seed=seed) as runtime:
        top = runtime.ref("top", Supervisor)
        with trio.fail_after(2000):
            async with trio.open_nursery() as nursery:
                for blow in drawn:
                    nursery.start_soon(strike, runtime, wards[blow.who], blow)
                    await trio.sleep(blow.then)
                    infos = await top.call(Supervisor.children)
                    assert [info.name for info in infos] == list(NAMES)
        for ward in wards.values():
            ward.errors.clear()
        await trio.sleep(1000)
        await wait_all_tasks_blocked()
        if runtime.events.of(AlertRaised):
            for name in NAMES:  # one without a message keeps a child down, and what needs it comes back with it
                infos = {info.name: info for info in await top.call(Supervisor.children)}
                if infos[name].state == "stopped":
                    await top.call(Supervisor.restart_child, name)
            await trio.sleep(200)
        infos = await top.call(Supervisor.children)
        assert {info.name: (info.state, info.fallback) for info in infos} == dict.fromkeys(NAMES, ("running", None))
        for name in NAMES:
            assert (await runtime.ref(name).call("who")).startswith("own ")
        assert not [state.feature for state in runtime.features.states() if state.degraded]
        assert runtime.features.quality.level == 3
        assert runtime.system.zombies == 0


async def strike(runtime: Runtime, ward: Ward, blow: Blow) -> None:
    """Let it fail, and wait for the answer if there is to be one."""
    ref = runtime.ref(blow.who)
    errors = [make() for name in blow.errors for make in ERRORS[name][:1]]
    try:
        if blow.how == "start":
            ward.fail("start own", *errors)
            ref.kill()
        elif blow.how == "kill":
            ref.kill()
        elif blow.how == "task":
            ward.fail("task", errors[0])
            ref.cast("stray")
        elif blow.how == "cast again":
            ward.fail("again", *errors)
            ref.cast("again")
        else:
            ward.fail(blow.how.removesuffix("_async"), *errors)
            await ref.call(blow.how)
    except Exception:
        pass
