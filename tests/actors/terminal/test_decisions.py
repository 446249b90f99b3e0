"""What a terminal decides without a shell: which shells, which mode, what an echo is, when markers will not come."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukemi.actors.terminal.echo import Echo
from ukemi.actors.terminal.modes import MODES, worst
from ukemi.actors.terminal.posture import Posture, looks_like_prompt, program_of, why_unmarked
from ukemi.actors.terminal.settings import ShellState
from ukemi.actors.terminal.shells import Choice, choices, choices_here, folder_of, launch_of, system_shells

# --- which shells


def tried(asked: str, configured: list[str], system: list[str], **same: str) -> list[tuple[str, str]]:
    found = choices(asked, configured, system, program=lambda shell: same.get(shell, shell))
    return [(choice.name, choice.mode) for choice in found]


def test_the_asked_shell_comes_first_then_the_configured_then_the_systems_and_at_last_the_least() -> None:
    assert tried("zsh", ["bash", "zsh", "fish"], ["/bin/ksh", "/bin/sh"]) == [
        ("zsh", "full"),
        ("bash", "another shell"),
        ("fish", "another shell"),
        ("/bin/ksh", "another shell"),
        ("/bin/sh", "another shell"),
        ("minimal", "minimal"),
    ]


def test_no_program_is_tried_twice_but_the_last_is_always_there() -> None:
    assert tried("bash", ["bash"], ["/bin/bash", "/bin/sh"], bash="/bin/bash") == [
        ("bash", "full"),
        ("/bin/sh", "another shell"),
        ("minimal", "minimal"),
    ]
    assert [name for name, _ in tried("/bin/sh", [], ["/bin/sh"])] == ["/bin/sh", "minimal"]


def test_what_names_no_program_is_tried_all_the_same_and_raises_nothing() -> None:
    names = [choice.shell for choice in choices_here("/no/such", ["a\0b", ""], {"PATH": "/bin", "SHELL": ""})]
    assert names[:3] == ["/no/such", "a\0b", ""]
    assert names[-1] == "/bin/sh"


def test_the_systems_shells_are_what_it_says_and_the_one_that_is_everywhere() -> None:
    assert system_shells({"SHELL": "/opt/sh"})[0] == "/opt/sh"
    assert system_shells({})[-1] == "/bin/sh"


def test_the_least_shell_reads_no_files_and_is_told_that_its_terminal_can_do_nothing() -> None:
    env = {"ENV": "/x", "BASH_ENV": "/y", "HOME": "/h", "TERM": "xterm"}
    start = launch_of(Choice("/bin/sh", "minimal"), nonce="n", env=env)
    assert start.argv == ("/bin/sh",)
    assert start.env == {"HOME": "/h", "TERM": "dumb", "TERM_PROGRAM": "ukemi"}
    assert launch_of(Choice("/bin/sh"), nonce="n", env=env).env["ENV"] == "/x"


def test_the_least_shell_starts_in_the_nearest_folder_that_there_is(tmp_path: Path) -> None:
    least, other = Choice("/bin/sh", "minimal"), Choice("bash")
    gone = str(tmp_path / "a" / "b")
    assert folder_of(least, gone) == str(tmp_path)
    assert folder_of(least, str(tmp_path)) == str(tmp_path)
    assert folder_of(least, "/no/such/folder") == "/"
    assert folder_of(other, gone) == gone
    assert folder_of(least, None) is None


# --- which mode


def test_the_worst_mode_is_the_one_that_leaves_out_most() -> None:
    assert MODES == ("full", "no integration", "raw output", "another shell", "minimal")
    for one, other in itertools.combinations(MODES, 2):
        assert worst(one, other) == worst(other, one, "full") == other


# --- whether a shell marks its commands


def test_a_shell_is_believed_to_mark_at_its_first_marker() -> None:
    shell = ShellState(0)
    assert shell.marks == "unknown"
    shell.marked("A")
    assert shell.marks == "yes"


def test_one_that_has_ceased_to_is_believed_again_once_all_that_it_missed_has_come() -> None:
    shell = ShellState(0, at_prompt=True, command="begun")
    shell.lost("B", "D")
    assert (shell.marks, shell.command, shell.at_prompt) == ("no", "none", False)
    for kind in "BABC":
        shell.marked(kind)
        assert shell.marks == "no"
    shell.marked("D")
    assert shell.marks == "yes"


def test_a_line_typed_ahead_takes_the_prompt_that_comes() -> None:
    shell = ShellState(0)
    shell.typed_by_hand(entered=True)
    prompt(shell)
    assert (shell.at_prompt, shell.line) == (False, "entered")
    prompt(shell)
    assert (shell.at_prompt, shell.line) == (True, "empty")
    shell.typed_by_hand(entered=False)
    assert (shell.at_prompt, shell.line) == (True, "begun")
    shell.typed_by_hand(entered=True)
    assert (shell.at_prompt, shell.line) == (False, "entered")
    prompt(shell)  # an empty line
    assert (shell.at_prompt, shell.line) == (True, "empty")


def prompt(shell: ShellState) -> None:
    shell.marked("A")
    shell.marked("B")
    shell.prompted()


def test_a_prompt_that_is_only_drawn_again_ends_no_line() -> None:
    shell = ShellState(0)
    prompt(shell)
    shell.typed_by_hand(entered=True)  # an open quote
    for _ in range(2):
        shell.marked("B")
        shell.prompted()
        assert (shell.at_prompt, shell.line) == (False, "entered")
    prompt(shell)
    assert (shell.at_prompt, shell.line) == (True, "empty")


def test_what_is_typed_while_a_command_runs_is_no_line() -> None:
    shell = ShellState(0, command="begun")
    shell.typed_by_hand(entered=True)
    assert shell.line == "empty"


@pytest.mark.parametrize("command", ["typed", "begun"])
def test_an_interrupt_that_is_typed_by_hand_counts_as_one_for_the_command_in_hand(command: Any) -> None:
    shell = ShellState(0, command=command)
    shell.typed_by_hand(entered=False, interrupted=True)
    assert shell.interrupted
    idle = ShellState(0, at_prompt=True)
    idle.typed_by_hand(entered=False, interrupted=True)
    assert not idle.interrupted


PROMPT = Posture(is_replaced=False, has_terminal=True, edits_line=True)
BUSY = Posture(is_replaced=False, has_terminal=False, edits_line=False)
READING = Posture(is_replaced=False, has_terminal=True, edits_line=False)
STOPPED = Posture(is_replaced=False, has_terminal=True, edits_line=True, is_stopped=True)
OTHER = Posture(is_replaced=True, has_terminal=True, edits_line=True)


@pytest.mark.parametrize(
    ("posture", "quiet", "typed", "has_prompted", "is_lost"),
    [
        (PROMPT, 9.0, None, True, True),
        (PROMPT, 1.9, None, True, False),  # it may still be printing
        (PROMPT, 9.0, None, False, False),  # a program that reads key by key
        (BUSY, 9.0, None, True, False),  # a nested shell has shown the prompt
        (READING, 9.0, None, True, False),  # `read`
        (OTHER, 9.0, None, False, True),
        (OTHER, 1.0, None, False, False),
        (PROMPT, 9.0, 4.9, False, False),
        (PROMPT, 9.0, 5.0, False, True),
        (BUSY, 9.0, 5.0, False, True),
        (STOPPED, 9.0, 9.0, True, False),  # it will go on where it was
    ],
)
def test_markers_are_given_up_only_where_they_can_not_come_any_more(
    posture: Posture, quiet: float, typed: float | None, has_prompted: bool, is_lost: bool
) -> None:
    why = why_unmarked(posture, quiet=quiet, typed=typed, has_prompted=has_prompted)
    assert (why is not None) == is_lost


@pytest.mark.parametrize(
    ("posture", "quiet", "is_lost"),
    [
        (READING, 5.0, True),  # without line editing
        (READING, 4.9, False),  # a prompt that takes its time
        (PROMPT, 9.0, False),  # it may be typed at
        (BUSY, 9.0, False),
        (STOPPED, 9.0, False),
        (OTHER, 2.0, True),
    ],
)
def test_a_prompt_whose_end_is_not_told_is_given_up_where_no_line_is_edited(
    posture: Posture, quiet: float, is_lost: bool
) -> None:
    why = why_unmarked(posture, quiet=quiet, typed=None, has_prompted=False, in_prompt=True)
    assert (why is not None) == is_lost


def test_a_line_editor_that_begins_looks_like_a_prompt_but_not_in_fish_which_has_one_for_each_read() -> None:
    assert looks_like_prompt(b"\x1b[?2004h$ ", "bash")
    assert looks_like_prompt(b"x" * 9000 + b"\x1b[?2004h$ ", "zsh")
    assert not looks_like_prompt(b"\x1b[?2004hread> ", "fish")
    assert looks_like_prompt("\x1b[?2004h\x1b[2m⏎\x1b(B\x1b[m   \r⏎ ".encode(), "fish")
    assert not looks_like_prompt(b"$ ", "bash")


def test_what_runs_in_a_process_is_known_while_it_runs() -> None:
    program = program_of(os.getpid())
    assert program is not None
    assert program[0] == os.path.realpath(f"/proc/{os.getpid()}/exe")
    assert program_of(2**22 + 1) is None


# --- echoes


def shown(typed: bytes, prompt: bytes, *chunks: bytes) -> tuple[bytes, bytes]:
    """What is taken for output, and for the prompt."""
    echo = Echo(typed, prompt)
    output = b"".join(echo.take(chunk) for chunk in chunks)
    rest, left = echo.rest()
    return output + rest, left


@given(st.lists(st.integers(0, 60), max_size=5))
def test_the_echo_and_the_next_prompt_are_no_output_however_they_are_cut(places: list[int]) -> None:
    text = b"echo hi\r\nhi\r\n$ not\r\n$ "
    cuts = sorted({min(place, len(text)) for place in places})
    chunks = [text[one:other] for one, other in itertools.pairwise([0, *cuts, len(text)])]
    assert shown(b"echo hi\n", b"$ ", *chunks) == (b"hi\r\n$ not\r\n", b"$ ")


@given(st.binary(), st.binary(), st.lists(st.binary(max_size=8), max_size=6))
def test_not_a_byte_is_lost_but_the_echo(typed: bytes, prompt: bytes, chunks: list[bytes]) -> None:
    text, echo = b"".join(chunks), typed.replace(b"\n", b"\r\n")
    output, left = shown(typed, prompt, *chunks)
    assert output + left in (text, text.removeprefix(echo))


def test_what_is_no_echo_is_output() -> None:
    assert shown(b"echo hi\n", b"$ ", b"echo\x08 hi\r\n", b"hi\r\n") == (b"echo\x08 hi\r\nhi\r\n", b"")
    assert shown(b"", b"", b"hi\r\n$ ") == (b"hi\r\n$ ", b"")
