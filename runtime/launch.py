"""`run`: a tree as a program of its own, with signals, logs, crash dumps, watchdog and debug socket."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import trio
from loguru import logger

from ..actors.ending import GRACE
from ..actors.errors import ActorStopped, UkemiError
from ..actors.system import Crash
from ..supervisors.errors import SupervisorGaveUp
from ..supervisors.spec import ChildSpec
from ..supervisors.tree import child
from .collectors import Collector, JsonLines, to_log
from .debug.server import debug_services
from .dumps import CrashDump, CrashHook
from .error_report import messages_text, state_of
from .health import HealthMonitor, checked_targets
from .logs import log_event, set_up_logging
from .reports import ErrorReporter
from .runtime import Runtime
from .signals import OrderlySignals
from .state_dir import StateDir, default_state_dir
from .watchdog import Stall, Watchdog

REMEMBERED = 5
"""Messages that each actor remembers, for a crash dump."""


class Panicked(UkemiError):
    """The program was stopped since an exception outside the actors had been handled by nobody."""


def run(
    tree: ChildSpec | Callable[[StateDir], ChildSpec],
    *,
    name: str | None = None,
    state_dir: Path | str | None = None,
    allow_eval: bool = False,
    log_level: str = "INFO",
    seed: int | None = None,
    call_timeout: float = 30.0,
    timeouts: Mapping[str, float] | None = None,
    targets: Mapping[str, float] | None = None,
    report_to: Sequence[Collector] = (),
) -> None:
    """Run a tree until it ends or a signal stops it (in order; a second signal at once).

    `state_dir` is where its sockets, log and crash dumps lie; None: the user's state folder, under the tree's name.
    `allow_eval` lets the debug socket evaluate Python. A tree that needs to know its state dir is given as a function
    of it, with its `name`.

    `call_timeout` and `timeouts` are a Runtime's. `targets` are the p99 that operations should have, in seconds by
    name: the health monitor raises an alert for one that takes twice as long. `report_to` are functions that are given
    each ErrorReport, beside the log and `crashes/errors.jsonl`.

    Raises what made the tree end if it gave up (SupervisorGaveUp names the child) or could not be started,
    StateDirError if the folder can't be used, and Panicked for what nobody handled, in the main thread or another.
    """
    if name is None:
        if not isinstance(tree, ChildSpec):
            raise UkemiError("run takes a supervisor(…), or a function of the state dir and a name")
        name = tree.name
    with StateDir(Path(state_dir) if state_dir is not None else default_state_dir(name)) as folder:
        set_up_logging(folder.log, log_level)
        spec = tree if isinstance(tree, ChildSpec) else tree(folder)
        targets = checked_targets(targets or {})
        runtime = Runtime(
            spec,
            seed=seed,
            call_timeout=call_timeout,
            timeouts=timeouts,
            services=lambda runtime: _services(runtime, folder, allow_eval, targets),
        )
        runtime.system.remembers = REMEMBERED
        runtime.errors.report_to(to_log, JsonLines(folder.error_reports), *report_to)
        trio.run(_run, runtime, folder, restrict_keyboard_interrupt_to_checkpoints=True)


def _services(
    runtime: Runtime, folder: StateDir, allow_eval: bool, targets: Mapping[str, float]
) -> Sequence[ChildSpec]:
    return [
        child("reporter", ErrorReporter),
        child("health", lambda: HealthMonitor(runtime.metrics, targets)),
        *debug_services(runtime, folder.debug_socket, allow_eval=allow_eval),
    ]


async def _run(runtime: Runtime, folder: StateDir) -> None:
    token = trio.lowlevel.current_trio_token()

    def stop_soon() -> None:
        try:
            token.run_sync_soon(runtime.ask_to_stop)
        except trio.RunFinishedError:
            pass

    with ExitStack() as around:
        hook = around.enter_context(CrashHook(folder.crashes, stop_soon))
        around.enter_context(OrderlySignals(runtime.ask_to_stop))
        around.callback(runtime.events.listen(log_event))

        def dump_give_up(crash: Crash) -> None:
            if isinstance(crash.error, SupervisorGaveUp):
                hook.dump(_give_up_dump(runtime, crash.path, crash.error))

        around.callback(runtime.system.listen_to_crashes(dump_give_up))

        def dump_stall(stall: Stall) -> None:
            who = stall.actor or "code outside the actors"
            message = f"the loop has not turned for {stall.seconds:.1f} s: {who} stands at {stall.location}"
            logger.critical(message)
            hook.dump(_stall_dump(runtime, stall, message))

        def tell_recovery(seconds: float) -> None:
            logger.warning("the loop turns again, after {:.1f} s", seconds)

        around.enter_context(Watchdog(dump_stall, tell_recovery))
        try:
            async with runtime:
                logger.info("{} is up; its state is in {}", runtime.spec.name, folder.path)
                await runtime.wait()
                if runtime.system.zombies:
                    _exit_soon(runtime.system.zombies)
        except ActorStopped:
            if not runtime.is_stopping:
                raise
        except UkemiError:
            raise
        except Exception as error:
            hook.caught("main", error)
    if hook.count:
        raise Panicked(f"stopped since {hook.count} exceptions were handled by nobody; see {folder.crashes}")
    logger.info("{} has ended", runtime.spec.name)


def _exit_soon(zombies: int) -> None:
    """A process that is told to exit exits, even if an actor that was killed does not (rule S13)."""

    def exit_now() -> None:
        logger.error("{} actors were killed and still run; ending without them", zombies)
        os._exit(1)

    timer = threading.Timer(GRACE, exit_now)
    timer.daemon = True
    timer.start()


def _give_up_dump(runtime: Runtime, path: str, error: SupervisorGaveUp) -> CrashDump:
    """A supervisor ends: with what its child failed of last, and how the child was when that was last reported.

    Where supervisors gave up one after the other, with the child of the innermost.
    """
    runtime.errors.format()
    innermost = error
    while isinstance(innermost.__cause__, SupervisorGaveUp):
        innermost = innermost.__cause__
    reports = [report for report in runtime.errors.reports() if report.path == innermost.child]
    if not reports:
        return CrashDump.of(path, error)
    last = reports[-1]
    return CrashDump.of(path, error, state=last.state, message_in_hand=last.method, last_messages=last.last_messages)


def _stall_dump(runtime: Runtime, stall: Stall, message: str) -> CrashDump:
    life = runtime.ref(stall.actor).cell.incarnation if stall.actor is not None else None
    return CrashDump(
        time=datetime.now(UTC).isoformat(),
        pid=os.getpid(),
        origin=stall.actor or "stalled loop",
        location=stall.location,
        message=message,
        traceback=stall.stack,
        state=state_of(getattr(life, "actor", None)),
        message_in_hand=life.current[0] if life is not None and life.current is not None else None,
        last_messages=messages_text(life.last_messages) if life is not None else (),
    )
