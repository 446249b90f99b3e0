"""Each rule of docs/semantics.md is named by at least one test."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RULES = (TESTS.parent / "docs" / "semantics.md").read_text()


def stated() -> list[str]:
    return re.findall(r"^([A-Z]\d+)\. ", RULES, flags=re.MULTILINE)


def named() -> set[str]:
    marks = (m for path in TESTS.rglob("test_*.py") for m in re.findall(r"mark\.rule\(([^)]*)\)", path.read_text()))
    return {name for mark in marks for name in re.findall(r'"([A-Z]\d+)"', mark)}


@pytest.mark.parametrize("rule", stated())
def test_a_rule_is_named_by_a_test(rule: str) -> None:
    assert rule in named(), f"no test is marked with pytest.mark.rule({rule!r})"


def test_tests_name_only_rules_that_are_stated() -> None:
    assert named() <= set(stated())
