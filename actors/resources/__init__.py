"""The resource monitor: memory, CPU, descriptors and processes as one pressure from 0 to 100, and what it is made of.

The monitor only measures. What each band does is declared in the tree; `ukemi.runtime.pressure.Relief` carries it out:

```python
from ukemi import child, supervisor
from ukemi.actors.resources import ResourceMonitor
from ukemi.runtime.pressure import Relief
from ukemi.runtime.relief import lower_quality, tell, throttle, when

RELIEF = (
    when("moderate", tell("files", "resize", 0.5), back=tell("files", "resize", 2.0), times=3, of=["memory"]),
    when("high", tell("files", "clear"), times=None, every=30.0, of=["memory"]),
    when("high", tell("link", "close_idle"), times=None, every=30.0, of=["memory", "files"]),
    when("high", lower_quality()),
    when("critical", lower_quality(3), of=["memory"]),
    when("critical", throttle("terminals", rate=10.0)),
)
tree = supervisor(
    "app",
    child("resources", ResourceMonitor),
    child("relief", lambda: Relief(RELIEF), depends_on=["resources"]),
    # … and the children that it names
)
```

Anything else that wants to know subscribes (`ctx.subscribe(PRESSURE, …)`), asks (`ResourceMonitor.state`), or asks for
room (`ResourceMonitor.require`), which is answered with ResourceExhausted where there is none.
"""

from .monitor import INTERVAL, ResourceMonitor, ResourceState
from .pressure import (
    MEASURED,
    PRESSURE,
    Band,
    PressureChanged,
    PressureMeasured,
    Reading,
    Resource,
    Scale,
    SourcePressure,
)
from .sources import Found, Source, find_sources
from .trimmer import Trimmer

__all__ = [
    "INTERVAL",
    "MEASURED",
    "PRESSURE",
    "Band",
    "Found",
    "PressureChanged",
    "PressureMeasured",
    "Reading",
    "Resource",
    "ResourceMonitor",
    "ResourceState",
    "Scale",
    "Source",
    "SourcePressure",
    "Trimmer",
    "find_sources",
]
