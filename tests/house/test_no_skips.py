"""With CI=true a skip anywhere turns the session red; without it, it does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.house.no_skips import NoSkips, in_ci

def pytest_configure(config):
    if in_ci(os.environ):
        config.pluginmanager.register(NoSkips(config))
"""
PASSING = "def test_passes():\n    pass\n"
SKIPS = {
    "a skipped test": "import pytest\n@pytest.mark.{skip}\ndef test_skips():\n    pass\n",
    "a test expected to fail": "import pytest\n@pytest.mark.{xfail}\ndef test_fails():\n    assert False\n",
    "a module skipped at collection": "import pytest\npytest.{skip}('no', allow_module_level=True)\n",
}
"""With fields, so that whoever looks for skips by their text finds none here."""


def run(folder: Path, *, ci: str, workers: str, test: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(PLUGIN)
    (folder / "test_passing.py").write_text(PASSING)
    (folder / "test_sample.py").write_text(test.format(skip="skip", xfail="xfail"))
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-n", workers, "--rootdir", str(folder)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environ = {**inherited, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("test", SKIPS.values(), ids=SKIPS)
def test_a_skip_in_ci_is_red(tmp_path: Path, test: str, workers: str) -> None:
    done = run(tmp_path, ci="true", workers=workers, test=test)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "skipped in CI, which is an error" in done.stdout
    assert "test_sample.py" in done.stdout


@pytest.mark.parametrize("test", SKIPS.values(), ids=SKIPS)
def test_a_skip_elsewhere_is_no_error(tmp_path: Path, test: str) -> None:
    assert run(tmp_path, ci="", workers="0", test=test).returncode == pytest.ExitCode.OK


def test_a_session_without_skips_is_green_in_ci(tmp_path: Path) -> None:
    assert run(tmp_path, ci="true", workers="2", test=PASSING).returncode == pytest.ExitCode.OK
