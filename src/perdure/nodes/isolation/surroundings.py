"""What one attempt may have changed in a pool process, so that the next one starts as clean as the first."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading

from perdure.nodes.authoring import Context

_LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def attempt_env(context: Context) -> dict[str, str]:
    """The variables by which every process of an attempt knows what it belongs to."""
    return {
        "PERDURE_EXECUTION_ID": context.execution_id,
        "PERDURE_NODE": context.node,
        "PERDURE_ATTEMPT": str(context.attempt),
        "PERDURE_ATTEMPT_ID": context.attempt_id,
    }


class Surroundings:
    """Taken before the first attempt: directory, variables, resource limits, search path, threads."""

    def __init__(self) -> None:
        self._cwd = os.getcwd()
        self._environ = dict(os.environ)
        self._limits = _limits()
        self._path = list(sys.path)
        self._umask = _umask()

    def enter(self, context: Context) -> None:
        os.environ.update(context.env)
        os.environ.update(attempt_env(context))

    def leave(self) -> bool:
        """Put back what can be put back.

        False when this process must not run another attempt: it has a thread, a child process or a
        timer left, or limits that cannot be raised again.
        """
        if _has_children() or threading.active_count() > 1 or _limits() != self._limits or _has_timers():
            return False
        try:
            if os.getcwd() != self._cwd:
                os.chdir(self._cwd)
        except OSError:
            return False
        if os.environ != self._environ:
            for name in os.environ.keys() - self._environ.keys():
                del os.environ[name]
            os.environ.update(self._environ)
        if sys.path != self._path:
            sys.path[:] = self._path
        return _umask() == self._umask


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(limit) for limit in _LIMITS]


def _has_timers() -> bool:
    """Whether an alarm is to come, which would strike the next attempt."""
    return any(signal.getitimer(timer) != (0.0, 0.0) for timer in _TIMERS)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _has_children() -> bool:
    """Whether a child is alive, orphans of children too (this process is their reaper); reaps the dead ones."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
