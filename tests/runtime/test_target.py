"""`module:tree`, and what is said of one that is none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ukemi.runtime.target import BadTarget, load_tree

SHOP = """
from ukemi import Actor, child, supervisor
tree = supervisor("shop", child("a", Actor))
one = child("a", Actor)
class Trees:
    inner = tree
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    (tmp_path / "shop_of_test.py").write_text(SHOP)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("target", ["shop_of_test:tree", "shop_of_test:Trees.inner"])
def test_a_tree_is_found_in_the_current_folder(target: str) -> None:
    assert load_tree(target).name == "shop"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("", "'' must be MODULE:TREE, such as shop:tree"),
        ("shop_of_test", "must be MODULE:TREE"),
        ("shop_of_test:", "must be MODULE:TREE"),
        (":tree", "must be MODULE:TREE"),
        ("no_such_module:tree", "there is no module 'no_such_module' here or on the path"),
        ("shop_of_test.below:tree", "there is no module 'shop_of_test.below'"),
        (".shop:tree", "importing .shop failed"),
        ("shop_of_test:none", "shop_of_test has no 'none'; its trees are: one, tree"),
        ("shop_of_test:tree.none", "has no 'tree.none'"),
        ("shop_of_test:Trees", "and must be a supervisor(…)"),
        ("shop_of_test:one", "and must be a supervisor(…)"),
    ],
)
def test_what_is_no_tree_is_told_with_what_is_there(target: str, said: str) -> None:
    with pytest.raises(BadTarget) as caught:
        load_tree(target)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_thing", "importing broken_of_test failed: No module named 'no_such_thing'"),
        ("1 / 0", "importing broken_of_test failed: ZeroDivisionError: division by zero"),
        ("def", "importing broken_of_test failed: SyntaxError"),
        ("raise SystemExit(3)", "importing broken_of_test failed: SystemExit: 3"),
    ],
)
def test_a_module_that_can_not_be_imported_is_told_with_the_reason(folder: Path, code: str, said: str) -> None:
    (folder / "broken_of_test.py").write_text(code)
    with pytest.raises(BadTarget) as caught:
        load_tree("broken_of_test:tree")
    assert said in str(caught.value)
    assert caught.value.__cause__ is not None
