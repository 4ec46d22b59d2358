"""A server in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any


class Process:
    """`perdure.serving.serve` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, ready_s: float) -> None:
        self.process = process
        self.url = url
        self.ready_s = ready_s

    @classmethod
    async def start(cls, home: Path, **more: Any) -> Process:
        code = (
            "import sys; from pathlib import Path; from perdure.serving import serve; from perdure.settings import ServerSettings; "
            f"sys.exit(serve(ServerSettings(home=Path({str(home)!r}), port=0, **{more!r})))"
        )
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
        assert process.stderr is not None
        async with asyncio.timeout(30):
            record: dict[str, Any] = {}
            while record.get("event") != "ready":
                line = await process.stderr.readline()
                assert line, "it ended before it was ready"
                record = json.loads(line)
        return cls(process, record["url"], time.monotonic() - began)

    async def end(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            rest = await self.process.stderr.read()
            return await self.process.wait(), rest.decode()
