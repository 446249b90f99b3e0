"""One end of a stream of messages."""

import pytest
import trio
import trio.testing
from trio.testing import memory_stream_pair

from ukemi.actors.errors import IpcError
from ukemi.actors.ipc.framing import FrameReader, FramingError, frame
from ukemi.actors.ipc.jsonrpc import Notification, decode
from ukemi.actors.ipc.wire import HIGH_WATER, SlowPeer, Wire


async def test_what_is_sent_arrives_in_order() -> None:
    here, there = memory_stream_pair()
    wire, reader, found = Wire(here), FrameReader(), list[Notification]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run_sender)
        for n in range(100):
            wire.send(Notification("n", {"n": n}))
        with trio.fail_after(20):
            while len(found) < 100:
                found += [decode(body) for body in reader.feed(await there.receive_some())]  # type: ignore[misc]
        nursery.cancel_scope.cancel()
    assert [note.params["n"] for note in found] == list(range(100))


async def test_flush_waits_until_all_was_sent() -> None:
    here, there = memory_stream_pair()
    wire = Wire(here)
    wire.send(Notification("n", {}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run_sender)
        with trio.fail_after(20):
            await wire.flush()
        assert wire.unsent == 0
        assert await there.receive_some()
        nursery.cancel_scope.cancel()


async def test_a_peer_that_does_not_read_is_told_from_a_slow_one_by_what_waits() -> None:
    here, _ = memory_stream_pair()
    wire = Wire(here, most_unsent=1000)
    for _ in range(10):
        wire.send(Notification("n", {"text": "x" * 20}))
    with pytest.raises(SlowPeer, match=r"\d+ bytes wait, at most 1000 may"):
        for _ in range(10):
            wire.send(Notification("n", {"text": "x" * 20}))
    assert wire.unsent <= 1000


async def test_bodies_come_to_the_end_of_the_stream() -> None:
    here, there = memory_stream_pair()
    await there.send_all(frame(b"one") + frame(b"two"))
    await there.send_eof()
    wire = Wire(here)
    assert [await wire.receive() for _ in range(4)] == [b"one", b"two", None, None]


async def test_a_stream_that_ends_in_the_middle_of_a_frame_is_an_error() -> None:
    here, there = memory_stream_pair()
    await there.send_all(frame(b"one") + frame(b"two")[:-1])
    await there.send_eof()
    wire = Wire(here)
    assert await wire.receive() == b"one"
    with pytest.raises(IpcError, match="ended in the middle of a frame, after 2 bytes of it"):
        await wire.receive()


async def test_a_broken_stream_gives_its_bodies_first() -> None:
    here, there = memory_stream_pair()
    await there.send_all(frame(b"one") + b"rubbish\r\n\r\n")
    wire = Wire(here)
    assert await wire.receive() == b"one"
    with pytest.raises(FramingError):
        await wire.receive()


async def test_leaving_it_closes_the_stream_without_waiting_for_the_peer() -> None:
    here, there = memory_stream_pair()
    async with Wire(here):
        pass
    assert await there.receive_some() == b""


async def test_a_peer_that_takes_nothing_for_too_long_is_an_error_that_says_what_waits() -> None:
    here, there = socketpair_streams()
    async with here, there:
        wire = Wire(here, patience=0.05)
        wire.send_frames(b"x" * 10_000_000)
        with (
            trio.fail_after(20),
            pytest.raises(SlowPeer, match=r"has read nothing for 0.05 s: \d+ bytes wait"),
        ):
            await wire.run_sender()
        assert wire.unsent > 5_000_000


async def test_a_peer_that_reads_slowly_gets_all_of_it_however_long_it_takes() -> None:
    here, there = socketpair_streams()
    data, got = bytes(range(256)) * 8_000, bytearray()
    async with here, there, trio.open_nursery() as nursery:
        wire = Wire(here, patience=5)
        nursery.start_soon(wire.run_sender)
        for begin in range(0, len(data), 100_000):
            wire.send_frames(data[begin : begin + 100_000])
        with trio.fail_after(20):
            while len(got) < len(data):
                got += await there.receive_some(10_000)
        nursery.cancel_scope.cancel()
    assert bytes(got) == data
    assert wire.unsent == 0


async def test_what_there_is_room_for_is_written_at_once_and_what_comes_next_does_not_overtake_the_rest() -> None:
    here, there = socketpair_streams()
    async with here, there:
        wire = Wire(here)
        wire.send_frames(b"first")
        assert wire.unsent == 0  # without a sender
        wire.send_frames(b"x" * 10_000_000)
        wire.send_frames(b"last")
        assert wire.unsent > 4
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.run_sender)
            got = bytearray()
            with trio.fail_after(20):
                while len(got) < 10_000_009:
                    got += await there.receive_some()
            nursery.cancel_scope.cancel()
        assert bytes(got) == b"first" + b"x" * 10_000_000 + b"last"


async def test_a_single_message_may_be_larger_than_the_bound_but_nothing_behind_it() -> None:
    here, _ = memory_stream_pair()
    wire = Wire(here, most_unsent=1000)
    wire.send_frames(b"x" * 5000)
    with pytest.raises(SlowPeer, match="5000 bytes wait, at most 1000 may"):
        wire.send_frames(b"x")


async def test_who_feeds_it_waits_for_room_until_half_of_the_high_water_is_left() -> None:
    here, there = socketpair_streams()
    async with here, there, trio.open_nursery() as nursery:
        wire = Wire(here)
        await wire.room()
        wire.send_frames(b"x" * (2 * HIGH_WATER))
        nursery.start_soon(wire.run_sender)
        got = 0
        with trio.fail_after(20):
            async with trio.open_nursery() as waiting:
                waiting.start_soon(wire.room)
                while wire.unsent > HIGH_WATER // 2:
                    got += len(await there.receive_some())
            assert 0 < wire.unsent <= HIGH_WATER // 2
        nursery.cancel_scope.cancel()


async def test_all_that_wait_for_room_are_told_of_it() -> None:
    here, there = socketpair_streams()
    async with here, there, trio.open_nursery() as nursery:
        wire = Wire(here)
        wire.send_frames(b"x" * (3 * HIGH_WATER))
        nursery.start_soon(wire.run_sender)
        with trio.fail_after(20):
            async with trio.open_nursery() as waiting:
                for _ in range(3):
                    waiting.start_soon(wire.room)
                await trio.testing.wait_all_tasks_blocked()
                got = 0
                while got < 3 * HIGH_WATER:
                    got += len(await there.receive_some())
        nursery.cancel_scope.cancel()


async def test_a_peer_that_is_gone_breaks_the_sender_not_who_sends() -> None:
    here, there = socketpair_streams()
    async with here:
        await there.aclose()
        wire = Wire(here)
        wire.send_frames(b"x" * 100)
        with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):
            await wire.run_sender()


def socketpair_streams() -> tuple[trio.SocketStream, trio.SocketStream]:
    one, two = trio.socket.socketpair()
    return trio.SocketStream(one), trio.SocketStream(two)
