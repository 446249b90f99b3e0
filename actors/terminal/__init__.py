"""Shells on pseudo-terminals: what a terminal is made of.

Read in this order: `pty` (a process on a terminal of its own), `session` (all the processes of one), `integration`
(how a shell is started so that it marks its commands, and how one is typed), `texts` (what the user is told).
"""

from .integration import Kind, Launch, encode_command, kind_of, launch
from .pty import Pty

__all__ = ["Kind", "Launch", "Pty", "encode_command", "kind_of", "launch"]
