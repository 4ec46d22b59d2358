"""The index of texts is killed, torn, swapped and deleted: searches find all that was acknowledged, at every moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.faults.harness.haystack import PORTION, SEGMENT, Haystack, catches_up, index
from tests.faults.harness.scene import Scene
from tests.faults.harness.waiting import until

Damage = Callable[[Path], None]


def test_kills_in_the_middle_of_its_work_lose_nothing_that_can_be_found(stage: Scene) -> None:
    stage.server.start()
    haystack = Haystack(seed=5)
    for turn in range(3):
        haystack.grow(stage.api, SEGMENT)
        if turn:
            until(lambda: index(stage.api)["waiting"] >= PORTION, within_s=30, what="a segment is to be made")
        stage.server.kill()
        stage.server.start()
        haystack.check(stage.api)
    stage.settle()
    catches_up(stage.api)
    haystack.check(stage.api)
    stage.verdict()


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def flipped(path: Path) -> None:
    """A byte of every page but the first."""
    random = Random(1)
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(page * 4096 + random.randrange(4000))
            byte = file.read(1)[0] ^ 0x55
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte]))


def garbled(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def test_a_file_that_is_damaged_is_made_anew(stage: Scene) -> None:
    stage.server.start()
    haystack = Haystack(seed=6)
    haystack.grow(stage.api, SEGMENT + 500)
    stage.settle()
    damages: tuple[Damage, ...] = (Path.unlink, torn, flipped, garbled)
    for damage in damages:
        catches_up(stage.api)
        stage.server.stop()
        damage(stage.home / "perdure.db.search")
        stage.server.start()
        haystack.check(stage.api)
    catches_up(stage.api)
    haystack.check(stage.api)
    stage.verdict()


def test_an_older_file_goes_on_from_where_it_was(stage: Scene, tmp_path: Path) -> None:
    """As after a restore, or where the file was left on another disk for a while."""
    stage.server.start()
    haystack = Haystack(seed=7)
    haystack.grow(stage.api, 1000)
    stage.settle()
    stage.server.stop()
    path = stage.home / "perdure.db.search"
    shutil.copy(path, tmp_path / "older")
    stage.server.start()
    haystack.grow(stage.api, 2000)
    stage.settle()
    catches_up(stage.api)
    stage.server.stop()
    shutil.copy(tmp_path / "older", path)
    stage.server.start()
    haystack.check(stage.api)
    catches_up(stage.api)
    haystack.check(stage.api)
    stage.verdict()
