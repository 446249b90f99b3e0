"""Cells of the matrix in which no message is in hand: a task of the actor's own has failed, or a start."""

from __future__ import annotations

from typing import Any

from . import real_errors
from .cells import Back, Cell, Step, back_from


def task(tells: str, does: str = "-own, +own", state: str = "running") -> Step:
    """One failure in the background."""
    return Step(gets="", tells=tells, does=does, state=state)


def falls_back(to: str, tells: str) -> Step:
    """A fallback takes the child's place."""
    return task(f"{tells}, ChildRestarted, FellBack {to}", f"-own, +{to}", f"degraded: {to}")


def starts(*tells: str, settles: float, **more: Any) -> Step:
    """So many starts fail after a kill."""
    told = ", ".join((*tells, "ChildRestarted"))
    fails = len(tells)
    return Step(fails=fails, gets="", tells=told, does=", ".join(["+own"] * (fails + 1)), settles=settles, **more)


RESTARTED = "Restart() 1, ChildRestarted"
AGAIN = "Restart() 2, ChildRestarted"

BACKGROUND_CELLS: tuple[Cell, ...] = (
    Cell(
        row="Terminal/Recoverable",
        case="in the background, there is another mode",
        in_a="task",
        errors=real_errors.LOST_BEGUN,
        fallback="next mode",
        steps=(falls_back("next mode", "then 1"),),
        back=back_from("next mode"),
    ),
    Cell(
        row="FileSystem/Recoverable",
        case="in the background, there is a cache",
        in_a="task",
        errors=real_errors.FILE_BUSY,
        fallback="cache",
        steps=(falls_back("cache", "then 1"),),
        back=back_from("cache"),
    ),
    Cell(
        row="FileSystem/Recoverable",
        case="at a start, without a cache",
        in_a="start",
        errors=real_errors.FILE_BUSY,
        steps=(starts("Restart() 1, RestartDelayed", "Restart() 2, RestartDelayed", settles=0.3),),
    ),
    Cell(
        row="Network/Recoverable",
        case="in the background",
        in_a="task",
        errors=real_errors.REQUEST_LOST,
        steps=(task(RESTARTED), task(AGAIN)),
    ),
    Cell(
        row="Parser/Recoverable",
        case="in the background, without a simpler parser",
        in_a="task",
        errors=real_errors.MALFORMED,
        steps=(task(RESTARTED), task(AGAIN)),
    ),
    Cell(
        row="Parser/Critical",
        case="in the background",
        in_a="task",
        errors=real_errors.PARSER_LOST,
        policy=real_errors.WITH_OWN_TYPES,
        fallback="skip markers",
        steps=(task("first 1, ChildRestarted"), falls_back("skip markers", "then 2")),
        back=back_from("skip markers"),
    ),
    Cell(
        row="Resource/Critical",
        case="in the background, with nothing to free",
        in_a="task",
        errors=real_errors.NO_ROOM,
        steps=(task("then 1, AlertRaised Critical", "-own", "ended"),),
    ),
    Cell(
        row="Resource/Recoverable",
        case="in the background",
        in_a="task",
        errors=real_errors.TOO_MUCH,
        steps=(task(RESTARTED), task("then 2, QualityChanged 3 to 2, ChildRestarted")),
        back=Back(after=31.0, tells="QualityChanged 2 to 3", does=""),
    ),
    Cell(
        row="Timeout/Recoverable",
        case="in the background",
        in_a="task",
        errors=real_errors.TOO_SLOW,
        steps=(task(RESTARTED), task(AGAIN)),
    ),
    Cell(
        row="Terminal/Critical",
        case="a shell that can't be started",
        in_a="start",
        errors=real_errors.SHELL_ENDS,
        steps=(
            Step(
                fails=3,
                gets="",
                tells="first 1, RestartDelayed, first 2, RestartDelayed, AlertRaised Critical, then 3",
                does="+own, +own, +own",
                settles=0.3,
                state="stopped",
            ),
        ),
        back=Back(after=1000.0, tells="", does="", state="stopped"),
    ),
    Cell(
        row="any/Info",
        case="in the background",
        in_a="task",
        errors=real_errors.NOT_PARSED,
        steps=(task(RESTARTED), task(AGAIN)),
    ),
    Cell(
        row="UserCancelled/any",
        case="in the background",
        in_a="task",
        errors=real_errors.GIVEN_UP,
        policy=real_errors.WITH_OWN_TYPES,
        steps=(task(RESTARTED), task(AGAIN)),
    ),
    Cell(
        row="any/any",
        case="in the background",
        in_a="task",
        errors=real_errors.UNREGISTERED,
        steps=(task("first 1, ChildRestarted"), task("first 2, ChildRestarted")),
    ),
    Cell(
        row="any/any",
        case="at a start",
        in_a="start",
        errors=real_errors.UNREGISTERED,
        steps=(
            starts("first 1, RestartDelayed", "first 2, RestartDelayed", "first 3, RestartDelayed", settles=0.7),
            starts("first 4, RestartDelayed", settles=0.1),
        ),
    ),
)
