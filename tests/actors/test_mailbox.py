"""Mailboxes are bounded, and full is an answer (rule M7); the mailbox itself, without a runtime."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ukemi import ActorStopped, CallTimeout, MailboxFull, Ref, Supervisor
from ukemi.actors.mailbox import Mailbox
from ukemi.actors.messages import Call, Message
from ukemi.actors.system import System

from .subject import alone
from .test_messages import Log


@pytest.mark.rule("M7")
async def test_the_bound_is_in_the_thousands_by_default() -> None:
    async with alone(lambda: Log([])) as runtime:
        assert 1000 <= runtime.ref("it").stats().bound < 10_000


@pytest.mark.rule("M7")
async def test_a_full_mailbox_refuses_casts_and_says_how_full_it_is() -> None:
    log: list[str] = []
    gate = trio.Event()
    async with alone(lambda: Log(log, gate), mailbox=3) as runtime:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        await wait_all_tasks_blocked()
        for text in "abc":
            it.cast(Log.note, text)
        for _ in range(2):
            with pytest.raises(MailboxFull, match=r"/app/it is full \(3 messages wait\)"):
                it.cast(Log.note, "d")
        assert it.stats().waiting == 3
        gate.set()
        await wait_all_tasks_blocked()
        it.cast(Log.note, "e")
        await wait_all_tasks_blocked()
    assert log == ["a", "b", "c", "e"]


@pytest.mark.rule("M7")
async def test_the_message_in_hand_does_not_count() -> None:
    gate = trio.Event()
    async with alone(lambda: Log([], gate), mailbox=1) as runtime:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        await wait_all_tasks_blocked()
        assert it.stats().waiting == 0
        it.cast(Log.note, "fits")
        gate.set()


@pytest.mark.rule("M7")
async def test_a_call_waits_for_room_within_its_deadline(autojump_clock: MockClock) -> None:
    log: list[str] = []
    gate = trio.Event()
    async with alone(lambda: Log(log, gate), mailbox=1) as runtime:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        await wait_all_tasks_blocked()
        it.cast(Log.note, "a")
        start = trio.current_time()
        with pytest.raises(CallTimeout) as caught:
            await it.within(2).call(Log.note, "late")
        assert trio.current_time() - start == pytest.approx(2)
        assert not caught.value.began
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.call, Log.note, "b")
            await wait_all_tasks_blocked()
            gate.set()
    assert log == ["a", "b"]


@pytest.mark.rule("M5", "M7")
async def test_a_send_that_is_cancelled_while_it_waits_was_not_sent() -> None:
    log: list[str] = []
    gate = trio.Event()
    async with alone(lambda: Log(log, gate), mailbox=1) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        await wait_all_tasks_blocked()
        it.cast(Log.note, "a")
        scopes = [trio.CancelScope() for _ in range(3)]

        async def send(scope: trio.CancelScope, text: str) -> None:
            with scope:
                await it.send(Log.note, text)

        for scope, text in zip(scopes, "bcd", strict=True):
            nursery.start_soon(send, scope, text)
            await wait_all_tasks_blocked()
        scopes[1].cancel()
        await wait_all_tasks_blocked()
        assert it.stats().senders == 2
        gate.set()
    assert log == ["a", "b", "d"]


@pytest.mark.rule("M5", "M7")
async def test_a_call_that_has_gone_gives_its_place_back_at_once() -> None:
    log: list[str] = []
    gate = trio.Event()
    async with alone(lambda: Log(log, gate), mailbox=1) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            nursery.start_soon(it.send, Log.note, "b")
            scope.cancel()
            await it.call(Log.note, "in a cancelled scope")
        await wait_all_tasks_blocked()
        assert it.stats().waiting == 1
        doomed = trio.CancelScope()

        async def call() -> None:
            with doomed:
                await it.call(Log.note, "gone")

        nursery.start_soon(call)
        nursery.start_soon(it.send, Log.note, "c")
        await wait_all_tasks_blocked()
        assert it.stats().senders == 2
        doomed.cancel()
        await wait_all_tasks_blocked()
        assert it.stats().senders == 1
        gate.set()
    assert log == ["b", "c"]


@pytest.mark.rule("M7", "R3")
async def test_senders_that_wait_are_told_when_the_actor_is_stopped() -> None:
    errors: list[Exception] = []

    async def send(it: Ref[Log]) -> None:
        with pytest.raises(ActorStopped) as caught:
            await it.send(Log.note, "x")
        errors.append(caught.value)

    gate = trio.Event()
    async with alone(lambda: Log([], gate), mailbox=1, shutdown="kill") as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        await wait_all_tasks_blocked()
        it.cast(Log.note, "a")
        for _ in range(3):
            nursery.start_soon(send, it)
        await wait_all_tasks_blocked()
        await runtime.ref("app", Supervisor).call(Supervisor.stop_child, "it")
    assert len(errors) == 3


@pytest.mark.rule("M7", "R4")
async def test_senders_that_wait_keep_waiting_through_a_restart() -> None:
    log: list[str] = []
    gate = trio.Event()
    async with alone(lambda: Log(log, gate), mailbox=1) as runtime, trio.open_nursery() as nursery:
        it = runtime.ref("it", Log)
        it.cast(Log.hold)
        await wait_all_tasks_blocked()
        it.cast(Log.note, "a")
        nursery.start_soon(it.send, Log.note, "b")
        await wait_all_tasks_blocked()
        nursery.start_soon(it.call, Log.note, "c")
        await wait_all_tasks_blocked()
        it.kill()
    assert log == ["a", "b", "c"]


# --- the mailbox itself


def message(call: Call | None = None, name: str = "m") -> Message:
    return (name, (), {}, call)


def new_call(mailbox: Mailbox) -> Call:
    cell: Any = SimpleNamespace(mailbox=mailbox, path="/x", system=System())
    return Call(cell, "m")


@pytest.mark.rule("M7")
def test_a_stash_larger_than_the_bound_is_full_and_not_closed() -> None:
    mailbox = Mailbox(1)
    mailbox.stash()
    mailbox.stash()
    assert (mailbox.is_full, mailbox.is_closed) == (True, False)
    mailbox.unstash([message(), message()])
    assert len(mailbox) == 2
    assert mailbox.is_full
    mailbox.queue.popleft()
    mailbox.queue.popleft()
    assert not mailbox.is_full


@pytest.mark.rule("M7")
def test_a_closed_mailbox_is_full_yields_what_it_held_and_can_be_opened() -> None:
    mailbox = Mailbox(2)
    first, second, third = (new_call(mailbox) for _ in range(3))
    for call in (first, second, third):
        mailbox.put_call(message(call), call)
    first.fail(lambda: ValueError())
    mailbox.withdraw(first)
    assert [left[3] for left in mailbox.close()] == [second, third]
    assert (mailbox.is_full, mailbox.is_closed) == (True, True)
    mailbox.withdraw(second)
    mailbox.open()
    assert (len(mailbox), mailbox.room, mailbox.is_closed) == (0, 2, False)


@pytest.mark.rule("M7")
def test_many_ghosts_are_buried_so_that_callers_who_give_up_cost_no_memory() -> None:
    mailbox = Mailbox(10)
    mailbox.queue.append(message(name="kept"))
    for _ in range(10_000):
        call = new_call(mailbox)
        mailbox.put_call(message(call), call)
        call.settled = True
        mailbox.withdraw(call)
    assert len(mailbox) == 1
    assert len(mailbox.queue) < 200
    waiting = [new_call(mailbox) for _ in range(10_000)]
    for _ in range(9):
        mailbox.queue.append(message())
    for call in waiting:
        mailbox.put_call(message(call), call)
        call.settled = True
        mailbox.withdraw(call)
    assert len(mailbox.waiting or ()) < 200


@pytest.mark.rule("M2", "M7")
@given(
    st.integers(1, 4),
    st.lists(st.sampled_from(["cast", "call", "take", "leave", "stash", "unstash"]), max_size=60),
    st.randoms(),
)
def test_the_bound_holds_and_order_is_kept_whatever_happens(bound: int, steps: list[str], random: Any) -> None:
    """A model: what waits is a list; what is beyond the bound waits outside, in order."""
    mailbox = Mailbox(bound)
    inside: list[Message] = []
    outside: list[Message] = []
    stashed: list[Message] = []

    def settle() -> None:
        mailbox.admit()
        while outside and len(inside) + len(stashed) < bound:
            inside.append(outside.pop(0))

    for step in steps:
        if step == "cast":
            fits = len(inside) + len(stashed) < bound
            assert fits == (not mailbox.is_full)
            if fits:
                inside.append(message())
                mailbox.queue.append(inside[-1])
        elif step == "call":
            call = new_call(mailbox)
            entry = message(call)
            (inside if len(inside) + len(stashed) < bound else outside).append(entry)
            mailbox.put_call(entry, call)
        elif step in ("take", "stash") and inside:
            taken = mailbox.queue.popleft()
            while taken[3] is not None and taken[3].settled:
                mailbox.bury_one()
                taken = mailbox.queue.popleft()
            assert taken is inside.pop(0)
            settle()
            if step == "stash":
                if taken[3] is not None:
                    taken[3].queued = True
                stashed.append(taken)
                mailbox.stash()
        elif step == "unstash":
            mailbox.unstash(stashed)
            inside[:0], stashed = stashed, []
        elif step == "leave":
            calls = [entry for entry in (*inside, *outside) if entry[3] is not None]
            if calls:
                gone = random.choice(calls)
                (inside if gone in inside else outside).remove(gone)
                gone[3].settled = True
                mailbox.withdraw(gone[3])
                settle()
        assert len(mailbox) == len(inside) + len(stashed)
        assert len(mailbox.waiting or ()) - mailbox.gone == len(outside)
        assert mailbox.is_full == (len(inside) + len(stashed) >= bound)
