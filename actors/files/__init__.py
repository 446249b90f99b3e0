"""Files, read through a cache and written as a whole.

`FileStore` is who is asked; its `FileWorker`s do what takes a disk. Read on in `cache`, `reading` and `writing`.
"""

from .cache import CacheStats, FileCache
from .content import Encoding, FileRead
from .state import FileState
from .store import FileStats, FileStore
from .worker import FileWorker

__all__ = [
    "CacheStats",
    "Encoding",
    "FileCache",
    "FileRead",
    "FileState",
    "FileStats",
    "FileStore",
    "FileWorker",
]
