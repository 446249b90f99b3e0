"""What a watcher tells: one change of one path, and the changes of a watch that were found together.

Told in order, they turn what was there before into what is there now: each names a path as it is at its turn.
"""

from __future__ import annotations

import enum

import attrs

from ..files.names import decode_path, in_base64, is_text


class ChangeKind(enum.StrEnum):
    """What has become of a path."""

    CREATED = "created"
    """It is there now, and was not before. All that is in a new folder is told one by one, behind it."""
    MODIFIED = "modified"
    """Its content, its mode, its owner or its times have changed, or another file has taken its place."""
    DELETED = "deleted"
    """It is not there any more. All that was in a folder is told one by one, before it."""
    MOVED = "moved"
    """It was at `source` before; what is in a folder has come with it and is not told. A file that
    was here before is gone."""


@attrs.frozen
class Change:
    """One change of one path."""

    path: str
    """Absolute, below the path that is watched, as that was given."""
    kind: ChangeKind
    source: str | None = None
    """Where it was before, if it was moved."""
    encoding: str = "utf-8"
    """"utf-8", or "base64" where one of the two paths is not UTF-8: then both are in base64."""

    @classmethod
    def of(cls, kind: ChangeKind, path: str, source: str | None = None) -> Change:
        """A change of a path as Python has it, with surrogates for what is not UTF-8."""
        if is_text(path) and (source is None or is_text(source)):
            return cls(path, kind, source)
        return cls(in_base64(path), kind, None if source is None else in_base64(source), "base64")

    @property
    def file(self) -> str:
        """The path as Python opens it."""
        return decode_path(self.path, self.encoding)

    @property
    def source_file(self) -> str | None:
        """`source` as Python has it."""
        return None if self.source is None else decode_path(self.source, self.encoding)


@attrs.frozen
class Changed:
    """Changes of one watch, in order; published on the topic `<path of the watcher>/changed`."""

    watch: str
    changes: tuple[Change, ...]
