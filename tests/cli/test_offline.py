"""What the command does without a server: help, files, usage, and clear words."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.served import clean_environ, perdure

BROKEN = """id: tests/broken
nodes:
  first: {shell: 'true'}
  second: {shell: 'true', nedes: [first]}
"""


def test_a_server_that_is_not_there_is_one_clear_sentence(offline: Command) -> None:
    done = offline("execution", "list", "--url", "http://127.0.0.1:9")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[0].startswith("error: no answer from http://127.0.0.1:9")
    assert "perdure serve" in done.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["exection"], "Did you mean 'execution'"),
        (["execution", "strat"], "Did you mean 'start'"),
        (["execution", "start"], "Missing argument"),
        (["execution", "list", "--status", "done"], "'done' is not one of"),
        (["flow", "validate"], "Missing argument"),
        (["flow", "validate", "nowhere.yaml"], "nowhere.yaml"),
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["execution", "start", "x", "--start-at", "soon"], "neither a time"),
        (["execution", "list", "--url", "localhost:8000"], "no URL"),
        (["execution", "list", "--url", "http://127.0.0.1:99999"], "no URL"),
        (["execution", "list", "--token", "a\nb"], "the token holds"),
        (["execution", "list", "--workspace", "\u00e4"], "the workspace's name holds"),
    ],
)
def test_wrong_usage_is_told_with_what_is_right(offline: Command, args: list[str], told: str) -> None:
    done = offline(*args)
    assert done.code in {1, 2}
    assert done.out == ""
    assert told in done.err
    assert "Traceback" not in done.err
    assert "should not happen" not in done.err


def test_every_command_has_its_help(offline: Command) -> None:
    for args in (
        [],
        ["flow"],
        ["execution"],
        ["token"],
        ["serve"],
        ["run"],
        ["execution", "start"],
        ["doctor"],
        ["bench"],
    ):
        done = offline(*args, "--help")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("Usage: perdure")


def test_the_help_is_there_at_once(nowhere: Path) -> None:
    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run(perdure("--help"), check=True, stdout=subprocess.DEVNULL, env=clean_environ(nowhere))
        return time.perf_counter() - began

    def bare() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import click"], check=True)
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < min(bare() for _ in range(5)) + 0.1


def test_the_help_loads_no_more_than_it_needs(nowhere: Path) -> None:
    program = "import sys; from perdure.cli.main import call; call(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=nowhere)
    assert not {"httpx2", "rich", "asyncio", "msgspec", "yaml", "starlette"} & set(done.stderr.split())


def test_validate_needs_no_server_and_points_at_the_place(offline: Command, nowhere: Path) -> None:
    (nowhere / "broken.yaml").write_text(BROKEN)
    done = offline("flow", "validate", "broken.yaml")
    assert done.code == 1
    assert done.lines[0].startswith("broken.yaml:4:27: unknown_field: ")
    assert "'needs'" in done.lines[0]
    assert done.err == "1 file, 1 with problems\n"


def test_validate_of_a_good_file_prints_nothing(offline: Command, nowhere: Path) -> None:
    (nowhere / "good.yaml").write_text(BROKEN.replace("nedes", "needs"))
    done = offline("flow", "validate", ".")
    assert (done.code, done.out, done.err) == (0, "", "1 file, no problems\n")


def test_validate_takes_from_a_folder_what_a_server_would(offline: Command, nowhere: Path) -> None:
    (nowhere / ".git").mkdir()
    for path in (".hidden.yaml", ".git/x.yaml"):
        (nowhere / path).write_text(BROKEN)
    (nowhere / "package.json").write_text('{"name": "x"}')
    assert "there is no flow file in ." in offline("flow", "validate", ".").err
    (nowhere / "good.yaml").write_text(BROKEN.replace("nedes", "needs"))
    done = offline("flow", "validate", ".")
    assert (done.code, done.out) == (0, "")
    assert done.err == "1 file (1 without `nodes` left out), no problems\n"
    assert offline("flow", "validate", ".hidden.yaml").code == 1, "what is named is taken"


def test_validate_tells_of_ids_that_two_files_have(offline: Command, nowhere: Path) -> None:
    for name in ("a", "b"):
        (nowhere / f"{name}.yaml").write_text(BROKEN.replace("nedes", "needs"))
    done = offline("flow", "validate", ".", "a.yaml")
    assert done.code == 1
    assert done.lines == [
        "a.yaml:1:1: duplicate_flow: the flow tests/broken is also in b.yaml",
        "b.yaml:1:1: duplicate_flow: the flow tests/broken is also in a.yaml",
    ]


CALLS = """id: tests/calls
nodes:
  a: {python: "reports.text:summarise"}
  b: {python: "reports.text:sumarise"}
  c: {python: {call: "nowhere:run"}, compensate: {python: "reports.text:undo"}}
"""


def test_validate_warns_of_functions_that_are_not_there_and_runs_nothing(offline: Command, nowhere: Path) -> None:
    reports = nowhere / "flows" / "reports"
    reports.mkdir(parents=True)
    (reports / "__init__.py").write_text("open('was-run', 'w')\n")
    (reports / "text.py").write_text("open('was-run', 'w')\ndef summarise(): ...\n")
    (reports / "calls.yaml").write_text(CALLS)
    warned = [
        "flows/reports/calls.yaml:4:15: warning: function_not_found: 'reports.text' ("
        + str(reports / "text.py") + ") has no 'sumarise'; did you mean 'summarise'?",
        "flows/reports/calls.yaml:5:22: warning: function_not_found: there is no module 'nowhere' in the flow folders (",
        "flows/reports/calls.yaml:5:59: warning: function_not_found: 'reports.text' (",
    ]  # fmt: skip
    for given in ("flows", "flows/reports", "flows/reports/calls.yaml"):
        done = offline("flow", "validate", given)
        assert (done.code, done.err) == (0, "1 file, no problems, 3 warnings\n")
        assert [line[: len(start)] for line, start in zip(done.lines, warned, strict=True)] == warned
    (reports / "beside.py").write_text("def run(): ...\n")
    (reports / "near.yaml").write_text("id: near\nnodes:\n  a: {python: 'beside:run'}\n")
    assert "near.yaml" not in offline("flow", "validate", "flows").out, "`perdure run` finds what is beside a file"
    assert not (nowhere / "was-run").exists()
    [checked, _] = json.loads(offline("flow", "validate", "flows", "-o", "json").out)
    assert (checked["valid"], len(checked["warnings"])) == (True, 3)


def test_doctor_tells_of_a_home_that_is_open_to_others(offline: Command, nowhere: Path) -> None:
    home = nowhere / ".perdure"
    home.mkdir(mode=0o700)
    (home / "perdure.db").touch(mode=0o600)

    def found() -> tuple[str, str | None]:
        [finding] = [one for one in json.loads(offline("doctor", "-o", "json").out) if one["check"] == "home"]
        return finding["state"], finding["advice"]

    assert found() == ("ok", None)
    home.chmod(0o755)
    assert found() == ("warn", "chmod o-rwx .perdure")
    (home / "perdure.db").chmod(0o644)
    assert found() == ("warn", "chmod o-rwx .perdure .perdure/perdure.db")


def test_version_and_completion(offline: Command) -> None:
    assert offline("version").out.startswith("perdure ")
    assert offline("--version").out.count(".") == 2
    assert "_PERDURE_COMPLETE" in offline("completion", "zsh").out


def test_a_profile_that_is_not_there_is_named(offline: Command) -> None:
    done = offline("execution", "list", "--profile", "prod")
    assert done.code == 1
    assert "no profile 'prod'" in done.err


def test_a_reader_that_goes_away_disturbs_nobody(nowhere: Path) -> None:
    line = " ".join(perdure("execution", "start", "--help"))
    done = subprocess.run(
        ["bash", "-c", f"{line} | true; {line} >&-; exit 0"],
        capture_output=True,
        text=True,
        env=clean_environ(nowhere),
        check=True,
    )
    assert "Traceback" not in done.stderr


INTERRUPTED = """
import atexit, runpy, signal, sys
_, at, *sys.argv[1:] = sys.argv
class Interrupted:
    def find_spec(self, name, *rest):
        if name == at:
            interrupt()
def interrupt():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("as compiled modules make of it")
sys.meta_path.insert(0, Interrupted())
if at == "the end":
    atexit.register(interrupt)
runpy.run_module("perdure", run_name="__main__")
"""


@pytest.mark.parametrize(
    "at", ["perdure.cli", "click", "perdure.cli.version", "importlib.metadata", "perdure.cli.failures", "the end"]
)
def test_ctrl_c_while_modules_load_or_the_process_ends_leaves_no_word(nowhere: Path, at: str) -> None:
    command = ["flow", "list", "--url", "http://127.0.0.1:9"] if at == "perdure.cli.failures" else ["version"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, at, *command],
        capture_output=True,
        text=True,
        env=clean_environ(nowhere),
        check=False,
    )
    # What shells tell as 130.
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_events_of_a_server_that_is_not_there_are_not_waited_for(offline: Command) -> None:
    printed = offline("events", "--url", "http://127.0.0.1:9")
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.startswith("error: no answer from http://127.0.0.1:9")


def test_the_package_runs_as_the_command_does(nowhere: Path) -> None:
    for args in (["--version"], ["flow", "lits"]):
        done, same = (
            subprocess.run([*program, *args], capture_output=True, text=True, env=clean_environ(nowhere), check=False)
            for program in ([sys.executable, "-m", "perdure"], perdure())
        )
        assert (done.returncode, done.stdout, done.stderr) == (same.returncode, same.stdout, same.stderr)


def test_an_unexpected_error_is_one_line_and_how_to_see_more(nowhere: Path) -> None:
    program = (
        "import sys, perdure.cli.version as v; from perdure.cli.main import call\n"
        "def broken(): raise ZeroDivisionError('oh')\n"
        "v.version.callback = broken\n"
        "sys.exit(call(['version']))"
    )
    environ = clean_environ(nowhere)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: ZeroDivisionError: oh"
    assert "PERDURE_DEBUG=1" in done.stderr
    environ["PERDURE_DEBUG"] = "1"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=False)
    assert "Traceback" in done.stderr


def test_doctor_tells_of_a_server_that_is_none(offline: Command) -> None:
    [finding] = [
        one
        for one in json.loads(offline("doctor", "-o", "json", "--url", "http://127.0.0.1:99999").out)
        if one["check"] == "server"
    ]
    assert finding["state"] == "fail"
    assert "no URL of a server" in finding["detail"]
