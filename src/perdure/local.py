"""The store and the engine without a server, for commands that work on a home of this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec

from perdure.engine.engine import Engine
from perdure.engine.secrets import read_secrets
from perdure.nodes.interface import NodeType
from perdure.settings import ServerSettings
from perdure.store.interface import BatchOutcome, Store
from perdure.store.recorder import Recorder
from perdure.stores import opened_store


@contextlib.asynccontextmanager
async def local_store(settings: ServerSettings) -> AsyncIterator[tuple[Store, Recorder]]:
    """The store without an engine (`perdure token`). Raises StoreLocked and the like."""
    async with opened_store(settings) as opened:
        recorder = Recorder(opened.store)
        try:
            yield opened.store, recorder
        finally:
            await recorder.close()


@contextlib.asynccontextmanager
async def local_engine(
    settings: ServerSettings,
    *,
    module_folders: Sequence[Path] = (),
    secrets: Mapping[str, str] | None = None,
    stand_in: NodeType | None = None,
) -> AsyncIterator[Engine]:
    """The engine on the local store without an API (`perdure run`): it claims only what it is told to.

    `module_folders` are where Python nodes find their modules beside the flow folders; `secrets` are those of the
    environment when None; `stand_in` is the engine's. Raises StoreLocked and the like.
    """

    def listen(outcome: BatchOutcome) -> None:
        engine.on_batch(outcome)

    async with opened_store(settings) as opened:
        chosen = msgspec.structs.replace(settings.engine_settings(), claim=False, works=True)
        engine = Engine(
            store=opened.store,
            recorder=Recorder(opened.store, listener=listen),
            clock=opened.clock,
            settings=chosen,
            secrets=read_secrets(os.environ) if secrets is None else secrets,
            artifacts=opened.artifacts,
            stand_in=stand_in,
        )
        try:
            await engine.start()
            engine.runtime.set_flow_folders([*map(str, module_folders), *engine.runtime.flow_folders])
            yield engine
        finally:
            await engine.stop()
