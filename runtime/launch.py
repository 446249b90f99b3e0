"""`run`: a tree as a program of its own, with signals, logs, crash dumps, watchdog and debug socket."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
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
from .debug.server import debug_services
from .dumps import CrashDump, CrashHook
from .logs import log_event, set_up_logging
from .reports import CrashReporter, state_of
from .runtime import Runtime
from .signals import OrderlySignals
from .state_dir import StateDir, default_state_dir
from .watchdog import Stall, Watchdog


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
) -> None:
    """Run a tree until it ends or a signal stops it (in order; a second signal at once).

    `state_dir` is where its sockets, log and crash dumps lie; None: the user's state folder, under the tree's name.
    `allow_eval` lets the debug socket evaluate Python. A tree that needs to know its state dir is given as a function
    of it, with its `name`.

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
        runtime = Runtime(
            spec,
            seed=seed,
            call_timeout=call_timeout,
            services=lambda runtime: _services(runtime, folder, allow_eval),
        )
        trio.run(_run, runtime, folder, restrict_keyboard_interrupt_to_checkpoints=True)


def _services(runtime: Runtime, folder: StateDir, allow_eval: bool) -> Sequence[ChildSpec]:
    return [
        child("reporter", CrashReporter, mailbox=64),
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
    """A supervisor ends: with what its child failed of last, and how the child was when that was last reported."""
    reports = [report for report in runtime.crash_reports() if report.path == error.child]
    state, method = (reports[-1].state, reports[-1].method) if reports else ({}, None)
    return CrashDump.of(path, error, state=state, message_in_hand=method)


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
    )
