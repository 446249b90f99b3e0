"""Answers and events as people read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from .declaring import Description, Shown, converter

_SEVERITIES = {"Critical": "bold red", "Recoverable": "red", "Warning": "yellow", "Info": "green"}
_COLORS = {"running": "green", "stopped": "dim", "suspended": "magenta", "open": "red", "degraded": "red"}


def console(*, stderr: bool = False) -> Console:
    """A console; where the output is no terminal, its lines are as long as what is in them."""
    made = Console(stderr=stderr, highlight=False, emoji=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, emoji=False, width=1000)


def show(out: Console, shown: Shown, value: Any) -> None:
    """Print an answer."""
    out.print(_SHOW[shown](value), soft_wrap=True)


def event_text(event: dict[str, Any]) -> Text:
    """One line for an event that has just come."""
    if event["kind"] == "Traced":
        name = event["path"].rpartition("/")[2]
        call = f"{name}.{event['method']}({event['arguments']})"
        return Text.assemble(_text(call), " → ", _text(event["outcome"]), (f"  {_duration(event['seconds'])}", "dim"))
    rest = {key: value for key, value in event.items() if key not in ("kind", "ago", "path")}
    detail = "  ".join(f"{key}={value}" for key, value in rest.items())
    return Text.assemble(
        (f"{_duration(event['ago'])} ago  ", "dim"),
        (event["kind"], "bold"),
        f"  {event['path']}  ",
        _text(detail),
    )


def error_text(message: str) -> Text:
    """One line for what went wrong."""
    return Text.assemble(("error: ", "red"), _text(" ".join(message.split())))


# --- one function for each way of showing


def _tree(node: dict[str, Any], parent: Tree | None = None) -> Tree:
    line = Text.assemble((_clean(node["name"]), "bold"), "  ", (node["state"], _COLORS.get(node["state"], "yellow")))
    line.append(f"  {node['kind']}", "cyan")
    if node["strategy"]:
        line.append(f" ({node['strategy']})", "cyan")
    for count, what in ((node["restarts"], "restarts"), (node["waiting"], "waiting")):
        if count:
            line.append(f"  {what} {count}", "yellow")
    if node["fallback"]:
        line.append(f"  as {_clean(node['fallback'])}", "red")
    if node["circuit"] and node["circuit"]["state"] != "closed":
        line.append(f"  circuit {_circuit_state(node['circuit'])}", "red")
    if node["depends_on"]:
        line.append(f"  needs {', '.join(map(_clean, node['depends_on']))}", "dim")
    tree = Tree(line) if parent is None else parent.add(line)
    for child in node["children"]:
        _tree(child, tree)
    return tree


def _circuit_state(circuit: dict[str, Any]) -> str:
    """Its state, and for how long."""
    left = circuit["seconds_left"]
    if circuit["state"] != "open":
        return str(circuit["state"])
    return "open until it is closed by hand" if left is None else f"open for {_duration(left)} more"


def _fields(value: dict[str, Any]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, inner in _flat(value):
        table.add_row(Text(_clean(name), "bold"), _text(inner if isinstance(inner, str) else json.dumps(inner)))
    return table


def _flat(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """The fields, those of fields that are objects too, and each item of a list in a row of its own."""
    rows: list[tuple[str, Any]] = []
    for name, inner in value.items():
        if isinstance(inner, dict):
            rows.extend((key, each) for key, each in _flat(inner) if key not in dict(rows))
        elif isinstance(inner, list) and inner:
            rows.extend((name if turn == 0 else "", each) for turn, each in enumerate(inner))
        else:
            rows.append((name, inner))
    return rows


def _help(value: list[dict[str, Any]]) -> RenderableType:
    descriptions = converter.structure(value, list[Description])
    if len(descriptions) == 1:
        return Text.assemble((descriptions[0].usage, "bold"), "\n\n", descriptions[0].help)
    table = Table.grid(padding=(0, 2))
    for each in descriptions:
        table.add_row(Text(each.usage, "bold"), each.summary)
    table.add_row(Text("exit", "bold"), "Leave; so does Ctrl-D.")
    return table


def _crashes(value: list[dict[str, Any]]) -> RenderableType:
    parts: list[Text] = []
    for each in value:
        where = f" in {each['method']}" if each["method"] else ""
        more = f" ({each['held_back']} more before it)" if each["held_back"] else ""
        parts.append(
            Text.assemble((each["time"], "dim"), f"  {each['path']}{where}{more}  ", (_clean(each["error"]), "red"))
        )
        if each["traceback"]:
            parts.append(_text(each["traceback"].rstrip()))
    return Group(*parts) if parts else Text("no crash", "dim")


def _errors(value: list[dict[str, Any]]) -> RenderableType:
    table = _table("count", "last minute", "crashes", "actor", "error", "severity", "action", "last seen")
    for each in value:
        crashes = each["count"] - each["handled"]
        what = ": ".join(filter(None, (each["error"], each["message"])))
        kind = " ".join(filter(None, (each["category"], each["severity"])))
        numbers = (each["count"], each["by_minute"][-1], crashes)
        _row(table, *numbers, each["path"], what, kind, each["action"] or "", each["last_seen"][:19])
    return table if value else Text("no error", "dim")


def _alerts(value: list[dict[str, Any]]) -> RenderableType:
    lines = [
        Text.assemble(
            (f"{_duration(each['ago'])} ago  ", "dim"),
            (each["severity"], _SEVERITIES.get(each["severity"], "yellow")),
            (f"  {_clean(each['sort'])}", "bold"),
            f"  {_clean(each['path'])}  ",
            _text(" ".join(each["message"].split())),
        )
        for each in value
    ]
    return Group(*lines) if lines else Text("no alert", "dim")


def _metrics(value: list[dict[str, Any]]) -> RenderableType:
    table = _table("count", "failures", "p50", "p99", "p99.9", "operation")
    for each in value:
        times = (_duration(each[name]) for name in ("p50", "p99", "p999"))
        _row(table, each["count"], each["failures"], *times, each["operation"])
    return table if value else Text("nothing was recorded", "dim")


def _timeouts(value: list[dict[str, Any]]) -> RenderableType:
    table = _table("seconds", "operation", "by")
    for each in value:
        seconds = "none" if each["seconds"] is None else f"{each['seconds']:g}"
        _row(table, seconds, each["operation"], each["source"])
    return table


def _features(value: list[dict[str, Any]]) -> RenderableType:
    table = _table("feature", "state", "for", "score", "threshold", "because", "as")
    for each in value:
        state = each["state"]
        because = [*state["reasons"], *([f"{state['because_of']} is degraded"] if state["because_of"] else [])]
        shown = "degraded" if state["degraded"] else "whole"
        score = "-" if state["score"] is None else f"{state['score']:.3g}"
        fallback = (state["fallback"] or "") if state["degraded"] else ""
        numbers = (_duration(each["seconds"]), score, f"{state['threshold']:.3g}")
        _row(table, state["feature"], shown, *numbers, ", ".join(because), fallback)
    return table if value else Text("no feature is declared", "dim")


def _evaluated(value: dict[str, Any]) -> RenderableType:
    parts = [value["output"].rstrip("\n")] if value["output"] else []
    parts += [value["value"]] if value["value"] is not None else []
    return Group(*map(_text, parts))


def _value(value: Any) -> RenderableType:
    return _text(json.dumps(value, ensure_ascii=False))


_SHOW: dict[Shown, Callable[[Any], RenderableType]] = {
    "value": _value,
    "text": lambda value: _text(value),
    "tree": _tree,
    "fields": _fields,
    "help": _help,
    "evaluated": _evaluated,
    "crashes": _crashes,
    "events": lambda value: Group(*map(event_text, value)),
    "errors": _errors,
    "alerts": _alerts,
    "metrics": _metrics,
    "timeouts": _timeouts,
    "features": _features,
}


# --- helpers


def _table(*head: str) -> Table:
    table = Table(*head, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in table.columns:
        column.no_wrap = True
    return table


def _row(table: Table, *values: object) -> None:
    table.add_row(*(_text(" ".join(str(value).split())) for value in values))


def _text(text: str) -> Text:
    return Text(_clean(text))


def _clean(text: str) -> str:
    """Without what could command the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
