"""Plug-ins from entry points, and what a bad one cannot do."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.nodes.interface import NodeType
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings
from tests.nodes.conftest import make_call

PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the search path, as an installed distribution whose entry points each test writes."""
    info = tmp_path / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(PLUGINS))
    yield info
    for name in ("shouting", "shouting.shout"):
        sys.modules.pop(name, None)


def types_with(info: Path, *points: str) -> dict[str, NodeType]:
    (info / "entry_points.txt").write_text("[perdure.nodes]\n" + "\n".join(points) + "\n")
    return load_node_types(NodeRuntime(RuntimeSettings(home="nowhere")))


@pytest.mark.parametrize("target", ["shouting.shout:ShoutNode", "shouting.shout:shout"])
async def test_a_plug_in_is_a_node_type_like_any(installed: Path, target: str) -> None:
    types = types_with(installed, f"shout = {target}")
    assert await types["shout"].run(make_call({"text": "hello"})) == "HELLO!"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nowhere:X", "No module named 'nowhere'"),
        ("shouting.shout:nothing", "has no attribute 'nothing'"),
        ("shouting.shout:NOT_A_TYPE", "is no node type"),
        ("shouting.shout:Shadow", "the name 'shell' is taken"),
        ("shouting.shout:BadName", "is no name for a node type"),
        ("shouting.shout:FieldName", "'timeout' is a field of every node"),
        ("shouting.shout:Broken", "cannot be made"),
    ],
)
def test_a_bad_plug_in_is_reported_and_left_out(
    installed: Path, caplog: pytest.LogCaptureFixture, target: str, reason: str
) -> None:
    with caplog.at_level(logging.ERROR, "perdure"):
        types = types_with(installed, f"bad = {target}", "shout = shouting.shout:ShoutNode")
    assert "shout" in types
    assert type(types["shell"]).__module__ == "perdure.nodes.shell"
    (record,) = caplog.records
    assert "shouting" in record.message
    assert reason in record.message
