"""`import perdure`, as code that runs as a node does it."""

import subprocess
import sys

import pytest

import perdure
from perdure.nodes.isolation.supervision import IMPORT_ROOT


def test_importing_perdure_brings_almost_nothing() -> None:
    code = "import sys; import perdure; print(*sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({IMPORT_ROOT!r}); {code}"]
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    loaded = set(output.split())
    assert {name for name in loaded if name.startswith("perdure")} == {"perdure"}
    assert not loaded & {"apsw", "asyncio", "ctypes", "httpx2", "inspect", "json", "logging", "msgspec", "starlette"}


def test_what_a_node_may_call_is_there() -> None:
    for name in perdure.__all__:
        assert getattr(perdure, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        perdure.nothing  # noqa: B018


@pytest.mark.parametrize("call", [perdure.context, perdure.progress, lambda: perdure.artifact(b"", "x")])
def test_outside_of_a_node_there_is_no_attempt(call: object) -> None:
    with pytest.raises(RuntimeError, match="runs as a node"):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_is_from_0_to_1(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        perdure.progress(fraction)
