"""The bridge's watcher as one child: what takes its place, when, and how it comes back.

- `off`, while its feature is turned off: nothing is told, and nothing is lost; what has changed is told afterwards.
- `polling`, where the system can tell no more (its limit of watches, no descriptor left): looks every so often.
"""

from __future__ import annotations

from ...actors.watcher import PollingWatcher, QuietWatcher, Watcher, Watches
from ...supervisors.degradation import Degradation
from ...supervisors.feature_states import MANUAL, QUALITY
from ...supervisors.features import Feature
from ...supervisors.recovery import Degrade, Fallback, Policy, Restart, Row
from ...supervisors.spec import ChildSpec
from ...supervisors.tree import child

FILE_WATCHING = Feature("file_watching", fallback="changes are told late")
"""What a user would miss."""


def watcher_policy(general: Policy) -> Policy:
    """What is done about its failures: as about those of others, but for two things.

    No room for more watches is no want of memory: it looks for itself instead. And whatever it could not look at, it is
    restarted, and compares what it knew with what is there: one that went on would miss what had changed.
    """
    return general.replacing(
        Row("Resource", "Critical", Fallback("polling")),
        Row("Resource", "Recoverable", Fallback("polling")),
        Row("FileSystem", "Critical", Restart()),
        Row("FileSystem", "Recoverable", Restart()),
        name="watcher",
    )


def watcher_spec(watches: Watches, general: Policy, *, name: str = "watcher") -> ChildSpec:
    """The watcher of these watches, which are what outlives it. Where its restarts are spent it is turned off."""
    return child(
        name,
        lambda: Watcher(watches),
        fallback={"off": lambda: QuietWatcher(watches), "polling": lambda: _Polling(watches)},
        feature=FILE_WATCHING,
        policy=watcher_policy(general),
        on_exhausted=Degrade(),
    )


class _Polling(PollingWatcher):
    """Looks unless the feature is turned off by more than that the watcher itself has failed."""

    def _is_on(self) -> bool:
        state = Degradation.of(self.ctx.ref.cell.system).state_of(FILE_WATCHING.name)
        return state.because_of is None and not {QUALITY, MANUAL} & set(state.reasons)
