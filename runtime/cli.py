"""The `ukemi` command. Whatever goes wrong is one line on standard error and a non-zero exit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..actors.errors import UkemiError
from .debug.cli import repl_command, single_commands, tree_command
from .policies import policy_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ukemi", message="%(prog)s %(version)s")
def commands() -> None:
    """Run trees of supervised actors, and look inside them."""


@commands.command()
@click.argument("target", required=False, metavar="[MODULE:TREE]")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where sockets, log and crash dumps lie.")
@click.option("--stdio", is_flag=True, help="Serve one client on standard input and output, in place of a socket.")
@click.option("--allow-eval", is_flag=True, help="Let `ukemi repl` evaluate Python in the running process.")
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
    default="INFO",
    show_default=True,
    help="Of what is shown on the terminal.",
)
@click.option("--seed", type=int, help="Of the runtime's one source of randomness.")
def run(
    target: str | None, state_dir: Path | None, stdio: bool, allow_eval: bool, log_level: str, seed: int | None
) -> None:
    """Run a tree until it ends or is stopped; without MODULE:TREE, the bridge."""
    from .launch import run as launch

    if stdio:
        from .bridge.stdio import serve_stdio

        if target is not None:
            raise click.UsageError(f"--stdio is for the bridge, and {target} is another tree: leave one of them out")
        if not serve_stdio(state_dir=state_dir, allow_eval=allow_eval, log_level=log_level, seed=seed):
            sys.exit(1)
    elif target is None:
        from .bridge.tree import bridge_tree

        launch(bridge_tree, name="bridge", state_dir=state_dir, allow_eval=allow_eval, log_level=log_level, seed=seed)
    else:
        from .target import load_tree

        launch(load_tree(target), state_dir=state_dir, allow_eval=allow_eval, log_level=log_level, seed=seed)


commands.add_command(tree_command)
commands.add_command(repl_command)
for command in single_commands:
    commands.add_command(command)
commands.add_command(policy_command)


def main() -> None:
    """The entry point."""
    _open_missing()
    try:
        commands(standalone_mode=False)
    except click.exceptions.Exit as exit:
        sys.exit(exit.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (UkemiError, OSError) as error:
        _fail(str(error), 1)


def _open_missing() -> None:
    """Let the standard descriptors that this process was started without lead nowhere.

    Whatever is opened next would be given their numbers, and take what is meant for them.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free is this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  (for as long as the process lives)


def _fail(message: str, code: int) -> None:
    print(f"ukemi: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
