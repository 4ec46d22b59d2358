"""The examples run as their pages say: in the foreground, and on a server."""

import json
import subprocess
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from perdure.client import Client
from perdure.wire.executions import Execution
from tests.examples.conftest import EXAMPLES
from tests.served import PATIENCE_S, Served, clean_environ, perdure, serving

FLOWS = {
    "examples/licences": EXAMPLES / "licences" / "licences.yaml",
    "examples/repair": EXAMPLES / "repair" / "repair.yaml",
    "examples/refund": EXAMPLES / "refund" / "refund.yaml",
    "examples/retries": EXAMPLES / "retries" / "retries.yaml",
    "examples/shell-http": EXAMPLES / "shell_http" / "shell_http.yaml",
}
INSTALLED = {item.name for item in distributions()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folders = [option for path in FLOWS.values() for option in ("--flows", str(path.parent))]
    with serving(tmp_path_factory.mktemp("examples"), *folders) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def ended(client: Client, flow: str, **input: object) -> Execution:
    return client.executions.start(flow, input=input).wait(PATIENCE_S)


def run(folder: Path, flow: str, *options: str) -> object:
    done = subprocess.run(
        perdure("run", str(FLOWS[flow]), *options), cwd=folder, env=clean_environ(folder), capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_example_is_known_here() -> None:
    assert set(FLOWS.values()) == set(EXAMPLES.rglob("*.yaml"))


def test_the_licences_of_what_is_really_installed_are_told(client: Client) -> None:
    execution = ended(client, "examples/licences")
    assert execution.output["total"] == len(INSTALLED)
    assert sum(execution.output["families"].values()) == len(INSTALLED)
    assert "certifi" in execution.output["copyleft"]["weak copyleft"]
    artifacts = {artifact.name: artifact for artifact in client.executions.handle(execution.id).artifacts()}
    report = json.loads(client.artifacts.read(artifacts["licences.json"].id))
    assert {row["name"] for row in report["distributions"]} == INSTALLED
    page = client.artifacts.read(artifacts["licences.md"].id).decode()
    assert f"# Licences of {len(INSTALLED)} distributions" in page
    runs = [run.label for run in client.executions.handle(execution.id).nodes(node="read")]
    assert set(runs) == INSTALLED


def test_names_can_be_left_out(tmp_path: Path) -> None:
    summary = run(tmp_path, "examples/licences", "-i", 'skip=["click", "pyyaml"]', "-q")
    assert isinstance(summary, dict)
    assert summary["total"] == len(INSTALLED) - 2


def test_trouble_is_met_as_the_page_says(client: Client) -> None:
    execution = ended(client, "examples/retries")
    assert execution.status == "completed"
    assert execution.output == {"booked": 5, "cents": 55160, "rejected": ["1003", "1006"]}
    handle = client.executions.handle(execution.id)
    runs = {(run.node, run.ordinal): run for run in handle.nodes()}
    assert [ordinal for (node, ordinal), run in runs.items() if node == "parse" and run.status == "failed"] == [2, 5]
    assert runs["book", 0].attempt == 3
    retried = [event.data for event in handle.events() if event.type == "node.retrying"]
    assert all("LeaseTaken" in (data or {})["message"] for data in retried)
    assert len(retried) == 2
    assert runs["check", 0].status == "failed"
    assert runs["clean", 0].status == "completed"
    artifacts = {artifact.name: client.artifacts.read(artifact.id).decode() for artifact in handle.artifacts()}
    assert [line.split(",")[1] for line in artifacts["rejected.csv"].split()[1:]] == ["1003", "1006"]
    assert len(artifacts["ledger.csv"].split()) == 6


def test_trouble_is_met_in_the_foreground_too(tmp_path: Path) -> None:
    assert run(tmp_path, "examples/retries") == {"booked": 5, "cents": 55160, "rejected": ["1003", "1006"]}


def test_the_server_is_asked_by_a_flow_of_its_own(client: Client, served: Served) -> None:
    execution = ended(client, "examples/shell-http", url=served.url)
    assert execution.status == "completed", execution.error
    assert (execution.output["health"], execution.output["said"]) == ("ok", f"{served.url} is ok\n")
    assert execution.output["free_kb"] > 0


def test_the_server_is_asked_from_the_foreground(tmp_path: Path, served: Served) -> None:
    output = run(tmp_path, "examples/shell-http", "-i", f"url={served.url}")
    assert isinstance(output, dict)
    assert output["health"] == "ok"


def test_people_and_a_bank_bring_a_refund_to_its_end(client: Client) -> None:
    execution = client.executions.start("examples/refund", input={"order": "A-1", "cents": 20_000})
    execution.signal("settled", {"reference": "early"})
    for node, answer in (("approve", None), ("how", {"account": "NL12"})):
        for event in execution.events(types=["node.suspended"]):
            if event.node == node:
                break
        if answer is None:
            assert execution.approve().by == "anybody on this machine"
        else:
            assert execution.respond(answer=answer).answer == {"account": "NL12", "speed": "standard"}
    output = execution.result(PATIENCE_S)
    assert output == {"approved_by": "anybody on this machine", "transfer": "A-1 to NL12", "reference": "early"}


def test_a_small_refund_needs_nobody_to_approve(client: Client) -> None:
    execution = client.executions.start("examples/refund", input={"order": "A-2", "cents": 900})
    execution.signal("settled", {"reference": "R"})
    for event in execution.events(types=["node.suspended"]):
        assert event.node == "how"
        break
    execution.respond(answer={"account": "NL12"})
    assert execution.result(PATIENCE_S)["approved_by"] is None
