"""One end of a stream of messages."""

import pytest
import trio
from trio.testing import memory_stream_pair

from ukemi.actors.errors import IpcError
from ukemi.actors.ipc.framing import FrameReader, FramingError, frame
from ukemi.actors.ipc.jsonrpc import Notification, decode
from ukemi.actors.ipc.wire import SlowPeer, Wire


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
