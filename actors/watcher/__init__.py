"""The file watcher: what is created, modified, deleted and moved below the paths that are watched.

```python
from ukemi import Fallback, child, supervisor
from ukemi.actors.watcher import PollingWatcher, QuietWatcher, Watcher, Watches
from ukemi.supervisors.recovery import RECOVERY, Row

watches = Watches()  # outlives the actors
tree = supervisor(
    "app",
    child(
        "watcher",
        lambda: Watcher(watches),
        feature="file_watching",
        fallback={
            "off": lambda: QuietWatcher(watches),  # while the feature is turned off
            "polling": lambda: PollingWatcher(watches),  # while no more can be watched: look instead
        },
        policy=RECOVERY.replacing(Row("Resource", "Critical", Fallback("polling"))),
    ),
)
```

Whoever wants to know calls `Watcher.add(path, recursive=True)`, which answers with the watch's id, and subscribes to
the topic `/app/watcher/changed`, whose events are `Changed`.

Read in this order: `changes` (what is told), `keeper`, `watcher` and `substitutes` (the actors), `snapshot` (what is
known) and `found` (of one entry), `reconcile` (from what is known to what is there), `moves` (what was moved),
`looking` (how the disk is asked) and `passes` (who waits for it), `sources` (who says where to look) and its two,
`inotify` and `portable`.
"""

from .changes import Change, Changed, ChangeKind
from .keeper import NoSuchWatch, WatchInfo
from .snapshot import Watches
from .substitutes import PollingWatcher, QuietWatcher
from .watcher import Watcher, WatcherUnhealthy

__all__ = [
    "Change",
    "ChangeKind",
    "Changed",
    "NoSuchWatch",
    "PollingWatcher",
    "QuietWatcher",
    "WatchInfo",
    "Watcher",
    "WatcherUnhealthy",
    "Watches",
]
