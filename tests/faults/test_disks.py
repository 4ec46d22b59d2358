"""Fault 14: the disk of the database is full, or that of the artifacts. It is said clearly, and it heals."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness.api import Refused
from tests.faults.harness.disk import MIB, SmallDisk, small_disk
from tests.faults.harness.scene import Scene
from tests.faults.harness.waiting import until


def fill(scene: Scene, disk: SmallDisk) -> Refused:
    """Start executions until the store refuses one; the refusal."""
    for number in range(2000):
        try:
            scene.api.start("faults/echo", {"text": "x" * 30_000}, key=f"fill-{number}")
        except Refused as refused:
            return refused
    raise AssertionError("the disk never filled up")


def said_not_ready(scene: Scene) -> Any:
    """What whoever asks where to send starts hears behind a refusal; the reasons."""
    with pytest.raises(Refused):
        scene.api.start("faults/echo", {"text": "x" * 60_000})
    ready = scene.api.request("GET", "/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    return ready.json()["checks"]


def test_a_full_database_disk_refuses_starts_and_heals(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as disk:
        scene = Scene(tmp_path, home=disk.folder / "home")
        try:
            scene.server.start()
            disk.apply(scene.server.pid)
            before = scene.api.start("faults/one", wait_s=20)
            refused = fill(scene, disk)
            assert refused.status == (507 if disk.is_real else 503), refused
            assert "retry-after" in refused.headers
            assert "space" in refused.problem["detail"] or not disk.is_real
            # Reads go on, and so does the server.
            assert scene.api.execution(before["id"])["output"] == before["output"]
            assert scene.api.request("GET", "/health/live").status_code == 200
            if disk.is_real:
                assert said_not_ready(scene) == {"store": "store_full", "engine": "ok"}
            assert [event["seq"] for event in scene.api.events(before["id"])]
            with pytest.raises(Refused):
                scene.api.start("faults/echo", {"text": "x" * 60_000})

            disk.grow(64 * MIB, scene.server.pid)
            # It finds out by itself, though nobody writes.
            until(lambda: scene.api.request("GET", "/health/ready").status_code == 200, within_s=30, what="it is ready")
            after = scene.api.start_surely("faults/one", key="after", within_s=30)
            assert scene.api.ended(after["id"])["status"] == "completed"
            scene.verdict()
        finally:
            scene.close()


def test_a_crash_on_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as disk:
        scene = Scene(tmp_path, home=disk.folder / "home")
        try:
            scene.server.start()
            disk.apply(scene.server.pid)
            fill(scene, disk)
            scene.server.kill()
            disk.grow(64 * MIB)
            scene.server.start()
            scene.verdict()
        finally:
            scene.close()


def test_a_full_artifact_disk_fails_the_nodes_that_need_it_and_nothing_else(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with small_disk(scene.home / "artifacts") as disk:
        try:
            scene.server.start()
            disk.apply(scene.server.pid)
            fits = scene.api.start("faults/publish", {"size": 200_000}, wait_s=20)
            assert fits["status"] == "completed", fits
            too_much = scene.api.start("faults/publish", {"size": 4 * MIB}, wait_s=20)
            assert too_much["status"] == "failed"
            assert "space" in too_much["error"]["message"].lower() or not disk.is_real, too_much["error"]
            as_blob = scene.api.start("faults/big", {"size": 4 * MIB}, wait_s=20)
            assert as_blob["status"] == "failed", "an output that cannot be kept fails its node"
            with pytest.raises(Refused) as refused:
                scene.api.start("faults/echo", {"text": "x" * (4 * MIB)})
            assert refused.value.status == (507 if disk.is_real else refused.value.status)
            assert scene.api.start("faults/one", wait_s=20)["status"] == "completed"

            disk.grow(64 * MIB, scene.server.pid)
            healed = scene.api.start("faults/publish", {"size": 4 * MIB}, wait_s=20)
            assert healed["status"] == "completed", healed["error"]
            assert scene.api.start("faults/big", {"size": 4 * MIB}, wait_s=20)["status"] == "completed"
            [artifact] = scene.api.get(f"/executions/{healed['id']}/artifacts")["data"]
            assert artifact["size_bytes"] == 4 * MIB
            assert artifact["sha256"] == healed["output"]
            assert not list(leftover_parts(disk.folder)), "what could not be finished is cleaned away"
            scene.verdict()
        finally:
            scene.close()


def leftover_parts(folder: Path) -> list[Path]:
    """Files of the artifact storage that are named for no content."""
    return [path for path in folder.rglob("*") if path.is_file() and len(path.name) < 60 and "tmp" in path.name]
