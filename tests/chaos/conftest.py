"""Chance for the chaos tests: every seed is printed before it is used, so that what it found can be found again."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.postgres_server import Postgres

SECONDS = float(os.environ.get("PERDURE_CHAOS_SECONDS", "600"))
SEED = int(os.environ.get("PERDURE_CHAOS_SEED") or time.time())
PARTS = 10
"""Tests that share the time."""


@pytest.fixture
def seeds(capsys: pytest.CaptureFixture[str]) -> Iterator[int]:
    """A new seed for every scene, as long as this test's share of the time lasts; each is printed first."""

    def draw() -> Iterator[int]:
        random = Random(SEED)
        end = time.monotonic() + SECONDS / PARTS
        while time.monotonic() < end:
            seed = random.randrange(2**32)
            with capsys.disabled():
                print(f"\nchaos: seed {seed} (of PERDURE_CHAOS_SEED={SEED})", flush=True)
            yield seed

    return draw()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    made = Postgres(tmp_path / "postgres").start()
    yield made
    made.stop("immediate")
