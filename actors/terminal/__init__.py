"""Shells on pseudo-terminals: what a terminal is made of.

Read in this order: `pty` (a process on a terminal of its own), `session` (all the processes of one), `integration`
(how a shell is started so that it marks its commands, and how one is typed), `shells` and `modes` (which shell is tried
when, and what a terminal may lack), `texts` (what the user is told).

Then the actors: `process` (the shell's process), `commands` (what runs commands, with its modes `marked` and `plain`),
and what they share, `settings`.
"""

from .integration import Kind, Launch, encode_command, kind_of, launch
from .pty import Pty

__all__ = ["Kind", "Launch", "Pty", "encode_command", "kind_of", "launch"]
