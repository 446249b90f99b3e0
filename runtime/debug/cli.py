"""`ukemi tree`, `ukemi repl` and single commands of the REPL, for the command line's group."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from ..state_dir import find_debug_socket

_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="The folder of the running tree; not needed where only one is running.",
)


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("tree")
@_state_dir
@_as_json
def tree_command(state_dir: Path | None, as_json: bool) -> None:
    """Print a running tree."""
    from .client import CONNECT_TIMEOUT, Client
    from .show import console, show

    with Client(find_debug_socket(state_dir)) as client:
        tree = client.run("tree", timeout=CONNECT_TIMEOUT)
    if as_json:
        click.echo(json.dumps(tree, indent=2, ensure_ascii=False))
    else:
        show(console(), "tree", tree)


@click.command("repl")
@_state_dir
def repl_command(state_dir: Path | None) -> None:
    """Look into a running tree: commands at a prompt, or one a line from standard input. `help` lists them."""
    from .repl import run_repl

    sys.exit(run_repl(find_debug_socket(state_dir)))


def _single(name: str, words: str, help: str) -> click.Command:
    """A command of the REPL as one of the command line."""

    @click.command(name, help=help)
    @click.argument("words", nargs=-1, metavar=words)
    @_state_dir
    @_as_json
    def run(words: tuple[str, ...], state_dir: Path | None, as_json: bool) -> None:
        from .client import CONNECT_TIMEOUT, Client
        from .show import console, show
        from .words import request_of

        with Client(find_debug_socket(state_dir)) as client:
            known = {command.name: command for command in client.hello.commands}
            command, args = request_of(shlex.join((name, *words)), known)
            value = client.run(name, args, timeout=CONNECT_TIMEOUT)
        if as_json:
            click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        else:
            show(console(), command.shown, value)

    return run


single_commands = (
    _single("metrics", "[OPERATION]", "How often operations were carried out and failed, and how long they took."),
    _single("errors", "[LAST]", "How often which errors came, and what was done about them."),
    _single("alerts", "[LAST]", "The last alerts."),
    _single(
        "timeouts",
        "[OPERATION [SECONDS]]",
        "How long operations may take; or let one take so long from now on: SECONDS, `none`, or `default`.",
    ),
    _single("features", "", "The features: which are degraded, and why."),
    _single("quality", "[LEVEL|auto]", "The quality level and what it turns off; or hold it at LEVEL, 0 to 3."),
    _single("circuit", "ACTOR [open [SECONDS]|close]", "An actor's circuit; or open or close it by hand."),
)
