"""Signals, counted where a stalled loop can't keep them from being seen."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import trio

from ukemi.runtime.signals import SIGNALS, OrderlySignals


def run(body: str) -> subprocess.CompletedProcess[str]:
    """Run `body` in trio in another process, with signals handled for a stop that sets `stopped`."""
    program = f"""
import os, signal, sys, trio
from ukemi.runtime.signals import OrderlySignals

async def main():
    stopped = trio.Event()
    with OrderlySignals(stopped.set, patience=0.2) as signals:
{textwrap.indent(textwrap.dedent(body), "        ")}

trio.run(main)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.rule("S13")
def test_a_loop_that_does_not_begin_to_stop_is_not_waited_for() -> None:
    ended = run("os.kill(os.getpid(), signal.SIGTERM)\nwhile True: pass")
    assert ended.returncode == 128 + signal.SIGTERM
    assert "the loop has not turned for 0.2 s since it was told to stop: ending at once" in ended.stderr


def test_one_that_has_begun_may_take_its_time() -> None:
    ended = run(
        """
        os.kill(os.getpid(), signal.SIGTERM)
        await stopped.wait()
        until = trio.current_time() + 0.5
        while trio.current_time() < until: pass
        print(signals.received)
        """
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, f"[{int(signal.SIGTERM)}]")


def test_a_signal_is_handled_although_the_terminal_has_gone() -> None:
    ended = run("os.close(2)\nos.kill(os.getpid(), signal.SIGHUP)\nawait stopped.wait()\nprint('stopped')")
    assert (ended.returncode, ended.stdout.strip()) == (0, "stopped")


@pytest.mark.rule("X2")
def test_a_signal_may_come_while_something_is_being_said() -> None:
    ended = run(
        """
        class Interrupting(str):
            def __str__(self):
                os.kill(os.getpid(), signal.SIGINT)
                return "said"
        print(Interrupting(), file=sys.stderr)
        await stopped.wait()
        """
    )
    assert ended.returncode == 0
    assert "stopping in order" in ended.stderr


async def test_the_handlers_from_before_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)]
    with OrderlySignals(lambda: None):
        assert [signal.getsignal(number) for number in SIGNALS] != before[:-1]
    assert [signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)] == before


async def test_the_first_signal_stops_in_the_loop() -> None:
    stopped = trio.Event()
    with OrderlySignals(stopped.set) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        with trio.fail_after(30):
            await stopped.wait()
    assert signals.received == [signal.SIGTERM]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_signal_after_the_end_of_the_loop_harms_nobody() -> None:
    found = list[OrderlySignals]()

    async def main() -> None:
        found.append(OrderlySignals(lambda: None))
        found[0].__enter__()

    trio.run(main)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert found[0].received == [signal.SIGTERM]
    finally:
        found[0].__exit__()
