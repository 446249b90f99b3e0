"""The REPL: a process of its own, that talks to a running tree over its debug socket.

It knows no command by itself: what there is, what it takes, its help and its completion come from the runtime. On a
terminal it is a prompt with history; else it reads one command a line, and fails if one of them failed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..state_dir import base_dir
from .client import Client, ClientError, CommandFailed, RuntimeEnded
from .declaring import BadCommand
from .show import console, error_text, event_text, show
from .words import candidates, request_of

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import History

LEAVE = ("exit", "quit")
COMPLETION_TIMEOUT = 1.0
"""Seconds that the runtime has to help with a completion."""


class Repl:
    """Runs lines against one runtime."""

    def __init__(self, path: Path) -> None:
        self.out = console()
        self.errors = self.out
        self._prompt: PromptSession[str] | None = None
        self.client = Client(path, on_event=self._print_event, on_end=self._end_prompt)
        self.tree = self.client.hello.tree
        self.commands = {command.name: command for command in self.client.hello.commands}

    def run_line(self, line: str) -> bool:
        """Run one line and print its answer; whether it succeeded. Raises RuntimeEnded."""
        try:
            command, args = request_of(line, self.commands)
            value = self.client.run(command.name, args)
        except RuntimeEnded:
            raise
        except CommandFailed as error:
            bare = error.type in ("BadCommand", "Cancelled", "UkemiError") or error.type in str(error)
            self.errors.print(error_text(str(error) if bare else f"{error.type}: {error}"), soft_wrap=True)
            return False
        except (BadCommand, ClientError) as error:
            self.errors.print(error_text(str(error)), soft_wrap=True)
            return False
        show(self.out, command.shown, value)
        return True

    def _print_event(self, event: dict[str, Any]) -> None:
        self.out.print(event_text(event), soft_wrap=True)

    # --- from a file or pipe

    def run_lines(self, lines: IO[str]) -> int:
        """Run one command a line; empty lines and those that begin with # are none. The exit status."""
        self.errors = console(stderr=True)
        failed = False
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            if text in LEAVE:
                break
            failed = not self.run_line(text) or failed
            self.out.file.flush()
        return 1 if failed else 0

    # --- on a terminal

    def run_prompt(self) -> int:
        """Prompt for commands until Ctrl-D, `exit` or the runtime's end. The exit status."""
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import ThreadedCompleter
        from prompt_toolkit.patch_stdout import patch_stdout

        prompt = PromptSession[str](
            f"{self.tree}> ",
            history=_history(),
            completer=ThreadedCompleter(_completer(self)),
            complete_while_typing=False,
        )
        self._prompt = prompt
        with patch_stdout(raw=True):
            while not self.client.has_ended:
                try:
                    text = prompt.prompt(pre_run=self._leave_if_ended).strip()
                    if text in LEAVE:
                        return 0
                    if text:
                        self._run_or_cancel(text)
                except KeyboardInterrupt:  # of what is typed
                    continue
                except (EOFError, RuntimeEnded):
                    break
        if self.client.has_ended:
            self.out.print(f"{self.tree} has ended")
        return 0

    def _run_or_cancel(self, line: str) -> None:
        try:
            self.run_line(line)
        except KeyboardInterrupt:
            self.out.print("cancelled")

    def _end_prompt(self) -> None:
        loop = self._prompt.app.loop if self._prompt is not None else None
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._leave_if_ended)
            except RuntimeError:  # the loop is between two prompts; the next one looks first
                pass

    def _leave_if_ended(self) -> None:
        assert self._prompt is not None
        app = self._prompt.app
        if self.client.has_ended and app.is_running and not app.is_done:
            app.exit(exception=EOFError())

    def complete(self, text: str) -> list[str]:
        """What the last word of the text could become."""

        def ask(command: str, args: dict[str, Any]) -> list[str]:
            try:
                found = self.client.run(command, args, timeout=COMPLETION_TIMEOUT)
            except ClientError:  # no such actor, say: nothing to offer
                return []
            return [str(each) for each in found]

        return candidates(text, self.commands, ask)


def run_repl(path: Path) -> int:
    """Attach to the runtime at this socket, on the terminal or over standard input; the exit status.

    Raises NoRuntime if nobody is there, RuntimeEnded if it ends before all that was piped in could be run.
    """
    repl = Repl(path)
    with repl.client:
        if sys.stdin.isatty() and sys.stdout.isatty():
            return repl.run_prompt()
        return repl.run_lines(sys.stdin)


def _history() -> History:
    """What was typed before, kept in the user's state folder; for this session only, where that can't be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    path = base_dir() / ".repl-history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        print(f"the history can't be kept in {path}: {error.strerror}", file=sys.stderr)
        return InMemoryHistory()
    return FileHistory(str(path))


def _completer(repl: Repl) -> Any:
    from prompt_toolkit.completion import Completer, Completion

    class OfTheRuntime(Completer):
        def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
            return self._completions(document.text_before_cursor)

        def _completions(self, text: str) -> Iterator[Completion]:
            begun = "" if not text or text[-1].isspace() else text.split()[-1]
            for candidate in repl.complete(text):
                yield Completion(candidate, start_position=-len(begun))

    return OfTheRuntime()
