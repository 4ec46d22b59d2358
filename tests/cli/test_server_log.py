"""What `perdure serve` writes to stderr: a banner for people, else one JSON object a line and nothing between."""

import json
import subprocess
import sys
from pathlib import Path

from tests.served import PATIENCE_S, clean_environ, perdure


def served(folder: Path, *options: str, begun: str) -> str:
    """The whole stderr of a server that was stopped once it had written a line with `begun`."""
    process = subprocess.Popen(
        perdure("serve", "--port", "0", *options), cwd=folder, env=clean_environ(folder), stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stderr is not None
    written = ""
    for line in process.stderr:
        written += line
        if begun in line:
            break
    process.terminate()
    _, rest = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    return written + rest


def test_every_line_is_a_json_object_where_nobody_reads_along(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "bad.yaml").write_text("id: bad\nnodes: {a: {slep: 1s}}\n")
    records = [json.loads(line) for line in served(tmp_path, "--flows", "flows", begun='"ready"').splitlines()]
    [ready] = [record for record in records if record["event"] == "ready"]
    assert ready["url"].startswith("http://127.0.0.1:")
    assert {"version", "store", "flows", "access", "after_s", "timestamp"} <= ready.keys()
    assert [record["event"] for record in records[-1:]] == ["draining"]
    assert any(record["level"] == "warning" for record in records), "the broken file"


def test_a_person_gets_a_banner_without_escapes_in_a_file(tmp_path: Path) -> None:
    written = served(tmp_path, "--log-format", "console", begun="docs ")
    assert " ready at http://127.0.0.1:" in written
    assert "draining" in written
    assert "\x1b" not in written


def test_what_libraries_log_is_json_too(tmp_path: Path) -> None:
    program = (
        "import logging; from pathlib import Path; from perdure.log import configure_logging\n"
        "from perdure.settings import ServerSettings\n"
        "configure_logging(ServerSettings(home=Path('x'), log_format='json'))\n"
        "logging.getLogger('some.module').warning('beware of %s', 'this')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('some.module').exception('oh')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    warned, failed = map(json.loads, done.stderr.splitlines())
    assert (warned["event"], warned["level"], warned["logger"]) == ("beware of this", "warning", "some.module")
    assert "ZeroDivisionError" in json.dumps(failed["exception"])
