"""What all owners of one engine work with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Protocol

import msgspec

from perdure.artifacts.interface import ArtifactStorage
from perdure.base.clock import Clock
from perdure.engine.later import Later
from perdure.engine.orphans import Orphans
from perdure.engine.requests import StartRequest
from perdure.engine.secrets import Masker
from perdure.engine.settings import EngineSettings
from perdure.engine.values import Values
from perdure.nodes.interface import NodeType
from perdure.store.interface import Store
from perdure.store.recorder import Recorder
from perdure.store.records import NewExecution


class ChildBuilder(Protocol):
    async def child(self, request: StartRequest, *, parent: Any) -> NewExecution: ...


class ChildReplayer(Protocol):
    async def child(self, start: StartRequest, *, parent: Any, earlier: bytes) -> NewExecution | None: ...


class Shop(msgspec.Struct, kw_only=True):
    clock: Clock
    loop: asyncio.AbstractEventLoop
    recorder: Recorder
    later: Later
    store: Store
    node_types: Mapping[str, NodeType]
    settings: EngineSettings
    values: Values
    secrets: Mapping[str, str]
    masker: Masker
    random: Random
    starts: ChildBuilder
    replays: ChildReplayer
    orphans: Orphans
    artifacts: ArtifactStorage
    has_room: Callable[[], bool]
    """Whether a place is free for another execution."""
    worker: str
    """Id of this process as a worker; another one after it had to register anew, when nothing is owned."""
    stand_in: NodeType | None = None
    """What answers in the place of nodes with side effects, while a fixture is run."""
    may_begin: Callable[[], bool]
    """Whether what is owned is surely this process's own, so that an attempt may begin."""
