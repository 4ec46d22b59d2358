"""How one engine is set up."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

from perdure.base.clock import DAY, SECOND
from perdure.engine.retention import Retention
from perdure.nodes.runtime import RuntimeSettings, default_pool_size


def _worker_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class EngineSettings(msgspec.Struct, kw_only=True):
    """Durations are microseconds, sizes bytes."""

    home: Path
    artifacts: Path | None = None
    """The folder of contents; None is the one in the home."""
    flow_folders: list[Path] = msgspec.field(default_factory=list)
    worker_name: str = msgspec.field(default_factory=_worker_name)
    slots: int = 256
    """Executions owned at once."""
    queues: tuple[str, ...] | None = None
    """Queues to claim from; None means all."""
    tags: tuple[str, ...] = ()
    """What flows may require of a worker, and this one has."""
    works: bool = True
    """Whether this process runs executions; without it, it only takes what callers ask for."""
    puts_flows: bool = True
    """Whether the flows in the folders are put into the store; without it, the folders only hold nodes' modules."""
    lease: int = 30 * SECOND
    """After so long without a heartbeat a worker on a shared store counts as dead; the same in all processes."""
    claim: bool = True
    """Whether to claim whatever is claimable; without it, only what `Engine.claim_family` names."""
    pool_size: int | None = None
    """Warm processes for sync Python nodes; None means as many as there are cores, two at least."""
    quarantine_size: int | None = None
    """Processes for quarantined attempts besides those; None means as many."""
    allow_private_addresses: bool = False
    allow_private_hosts: tuple[str, ...] = ()
    """Hosts, addresses and networks that http nodes may reach although they are private."""
    pass_env: tuple[str, ...] = ()
    """Variables of this process that shell nodes get besides the usual ones."""
    grace: int = 10 * SECOND
    """From TERM (or `CancelledError`) to KILL."""
    cleanup_grace: int = 60 * SECOND
    """For compensations and `run_if: always` nodes of an execution that is cancelled or timed out."""
    drain: int = 30 * SECOND
    """For running attempts when the engine stops."""
    log_limit: int = 16 * 1024 * 1024
    """Of log text that one execution may bring per owner; then `log.truncated`, once."""
    feed_kept: int = DAY
    keys_kept: int = DAY
    workers_kept: int = 7 * DAY
    """For how long one that stopped is still told of."""
    operations_kept: int = 7 * DAY
    """For how long one that is over is still told of."""
    retention: Retention = msgspec.field(default_factory=Retention)
    """For how long executions are kept that have ended."""

    def runtime_settings(self) -> RuntimeSettings:
        """The part that concerns nodes."""
        return RuntimeSettings(
            home=str(self.home),
            artifacts=None if self.artifacts is None else str(self.artifacts.resolve()),
            flow_folders=tuple(map(str, self.flow_folders)),
            pool_size=self.pool_size or default_pool_size(),
            quarantine_size=self.quarantine_size,
            allow_private_addresses=self.allow_private_addresses,
            allow_private_hosts=frozenset(self.allow_private_hosts),
            pass_env=self.pass_env,
        )
