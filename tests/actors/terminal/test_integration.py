"""Real shells, started with our scripts, driven at their prompts."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukemi.actors.parser import Marker
from ukemi.actors.terminal import encode_command, kind_of, launch

Start = Callable[..., Awaitable[Any]]
each_shell = pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
bash_and_zsh = pytest.mark.parametrize("kind", ["bash", "zsh"])


def quoted(text: str, kind: str) -> str:
    """Quote `text` as a user of that shell would."""
    return "'" + (re.sub(r"['\\]", r"\\\g<0>", text) if kind == "fish" else text.replace("'", r"'\''")) + "'"


@each_shell
async def test_a_command_tells_its_output_exit_code_folder_and_line(start: Start, kind: str, home: Path) -> None:
    shell = await start(kind)
    ran = await shell.run("echo hello")
    assert (ran.output, ran.exit_code, ran.cwd, ran.line) == (b"hello\r\n", 0, str(home), "echo hello")


@each_shell
async def test_a_line_that_somebody_else_types_is_told_too(start: Start, kind: str) -> None:
    shell = await start(kind)
    ran = await shell.typed(b"sh -c 'exit 3' \\; a\r")
    assert (ran.exit_code, ran.line) == (3, "sh -c 'exit 3' \\; a")


@each_shell
async def test_output_is_what_the_command_wrote_and_nothing_else(start: Start, kind: str) -> None:
    shell = await start(kind)
    for command, output in [
        ("printf x", b"x"),
        ("true", b""),
        ("printf '\\n\\n'", b"\r\n\r\n"),
        ("seq 3 | tail -n 1", b"3\r\n"),
        ("sh -c '( echo hi )' && echo there >&2", b"hi\r\nthere\r\n"),
        ("cat /no/such/file 2>/dev/null || echo none", b"none\r\n"),
    ]:
        assert (await shell.run(command)).output == output


@each_shell
async def test_exit_codes_do_not_leak_into_what_runs_nothing(start: Start, kind: str) -> None:
    shell = await start(kind)
    assert (await shell.run("sh -c 'exit 42'")).exit_code == 42
    await shell.pty.send_all(b"\r")
    _, markers = await shell.until("D")
    assert markers["D"].exit_code is None
    assert "C" not in markers
    await shell.prompt()
    assert (await shell.run("true")).exit_code == 0


@each_shell
async def test_the_status_of_the_last_command_is_there_for_the_next(start: Start, kind: str) -> None:
    shell = await start(kind)
    await shell.run("sh -c 'exit 42'")
    assert (await shell.run("echo $status" if kind == "fish" else "echo $?")).output == b"42\r\n"


@each_shell
async def test_a_shell_built_in_changes_the_shell_itself(start: Start, kind: str, tmp_path: Path) -> None:
    shell = await start(kind)
    odd = tmp_path / "a;b\\c\td é"
    odd.mkdir()
    assert (await shell.run(f"cd {shlex.quote(str(odd))}")).cwd == str(odd)
    assert (await shell.run("cd /")).cwd == "/"


SCRIPT = {
    "bash": "for i in 1 2\ndo\n\techo line $i\ndone\ncat <<EOF\n\tfirst $HOME!\nEOF\nfalse",
    "fish": "for i in 1 2\n\techo line $i\nend\nprintf '%s\n' \"\tfirst $HOME!\"\nfalse",
}


@each_shell
async def test_several_lines_are_one_command(start: Start, kind: str, home: Path) -> None:
    shell = await start(kind)
    ran = await shell.run(SCRIPT.get(kind, SCRIPT["bash"]))
    assert (ran.exit_code, ran.output) == (1, f"line 1\r\nline 2\r\n\tfirst {home}!\r\n".encode())
    assert (await shell.run("echo next")).output == b"next\r\n"


@each_shell
@pytest.mark.parametrize("command", ["echo 'open", "echo )", "if true", 'echo "a', "cat <<EOF\nnever ends", "|"])
async def test_a_command_that_is_not_whole_fails_and_waits_for_nothing(start: Start, kind: str, command: str) -> None:
    shell = await start(kind)
    ran = await shell.run(command)
    assert ran.output
    assert ran.exit_code or "EOF" in command  # a here-document may well end with the text
    assert (await shell.run("echo next")).output == b"next\r\n"


@each_shell
@pytest.mark.parametrize("command", ["", "# nothing", "  "])
async def test_a_command_of_nothing_ends(start: Start, kind: str, command: str) -> None:
    shell = await start(kind)
    assert (await shell.run(command)).output == b""


@each_shell
async def test_no_key_of_a_command_is_special(start: Start, kind: str) -> None:
    shell = await start(kind)
    text = "tab\there !! !$ ^C\x03 \x16\x1b[A\x01 \x7f 'q' \"d\" `b` $x \\ é 💡 \udcff end"
    ran = await shell.run(f"printf %s {quoted(text, kind)} | od -An -tx1 -v")
    assert bytes.fromhex(ran.output.decode()) == text.encode("utf-8", "surrogateescape")


@each_shell
async def test_a_command_may_be_long(start: Start, kind: str) -> None:
    shell = await start(kind)
    ran = await shell.run("echo " + "x" * 20_000 + " | wc -c")
    assert ran.output.strip() == b"20001"
    assert ran.line == ""  # too long to be worth repeating


@each_shell
async def test_an_interrupt_ends_all_of_a_command_and_the_shell_goes_on(start: Start, kind: str) -> None:
    shell = await start(kind)
    await shell.pty.send_all(encode_command("echo ready\nsleep 1000\necho not reached", kind))  # type: ignore[arg-type]
    await shell.until("C")
    await shell.text(b"ready\r\n")
    await shell.busy()
    shell.pty.interrupt()
    output, markers = await shell.until("D")
    assert b"not reached" not in output
    assert markers["D"].exit_code == 130
    await shell.prompt()
    assert (await shell.run("echo next")).output == b"next\r\n"


@each_shell
async def test_an_interrupt_at_the_prompt_drops_what_was_half_typed(start: Start, kind: str) -> None:
    shell = await start(kind)
    await shell.pty.send_all(b"echo half")
    await shell.text(b"half")
    await shell.idle()
    shell.pty.interrupt()
    await shell.prompt()
    ran = await shell.run("echo next")
    assert (ran.line, ran.output) == ("echo next", b"next\r\n")


@each_shell
async def test_a_nested_shell_is_the_output_of_one_command(start: Start, kind: str) -> None:
    shell = await start(kind)
    await shell.pty.send_all(encode_command("bash --norc", kind))  # type: ignore[arg-type]
    await shell.until("C")
    await shell.text(b"bash-")
    await shell.pty.send_all(b"echo in''side; exit 4\r")
    output, markers = await shell.until("D")
    assert b"inside\r\n" in output
    assert markers["D"].exit_code == 4
    assert set(markers) == {"P", "D"}
    await shell.prompt()


@each_shell
async def test_another_program_in_the_shells_place_sends_no_markers(start: Start, kind: str) -> None:
    shell = await start(kind)
    await shell.pty.send_all(encode_command("exec bash --norc", kind))  # type: ignore[arg-type]
    await shell.until("C")
    await shell.pty.send_all(b"echo in''side\r")
    await shell.text(b"inside\r\n")
    assert not any(isinstance(piece, Marker) for piece in shell.parser.flush())


@each_shell
async def test_no_program_is_told_the_nonce(start: Start, kind: str) -> None:
    shell = await start(kind)
    variables = (await shell.run("env")).output.decode()
    assert "ukemi" not in variables.replace("TERM_PROGRAM=ukemi", "").lower()
    assert shell.nonce not in variables


@each_shell
async def test_markers_in_a_commands_output_are_not_trusted(start: Start, kind: str) -> None:
    shell = await start(kind)
    ran = await shell.run(r"printf '\033]633;D;0\007\033]633;A\007still here'; sh -c 'exit 5'")
    assert ran.output == b"\x1b]633;D;0\x07\x1b]633;A\x07still here"
    assert ran.exit_code == 5


@each_shell
async def test_another_window_size_does_not_disturb_the_prompt(start: Start, kind: str) -> None:
    shell = await start(kind)
    shell.pty.resize(40, 10)
    assert (await shell.run("stty size")).output == b"10 40\r\n"


LOGIN = {"bash": (".profile", "LOG=in"), "zsh": (".zprofile", "LOG=in")}


@bash_and_zsh
async def test_a_login_shell_reads_what_a_log_in_reads(start: Start, kind: str, home: Path) -> None:
    name, text = LOGIN[kind]
    (home / name).write_text(text)
    assert (await (await start(kind, login=True)).run("echo log$LOG")).output == b"login\r\n"
    assert (await (await start(kind)).run("echo log$LOG")).output == b"log\r\n"


async def test_a_login_fish_knows_that_it_is_one(start: Start) -> None:
    assert (await (await start("fish", login=True)).run("status is-login; and echo yes")).output == b"yes\r\n"


RC = {
    "bash": "alias hi='echo hi there'; export MINE=mine; PS1='mine> '",
    "zsh": "alias hi='echo hi there'; export MINE=mine; PS1='mine> '",
    "fish": "alias hi='echo hi there'; set -gx MINE mine; function fish_prompt; echo -n 'mine> '; end",
}


@each_shell
async def test_the_users_own_files_are_read(start: Start, kind: str) -> None:
    shell = await start(kind, RC[kind])
    assert (await shell.run("hi $MINE")).output == b"hi there mine\r\n"
    await shell.pty.send_all(b"\r")
    await shell.until("A")
    prompt, _ = await shell.until("B")
    assert b"mine> " in prompt


# What users of bash have in their files


@pytest.mark.parametrize(
    "hooks",
    [
        "PROMPT_COMMAND='mine; mine'",
        "PROMPT_COMMAND='mine;'",
        "PROMPT_COMMAND=(mine mine)",
        "export PROMPT_COMMAND=mine",
        "PROMPT_COMMAND='PROMPT_COMMAND=\"mine; $PROMPT_COMMAND\"'",  # another hook that puts itself first
    ],
)
async def test_bash_runs_the_users_prompt_commands_and_they_see_the_status(start: Start, hooks: str) -> None:
    shell = await start("bash", f"mine() {{ SEEN=$?; echo -n noise; return $SEEN; }}\n{hooks}")
    await shell.run("true")
    ran = await shell.run("sh -c 'exit 9'")
    assert (ran.output, ran.exit_code) == (b"", 9)
    assert (await shell.run("echo $SEEN")).output == b"9\r\n"
    assert (await shell.run("bash --norc -ic :")).output == b""


@pytest.mark.parametrize("hooks", ["", "PROMPT_COMMAND='mine; true'", "export PROMPT_COMMAND=mine"])
async def test_bash_before_5_1_knows_prompt_commands_as_one_string_only(
    start: Start, hooks: str, scripts: Callable[[str, str], None]
) -> None:
    scripts("< 501 ))", "< 999 ))")  # whatever bash this is, it is taken for an older one
    shell = await start("bash", f"mine() {{ SEEN=$?; echo -n noise; }}\n{hooks}")
    await shell.run("true")
    ran = await shell.run("sh -c 'exit 9'")
    assert (ran.output, ran.exit_code) == (b"", 9)
    assert (await shell.run("echo $SEEN")).output == (b"9\r\n" if hooks else b"\r\n")
    assert (await shell.run("bash --norc -ic :")).output == b""


async def test_a_bash_that_is_too_old_is_left_alone(
    spawn: Start, home: Path, scripts: Callable[[str, str], None]
) -> None:
    scripts(">= 404 ))", ">= 999 ))")
    (home / ".bashrc").write_text("PS1='mine> '")
    how = launch("bash", nonce="n", env={"HOME": str(home), "PATH": os.environ["PATH"]})
    pty = await spawn(*how.argv, env=how.env)
    output = b""
    while b"mine> " not in output:
        output += await pty.receive_some()
    assert b"\x1b]633" not in output


async def test_bash_keeps_the_users_traps(start: Start) -> None:
    shell = await start("bash", "trap 'SEEN=$BASH_COMMAND' DEBUG; trap 'echo failed' ERR")
    assert (await shell.run("false")).output == b"failed\r\n"
    assert (await shell.run("true")).output == b""
    assert b"SEEN=$BASH_COMMAND" in (await shell.run("trap -p DEBUG")).output


@pytest.mark.parametrize("control", ["ignorespace", "ignoredups", "ignoreboth", "erasedups"])
async def test_bash_tells_no_line_rather_than_a_wrong_one(start: Start, control: str) -> None:
    shell = await start("bash", f"HISTCONTROL={control}")
    await shell.typed(b"echo one\r")
    hidden = await shell.typed(b" echo two\r")
    assert hidden.output == b"two\r\n"
    assert hidden.line in ((" echo two",) if control in ("ignoredups", "erasedups") else ("",))
    assert (await shell.run(" echo three")).line == " echo three"


async def test_bash_tells_a_line_that_goes_over_several(start: Start) -> None:
    shell = await start("bash", "PS2=more")
    await shell.pty.send_all(b"echo 'a\r")
    await shell.text(b"more")
    ran = await shell.typed(b"b'\r")
    assert (ran.output, ran.line) == (b"a\r\nb\r\n", "echo 'a\nb'")


@pytest.mark.parametrize(
    "rc", ["set -o vi", "set -u", "set -o posix", "shopt -s histverify", "IFS=x", "alias printf=no"]
)
async def test_bash_works_whatever_the_users_options(start: Start, rc: str) -> None:
    shell = await start("bash", rc)
    ran = await shell.run("echo 'hello!'")
    assert (ran.output, ran.exit_code, ran.line is not None) == (b"hello!\r\n", 0, True)


async def test_bash_keeps_what_the_user_shows_before_a_command(start: Start) -> None:
    shell = await start("bash", "PS0='starting\\n'")
    await shell.pty.send_all(encode_command("echo hello", "bash"))
    before, _ = await shell.until("C")
    assert b"starting" in before
    output, _ = await shell.until("D")
    assert output == b"hello\r\n"


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("alias xx='echo hi'\nxx", b"hi\r\n"),
        ("shopt -s extglob\necho !(*)", b"!(*)\r\n"),
        ("echo a\necho b \\", b"a\r\nb\r\n"),
        ("echo a\\\\", b"a\\\r\n"),
        ("echo $?\necho $?", b"7\r\n0\r\n"),
        ("exec 3<<E\nhi\nE\ncat <&3; exec 3<&-", b"hi\r\n"),
    ],
)
async def test_bash_reads_several_lines_one_after_the_other(start: Start, command: str, output: bytes) -> None:
    shell = await start("bash", "cd ~/.config/fish")
    await shell.run("sh -c 'exit 7'")
    assert (await shell.run(command)).output == output
    for _ in range(2):
        assert (await shell.run("echo 1\nfor n in 2 3; do echo $n; done")).output == b"1\r\n2\r\n3\r\n"


@bash_and_zsh
async def test_a_trace_shows_commands_and_nothing_of_ours(start: Start, kind: str) -> None:
    shell = await start(kind)
    assert (await shell.run("set -x")).output == b""
    ran = await shell.run("echo hi")
    assert (ran.output.splitlines()[-1], ran.output.count(b"\n")) == (b"hi", 2)
    assert b"ukemi" not in ran.output
    assert shell.nonce.encode() not in ran.output
    await shell.pty.send_all(b"sh -c 'exit 3'\r")
    shown, _ = await shell.until("C")
    output, markers = await shell.until("D")
    assert markers["D"].exit_code == 3
    prompt, _ = await shell.until("B")
    assert shell.nonce.encode() not in shown + output + prompt


async def test_bash_says_that_a_command_has_ended_wherever_its_standard_error_goes(start: Start, home: Path) -> None:
    shell = await start("bash")
    await shell.pty.send_all(encode_command("exec 2>err", "bash"))
    _, markers = await shell.until("A")
    assert markers["D"].exit_code == 0


async def test_zsh_works_as_before_wherever_its_standard_error_goes(start: Start, home: Path) -> None:
    shell = await start("zsh")
    assert (await shell.run("exec 2>err")).exit_code == 0
    ran = await shell.run("echo hi; echo there >&2; sh -c 'exit 3'")
    assert (ran.output, ran.exit_code, (home / "err").read_text()) == (b"hi\r\n", 3, "there\n")


@pytest.mark.parametrize(
    ("kind", "unbind"),
    [
        ("bash", "bind -r '\\e[633~'"),
        ("bash", "bind 'set enable-bracketed-paste off'"),
        ("zsh", "bindkey -r '^[[200~'"),
        ("zsh", "bindkey '^M' undefined-key"),
        ("zsh", "bindkey -v"),
    ],
)
async def test_what_the_user_does_to_keys_is_no_matter_to_commands(start: Start, kind: str, unbind: str) -> None:
    shell = await start(kind)
    await shell.run(unbind)
    assert (await shell.run("echo a   'b'; sh -c 'exit 3'")).output == b"a b\r\n"


async def test_what_an_interrupt_leaves_of_a_command_that_was_typed_in_part_is_not_in_the_next(start: Start) -> None:
    shell = await start("fish")  # which looks for ^C only where a key may come
    typed = encode_command("echo 'it was' typed; echo lost", "fish")
    for size in range(1, len(typed)):
        await shell.pty.send_all(typed[:size])
        if size % 2:
            await shell.idle()
        shell.pty.interrupt()
        await shell.idle()
        assert (await shell.run("echo next")).output == b"next\r\n", typed[:size]


async def test_a_fish_with_the_keys_of_vi_takes_commands_in_all_of_its_modes(start: Start) -> None:
    shell = await start("fish", "set -g fish_key_bindings fish_vi_key_bindings")
    for keys in (b"", b"x\x1b", b"xy\x1bv", b"x\x1b[200~'y"):
        await shell.pty.send_all(keys)
        await shell.idle()
        assert (await shell.run("echo $fish_bind_mode")).output == b"insert\r\n"


async def test_a_bash_that_does_not_edit_lines_any_more_says_not_that_its_prompt_has_ended(start: Start) -> None:
    shell = await start("bash")
    await shell.run("PS1='mine> '")
    await shell.pty.send_all(encode_command("set +o emacs", "bash"))
    await shell.until("D")
    assert (await shell.text(b"mine> ")).endswith(b"mine> ")
    assert not shell.parser.flush()
    await shell.pty.send_all(b"set -o emacs\n")
    await shell.prompt()
    assert (await shell.run("echo on")).output == b"on\r\n"


async def test_a_prompt_that_bash_hands_on_has_no_markers(start: Start) -> None:
    shell = await start("bash", "export PS1='mine> '")
    assert b"\x1b]" not in (await shell.run("bash --norc -ic 'echo \"${PS1@P}\"'")).output


# What users of zsh have in their files


@pytest.mark.parametrize(
    "rc",
    [
        "precmd() { SEEN=$?; print -n noise }",
        "precmd_functions=(mine $precmd_functions); mine() { SEEN=$?; print -n noise }",
        "autoload -Uz add-zsh-hook; add-zsh-hook precmd mine; mine() { SEEN=$?; PROMPT='%# ' }",
        "zle-line-init() { print -n noise }; zle -N zle-line-init; precmd() { SEEN=$? }",
        "preexec_functions+=(mine); mine() { print -n noise }; precmd() { SEEN=$? }",
        "setopt ksharrays shwordsplit noshortloops; precmd() { SEEN=$? }",
        "bindkey -v; setopt correct correctall promptsubst; precmd() { SEEN=$? }",
    ],
)
async def test_zsh_runs_the_users_hooks_and_they_see_the_status(start: Start, rc: str) -> None:
    shell = await start("zsh", rc)
    assert (await shell.run("true")).output == b""
    ran = await shell.run("sh -c 'exit 9'")
    assert (ran.output, ran.exit_code) == (b"", 9)
    await shell.run("X=$SEEN; sh -c 'exit 9'")
    assert (await shell.run("echo $SEEN")).output == b"9\r\n"


async def test_zsh_finds_the_users_files_where_the_user_has_them(start: Start, tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text("WHERE=zdotdir")
    shell = await start("zsh", env={"ZDOTDIR": str(tmp_path)})
    assert (await shell.run("echo $WHERE $ZDOTDIR")).output == f"zdotdir {tmp_path}\r\n".encode()
    shell = await start("zsh", "WHERE=home")
    assert (await shell.run("echo $WHERE $+ZDOTDIR")).output == b"home 0\r\n"


async def test_zsh_still_marks_output_that_lacks_a_newline(start: Start) -> None:
    shell = await start("zsh", "PROMPT_EOL_MARK=MISSING")
    await shell.pty.send_all(encode_command("printf x", "zsh"))
    await shell.until("C")
    assert (await shell.until("D"))[0] == b"x"
    assert b"MISSING" in (await shell.until("A"))[0]


# How a command is typed


def test_a_shell_is_known_by_its_name() -> None:
    for shell, kind in [("bash", "bash"), ("/usr/bin/zsh", "zsh"), ("/opt/fish", "fish"), ("dash", "sh"), ("nu", "sh")]:
        assert kind_of(shell) == kind
    assert not launch("dash", nonce="n", env={}).integrated


def test_what_another_terminal_said_of_itself_is_not_handed_on() -> None:
    env = launch("bash", nonce="n", env={"TERM": "dumb", "LINES": "3", "TERM_PROGRAM": "x", "HOME": "/h"}).env
    assert env == {"TERM": "xterm-256color", "TERM_PROGRAM": "ukemi", "HOME": "/h", "UKEMI_NONCE": "n"}


@pytest.mark.parametrize("nonce", ["", "a b", "a;b", "a\x07", "é"])
def test_a_nonce_that_would_break_a_marker_is_refused(nonce: str) -> None:
    with pytest.raises(ValueError, match="letters, digits and hyphens"):
        launch("bash", nonce=nonce, env={})


@each_shell
def test_a_plain_line_is_typed_as_it_is(kind: str) -> None:
    for line in [
        "ls -la ~/src",
        "git commit -m 'a message' && git push origin main",
        "make test 2>&1 | tail -n 20 >log.txt",
        'grep -rn "two words" . ; echo $HOME/x',
    ]:
        assert line.encode() in encode_command(line, kind)  # type: ignore[arg-type]


@each_shell
@pytest.mark.parametrize(
    "line",
    ["if", "echo 'a", "a |", "a &&", "a >", "$(", "echo !x", "x=1", "a\nb", "[[ a", "(", "a {", "$1", "echo \\", "#"],
)
def test_a_line_that_may_not_be_whole_is_typed_in_quotes(kind: str, line: str) -> None:
    introduced = rb"\x1b\[(200|633|24;6)~(__ukemi_C; |for __ukemi in 1; do )?"
    assert re.search(introduced + rb"\\?eval \$?'", encode_command(line, kind))  # type: ignore[arg-type]


def meaning(command: str, kind: str) -> bytes:
    typed = re.split(rb"\x1b\[[\d;]+~|\r", encode_command(command, kind))[1]  # type: ignore[arg-type]
    assert all(0x20 <= byte < 0x7F for byte in typed)
    if shutil.which(kind) is None:
        pytest.skip(f"{kind} is not installed")
    script = b"function __ukemi_C; end; " + typed if kind == "fish" else typed
    return subprocess.run([kind, "-c", script], capture_output=True, check=True, timeout=30).stdout


@each_shell
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
@settings(max_examples=50, deadline=None)
def test_whatever_the_text_the_shell_takes_it_as_it_is(kind: str, text: str) -> None:
    assert meaning(f"printf %s {quoted(text, kind)}", kind) == text.encode()


@given(line=st.lists(st.sampled_from(["a", "'b c'", '"d e"', "$HOME", *"|;><-/=*~'\"({", "||", "&&", "2>&1", "if"])))
@settings(max_examples=300, deadline=None)
def test_what_is_typed_as_it_is_parses_in_bash(line: list[str]) -> None:
    command = " ".join(line)
    if b"~" + command.encode() + b"\x1b" in encode_command(command, "bash"):
        checked = subprocess.run(["bash", "-nc", "--", command], capture_output=True, timeout=30)
        assert checked.returncode == 0, checked.stderr


def test_no_shell_can_be_given_a_nul() -> None:
    with pytest.raises(ValueError, match="cannot hold a NUL"):
        encode_command("a\0b", "bash")


# Shells without integration


async def test_sh_takes_any_command_as_one_unit(start: Start, spawn: Start) -> None:
    how = launch("/bin/sh", nonce="n", env={"PATH": os.environ["PATH"], "PS1": "$ ", "PS2": ""})
    pty = await spawn(*how.argv, env=how.env)
    output = b""
    await pty.send_all(encode_command("stty -echo; echo re''ady", "sh"))
    while b"ready" not in output:
        output += await pty.receive_some()
    await pty.send_all(encode_command("read -r line\necho \"got $line\tand 'quotes'\"\nfalse", "sh"))
    await pty.send_all(encode_command("typed \x03\x04\x15 in", "sh"))
    await pty.send_all(encode_command("echo status $?", "sh"))
    while b"status" not in output:
        output += await pty.receive_some()
    assert b"got typed \x03\x04\x15 in\tand 'quotes'\r\n" in output
    assert b"status 1" in output


def test_a_line_that_the_terminal_would_cut_is_refused() -> None:
    assert encode_command("x" * 4095, "sh") == b"x" * 4095 + b"\n"
    with pytest.raises(ValueError, match=r"line 2 has 4096 bytes.* takes 4095"):
        encode_command("echo\n" + "x" * 4095, "sh")
