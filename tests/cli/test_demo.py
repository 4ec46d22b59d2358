"""`perdure demo` shows a real flow, ends by itself, and leaves nothing running."""

import json
import re
import subprocess
from pathlib import Path

from perdure.client.local import running_owner
from tests.served import PATIENCE_S, clean_environ, perdure


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        perdure("demo"), cwd=folder, env=clean_environ(folder), capture_output=True, text=True, timeout=PATIENCE_S * 2,
        check=False,
    )  # fmt: skip


def test_the_demo_runs_to_its_end(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"read\[click\] +completed", done.stdout)
    assert re.search(r"\d+ distributions were audited", done.stdout)
    assert re.search(r"^permissive +\d+", done.stdout, re.MULTILINE)
    assert "perdure serve --flows" in done.stdout
    assert done.stderr == ""
    assert running_owner(tmp_path / ".perdure" / "perdure.db") is None


def test_the_demo_may_be_seen_again_also_with_tokens(tmp_path: Path) -> None:
    subprocess.run(
        perdure("token", "create", "x"), cwd=tmp_path, env=clean_environ(tmp_path), check=True, capture_output=True
    )
    assert demo(tmp_path).returncode == 0
    listed = subprocess.run(
        perdure("token", "list", "-o", "json"),
        cwd=tmp_path,
        env=clean_environ(tmp_path),
        check=True,
        capture_output=True,
    )
    states = {token["name"]: token["revoked_at"] for token in json.loads(listed.stdout)}
    assert states["x"] is None
    assert states["demo"] is not None, "the demo's own token is good for nothing afterwards"


def test_a_demo_that_cannot_run_says_why(tmp_path: Path) -> None:
    (tmp_path / ".perdure").write_text("a file")
    done = demo(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
