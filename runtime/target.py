"""`module:tree`, as given on the command line."""

from __future__ import annotations

import importlib
import os
import sys

from ..actors.errors import UkemiError
from ..supervisors.spec import ChildSpec


class BadTarget(UkemiError):
    """What was named is no tree; the message says what was found instead."""


def load_tree(target: str) -> ChildSpec:
    """Import the module (from the current folder too) and return the tree that the rest names."""
    module_name, colon, attribute = target.partition(":")
    if not module_name or not colon or not attribute:
        raise BadTarget(f"{target!r} must be MODULE:TREE, such as shop:tree")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise BadTarget(f"{target}: importing {module_name} failed: {error}") from error
        raise BadTarget(f"{target}: there is no module {module_name!r} here or on the path") from None
    except (Exception, SystemExit) as error:
        raise BadTarget(f"{target}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    tree: object = module
    for part in attribute.split("."):
        if not hasattr(tree, part):
            trees = ", ".join(sorted(name for name, value in vars(module).items() if isinstance(value, ChildSpec)))
            raise BadTarget(f"{target}: {module_name} has no {attribute!r}; its trees are: {trees or 'none'}")
        tree = getattr(tree, part)
    if not isinstance(tree, ChildSpec) or tree.tree is None:
        raise BadTarget(f"{target}: is {tree!r}, and must be a supervisor(…)")
    return tree
