"""A history that was made up can be looked at like any other; its flows are not there."""

import subprocess
from pathlib import Path

import httpx2

from tests.served import clean_environ, perdure, serving


def test_what_needs_a_flow_that_is_not_there_says_so(tmp_path: Path) -> None:
    subprocess.run(
        perdure("bench", "seed", "50"), cwd=tmp_path, env=clean_environ(tmp_path), check=True, capture_output=True
    )
    with serving(tmp_path, "--retention", "365d") as server, httpx2.Client(base_url=f"{server.url}/api/v1") as client:
        found = client.get("/executions", params={"status": "completed", "limit": 1}).json()["data"]
        refused = client.get(f"/executions/{found[0]['id']}/fixture")
    assert (refused.status_code, refused.json()["code"]) == (404, "flow_version_not_found"), refused.text
