"""Each rule of docs/semantics.md is named by at least one test."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RULES = (TESTS.parent / "docs" / "semantics.md").read_text()

# Rules of what is not built yet; each entry is to go when its part comes.
LATER = {
    "S9": "on_exhausted comes with the recovery policy",
    "S14": "the circuit breaker as a restart policy comes with the recovery policy",
    "S15": "declared fallbacks come with the recovery policy",
}


def stated() -> list[str]:
    return re.findall(r"^([A-Z]\d+)\. ", RULES, flags=re.MULTILINE)


def named() -> set[str]:
    marks = (m for path in TESTS.rglob("test_*.py") for m in re.findall(r"mark\.rule\(([^)]*)\)", path.read_text()))
    return {name for mark in marks for name in re.findall(r'"([A-Z]\d+)"', mark)}


@pytest.mark.parametrize("rule", stated())
def test_a_rule_is_named_by_a_test(rule: str) -> None:
    if rule in LATER:
        assert rule not in named(), f"{rule} is tested now: take it off the list of later rules"
    else:
        assert rule in named(), f"no test is marked with pytest.mark.rule({rule!r})"


def test_tests_name_only_rules_that_are_stated() -> None:
    assert named() <= set(stated())
