"""`ukemi tree` and `ukemi repl`, for the command line's group."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ..state_dir import find_debug_socket

_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="The folder of the running tree; not needed where only one is running.",
)


@click.command("tree")
@_state_dir
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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
