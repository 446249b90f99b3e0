"""`ukemi policy`: the matrix, and which policy each child of a tree is under."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ukemi import Actor, CircuitBreak, Escalate, Restart, Stop, child, dynamic_supervisor, supervisor
from ukemi.runtime.cli import main
from ukemi.runtime.policies import policies_of
from ukemi.supervisors.recovery import MATRIX, OTP, RECOVERY, Row

Command = Callable[..., tuple[str, str, int]]

SHOP = """
from ukemi import Actor, CircuitBreak, Degrade, Escalate, child, supervisor
from ukemi.supervisors.recovery import Kind, RECOVERY, Row

class SoldOut(Exception):
    pass

STRICT = RECOVERY.replacing(Row("Network", "Critical", Escalate()))
tree = supervisor(
    "shop",
    child("counter", Actor),
    child("till", Actor, policy=STRICT, on_exhausted=CircuitBreak(duration=5.0)),
    child("shelf", Actor, policy=RECOVERY.with_types({SoldOut: Kind("Resource", "Warning")})),
    policy=RECOVERY,
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "shop_of_policies", raising=False)
    (tmp_path / "shop_of_policies.py").write_text(SHOP)
    return tmp_path


@pytest.fixture
def ukemi(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process; what it prints, and its errors and exit code."""

    def run(*words: str) -> tuple[str, str, int]:
        monkeypatch.setattr(sys, "argv", ["ukemi", *words])
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = int(exit.code or 0)
        printed = capsys.readouterr()
        return printed.out, printed.err, code

    return run


def test_without_a_tree_it_prints_the_matrix_in_aligned_lines(ukemi: Command) -> None:
    out, err, code = ukemi("policy")
    title, head, *lines = out.splitlines()
    assert (title, err, code) == ("RECOVERY:", "", 0)
    at = [head.index(word) for word in ("category", "severity", "first", "retries", "then")]
    cells = [[line[begin:end].strip() for begin, end in zip(at, [*at[1:], None], strict=True)] for line in lines[:11]]
    assert [(cell[0], cell[1]) for cell in cells] == [row.key for row in MATRIX]
    assert cells[0][2:] == ["Recreate terminal: Restart()", "1", "Alert user: Alert()"]
    assert cells[2][2:] == ["Alert user: Alert()", "0", "–"]
    assert [line.split() for line in lines[11:-1]] == [
        ["any", "Warning", "Resume()", "–", "–"],
        ["any", "Info", "Resume()", "–", "–"],
        ["UserCancelled", "any", "Resume()", "–", "–"],
        ["any", "any", "Restart()", "–", "–"],
    ]


def test_on_a_terminal_it_prints_a_table(ukemi: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "140", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    out, _, code = ukemi("policy")
    assert code == 0
    assert "\x1b[" in out
    assert "Recreate terminal" in out
    assert "Fallback(like='skip markers')" in out


def test_as_json_it_is_data(ukemi: Command) -> None:
    out, _, _ = ukemi("policy", "--json")
    (policy,) = json.loads(out)["policies"]
    assert policy["name"] == "RECOVERY"
    assert policy["types"] == {}
    assert len(policy["rows"]) == 15
    assert policy["rows"][4] == {
        "category": "Network",
        "severity": "Critical",
        "primary": "Reconnect IPC",
        "first": "Restart(backoff=Backoff(0.1, 5.0))",
        "retries": 5,
        "fallback": "Local mode",
        "then": "Degrade()",
    }
    assert policy["rows"][2]["then"] is None


def test_of_a_tree_it_prints_each_childs_policy_and_what_each_says(ukemi: Command, folder: Path) -> None:
    out, err, code = ukemi("policy", "shop_of_policies:tree")
    assert (err, code) == ("", 0)
    lines = [line.split("  ") for line in out.splitlines()]
    children = [[cell.strip() for cell in line if cell.strip()] for line in lines[:5]]
    assert children == [
        ["child", "policy", "given by", "on_exhausted"],
        ["/shop", "OTP", "–", "Escalate()"],
        ["/shop/counter", "RECOVERY", "/shop", "Escalate()"],
        ["/shop/till", "RECOVERY, changed", "/shop/till", "CircuitBreak(duration=5.0)"],
        ["/shop/shelf", "RECOVERY, changed (2)", "/shop/shelf", "Escalate()"],
    ]
    assert [line[0] for line in lines if line[0].endswith(":")] == [
        *("OTP:", "RECOVERY:", "RECOVERY, changed:", "RECOVERY, changed (2):")
    ]
    assert "shop_of_policies.SoldOut  Resource/Warning" in out


def test_of_a_tree_as_json(ukemi: Command, folder: Path) -> None:
    out, _, _ = ukemi("policy", "shop_of_policies:tree", "--json")
    told = json.loads(out)
    assert told["children"][0] == {"path": "/shop", "policy": "OTP", "given_by": None, "on_exhausted": "Escalate()"}
    assert told["policies"][3]["types"] == {"shop_of_policies.SoldOut": "Resource/Warning"}
    assert {child["policy"] for child in told["children"]} == {policy["name"] for policy in told["policies"]}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shop_of_policies", "ukemi: 'shop_of_policies' must be MODULE:TREE, such as shop:tree\n"),
        (
            "shop_of_policies:none",
            "ukemi: shop_of_policies:none: shop_of_policies has no 'none'; its trees are: tree\n",
        ),
        (
            "no_such_module:tree",
            "ukemi: no_such_module:tree: there is no module 'no_such_module' here or on the path\n",
        ),
    ],
)
def test_what_is_no_tree_is_one_line_and_a_failure(ukemi: Command, folder: Path, target: str, said: str) -> None:
    assert ukemi("policy", target) == ("", said, 1)


def test_an_option_that_there_is_not_is_one_line_too(ukemi: Command) -> None:
    out, err, code = ukemi("policy", "--yaml")
    assert (out, err.count("\n")) == ("", 1)
    assert code == 2


def test_the_nearest_policy_above_holds_and_a_childs_own_before_it() -> None:
    mine = RECOVERY.replacing(Row("Network", "Critical", Escalate()))
    tree = supervisor(
        "app",
        child("plain", Actor),
        child("own", Actor, policy=Restart(), on_exhausted=Stop()),
        supervisor(
            "sub",
            child("inner", Actor),
            dynamic_supervisor("jobs", policy=mine, on_exhausted=CircuitBreak()),
            dynamic_supervisor("more"),
            policy=RECOVERY,
        ),
    )
    told = {each.path: (each.policy, each.given_by, each.on_exhausted) for each in policies_of(tree)}
    assert told.pop("/app/own")[0].name == "Restart()"
    assert told == {
        "/app": (OTP, None, "Escalate()"),
        "/app/plain": (OTP, None, "Escalate()"),
        "/app/sub": (OTP, None, "Escalate()"),
        "/app/sub/inner": (RECOVERY, "/app/sub", "Escalate()"),
        "/app/sub/jobs": (RECOVERY, "/app/sub", "CircuitBreak()"),
        "/app/sub/jobs/*": (mine, "/app/sub/jobs", None),
        "/app/sub/more": (RECOVERY, "/app/sub", "Escalate()"),
        "/app/sub/more/*": (RECOVERY, "/app/sub", None),
    }
