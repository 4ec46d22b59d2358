"""The fault scenes for as long as you like: `make chaos`, with PERDURE_CHAOS_SECONDS and PERDURE_CHAOS_SEED."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.api.test_stateful import Teller, stage
from tests.faults.harness.scene import Scene
from tests.faults.test_crashes import crash_at, crash_loop
from tests.faults.test_races import race

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]


def scenes(tmp_path: Path, seeds: Iterator[int]) -> Iterator[tuple[Scene, int]]:
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        scene = Scene(folder)
        try:
            yield scene, seed
        finally:
            scene.close()


def test_kill_loop(tmp_path: Path, seeds: Iterator[int]) -> None:
    for scene, seed in scenes(tmp_path, seeds):
        random = Random(seed)
        crash_loop(scene, seed=seed, crashes=random.randrange(5, 25), threads=random.randrange(2, 8))


def test_commit_points(tmp_path: Path, seeds: Iterator[int]) -> None:
    for scene, seed in scenes(tmp_path, seeds):
        random = Random(seed)
        for _ in range(4):
            point = random.choice(["before_commit", "after_commit", "before_reply"])
            crash_at(scene, f"{point}:{random.randrange(1, 60)}")
        scene.server.start()
        scene.verdict()


def test_cancel_races(tmp_path: Path, seeds: Iterator[int]) -> None:
    for scene, seed in scenes(tmp_path, seeds):
        scene.server.start()
        race(scene, rounds=2000, seed=seed)
        scene.verdict()


def test_stories(tmp_path: Path, seeds: Iterator[int]) -> None:
    """A story of the document after another; what is wrong is told with its requests."""
    with stage(tmp_path) as target:
        for seed in seeds:
            teller = Teller(target)
            teller.tell(20, first_seed=seed)
            assert not teller.findings, teller.findings[0]
