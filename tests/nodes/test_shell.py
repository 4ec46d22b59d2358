"""Commands: what they get, what they give, and what of it is kept."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator
from itertools import count, islice

import jsonschema_rs
import pytest

from perdure.base.codec import encode
from perdure.nodes.shell import TAIL_LIMIT, ShellNode
from tests.nodes.conftest import Nodes, RecordingSink, running_nodes


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    async with running_nodes(tmp_path_factory.mktemp("shell"), shell_processes=3) as running:
        yield running


async def test_the_output_has_code_text_and_json(nodes: Nodes) -> None:
    assert await nodes.run("shell", "echo hello") == {"exit_code": 0, "stdout": "hello\n", "json": None}
    output = await nodes.run("shell", """echo '{"a": [1, 2]}'""")
    assert output["json"] == {"a": [1, 2]}


async def test_with_comes_as_json_on_standard_input(nodes: Nodes) -> None:
    value = {"text": "ä\u0000'\"$(id)", "list": [1, None]}
    assert (await nodes.run("shell", "cat", with_=value))["json"] == value
    assert (await nodes.run("shell", "cat"))["json"] == {}


async def test_a_large_input_needs_no_reader(nodes: Nodes) -> None:
    value = {"text": "x" * 4_000_000}
    assert (await nodes.run("shell", "true", with_=value))["exit_code"] == 0
    output = await nodes.run("shell", "wc -c", with_=value)
    assert output["json"] == len(encode(value))


async def test_env_reaches_the_command_as_variables_and_is_no_code(nodes: Nodes) -> None:
    value = "$(touch hacked); `id` \"' \n ; rm"
    output = await nodes.run("shell", 'printf %s "$VALUE"', env={"VALUE": value})
    assert output["stdout"] == value
    assert not (nodes.folder / "hacked").exists()


async def test_a_variable_that_is_too_large_is_named_with_the_way_out(nodes: Nodes) -> None:
    failure = await nodes.failure("shell", "true", env={"SMALL": "x", "REPORT": "x" * 200_000})
    assert (failure.code, failure.retryable) == ("limit_exceeded", False)
    assert "REPORT" in failure.message
    assert "`with`" in failure.message
    assert failure.details == {"size_bytes": 200_008, "limit_bytes": 131_072}
    largest = "x" * (131_072 - len("REPORT=") - 1)
    assert (await nodes.run("shell", 'printf %s "$REPORT" | wc -c', env={"REPORT": largest}))["json"] == len(largest)


async def test_variables_that_are_too_large_together_are_refused_by_their_sum(nodes: Nodes) -> None:
    failure = await nodes.failure("shell", "true", env={f"PART_{number}": "x" * 100_000 for number in range(70)})
    assert failure.code == "limit_exceeded"
    assert failure.details["size_bytes"] > 7_000_000 > failure.details["limit_bytes"]


async def test_a_command_that_is_too_long_is_sent_into_a_file(nodes: Nodes) -> None:
    failure = await nodes.failure("shell", f"true # {'x' * 200_000}")
    assert failure.code == "limit_exceeded"
    assert "script" in failure.message


async def test_the_environment_is_clean(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    monkeypatch.setenv("PERDURE_TOKEN", "x")
    output = await nodes.run("shell", "env", env={"MINE": "1"})
    names = {line.partition("=")[0] for line in output["stdout"].splitlines()}
    inherited = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"} & (os.environ.keys() | {"PATH", "LANG"})
    # PWD and its like are the shell's own.
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == inherited | {
        "MINE",
        "PERDURE_ARTIFACTS",
        "PERDURE_ATTEMPT",
        "PERDURE_ATTEMPT_ID",
        "PERDURE_EXECUTION_ID",
        "PERDURE_NODE",
        "PERDURE_SUPERVISOR",
    }


async def test_names_of_perdure_cannot_be_overwritten(nodes: Nodes) -> None:
    output = await nodes.run("shell", "echo $PERDURE_NODE", env={"PERDURE_NODE": "other"})
    assert output["stdout"] == "work\n"


@pytest.mark.parametrize("env", [{"A=B": "1"}, {"": "1"}, {"A": "x\0y"}, {"A\0": "1"}])
async def test_a_variable_that_cannot_be_one_fails_the_node(nodes: Nodes, env: dict[str, str]) -> None:
    assert (await nodes.failure("shell", "true", env=env)).code == "invalid_env"


async def test_it_starts_in_the_flow_folder_or_where_it_is_told(nodes: Nodes) -> None:
    (nodes.folder / "sub").mkdir(exist_ok=True)
    assert (await nodes.run("shell", "pwd -P"))["stdout"] == f"{nodes.folder.resolve()}\n"
    assert (await nodes.run("shell", {"run": "pwd -P", "cwd": "sub"}))["stdout"].endswith("/sub\n")
    assert (await nodes.run("shell", {"run": "pwd", "cwd": "/"}))["stdout"] == "/\n"


async def test_any_code_but_zero_fails_unless_it_is_listed(nodes: Nodes) -> None:
    failure = await nodes.failure("shell", "echo why >&2; exit 3")
    assert failure.code == "exit_code"
    assert failure.message == "the command ended with exit code 3: why"
    assert failure.details == {"exit_code": 3, "stderr": "why\n"}
    assert failure.retryable
    assert (await nodes.run("shell", {"run": "exit 3", "ok_exit_codes": [3]}))["exit_code"] == 3
    assert (await nodes.run("shell", {"run": "exit 0", "ok_exit_codes": [3]}))["exit_code"] == 0


async def test_a_failing_command_ends_the_script(nodes: Nodes) -> None:
    sink = RecordingSink()
    await nodes.failure("shell", "false\necho after", sink=sink)
    assert sink.lines == []


async def test_a_command_that_is_killed_says_by_what(nodes: Nodes) -> None:
    failure = await nodes.failure("shell", "kill -9 $$")
    assert failure.code == "process_died"
    assert failure.details["signal"] == "SIGKILL"
    assert "out of memory?" in failure.message


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"run": "true", "shell": "/nowhere/sh"}, "exec"),
        ({"run": "true", "cwd": "/nowhere"}, "cwd"),
        ({"run": "true", "cwd": "a\0b"}, "cwd"),
        ({"run": "echo \0"}, "exec"),
        ({"run": "true", "shell": ["no-such-program", "-c"]}, "exec"),
    ],
)
async def test_what_cannot_be_started_is_a_failure(nodes: Nodes, config: dict[str, object], part: str) -> None:
    failure = await nodes.failure("shell", config)
    assert failure.code == "process_not_started"
    assert part in failure.message
    assert not failure.retryable


async def test_a_folder_that_is_no_text_is_refused_and_none_is_the_flow_folder(nodes: Nodes) -> None:
    failure = await nodes.failure("shell", {"run": "true", "cwd": ["a"]})
    assert (failure.code, failure.message) == ("invalid_config", 'cwd is a folder, not ["a"]')
    output = await nodes.run("shell", {"run": "pwd -P", "cwd": None})
    assert output["stdout"] == f"{nodes.folder.resolve()}\n"


async def test_descriptors_that_run_out_fail_the_node_and_are_not_lost(nodes: Nodes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await nodes.run("shell", "true")
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    before = len(used)
    three_free = next(islice((number for number in count() if number not in used), 3, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (three_free, hard))
    try:
        failure = await nodes.failure("shell", "true")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert failure.code == "process_not_started"
    assert failure.retryable
    assert len(os.listdir("/proc/self/fd")) <= before
    assert (await nodes.run("shell", "true"))["exit_code"] == 0


async def test_another_shell(nodes: Nodes) -> None:
    output = await nodes.run("shell", {"run": "set -o pipefail; echo ${BASH_VERSION:+bash}", "shell": "bash"})
    assert output["stdout"] == "bash\n"
    output = await nodes.run("shell", {"run": "print(6 * 7)", "shell": ["python3", "-c"]})
    assert output["json"] == 42


async def test_only_the_tail_of_a_long_output_is_kept(nodes: Nodes) -> None:
    output = await nodes.run("shell", "yes ä | head -n 100000")
    assert len(output["stdout"].encode()) <= TAIL_LIMIT
    assert set(output["stdout"]) == {"ä", "\n"}
    assert output["json"] is None


@pytest.mark.parametrize("config", ["echo ${input.name}", {"run": "echo ${x}"}, {"run": "true", "shell": ["${x}"]}])
def test_a_template_in_the_command_is_refused(nodes: Nodes, config: object) -> None:
    node_type = nodes.types["shell"]
    assert isinstance(node_type, ShellNode)
    assert not jsonschema_rs.is_valid(ShellNode.config_schema, config)
    (problem,) = node_type.check(config)
    assert problem.code == "template_in_command"
    assert "env" in problem.detail
    assert node_type.check("echo $NAME") == []


async def test_files_in_the_artifacts_folder_are_published(nodes: Nodes) -> None:
    sink = RecordingSink()
    await nodes.run(
        "shell",
        'cd "$PERDURE_ARTIFACTS"; echo 1 > b.json; mkdir -p a/deep; printf x > a/deep/c.txt; mkdir empty',
        sink=sink,
    )
    assert [(one["name"], one["media_type"], one["size_bytes"]) for one in sink.artifacts] == [
        ("a/deep/c.txt", "text/plain", 1),
        ("b.json", "application/json", 2),
    ]
    assert await nodes.runtime.storage.read(sink.artifacts[1]["sha256"]) == b"1\n"


async def test_a_failed_command_publishes_too(nodes: Nodes) -> None:
    sink = RecordingSink()
    await nodes.failure("shell", 'echo trace > "$PERDURE_ARTIFACTS/trace.txt"; exit 1', sink=sink)
    assert [one["name"] for one in sink.artifacts] == ["trace.txt"]


async def test_links_and_what_is_no_file_are_not_published(nodes: Nodes) -> None:
    sink = RecordingSink()
    command = (
        'cd "$PERDURE_ARTIFACTS"; ln -s /etc/passwd link; ln -s /etc folder; mkfifo pipe; '
        "echo x > one; ln one two; touch 'back\\slash'; echo y > fine"
    )
    await nodes.run("shell", command, sink=sink)
    assert [one["name"] for one in sink.artifacts] == ["fine"]
    assert all(level == "warning" and "is not published" in message for level, message, _ in sink.logs)
    refused = {message.split("'")[1] for _, message, _ in sink.logs}
    assert refused == {"link", "folder", "pipe", "one", "two", "back\\\\slash"}


async def test_too_many_files_fail_the_node(nodes: Nodes) -> None:
    failure = await nodes.failure("shell", 'cd "$PERDURE_ARTIFACTS"; seq 1001 | xargs touch')
    assert failure.code == "limit_exceeded"


async def test_its_folder_is_removed(nodes: Nodes) -> None:
    output = await nodes.run("shell", 'echo "$PERDURE_ARTIFACTS"; mkdir "$PERDURE_ARTIFACTS/x"')
    with pytest.raises(FileNotFoundError):
        os.stat(output["stdout"].strip())


async def test_the_number_of_commands_at_a_time_is_bounded(nodes: Nodes) -> None:
    hold = "echo begun; while [ ! -e go ]; do sleep 0.01; done"
    started = [nodes.start("shell", hold) for _ in range(5)]
    for _, sink in started[:3]:
        await sink.line("begun")
    assert nodes.runtime.describe()["shell"] == {"limit": 3, "running": 3}
    assert not any(sink.lines for _, sink in started[3:])
    (nodes.folder / "go").touch()
    await asyncio.gather(*(task for task, _ in started))
