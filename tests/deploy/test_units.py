"""The systemd units: written without a slip, closed to what they do not need."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.files import UNITS, directives, unit_run

KNOWN = {
    "Unit": {"After", "Description", "StartLimitIntervalSec", "Wants"},
    "Service": {
        "AmbientCapabilities", "CapabilityBoundingSet", "Delegate", "Environment", "EnvironmentFile", "ExecStart", "Group",
        "KillMode", "KillSignal", "LimitNOFILE", "LoadCredential", "LockPersonality", "NoNewPrivileges", "OOMPolicy",
        "PrivateDevices", "PrivateTmp", "ProtectClock", "ProtectHome", "ProtectHostname", "ProtectKernelLogs",
        "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "RemoveIPC", "Restart", "RestartSec",
        "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "StateDirectory",
        "StateDirectoryMode", "SystemCallArchitectures", "SystemCallErrorNumber", "SystemCallFilter", "TimeoutStopSec",
        "UMask", "User", "WorkingDirectory",
    },
    "Install": {"WantedBy"},
}  # fmt: skip
"""Directives as systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5) spell them."""


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_directive_is_one(unit: Path) -> None:
    for section, name, _ in directives(unit):
        assert name in KNOWN[section], f"[{section}] {name}"


def test_systemd_itself_objects_to_nothing(unit: Path, tmp_path: Path) -> None:
    """Asked where it is installed; the names are held by the test above everywhere."""
    program = tmp_path / "perdure"
    program.symlink_to("/bin/true")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/srv/perdure/venv/bin/perdure", str(program)))
    if analyse := shutil.which("systemd-analyze"):
        for words in (
            ["verify", "--man=no", "--recursive-errors=no"],
            ["security", "--offline=true", "--threshold=25"],
        ):
            command = [analyse, *words, str(copy)]
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, env=os.environ | {"SYSTEMD_PAGER": ""}
            )
            assert done.returncode == 0, done.stderr + done.stdout


def test_its_home_is_the_folder_that_it_may_write(unit: Path) -> None:
    """All else is read-only under `ProtectSystem=strict`."""
    run = unit_run(unit)
    state = service(unit)["StateDirectory"].replace("%i", "1")
    words = list(run.words)
    home = words[words.index("--home") + 1] if "--home" in words else run.environ["PERDURE_HOME"]
    assert home == f"/var/lib/{state}"


def test_it_comes_back_whatever_ended_it(unit: Path) -> None:
    assert service(unit)["Restart"] == "always"
    assert ("Unit", "StartLimitIntervalSec", "0") in directives(unit)


def test_only_the_main_process_is_told_to_end(unit: Path) -> None:
    assert service(unit)["KillMode"] == "mixed"
    assert service(unit)["KillSignal"] == "SIGTERM"


def test_what_runs_nodes_may_kill_by_cgroup(unit: Path) -> None:
    runs_nodes = "--no-worker" not in unit_run(unit).words
    assert (service(unit).get("Delegate") == "yes") is runs_nodes
    assert "ProtectControlGroups" not in service(unit)


def test_the_units_are_closed_alike() -> None:
    """One that is opened for its nodes is opened by whoever runs it."""
    shared = {name for name in KNOWN["Service"] if name.startswith(("Private", "Protect", "Restrict", "SystemCall"))}
    closed = [{name: value for name, value in service(unit).items() if name in shared} for unit in UNITS]
    assert all(one == closed[0] for one in closed)


def service(unit: Path) -> dict[str, str]:
    return {name: value for section, name, value in directives(unit) if section == "Service"}
