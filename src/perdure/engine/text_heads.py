"""The texts in which executions are searched: the beginnings of input, output and error, folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perdure.artifacts.interface import ArtifactStorage
from perdure.errors import ArtifactNotFound
from perdure.store.interface import Heads
from perdure.store.search.grams import HEAD, folded

_BYTES_A_CHARACTER = 4


class Texts(NamedTuple):
    """Folded; empty where there is nothing."""

    input: str
    output: str
    error: str


class TextHeads:
    """Reads them from the store, and those of large values from where contents are kept."""

    def __init__(self, heads: Heads, storage: ArtifactStorage) -> None:
        self._heads = heads
        self._storage = storage

    async def of(self, ids: Sequence[bytes]) -> dict[bytes, Texts]:
        """Of those that are there."""
        found: dict[bytes, Texts] = {}
        for head in await self._heads.of(ids):
            found[head.id] = Texts(
                input=await self._text(head.input, head.input_blob),
                output=await self._text(head.output, head.output_blob),
                error=folded(head.error or ""),
            )
        return found

    async def _text(self, text: str | None, blob: bytes | None) -> str:
        if blob is None:
            return folded(text or "")
        try:
            data = b"".join([piece async for piece in self._storage.open(blob, end=HEAD * _BYTES_A_CHARACTER)])
        except ArtifactNotFound:
            return ""
        return folded(data.decode("utf-8", "ignore")[:HEAD])
