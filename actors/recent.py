"""`Recent`: an actor's last messages, for a crash dump, without keeping what they carried alive.

Small arguments are kept as they are; a message with any other, which may hold megabytes, is remembered by its name. The
one in hand is kept whole by its incarnation anyway.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .messages import Message

SHORT = 200
"""Characters or bytes of text that are kept."""

_SMALL = frozenset({type(None), bool, int, float})
_TEXT = frozenset({str, bytes})


class _Left:
    """Stands for arguments that are not kept."""

    def __repr__(self) -> str:
        return "…"


LEFT_OUT: tuple[tuple[_Left], dict[str, object]] = ((_Left(),), {})


class Recent:
    """The last `most` messages, oldest first."""

    __slots__ = ("_ring",)

    def __init__(self, most: int) -> None:
        self._ring: deque[Message] = deque(maxlen=most)

    def add(self, message: Message) -> None:
        """Remember a message, as far as that is cheap."""
        name, args, kwargs, _ = message
        for value in args:
            kind = type(value)
            if kind not in _SMALL and (kind not in _TEXT or len(value) > SHORT):
                args, kwargs = LEFT_OUT
                break
        else:
            if kwargs:
                args, kwargs = LEFT_OUT
        self._ring.append((name, args, kwargs, None))

    def with_in_hand(self, in_hand: Message | None) -> tuple[Message, ...]:
        """What is remembered; the last, if it is the one in hand, with all that it carries."""
        ring = tuple(self._ring)
        return (*ring[:-1], in_hand) if in_hand is not None and ring and ring[-1][0] == in_hand[0] else ring
