"""How a tree is launched, seen and remembered."""

if __name__ == "runtime":
    raise ImportError(
        "import ukemi.runtime, not runtime: as a top-level package it would be a second copy of the module"
    )

from .launch import run
from .runtime import Runtime

__all__ = ["Runtime", "run"]
