"""What stands in deploy/: how each file runs perdure, and what it grants."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.stem != "kustomization")
INSTANCE = {"%i": "1", "%H": "host", "%d": "/run/credentials"}
"""What systemd puts for its specifiers, for one unit on one machine."""


@dataclass(frozen=True)
class Run:
    """One process of perdure: `stop_s` is the time from TERM to KILL, None for what ends by itself."""

    where: str
    words: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    stop_s: float | None = None
    before_stop_s: float = 0
    """Of that time, what passes before the process hears of it."""


def directives(unit: Path) -> list[tuple[str, str, str]]:
    """(section, name, value) of a unit, in order."""
    found = []
    section = ""
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.append((section, name, value))
    return found


def unit_run(unit: Path) -> Run:
    service = [(name, _specified(value)) for section, name, value in directives(unit) if section == "Service"]
    [command] = [value for name, value in service if name == "ExecStart"]
    program, *words = shlex.split(command)
    assert Path(program).name == "perdure"
    environ = dict(value.split("=", 1) for name, value in service if name == "Environment")
    [stop] = [value for name, value in service if name == "TimeoutStopSec"]
    return Run(unit.name, tuple(words), environ, float(stop))


def _specified(value: str) -> str:
    for specifier, text in INSTANCE.items():
        value = value.replace(specifier, text)
    return value


def compose() -> dict[str, Any]:
    """The compose file with its merges made."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return document


def compose_runs() -> Iterator[Run]:
    for name, service in compose()["services"].items():
        if service["image"] == "perdure":
            stop = float(service["stop_grace_period"].removesuffix("s"))
            environ = image_environ() | {key: str(value) for key, value in service["environment"].items()}
            yield Run(f"compose.yaml: {name}", tuple(service["command"]), environ, stop)


def resources() -> list[tuple[str, dict[str, Any]]]:
    """(file, object) of every Kubernetes object."""
    return [
        (path.name, one) for path in MANIFESTS for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]  # fmt: skip


def pods() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, pod template, its one container) of whatever makes pods."""
    found = []
    for file, one in resources():
        if one["kind"] in {"Deployment", "Job"}:
            template = one["spec"]["template"]
            [container] = template["spec"]["containers"]
            found.append((f"{file}: {one['metadata']['name']}", template, container))
    return found


def pod_runs() -> Iterator[Run]:
    for name, template, container in pods():
        assert "command" not in container, "the image's entry point is perdure"
        environ = image_environ() | {one["name"]: one.get("value", "from-field") for one in container["env"]}
        stop = template["spec"].get("terminationGracePeriodSeconds")
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        yield Run(name, tuple(container["args"]), environ, stop, pause)


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of the Dockerfile, in order."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def image_environ() -> dict[str, str]:
    [text] = [rest for name, rest in instructions() if name == "ENV"]
    return dict(word.split("=", 1) for word in shlex.split(text))


def image_run() -> Run:
    said = dict(instructions())
    entry, command = json.loads(said["ENTRYPOINT"]), json.loads(said["CMD"])
    assert entry == ["perdure"]
    return Run("Dockerfile", tuple(command), image_environ())


def runs() -> list[Run]:
    return [*map(unit_run, UNITS), *compose_runs(), *pod_runs(), image_run()]
