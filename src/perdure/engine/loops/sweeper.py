"""Keeps the folder of contents on this machine free of what nobody needs there."""

from __future__ import annotations

from perdure.artifacts.interface import ArtifactStorage
from perdure.engine.pace import Pace

SWEEP_S = 3_600.0


class Sweeper:
    def __init__(self, *, artifacts: ArtifactStorage, pace: Pace) -> None:
        self._artifacts = artifacts
        self._pace = pace

    async def work(self) -> float:
        await self._artifacts.tidy()
        return self._pace.pause(SWEEP_S)
