"""Files, read through a cache and written as a whole.

    async with Runtime(files_spec(FileState(Path("state/writes")), policy=RECOVERY)) as runtime:
        files = runtime.ref("files", FileStore)
        await files.call(FileStore.write, "/tmp/note", "text")
        (await files.call(FileStore.read, "/tmp/note")).data

`FileStore` is who is asked; its `FileWorker`s do what takes a disk, and fail of it; `FileState` outlives them. Their
tree is `files_spec` of `ukemi.runtime.bridge.files`. Read on in `cache`, `at_once`, `reading` and `writing`.
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
