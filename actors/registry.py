"""Names and paths (rule R2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import AmbiguousName, ComponentNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cell import Cell


SERVICES = "ukemi"
"""The root of the runtime's own actors. They are found by their paths only, and leave all names to the application."""


class Registry:
    """The cells of one runtime, by path and by name, in the order of their making."""

    def __init__(self) -> None:
        self._paths: dict[str, Cell] = {}
        self._names: dict[str, Cell | dict[str, Cell]] = {}

    def __iter__(self) -> Iterator[Cell]:
        return iter(list(self._paths.values()))

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, cell: Cell) -> None:
        """Make a cell known. Its path must be free."""
        self._paths[cell.path] = cell
        if _is_service(cell):
            return
        same = self._names.setdefault(cell.name, cell)
        if same is not cell:
            if not isinstance(same, dict):
                same = self._names[cell.name] = {same.path: same}
            same[cell.path] = cell

    def remove(self, cell: Cell) -> None:
        """Forget a cell; harmless if it is not known."""
        if self._paths.get(cell.path) is not cell:
            return
        del self._paths[cell.path]
        if _is_service(cell):
            return
        same = self._names[cell.name]
        if isinstance(same, dict):
            del same[cell.path]
            if len(same) == 1:
                self._names[cell.name] = next(iter(same.values()))
        else:
            del self._names[cell.name]

    def get(self, path: str) -> Cell | None:
        """The cell of this path, if there is one."""
        return self._paths.get(path)

    def find(self, name_or_path: str) -> Cell:
        """The cell of this path or unique name; ComponentNotFound or AmbiguousName otherwise."""
        if not isinstance(name_or_path, str):
            raise TypeError(f"an actor's name or path is a str, not {name_or_path!r}")
        if name_or_path.startswith("/"):
            cell = self._paths.get(name_or_path)
        else:
            same = self._names.get(name_or_path)
            if isinstance(same, dict):
                raise AmbiguousName(name_or_path, sorted(same))
            cell = same
        if cell is None:
            raise ComponentNotFound(name_or_path)
        return cell


def _is_service(cell: Cell) -> bool:
    return cell.path.startswith(f"/{SERVICES}/")
