"""What is kept for a client, and what goes out to it: pure, without a socket."""

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.ipc.framing import LARGEST, FrameReader
from ukemi.runtime.bridge.answers import Answer, Answers
from ukemi.runtime.bridge.backlog import Backlog
from ukemi.runtime.bridge.outlet import Outlet


def hold(out: Outlet, result: Any, release: Callable[[], object] | None = None) -> None:
    answer = Answer.of(result)
    out.hold(lambda: answer.to(1), answer.size, release)


def said(data: bytes) -> list[Any]:
    """The numbers of notifications, and the results of answers, in order."""
    messages = [orjson.loads(body) for body in FrameReader().feed(data)]
    return [each["params"]["seq"] if "method" in each else each["result"] for each in messages]


# --- the backlog


def test_notifications_are_numbered_from_1() -> None:
    backlog = Backlog()
    for n in range(3):
        backlog.add("note", {"n": n})
    (body,) = FrameReader().feed(backlog.frame(2))
    assert orjson.loads(body) == {"jsonrpc": "2.0", "method": "note", "params": {"n": 1, "seq": 2}}


def test_a_backlog_keeps_the_last_notifications_and_states_what_is_gone() -> None:
    backlog = Backlog(most=3)
    assert (backlog.first_seq, backlog.gap_after(0)) == (1, None)
    for n in range(5):
        backlog.add("n", {"text": str(n)})
    assert (backlog.first_seq, backlog.last_seq) == (3, 5)
    assert [backlog.gap_after(seq) for seq in (0, 1, 2, 5, 99)] == [(1, 2), (2, 2), None, None, None]


def test_a_backlog_is_bounded_in_bytes_too() -> None:
    backlog = Backlog(most_bytes=10_000)
    for _ in range(100):
        backlog.add("n", {"text": "x" * 1000})
    kept = sum(len(backlog.frame(seq)) for seq in range(backlog.first_seq, 101))
    assert 8_500 < kept <= 10_000


def test_a_notification_that_json_has_no_words_for_takes_no_number() -> None:
    backlog = Backlog()
    with pytest.raises(TypeError):
        backlog.add("n", {"name": "\udcff"})
    assert backlog.last_seq == 0


def test_a_backlog_that_is_cleared_states_all_as_gone() -> None:
    backlog = Backlog()
    backlog.add("n", {})
    assert backlog.clear() > 0
    assert (backlog.gap_after(0), backlog.first_seq) == ((1, 1), 2)


# --- the outlet


def outlet(*, window: int = 1000, most: int = 1000) -> tuple[Backlog, Outlet]:
    backlog = Backlog(most)
    made = Outlet(backlog, window)
    return backlog, made


def test_an_answer_goes_out_behind_all_that_came_before_it_and_before_what_comes_later() -> None:
    backlog, out = outlet()
    out.open("connection", 0)  # type: ignore[arg-type]
    backlog.add("n", {})
    hold(out, "first")
    backlog.add("n", {})
    hold(out, "second")
    piece = out.take()
    assert piece is not None
    assert said(piece.data) == [1, "first", 2, "second"]
    assert out.take() is None


def test_no_more_goes_out_than_may_be_under_way_until_some_was_acknowledged() -> None:
    backlog, out = outlet(window=100)
    out.open("connection", 0)  # type: ignore[arg-type]
    released = list[str]()
    for _ in range(3):
        backlog.add("n", {"text": "x" * 100})
    hold(out, "last", lambda: released.append("last"))
    for wanted in (1, 2, 3, "last"):
        piece = out.take()
        assert piece is not None
        assert said(piece.data) == [wanted]
        assert out.take() is None or wanted == "last"
        out.acknowledge(len(piece.data))
        for release in piece.released:
            release()
    assert released == ["last"]
    assert not out.is_behind


def test_a_client_that_comes_back_is_told_what_it_missed_and_a_gap() -> None:
    backlog, out = outlet(most=3)
    for _ in range(5):
        backlog.add("n", {})
    assert out.open("one", 3) is None  # type: ignore[arg-type]
    piece = out.take()
    assert piece is not None
    assert said(piece.data) == [4, 5]
    assert out.open("two", 0) == (1, 2)  # type: ignore[arg-type]
    piece = out.take()
    assert piece is not None
    assert said(piece.data) == [3, 4, 5]
    assert out.open("three", 99) is None  # type: ignore[arg-type]
    assert out.take() is None


def test_a_client_is_lost_once_what_it_is_to_be_told_next_is_gone() -> None:
    backlog, out = outlet(window=1, most=2)
    out.open("connection", 0)  # type: ignore[arg-type]
    backlog.add("n", {})
    assert out.take() is not None
    for _ in range(2):
        backlog.add("n", {})
    assert not out.is_lost
    backlog.add("n", {})
    assert out.is_lost


def test_one_that_tells_gaps_is_never_lost_and_tells_them_once_in_their_place() -> None:
    backlog, out = outlet(window=1, most=2)
    out.open("connection", tells_gaps=True)  # type: ignore[arg-type]
    backlog.add("n", {})
    assert out.take() is not None
    hold(out, "behind 1")
    for _ in range(100):
        backlog.add("n", {})
        assert not out.is_lost
        hold(out, f"behind {backlog.last_seq}")
    found = list[Any]()
    told = list[bytes]()
    while len(found) < 104:
        out.acknowledge(1_000_000)
        piece = out.take()
        assert piece is not None
        told.append(piece.data)
        found += said(piece.data)
    lost = [f"behind {n}" for n in range(2, 99)]
    assert found == ["behind 1", 99, *lost, "behind 99", 100, "behind 100", 101, "behind 101"]
    gap = next(body for data in told for body in FrameReader().feed(data) if b"runtime/gap" in body)
    assert orjson.loads(gap)["params"] == {"from": 2, "to": 99, "seq": 99}
    assert out.lag == 0


def test_who_waits_for_an_answer_to_go_out_is_released_when_there_is_no_connection_any_more() -> None:
    backlog, out = outlet(window=1)
    out.open("connection", 0)  # type: ignore[arg-type]
    for _ in range(2):
        backlog.add("n", {})
    released = list[bool]()
    hold(out, "lost", lambda: released.append(True))
    assert out.take() is not None
    out.close()
    assert (released, out.take() is None or out.connection) == ([True], None)


@given(st.lists(st.sampled_from(["note", "answer", "take", "acknowledge"]), max_size=60), st.integers(1, 300))
def test_whatever_the_order_all_goes_out_once_in_order(steps: list[str], window: int) -> None:
    backlog, out = outlet(window=window)
    out.open("connection", 0)  # type: ignore[arg-type]
    wanted, found, under_way = list[Any](), list[Any](), list[int]()
    for n, step in enumerate([*steps, *["take", "acknowledge"] * (len(steps) + 1)]):
        if step == "note":
            backlog.add("n", {"text": "x" * (n % 7) * 20})
            wanted.append(backlog.last_seq)
        elif step == "answer":
            hold(out, f"answer {n}")
            wanted.append(f"answer {n}")
        elif step == "take" and (piece := out.take()) is not None:
            found += said(piece.data)
            under_way.append(len(piece.data))
        elif step == "acknowledge" and under_way:
            out.acknowledge(under_way.pop(0))
    assert found == wanted


def test_answers_are_bounded_like_notifications_and_made_only_when_they_go_out() -> None:
    _, out = outlet(window=100)
    out.open("connection")  # type: ignore[arg-type]
    made = list[int]()

    def make(n: int) -> bytes:
        made.append(n)
        return b"x" * 80

    for n in range(4):
        out.hold(partial(make, n), 80)
    assert out.is_full
    piece = out.take()
    assert piece is not None
    assert (len(piece.data), made, out.is_busy, out.is_full) == (160, [0, 1], True, True)
    out.acknowledge(len(piece.data))
    assert not out.is_full or out.take() is not None
    assert made == [0, 1, 2, 3]


def test_what_has_gone_by_another_way_counts_too() -> None:
    _, out = outlet(window=100)
    out.open("connection")  # type: ignore[arg-type]
    assert not out.is_busy
    out.sent(100)
    hold(out, "later")
    assert out.take() is None
    out.acknowledge(100)
    piece = out.take()
    assert piece is not None
    assert said(piece.data) == ["later"]


def test_the_bytes_after_a_number_are_those_that_are_kept() -> None:
    backlog = Backlog(most=3)
    for n in range(5):
        backlog.add("n", {"text": "x" * n})
    sizes = [len(backlog.frame(seq)) for seq in (3, 4, 5)]
    wanted = [sum(sizes), sum(sizes), sum(sizes), sizes[1] + sizes[2], sizes[2], 0, 0]
    assert [backlog.bytes_after(seq) for seq in (0, 1, 2, 3, 4, 5, 9)] == wanted


# --- the answers


def test_the_last_answers_are_kept_and_of_older_ones_the_key_is_known() -> None:
    answers = Answers(most=2, known=2)
    for n in range(5):
        answers.keep(str(n), b"digest", Answer.of(n))
    assert [answers.find(str(n)) is None for n in range(5)] == [True, False, False, False, False]
    found = [known.answer and known.answer.text for n in range(1, 5) if (known := answers.find(str(n))) is not None]
    assert found == [None, None, b"3", b"4"]


def test_answers_are_bounded_in_bytes_too_but_for_the_last_one() -> None:
    answers = Answers(most_bytes=1000)
    for n in range(3):
        answers.keep(str(n), b"d", Answer.of("x" * 600))
    answers.keep("large", b"d", Answer.of("x" * 6000))
    kept = [key for key in ("0", "1", "2", "large") if (known := answers.find(key)) is not None and known.answer]
    assert kept == ["large"]


def test_an_answer_that_the_client_has_is_forgotten_with_its_key() -> None:
    answers = Answers(most=1, most_bytes=1000)
    for n in range(3):
        answers.keep(str(n), b"d", Answer.of("x" * 900))
        answers.forget([str(n), "no such"])
        assert answers.find(str(n)) is None
    answers.keep("last", b"d", Answer.of("x" * 900))
    assert answers.find("last") is not None


def test_answers_that_are_cleared_leave_their_keys() -> None:
    answers = Answers()
    answers.keep("k", b"d", Answer.of([1, 2]))
    assert answers.clear() == len(b"[1,2]")
    known = answers.find("k")
    assert known is not None
    assert known.answer is None


def test_a_result_that_json_has_no_words_for_is_an_error_that_says_so() -> None:
    answer = Answer.of({"name": "\udcff"})
    assert answer.error is not None
    assert "the result can't be told in JSON" in answer.error.message


def test_a_result_that_fits_into_no_frame_is_an_error_that_says_so() -> None:
    answer = Answer.of("x" * LARGEST)
    assert answer.error is not None
    assert "is too large; at most" in answer.error.message
