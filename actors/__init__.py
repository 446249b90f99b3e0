"""What an actor is, and the ready-made ones."""

if __name__ == "actors":
    raise ImportError("import ukemi.actors, not actors: as a top-level package it would be a second copy of the module")

from .actor import Actor
from .context import Context
from .deferred import Reply
from .errors import (
    ActorCrashed,
    ActorStopped,
    AmbiguousName,
    CalledItself,
    CallTimeout,
    CircuitOpen,
    ComponentNotFound,
    HandlerTimeout,
    Ignore,
    IpcError,
    MailboxFull,
    OperationTimeout,
    ParseError,
    ProviderError,
    Reject,
    ResourceExhausted,
    SpecError,
    StartTimeout,
    UkemiError,
    UnknownMethod,
)
from .messages import Down
from .protocol import falls_back_to, retryable
from .reasons import Exit, Reason, Shutdown
from .ref import Ref

__all__ = [
    "Actor",
    "ActorCrashed",
    "ActorStopped",
    "AmbiguousName",
    "CallTimeout",
    "CalledItself",
    "CircuitOpen",
    "ComponentNotFound",
    "Context",
    "Down",
    "Exit",
    "HandlerTimeout",
    "Ignore",
    "IpcError",
    "MailboxFull",
    "OperationTimeout",
    "ParseError",
    "ProviderError",
    "Reason",
    "Ref",
    "Reject",
    "Reply",
    "ResourceExhausted",
    "Shutdown",
    "SpecError",
    "StartTimeout",
    "UkemiError",
    "UnknownMethod",
    "falls_back_to",
    "retryable",
]
