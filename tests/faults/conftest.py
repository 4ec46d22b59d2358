"""A scene for every test: its own home, port, flows and ledgers, and nothing left behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness.scene import Scene


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Scene]:
    """A scene whose server is not started yet."""
    scene = Scene(tmp_path)
    try:
        yield scene
    finally:
        scene.close()


@pytest.fixture
def scene(stage: Scene) -> Scene:
    """A scene with its server running."""
    stage.server.start()
    return stage
