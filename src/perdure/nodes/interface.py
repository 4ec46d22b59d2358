"""What a node type is: the seam between the engine and the work itself.

A node type is one file in this package or a plug-in (entry point group `perdure.nodes`, an
instance or a class without arguments). *Attempt* types do work in `run`; *control* types
(`flow`, `sleep`, `approval`, `ask`, `signal`) have no `run`: the engine carries them out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Protocol, runtime_checkable

import msgspec

from perdure.model.definition import Isolation
from perdure.model.failure import Failure


class NodeFailed(Exception):
    """An attempt did not succeed; the failure is recorded and, where allowed, retried."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _for_good() -> bool:
    return True


class NodeOrphaned(NodeFailed):
    """The attempt's work could not be stopped (a thread, a coroutine that refuses); it may still be running.

    `lives` tells whether it still is in this process, which is renewed if that lasts; None: it is a process of
    its own, so that renewing this one would not help.
    """

    def __init__(self, failure: Failure, *, lives: Callable[[], bool] | None = _for_good) -> None:
        super().__init__(failure)
        self.lives = lives


class NodeCrashed(NodeFailed):
    """The process that ran a quarantined attempt died (see `Call.quarantine`)."""


class Sink(Protocol):
    """Where an attempt sends what it tells while it runs. Methods may be called from the engine's loop only."""

    def log(self, level: str, message: str, *, stream: str | None = None, at: int | None = None) -> None:
        """One line. `level` is debug, info, warning or error; `stream` is stdout or stderr for captured output.

        `at` is when it was said, where that is not now: microseconds of `perdure.base.clock.boot_time`, which all
        processes of a machine share, whatever the clock of the store shows.
        """
        ...

    def waiting(self) -> None:
        """The attempt waits for a place (a process, a slot): the node's timeout stands still."""
        ...

    def placed(self) -> None:
        """It has its place: the node's timeout begins now. Types that wait for nothing need not say so."""
        ...

    async def ready(self) -> None:
        """Backpressure: returns when more log lines may be sent."""
        ...

    def artifact(self, *, name: str, path: str, media_type: str, size_bytes: int, sha256: bytes) -> None:
        """A file that is already in artifact storage; it is committed with the attempt's result or before.

        Raises ValueError for a name or a media type that cannot be recorded (`perdure.artifacts.names`).
        """
        ...

    def progress(self, fraction: float | None, message: str | None = None) -> None: ...


class Call(msgspec.Struct, kw_only=True):
    """One attempt, with everything rendered."""

    execution_id: str
    execution_number: int
    workspace: str
    flow: str
    flow_version: int
    node: str
    ordinal: int
    label: str
    attempt: int
    attempt_id: str
    """Unique for (execution, node, ordinal, label, attempt, epoch): an idempotency key for the outside world."""
    epoch: int
    config: Any
    with_: dict[str, Any]
    env: dict[str, str]
    isolation: Isolation | None
    grace_us: int
    """How long a stopped attempt may take from TERM (or `CancelledError`) to KILL. It is read when the attempt's
    task is cancelled: lower it and cancel the task once more to end a stop sooner that is under way."""
    quarantine: bool
    """It took the engine down before: run it in a process of its own whatever its isolation says."""
    sink: Sink


@runtime_checkable
class NodeType(Protocol):
    """A type may also have `check(config) -> list[Problem]`: what its schema cannot say about a configuration
    as it is written (with its `${…}`), and `warn(config) -> list[Problem]`: what may go wrong with it here, which
    refuses nothing. Neither runs anything of the user's; pointers are relative to the configuration."""

    name: ClassVar[str]
    """The key under which it is written in a flow."""
    control: ClassVar[bool]
    config_schema: ClassVar[dict[str, Any]]
    """JSON Schema 2020-12 of what stands under the key, with a `description`; templates `${…}` are strings,
    so a property that a template may fill accepts a string as well."""
    examples: ClassVar[list[Any]]
    """Values for the key, used by the docs and run by the tests."""

    async def run(self, call: Call) -> Any:
        """The node's output, a JSON value (not yet checked).

        Raises `NodeFailed`. When cancelled (asyncio), it stops its work *for certain* and only
        then ends; what it cannot stop it reports as `NodeOrphaned`.
        """
        ...


class ControlNode:
    """Base of the control types: the engine carries them out, so there is nothing to run."""

    control: ClassVar[bool] = True

    async def run(self, call: Call) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is carried out by the engine")
