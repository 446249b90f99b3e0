"""`python -m ukemi` is the `ukemi` command."""

from .runtime.cli import main

if __name__ == "__main__":
    main()
