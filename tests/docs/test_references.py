"""Pages that are made from code are up to date."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_reference_of_the_command_is_up_to_date() -> None:
    script = ROOT / "scripts" / "generate_cli_reference.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0, "run make docs"
