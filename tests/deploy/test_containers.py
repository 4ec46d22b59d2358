"""The image, the compose file and the Kubernetes objects are valid, and fit one another."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml
from kubernetes_validate.utils import validate

from perdure.api.routes import ROUTES
from tests.deploy.files import DEPLOY, MANIFESTS, ROOT, compose, image_environ, instructions, pods, resources

OLDEST, NEWEST = "1.31", "1.35"
"""Versions of Kubernetes whose schemas are asked."""
HEALTH = {route.path for route in ROUTES if route.path.startswith("/health/")}
PODS = {name: (template, container) for name, template, container in pods()}


def test_the_dockerfile_has_nothing_that_its_linter_objects_to() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, DEPLOY / "Dockerfile"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_s_build_is_given_what_it_copies() -> None:
    ignored, *kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    copied = [word for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]]
    assert ignored == "*"
    assert {f"!{word}" for word in copied} == {word for word in kept if word.startswith("!")}
    assert all((ROOT / word).exists() for word in copied)


def test_the_image_does_not_run_as_root() -> None:
    uid = user_of_image()
    assert uid > 999
    assert any(f"--uid {uid}" in rest for name, rest in instructions() if name == "RUN")


def test_the_compose_file_keeps_to_the_specification() -> None:
    compose_spec.PyCompose.from_json(json.dumps(compose())).to_spec()


def test_the_compose_file_s_secrets_and_volumes_are_declared() -> None:
    document = compose()
    for name, service in document["services"].items():
        assert set(service["secrets"]) <= document["secrets"].keys(), name
        named = {one.partition(":")[0] for one in service["volumes"] if not one.startswith((".", "/"))}
        assert named <= document["volumes"].keys(), name
        for variable, value in service["environment"].items():
            assert not variable.endswith("_FILE") or Path(value).name in service["secrets"]


def test_the_compose_file_asks_servers_and_workers_whether_they_are_ready() -> None:
    for name in ("server", "worker"):
        command = compose()["services"][name]["healthcheck"]["test"][-1]
        assert f"127.0.0.1:{image_environ()['PERDURE_PORT']}/health/ready" in command
        compile(command, name, "exec")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    ("file", "resource"), resources(), ids=lambda one: one if isinstance(one, str) else one["kind"]
)
def test_kubernetes_takes_the_object(file: str, resource: dict[str, Any], version: str) -> None:
    validate(resource, version, strict=True)


def test_the_kustomization_holds_every_file_and_this_version() -> None:
    document = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text(encoding="utf-8"))
    assert sorted(document["resources"]) == [path.name for path in MANIFESTS]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert [one["newTag"] for one in document["images"]] == [version]


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_runs_as_the_image_s_user_without_rights(pod: str) -> None:
    template, container = PODS[pod]
    context = template["spec"]["securityContext"]
    assert context["runAsNonRoot"]
    assert context["runAsUser"] == context["fsGroup"] == user_of_image()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_can_write_its_home_and_read_its_store_s_url(pod: str) -> None:
    template, container = PODS[pod]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in template["spec"]["volumes"]}
    assert {one["name"] for one in mounts.values()} == volumes.keys()
    home = mounts[image_environ()["PERDURE_HOME"]]
    assert "readOnly" not in home
    assert "emptyDir" in volumes[home["name"]]
    variables = {one["name"]: one.get("value", "") for one in container["env"]}
    assert str(Path(variables["PERDURE_STORE_FILE"]).parent) in mounts
    assert variables.get("PERDURE_FLOWS", "/flows") in {*mounts, "/flows"}


@pytest.mark.parametrize("pod", [name for name in PODS if "migrate" not in name])
def test_a_pod_s_probes_ask_routes_that_there_are(pod: str) -> None:
    _, container = PODS[pod]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in HEALTH
        assert ports[asked["port"]] == int(image_environ()["PERDURE_PORT"])
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live", "a store that is away is no reason to die"


def test_services_and_budgets_find_their_pods() -> None:
    labels = [template["metadata"]["labels"] for template, _ in PODS.values()]
    for _, one in resources():
        selector = one["spec"].get("selector")
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            assert sum(wanted.items() <= pod.items() for pod in labels) == 1, one["metadata"]["name"]


def user_of_image() -> int:
    [user] = [rest for name, rest in instructions() if name == "USER"]
    found = re.match(r"(\d+):", user)
    assert found is not None
    return int(found[1])
