"""Whose code is running."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

if TYPE_CHECKING:
    from .incarnation import Incarnation


@attrs.frozen(eq=False)
class Background:
    """What `current` holds in a background task: it belongs to the actor, but is not the message in hand."""

    incarnation: Incarnation


Turn: TypeAlias = "Incarnation | Background"

current: contextvars.ContextVar[Turn] = contextvars.ContextVar("current")
"""An actor's handler or hook (Incarnation), its background task (Background), or, unset, neither."""


def is_cancelled() -> bool:
    """Whether a scope around this task is really cancelled (rule X1); a Cancelled without it is forged."""
    return trio.current_effective_deadline() == float("-inf")
