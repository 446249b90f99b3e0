"""Users' own settings, and what they do to a shell while it runs: commands still run as they are asked for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ukemi.actors.events import ActorExited
from ukemi.actors.terminal import commands, marked

from ..bridge import Bridge, Client, Failed, running_bridge
from .descriptors import no_descriptor_left
from .shells import needs, run

DRAWS, DRAWS_NO_MORE = "\x1b[?2004h", "\x1b[?2004l"
"""What bash's line editor says of pasting."""
FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}


@pytest.fixture(params=FILES)
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return needs(name)


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running_bridge(tmp_path) as bridge:
        yield bridge


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with bridge.client() as client:
        yield client


async def terminal_with(client: Client, home: Path, shell: str, settings: str) -> str:
    """A terminal whose shell reads these settings."""
    file = home / FILES[shell]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(settings + "\n")
    return await client.terminal(home, shell=shell)


async def runs_commands(client: Client, terminal: str) -> None:
    """Plain ones, and such as are typed in quotes."""
    for command, output in [("echo hi", "hi\r\n"), ("echo one\necho 'two;' $(echo three)", "one\r\ntwo; three\r\n")]:
        answer = await run(client, terminal, command)
        assert (answer["output"], answer["exitCode"], answer["mode"]) == (output, 0, "full")


@pytest.mark.parametrize(
    ("shell", "settings"),
    [
        ("bash", "alias eval='echo no'"),
        ("bash", r"""bind -r '\e[200~'"""),
        ("bash", "set -o vi"),
        ("zsh", "alias eval='echo no'"),
        ("zsh", r"""bindkey -r '\e[633~'; bindkey -v"""),
        ("fish", "abbr --add --position anywhere hi bye"),
        (
            "fish",
            "alias printf 'echo no'; function bind; end; function string; echo no; end; function commandline; end",
        ),
        ("fish", "fish_vi_key_bindings"),
    ],
)
async def test_settings_change_no_command(client: Client, tmp_path: Path, shell: str, settings: str) -> None:
    terminal = await terminal_with(client, tmp_path, needs(shell), settings)
    await runs_commands(client, terminal)


@pytest.mark.parametrize(
    ("shell", "command"),
    [
        ("bash", r"""bind '"\e[200~": self-insert'"""),
        ("bash", r"""bind -r '\e[633~'"""),
        ("zsh", r"""bindkey -r '\e[633~'"""),
        ("zsh", "bindkey -A vicmd main"),
        ("fish", "function bind; end"),
    ],
)
async def test_what_a_command_sets_changes_no_later_one(
    client: Client, tmp_path: Path, shell: str, command: str
) -> None:
    terminal = await terminal_with(client, tmp_path, needs(shell), "")
    assert (await run(client, terminal, command))["exitCode"] == 0
    await runs_commands(client, terminal)


async def test_a_prompt_command_that_looks_for_itself_finds_itself(client: Client, tmp_path: Path) -> None:
    """As bash-preexec does it: what is a string stays one."""
    settings = (
        "hook() { :; }; seek() { [[ $PROMPT_COMMAND == *hook* ]] || PROMPT_COMMAND+=$'\\nhook'; }; PROMPT_COMMAND=seek"
    )
    terminal = await terminal_with(client, tmp_path, needs("bash"), settings)
    await runs_commands(client, terminal)
    answer = await run(client, terminal, "declare -p PROMPT_COMMAND; (exit 7)")
    assert answer["output"].startswith("declare -- PROMPT_COMMAND=")
    assert answer["output"].count("hook") == 1
    assert answer["exitCode"] == 7


async def test_at_a_prompt_that_never_tells_its_end_nothing_is_typed_but_commands(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marked, "INTEGRATION_TIMEOUT", 0.5)
    terminal = await terminal_with(client, tmp_path, needs("bash"), "PS1='$ '; readonly PS1")
    answer = await run(client, terminal, "echo first")
    assert answer["output"].split() == [DRAWS_NO_MORE, "first", f"{DRAWS}$"]
    assert (answer["exitCode"], answer["mode"]) == (None, "no integration")


async def test_a_shell_that_tells_the_end_of_its_prompts_no_more_loses_integration_before_long(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marked, "INTEGRATION_TIMEOUT", 0.5)
    monkeypatch.setattr(marked, "HOT_SECONDS", 0.3)
    monkeypatch.setattr(marked, "LOOK", 0.1)
    terminal = await terminal_with(client, tmp_path, needs("bash"), "")
    await runs_commands(client, terminal)
    answer = await run(client, terminal, "PS1='$ '; readonly PS1")
    modes = []
    for n in range(marked.MOST_UNTOLD + 1):
        answer = await run(client, terminal, f"echo {n}")
        assert str(n) in answer["output"].split()
        modes.append(answer["mode"])
    assert modes == ["full"] * marked.MOST_UNTOLD + ["no integration"]


async def test_an_interrupt_at_the_prompt_drops_no_later_command(client: Client, tmp_path: Path, shell: str) -> None:
    terminal = await terminal_with(client, tmp_path, shell, "")
    await runs_commands(client, terminal)
    for n in range(5):
        await client.request("terminal/interrupt", terminal=terminal)
        answer = await run(client, terminal, f"echo {n}")
        assert (answer["output"], answer["exitCode"], answer["mode"]) == (f"{n}\r\n", 0, "full")


async def test_a_long_plain_command_is_soon_typed_in_fish(client: Client, tmp_path: Path) -> None:
    """Its highlighting takes the longer the more of a line's words stand outside quotes."""
    terminal = await terminal_with(client, tmp_path, needs("fish"), "")
    words = " ".join(f"word{n}" for n in range(6_000))
    answer = await run(client, terminal, f"/bin/echo {words} | wc -w")
    assert (answer["output"].strip(), answer["exitCode"], answer["mode"]) == ("6000", 0, "full")


async def test_a_timeout_needs_no_descriptor(
    bridge: Bridge, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "MERCY", 0.1)
    terminal = await terminal_with(client, tmp_path, needs("bash"), "")
    pid = (await run(client, terminal, "echo $$"))["output"]
    command = "trap '' INT; echo begun; sleep 1000; sleep 1000"
    running = await client.ask("terminal/execute", terminal=terminal, command=command, timeout=1.0)
    await client.output(terminal, "begun")
    with no_descriptor_left(), pytest.raises(Failed, match="timed out after 1000ms") as caught:
        await client.answer(running)
    assert caught.value.data["category"] == "Timeout"
    answer = await run(client, terminal, "echo $$")
    assert answer["output"] != pid
    assert answer["mode"] == "full"
    ends = [event for event in bridge.runtime.events.of(ActorExited) if event.path.endswith("/pty")]
    assert ends
    assert "Too many open files" not in str(ends)
