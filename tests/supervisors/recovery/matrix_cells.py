"""The recovery matrix as it is carried out: cells for each of its rows, under the policy RECOVERY."""

from __future__ import annotations

from ukemi import CircuitBreak, Degrade, Stop

from . import real_errors
from .cells import CRASH, ERROR, TIMEOUT, Back, Cell, Step, back_from, falls_back, restarts, resumes, retried, tries

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
STAYS_DOWN = Back(after=1000.0, tells="", does="", state="stopped")

CELLS: tuple[Cell, ...] = (
    Cell(
        row="Terminal/Critical",
        case="a shell's end met by a message",
        errors=real_errors.SHELL_ENDS,
        steps=(
            restarts(1),
            restarts(2),
            Step(gets=ERROR, tells="AlertRaised Critical, then 3", does="once"),
        ),
    ),
    Cell(
        row="Terminal/Critical",
        case="a shell's end met in the background",
        in_a="task",
        errors=real_errors.SHELL_ENDS,
        steps=(
            Step(gets="", tells="first 1, ChildRestarted", does="-own, +own"),
            Step(gets="", tells="first 2, ChildRestarted", does="-own, +own"),
            Step(gets="", tells="AlertRaised Critical, then 3", does="-own", state="stopped"),
        ),
        back=STAYS_DOWN,
    ),
    Cell(
        row="Terminal/Critical",
        case="after a quiet time its tries count anew",
        errors=real_errors.SHELL_ENDS,
        steps=(restarts(1), restarts(2, rests=5.5), restarts(1)),
    ),
    Cell(
        row="Terminal/Recoverable",
        case="a command that had not begun",
        errors=real_errors.LOST_UNBEGUN,
        fallback="next mode",
        steps=(
            Step(fails=3, waits=0.7, gets="own 4", tells=tries(3), does=retried(3, "once")),
            Step(
                fails=4,
                waits=0.7,
                gets="next mode 1",
                tells=f"{tries(3)}, then 4, ChildRestarted, FellBack next mode",
                does=f"{retried(3, 'once')}, -own, +next mode, once",
                state="degraded: next mode",
            ),
        ),
        back=back_from("next mode"),
    ),
    Cell(
        row="Terminal/Recoverable",
        case="a command that had begun is not given again",
        errors=real_errors.LOST_BEGUN,
        fallback="next mode",
        steps=(falls_back("next mode", "then 1"),),
        back=back_from("next mode"),
    ),
    Cell(
        row="Terminal/Recoverable",
        case="there is no other mode",
        errors=real_errors.LOST_BEGUN,
        steps=(restarts(1, "Restart()"), restarts(1, "Restart()")),
    ),
    Cell(
        row="FileSystem/Critical",
        case="a disk fails under a message",
        errors=real_errors.DISK_FAILS,
        steps=(
            resumes(1, "AlertRaised Critical"),
            resumes(2),
            resumes(3, rests=11.0),
            resumes(1, "AlertRaised Critical"),
        ),
    ),
    Cell(
        row="FileSystem/Critical",
        case="a disk fails in the background",
        in_a="task",
        errors=real_errors.DISK_FAILS,
        steps=(Step(gets="", tells="AlertRaised Critical, first 1", does="-own", state="stopped"),),
        back=STAYS_DOWN,
    ),
    Cell(
        row="FileSystem/Recoverable",
        case="a busy file is read from the cache in the end",
        errors=real_errors.FILE_BUSY,
        method="fetch",
        steps=(
            Step(fails=3, waits=0.7, gets="own 4", tells=tries(3), does=retried(3, "fetch")),
            Step(fails=4, waits=0.7, gets="stale", tells=f"{tries(3)}, then 4", does=retried(3, "fetch")),
            Step(fails=0, gets="own 9", tells="", does="fetch"),
        ),
    ),
    Cell(
        row="FileSystem/Recoverable",
        case="what was interrupted is tried again at once",
        errors=real_errors.INTERRUPTED,
        method="fetch",
        steps=(
            Step(fails=3, gets="own 4", tells=tries(3), does=retried(3, "fetch")),
            Step(fails=4, gets="stale", tells=f"{tries(3)}, then 4", does=retried(3, "fetch")),
        ),
    ),
    Cell(
        row="FileSystem/Recoverable",
        case="a write is not given again, and the child's cache takes its place",
        errors=real_errors.FILE_BUSY,
        fallback="cache",
        steps=(falls_back("cache", "then 1"),),
        back=back_from("cache"),
    ),
    Cell(
        row="Network/Critical",
        case="a link that breaks with each message",
        errors=real_errors.LINK_GONE,
        options={"feature": "far"},
        max_restarts=0,  # what the row itself bounds spends no window
        steps=(
            *(
                Step(
                    gets=CRASH,
                    tells=f"first {n}, RestartDelayed, ChildRestarted",
                    does="once, -own, +own",
                    settles=pause,
                )
                for n, pause in enumerate(PAUSES, 1)
            ),
            Step(
                gets=CRASH,
                tells="then 7, FeatureDegraded far, RestartDelayed",
                does="once, -own",
                state="degraded",
            ),
        ),
        back=Back(after=1.2, tells="ChildRestarted, FeatureRestored far", does="+own"),
    ),
    Cell(
        row="Network/Critical",
        case="a link that can't be made again",
        in_a="start",
        errors=real_errors.LINK_GONE,
        options={"feature": "far"},
        max_restarts=1,  # the kill is one
        steps=(
            Step(
                fails=7,
                gets="",
                tells=", ".join((*(f"first {n}, RestartDelayed" for n in range(1, 7)), "then 7"))
                + ", FeatureDegraded far, RestartDelayed",
                does=", ".join(["+own"] * 7),
                settles=sum(PAUSES),
                state="degraded",
            ),
        ),
        back=Back(after=1.2, tells="ChildRestarted, FeatureRestored far", does="+own"),
    ),
    Cell(
        row="Network/Recoverable",
        case="a request that may be repeated",
        errors=real_errors.REQUEST_LOST,
        method="again",
        max_restarts=0,
        steps=(
            Step(fails=3, waits=0.7, gets="own 4", tells=tries(3), does=retried(3, "again")),
            Step(
                fails=4,
                waits=0.8,
                gets="own 1",
                tells=f"{tries(3)}, then 4, ChildRestarted",
                does=f"{retried(3, 'again')}, -own, +own, again",
            ),
            Step(
                fails=5,
                waits=1.0,
                gets="own 1",
                tells=f"{tries(3)}, then 4, ChildRestarted, then 5, ChildRestarted",
                does=f"{retried(3, 'again')}, -own, +own, again, -own, +own, again",
            ),
        ),
    ),
    Cell(
        row="Network/Recoverable",
        case="a provider that says when",
        errors=real_errors.LIMITED,
        method="again",
        steps=(Step(fails=3, waits=7.5, gets="own 4", tells=tries(3), does=retried(3, "again")),),
    ),
    Cell(
        row="Network/Recoverable",
        case="a provider that does not say when is kept for later",
        errors=real_errors.REFUSED,
        method="again",
        steps=(Step(waits=0.1, gets="own 1", tells="then 1, ChildRestarted", does="again, -own, +own, again"),),
    ),
    Cell(
        row="Network/Recoverable",
        case="a request that may have had effects",
        errors=real_errors.REQUEST_LOST,
        steps=(restarts(1, "Restart()"), restarts(1, "Restart()")),
    ),
    Cell(
        row="Parser/Critical",
        case="a parser that has lost its way",
        errors=real_errors.PARSER_LOST,
        policy=real_errors.WITH_OWN_TYPES,
        fallback="skip markers",
        max_restarts=1,
        steps=(restarts(1), falls_back("skip markers", "then 2")),
        back=back_from("skip markers"),
    ),
    Cell(
        row="Parser/Recoverable",
        case="what ended too early",
        errors=real_errors.ENDED_EARLY,
        method="again",
        fallback="raw passthrough",
        steps=(
            Step(waits=0.1, gets="own 2", tells="first 1", does="again, again"),
            Step(
                fails=2,
                waits=0.1,
                gets="raw passthrough 1",
                tells="first 1, then 2, ChildRestarted, FellBack raw passthrough",
                does="again, again, -own, +raw passthrough, again",
                state="degraded: raw passthrough",
            ),
        ),
        back=back_from("raw passthrough"),
    ),
    Cell(
        row="Parser/Recoverable",
        case="what no further byte makes right",
        errors=real_errors.MALFORMED,
        fallback="raw passthrough",
        steps=(falls_back("raw passthrough", "then 1"),),
        back=back_from("raw passthrough"),
    ),
    Cell(
        row="Resource/Critical",
        case="a method that frees and answers",
        errors=real_errors.NO_ROOM,
        method="read",
        steps=(
            Step(gets="stale", tells="first 1", does="read"),
            Step(gets=CRASH, tells="then 2, AlertRaised Critical", does="read, -own", state="ended"),
        ),
    ),
    Cell(
        row="Resource/Critical",
        case="a child that needs less",
        errors=real_errors.NO_ROOM,
        fallback="free resources",
        steps=(falls_back("free resources", "first 1"),),
        back=back_from("free resources"),
    ),
    Cell(
        row="Resource/Critical",
        case="a child that needs less fails too",
        errors=real_errors.NO_ROOM,
        fallback="free resources",
        steps=(
            falls_back("free resources", "first 1"),
            Step(gets=CRASH, tells="then 2, AlertRaised Critical", does="once, -free resources", state="ended"),
        ),
    ),
    Cell(
        row="Resource/Critical",
        case="there is nothing to free",
        errors=real_errors.NO_ROOM,
        steps=(Step(gets=CRASH, tells="then 1, AlertRaised Critical", does="once, -own", state="ended"),),
    ),
    Cell(
        row="Resource/Recoverable",
        case="a limit that is felt",
        errors=real_errors.TOO_MUCH,
        steps=(
            resumes(1),
            Step(waits=0.1, gets=ERROR, tells="then 2, QualityChanged 3 to 2", does="once", rests=0.2),
            Step(gets=ERROR, tells="then 2", does="once", rests=4.8),
            Step(gets=ERROR, tells="then 2, QualityChanged 2 to 1", does="once"),
        ),
        back=Back(after=60.0, tells="QualityChanged 1 to 2, QualityChanged 2 to 3", does=""),
    ),
    Cell(
        row="Timeout/Recoverable",
        case="a default deadline passes while the handler runs",
        errors=(),
        method="last",
        steps=(
            Step(fails=0, takes=80.0, waits=80.0, gets="done", tells="first 1, first 2", does=""),
            Step(fails=0, takes=1000.0, waits=90.0, gets=TIMEOUT, tells="first 1, first 2", does="cancelled"),
        ),
    ),
    Cell(
        row="Timeout/Recoverable",
        case="a handler that gives up by itself",
        errors=real_errors.TOO_SLOW,
        steps=tuple(Step(gets=ERROR, tells="then 1", does="once") for _ in range(3)),
    ),
    Cell(
        row="any/Warning",
        case="the caller's matter",
        errors=real_errors.CALLERS,
        steps=tuple(resumes(n) for n in (1, 2, 3)),
    ),
    Cell(
        row="any/Warning",
        case="nobody's matter, in the background",
        in_a="task",
        errors=real_errors.CALLERS,
        steps=(Step(gets="", tells="Restart() 1, ChildRestarted", does="-own, +own"),),
    ),
    Cell(
        row="any/Info",
        case="what could not be parsed is reported",
        errors=real_errors.NOT_PARSED,
        steps=tuple(resumes(n) for n in (1, 2, 3)),
    ),
    Cell(
        row="UserCancelled/any",
        case="given up",
        errors=real_errors.GIVEN_UP,
        policy=real_errors.WITH_OWN_TYPES,
        steps=tuple(resumes(n) for n in (1, 2, 3)),
    ),
    Cell(
        row="any/any",
        case="a fault in the code",
        errors=real_errors.UNREGISTERED,
        steps=tuple(restarts(n) for n in (1, 2, 3, 4)),
    ),
    Cell(
        row="any/any",
        case="its restarts are spent, and the supervisor gives up",
        errors=real_errors.UNREGISTERED,
        max_restarts=2,
        steps=(
            restarts(1),
            restarts(2),
            Step(gets=CRASH, tells="first 3, GaveUp", does="once, -own", state="gave up"),
        ),
    ),
    Cell(
        row="any/any",
        case="its restarts are spent, and its circuit opens",
        errors=real_errors.UNREGISTERED,
        max_restarts=1,
        options={"on_exhausted": CircuitBreak(10.0)},
        steps=(
            restarts(1),
            Step(
                gets=CRASH,
                tells="first 2, Exhausted, AlertRaised Critical, CircuitOpened",
                does="once, -own",
                state="open",
            ),
        ),
        back=Back(after=16.0, tells="ChildRestarted, CircuitShut", does="+own"),
    ),
    Cell(
        row="any/any",
        case="its restarts are spent, and it is degraded",
        errors=real_errors.UNREGISTERED,
        max_restarts=1,
        fallback="simple",
        options={"on_exhausted": Degrade(), "feature": "near"},
        steps=(
            restarts(1),
            Step(
                gets=CRASH,
                tells="first 2, Exhausted, AlertRaised Critical, FeatureDegraded near, ChildRestarted, FellBack simple",
                does="once, -own, +simple",
                state="degraded: simple",
            ),
        ),
        back=Back(after=1.2, tells="FellBack None, FeatureRestored near", does="+own, -simple"),
    ),
    Cell(
        row="any/any",
        case="its restarts are spent, and it is stopped",
        errors=real_errors.UNREGISTERED,
        max_restarts=1,
        options={"on_exhausted": Stop()},
        steps=(
            restarts(1),
            Step(gets=CRASH, tells="first 2, Exhausted, AlertRaised Critical", does="once, -own", state="stopped"),
        ),
        back=STAYS_DOWN,
    ),
)
