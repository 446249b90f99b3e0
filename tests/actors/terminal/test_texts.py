"""What the user is told, character for character."""

import pytest

from ukemi.actors.terminal import texts


def test_a_shell_without_markers_is_explained() -> None:
    assert texts.integration_missing() == (
        "Shell integration initialization sequence '\\x1b]633;A' was not received within 5s. "
        "Shell integration has been disabled for this terminal instance. "
        "Increase the timeout in the settings if necessary."
    )
    assert "within 0.5s." in texts.integration_missing(0.5)


def test_the_fixed_texts_are_those_of_the_original() -> None:
    assert texts.OUTPUT_UNAVAILABLE == (
        "Command was submitted; output is not available, as shell integration is inactive."
    )
    assert texts.STATUS_UNKNOWN == (
        "<shell integration is not available, so terminal output and command execution status is unknown>"
    )
    assert texts.INTEGRATION_FAILED == "Command failed to execute in terminal due to a shell integration error."
    assert texts.working_directory_missing("/no/where") == "Working directory '/no/where' does not exist."


@pytest.mark.parametrize(("seconds", "ms"), [(5, "5000"), (0.25, "250"), (1.2345, "1234"), (0.1 + 0.2, "300")])
def test_a_timeout_is_told_in_milliseconds(seconds: float, ms: str) -> None:
    assert texts.timed_out(seconds) == f"Command execution timed out after {ms}ms"


@pytest.mark.parametrize(
    ("exit_code", "told"),
    [
        (0, "Exit code: 0"),
        (1, "Command execution was not successful, inspect the cause and adjust as needed.\nExit code: 1"),
        (128, "Command execution was not successful, inspect the cause and adjust as needed.\nExit code: 128"),
        (130, "Process terminated by signal SIGINT"),
        (137, "Process terminated by signal SIGKILL"),
        (139, "Process terminated by signal SIGSEGV - core dump possible"),
        (134, "Process terminated by signal SIGABRT - core dump possible"),
        (255, "Process terminated by signal Unknown Signal (127)"),
        (-15, "Process terminated by signal SIGTERM"),
        (-3, "Process terminated by signal SIGQUIT - core dump possible"),
    ],
)
def test_an_exit_code_tells_of_the_signal_that_it_stands_for(exit_code: int, told: str) -> None:
    assert texts.exit_status(exit_code) == told


def test_a_core_dump_is_possible_for_six_signals() -> None:
    dumped = [number for number in range(1, 128) if texts.exit_status(128 + number).endswith(" - core dump possible")]
    assert dumped == [3, 4, 6, 7, 8, 11]


def test_short_output_is_left_alone() -> None:
    for output in ("", "x" * 50_000, "\n" * 499):
        assert texts.truncated(output) is output


def test_too_many_characters_keep_a_fifth_from_the_head_and_the_rest_from_the_tail() -> None:
    assert texts.truncated("abcdefghijklmnop", characters=10) == "ab\n[...6 characters omitted...]\nijklmnop"
    long = texts.truncated("h" * 10_000 + "m" * 1_234 + "t" * 40_000)
    assert long == "h" * 10_000 + "\n[...1234 characters omitted...]\n" + "t" * 40_000


def test_too_many_lines_keep_a_fifth_from_the_head_and_the_rest_from_the_tail() -> None:
    numbered = "\n".join(map(str, range(12)))
    assert texts.truncated(numbered, lines=5) == "0\n\n[...7 lines omitted...]\n\n8\n9\n10\n11"
    assert texts.truncated("\n".join("line" for _ in range(501))).count("line") == 501  # one is "lines omitted"


def test_a_newline_at_the_end_begins_a_last_empty_line() -> None:
    assert texts.truncated("1\n2\n3\n4\n5\n", lines=5) == "1\n\n[...1 lines omitted...]\n\n3\n4\n5\n"


def test_too_many_characters_matter_before_too_many_lines() -> None:
    assert "characters omitted" in texts.truncated("x\n" * 30_000)


def test_a_command_stays_hot_longer_while_it_builds() -> None:
    assert texts.hot_seconds("done\n") == 2.0
    for word in ("compiling", "Building", "bundling", "transpiling", "Generating", "STARTING"):
        assert texts.hot_seconds(f"... {word} foo") == 15.0
