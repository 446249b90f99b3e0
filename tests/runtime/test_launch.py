"""Real processes: `ukemi run`, from its start to whatever ends it."""

import json
import os
import re
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest
import trio

from ..bridge import Bridge
from .launched import Ended, launched, ran

UP = "is up; its state is in"


def one_line(ended: Ended) -> str:
    """What it said, which must be one line from ukemi and no traceback."""
    lines = [line for line in ended.err.splitlines() if line.startswith("ukemi: ")]
    assert len(lines) == 1, ended.err
    assert "Traceback" not in ended.err
    assert ended.code != 0
    return lines[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with launched(tmp_path, "trees:quiet") as program:
        await program.says(UP)
        program.send(number)
        ended = await program.ended()
        assert ended.code == 0
        assert f"{number.name}: stopping in order; once more ends at once" in ended.err
        assert "app has ended" in ended.err
        assert program.dumps == []


@pytest.mark.rule("X2")
async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:slow") as program:
        await program.says(UP)
        program.send(signal.SIGTERM)
        await program.prints(b"saving")
        program.send(signal.SIGTERM)
        ended = await program.ended()
        assert ended.code == 128 + signal.SIGTERM
        assert "a second signal (SIGTERM): ending at once" in ended.err


@pytest.mark.rule("X2")
async def test_a_second_signal_ends_a_stalled_loop_too(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:spins") as program:
        await program.prints(b"spinning")
        program.send(signal.SIGINT)
        await program.says("once more ends at once")
        program.send(signal.SIGINT)
        assert (await program.ended()).code == 128 + signal.SIGINT


@pytest.mark.rule("S13")
async def test_an_actor_that_can_not_be_killed_does_not_keep_the_process(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:deaf") as program:
        await program.says(UP)
        program.send(signal.SIGTERM)
        ended = await program.ended()
        assert ended.code == 1
        assert "was killed and does not end; it is detached" in ended.err


async def test_a_signal_stops_it_although_nobody_reads_what_it_says(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:quiet") as program:
        await program.says(UP)
        assert program.process.stderr is not None
        await program.process.stderr.aclose()
        program.send(signal.SIGHUP)
        with trio.fail_after(30):
            assert await program.process.wait() == 0


# --- what is left behind


async def test_the_log_is_json_lines_that_their_owner_alone_reads(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:quiet") as program:
        await program.says(UP)
        program.send(signal.SIGTERM)
        await program.ended()
        assert all({"time", "level", "actor", "message", "source"} <= line.keys() for line in program.log)
        assert any(UP in line["message"] for line in program.log)
        assert stat.S_IMODE((program.state / "log.jsonl").stat().st_mode) == 0o600
        assert stat.S_IMODE(program.state.stat().st_mode) == 0o700


async def test_a_tree_that_gives_up_is_named_in_one_line_and_leaves_a_dump(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:fails") as program:
        said = one_line(await program.ended())
        assert "/app gave up on /app/fails" in said
        assert "ValueError: of no use" in said
        (dump,) = program.dumps
        assert dump["origin"] == "/app"
        assert any("ValueError: of no use" in line for line in dump["traceback"])
        assert dump["state"]["answer"] == "42"
        assert dump["message_in_hand"] == "fail"
        (file,) = (program.state / "crashes").glob("crash-*.json")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_dump_has_what_the_child_that_failed_had_taken_last(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:busy") as program:
        await program.ended()
        (dump,) = program.dumps
        assert dump["origin"] == "/app"
        *before, last = dump["last_messages"]
        assert before == ["note(4)", "note(5)", "note(6)", "note(6, 'itself')"]
        assert re.fullmatch(r"fail\('x+\W+x+'\)", last)
        assert len(last) < 120
        assert dump["state"]["noted"] == "7"


async def test_where_supervisors_give_up_one_after_the_other_the_dumps_are_about_the_child(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:nested") as program:
        await program.ended()
        assert [dump["origin"] for dump in program.dumps] == ["/app/sub", "/app"]
        assert [dump["state"]["answer"] for dump in program.dumps] == ["42", "42"]


async def test_each_crash_leaves_a_report(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:inner") as program:
        await program.says("crash dump:")
        program.send(signal.SIGTERM)
        await program.ended()
        file = program.state / "crashes" / "errors.jsonl"
        reports = [json.loads(line) for line in file.read_text().splitlines()]
        assert [report["path"] for report in reports] == ["/app/sub/fails"] * 4 + ["/app/sub"]
        assert [report["restarts"] for report in reports] == [0, 1, 2, 3, 0]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_supervisor_below_that_gives_up_leaves_a_dump_and_the_rest_runs_on(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:inner") as program:
        await program.says("crash dump:")
        program.send(signal.SIGTERM)
        assert (await program.ended()).code == 0
        assert [dump["origin"] for dump in program.dumps] == ["/app/sub"]


@pytest.mark.parametrize(
    ("tree", "origin", "words"),
    [("thread", "thread worker", "Inner: in a thread"), ("finalizer", "unraisable", "Inner: in a finalizer")],
)
async def test_what_nobody_handles_leaves_a_dump_and_stops_it_in_order(
    tmp_path: Path, tree: str, origin: str, words: str
) -> None:
    async with launched(tmp_path, f"trees:{tree}") as program:
        ended = await program.ended()
        assert "stopped since 1 exceptions were handled by nobody" in one_line(ended)
        (dump,) = program.dumps
        assert (dump["origin"], dump["message"]) == (origin, words)
        assert re.search(r"trees\.py:\d+:\d+$", dump["location"])
        assert f"PANIC at {dump['location']}: {words}" in ended.err


async def test_a_stalled_loop_is_noticed_and_where_it_stands(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:stalls") as program:
        said = await program.says("the loop turns again")
        assert re.search(r"the loop has not turned for \d\.\d s: /app/stalls stands at .*trees\.py:\d+ in stall", said)
        (dump,) = program.dumps
        assert dump["origin"] == "/app/stalls"
        assert dump["location"].endswith("in stall")
        assert dump["message_in_hand"] == "stall"
        assert "ctx" in dump["state"]
        program.send(signal.SIGTERM)
        assert (await program.ended()).code == 0


# --- as a function

APP = """
from ukemi import Actor, UkemiError, child, run, supervisor

class Fails(Actor):
    def on_start(self):
        self.ctx.after(0.05, self.fail)
    def fail(self):
        with self.ctx.limit("work"):
            raise ValueError("of no use")

def note(report):
    print(report.path, report.restarts, flush=True)

try:
    run(supervisor("app", child("it", Fails)), state_dir="state", {options})
except UkemiError as error:
    print(type(error).__name__, error)
"""


async def app(folder: Path, options: str) -> list[str]:
    """What a program prints that runs a tree with these options."""
    script = APP.replace("{options}", options)
    done = await trio.run_process([sys.executable, "-c", script], cwd=folder, capture_stdout=True, capture_stderr=True)
    return done.stdout.decode().splitlines()


async def test_a_programs_own_collectors_are_given_the_reports(tmp_path: Path) -> None:
    said = await app(tmp_path, "report_to=[note], targets={'work': 0.1}, timeouts={'work': 5.0}")
    assert said[:5] == [*(f"/app/it {n}" for n in range(4)), "/app 0"]
    assert said[5].startswith("SupervisorGaveUp /app gave up on /app/it")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("report_to=[7]", "SpecError a collector is a plain function of an ErrorReport, not 7"),
        ("targets={'work': 0}", "SpecError the target of 'work' must be finite seconds above 0, not 0"),
        (
            "timeouts={'work': -1}",
            "SpecError the timeout of 'work' must be seconds above 0, or math.inf for none, not -1",
        ),
    ],
)
async def test_an_option_that_can_not_be_is_refused_by_name(tmp_path: Path, options: str, says: str) -> None:
    assert await app(tmp_path, options) == [says]


# --- bad input


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("trees", "'trees' must be MODULE:TREE, such as shop:tree"),
        ("nosuch:tree", "there is no module 'nosuch' here or on the path"),
        ("trees:nosuch", "trees has no 'nosuch'; its trees are: busy, deaf, fails,"),
        ("trees:no_tree", "trees:no_tree: is 7, and must be a supervisor(…)"),
        ("broken:tree", "importing broken failed: SyntaxError"),
        ("quits:tree", "importing quits failed: SystemExit: 3"),
        ("trees:never", "/app/never could not be started: OSError: no such luck"),
    ],
)
async def test_a_wrong_target_is_one_line(tmp_path: Path, target: str, said: str) -> None:
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "quits.py").write_text("raise SystemExit(3)")
    ended = await ran(tmp_path, target)
    assert said in one_line(ended)
    assert ended.code == 1


async def test_a_wrong_option_is_one_line(tmp_path: Path) -> None:
    assert "LOUD" in one_line(await ran(tmp_path, "--log-level", "LOUD", "trees:quiet"))


async def test_a_state_dir_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = one_line(await ran(tmp_path, "trees:quiet", state=tmp_path / "file"))
    assert f"the state dir {tmp_path}/file is no folder" in said
    said = one_line(await ran(tmp_path, "trees:quiet", state=tmp_path / "file" / "below"))
    assert f"the state dir {tmp_path}/file/below can't be written: Not a directory" in said
    assert (tmp_path / "file").read_text() == "mine"


async def test_a_state_dir_whose_path_is_too_long_for_sockets_is_one_line(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    assert f"the state dir {long} is too long: " in one_line(await ran(tmp_path, "trees:quiet", state=long))
    assert not long.exists()


async def test_a_state_dir_in_use_is_refused_and_its_owner_goes_on(tmp_path: Path) -> None:
    async with launched(tmp_path, "trees:quiet") as program:
        await program.says(UP)
        assert "is in use by a live runtime; choose another" in one_line(await ran(tmp_path, "trees:quiet"))
        program.send(signal.SIGTERM)
        assert (await program.ended()).code == 0


async def test_what_a_killed_runtime_left_is_taken_over(tmp_path: Path) -> None:
    async with launched(tmp_path) as program:
        await program.says(UP)
        program.send(signal.SIGKILL)
        await program.ended()
        assert (program.state / "bridge.sock").exists()
    async with launched(tmp_path) as program:
        await program.says(UP)
        program.send(signal.SIGTERM)
        assert (await program.ended()).code == 0


async def test_a_socket_that_another_process_listens_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "state" / "bridge.sock"))
        other.listen()
        said = one_line(await ran(tmp_path))
    assert f"bridge.sock is in use by a live process (pid {os.getpid()})" in said


async def test_a_file_in_the_sockets_place_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "bridge.sock").write_text("mine")
    assert "exists and is no socket" in one_line(await ran(tmp_path))
    assert (tmp_path / "state" / "bridge.sock").read_text() == "mine"


# --- the bridge


async def test_without_a_target_it_runs_the_bridge(tmp_path: Path) -> None:
    async with launched(tmp_path) as program:
        await program.says(UP)
        async with Bridge(None, program.state).client() as client:  # type: ignore[arg-type]
            terminal = await client.terminal(tmp_path)
            answer = await client.request("terminal/execute", terminal=terminal, command="echo $$; echo out")
            shell = int(answer["output"].split()[0])
            await client.ask("terminal/execute", terminal=terminal, command="echo begun; sleep 1000")
            await client.output(terminal, "begun")
            program.send(signal.SIGTERM)
            await client.closed()
        assert (await program.ended()).code == 0
        assert not Path(f"/proc/{shell}/exe").exists()
        assert not (program.state / "bridge.sock").exists()
        assert program.dumps == []


async def test_a_bridge_killed_outright_leaves_no_shell(tmp_path: Path) -> None:
    async with launched(tmp_path) as program:
        await program.says(UP)
        async with Bridge(None, program.state).client() as client:  # type: ignore[arg-type]
            terminal = await client.terminal(tmp_path)
            answer = await client.request("terminal/execute", terminal=terminal, command="echo $$")
            program.send(signal.SIGKILL)
            await client.closed()
        with trio.fail_after(30):
            while Path(f"/proc/{int(answer['output'])}/exe").exists():
                await trio.sleep(0.01)
