"""The bridge's `file/` methods.

A client's own reads and writes of one file, named in one way, are done in the order in which it asked for them, and so
are everybody's (the store sees to that). What can't be read is answered from what it held before, and says so: `stale`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ...actors.files import Encoding, FileRead, FileStore
from .asking import ask
from .methods import method

if TYPE_CHECKING:
    from .session import ClientSession


@attrs.frozen
class ReadFile:
    """Of `file/read`. A relative path is relative to the bridge's own folder. `path_encoding` is that of `path`."""

    path: str
    path_encoding: Encoding = "utf-8"


@method("file/read", ReadFile, in_order="path", only_reads=True, may_be_large=True, ends_by_itself=True)
async def read_file(session: ClientSession, asked: ReadFile) -> dict[str, Any]:
    """What a file holds: text, or the base64 of what is no UTF-8."""
    content: FileRead = await ask(session.files, FileStore.read, asked.path, asked.path_encoding)
    return attrs.asdict(content)


@attrs.frozen
class WriteFile:
    """Of `file/write`. `encoding` is that of `data`: "utf-8" or "base64"; `path_encoding` is that of `path`."""

    path: str
    data: str
    encoding: Encoding = "utf-8"
    path_encoding: Encoding = "utf-8"


@method("file/write", WriteFile, in_order="path", ends_by_itself=True)
async def write_file(session: ClientSession, asked: WriteFile) -> dict[str, Any]:
    """Replace what a file holds, or make it: as a whole. Answered once it is on the disk."""
    await ask(session.files, FileStore.write, asked.path, asked.data, asked.encoding, asked.path_encoding)
    return {}
