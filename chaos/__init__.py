"""How a tree is broken on purpose, and what then happens."""

if __name__ == "chaos":
    raise ImportError("import ukemi.chaos, not chaos: as a top-level package it would be a second copy of the module")
