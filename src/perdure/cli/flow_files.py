"""Flow files as commands take them, and `perdure flow validate`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from perdure.cli.exits import ERROR, Exit
from perdure.cli.findings import print_findings
from perdure.cli.output import note, print_json
from perdure.errors import InvalidFlow, InvalidSettings, Problem
from perdure.flows.checking import check_document
from perdure.flows.documents import MediaType, media_type_of, parse_document
from perdure.flows.folder import doubles, flow_paths, looks_like_flow
from perdure.model.definition import qualified
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings
from perdure.settings import load_settings

SUFFIXES = (".yaml", ".yml", ".json")
STDIN, STDIN_NAME = "-", "<stdin>"


class FlowFile(msgspec.Struct):
    """A definition as it was read. `path` is what the user named it."""

    path: str
    data: bytes
    media_type: MediaType

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")

    def flow_id(self) -> str:
        """`namespace/name` as it stands in the file, whatever else does. Raises MalformedDocument, InvalidFlow."""
        value = parse_document(self.data, media_type=self.media_type).value
        id = value.get("id") if isinstance(value, dict) else None
        try:
            return qualified(id if isinstance(id, str) else "")
        except ValueError:
            problem = Problem("missing_field", "a flow needs an id, such as `id: reports/digest`", line=1, column=1)
            raise InvalidFlow(problem.detail, problems=(problem,)) from None


class FlowFiles(msgspec.Struct):
    """What the arguments of a command mean. `others` are files in folders that hold no flow."""

    files: list[FlowFile]
    others: int

    def counted(self) -> str:
        """`3 files`, and how many others are beside them."""
        text = f"{len(self.files)} file{'s' * (len(self.files) != 1)}"
        return text + (f" ({self.others} without `nodes` left out)" if self.others else "")


class CheckedFile(msgspec.Struct):
    path: str
    valid: bool
    errors: list[Problem]
    warnings: list[Problem]


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the findings.")
def validate(paths: Sequence[str], output: str) -> None:
    """Check flow files (YAML or JSON; a folder means all flows in it; - is standard input) without a server.

    Prints path:line:column: code: message for everything that is wrong; exits with 1 when anything is. Warns of Python
    functions that are neither in the flow folders, nor beside the files or above them, nor in the environment; nothing
    is imported for that.
    """
    found = read_flow_files(paths)
    # Nothing is asked of them but checks, so the runtime is never started and the home never made.
    runtime = NodeRuntime(RuntimeSettings(home=".perdure"))
    node_types = load_node_types(runtime)
    configured = _configured_folders()
    checks = []
    for file in found.files:
        runtime.flow_folders[:] = _module_folders(file, paths, configured)
        checks.append(check_document(file.data, media_type=file.media_type, node_types=node_types))
    twice = doubles(
        {
            file.path: check.program.flow.id
            for file, check in zip(found.files, checks, strict=True)
            if check.program is not None
        }
    )
    results = []
    for file, check in zip(found.files, checks, strict=True):
        problems = [*check.problems, *([twice[file.path]] if file.path in twice else [])]
        results.append(CheckedFile(file.path, not problems, problems, list(check.warnings)))
        if output == "text":
            print_findings(file.path, problems, file.text)
            print_findings(file.path, check.warnings, file.text, are_warnings=True)
    if output == "json":
        print_json(results)
    bad = sum(not one.valid for one in results)
    warned = sum(len(one.warnings) for one in results)
    told = f"{bad} with problems" if bad else "no problems"
    note(f"{found.counted()}, {told}" + (f", {warned} warning{'s' * (warned != 1)}" if warned else ""))
    if bad:
        raise Exit(ERROR)


def read_flow_files(paths: Sequence[str]) -> FlowFiles:
    """The files that the arguments mean; of folders, those that a server with `--flows` takes.

    Raises click.BadParameter for what cannot be read, or is no flow file.
    """
    found: dict[str, FlowFile] = {}
    others = 0
    for given in paths:
        if given == STDIN:
            data = sys.stdin.buffer.read()
            media_type: MediaType = "application/json" if data.lstrip()[:1] == b"{" else "application/yaml"
            found[STDIN_NAME] = FlowFile(STDIN_NAME, data, media_type)
        elif Path(given).is_dir():
            files = [read_flow_file(path) for path in flow_paths(Path(given))]
            flows = {file.path: file for file in files if looks_like_flow(file.data)}
            if not flows:
                raise click.BadParameter(f"there is no flow file in {given} ({', '.join(SUFFIXES)})", param_hint="FILE")
            others += len(files) - len(flows)
            found |= flows
        else:
            file = read_flow_file(Path(given))
            found[file.path] = file
    return FlowFiles([*found.values()], others)


def read_flow_file(path: Path) -> FlowFile:
    """Raises click.BadParameter."""
    media_type = media_type_of(path.suffix)
    if media_type is None:
        raise click.BadParameter(f"{path} is no flow file; its name ends in {', '.join(SUFFIXES)}", param_hint="FILE")
    try:
        return FlowFile(str(path), path.read_bytes(), media_type)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}", param_hint="FILE") from None


def _configured_folders() -> list[Path]:
    """The flow folders of a server that would be started here."""
    try:
        return load_settings({}, os.environ, Path.cwd()).flows
    except InvalidSettings:
        # They concern a server; a file can be checked without.
        return []


def _module_folders(file: FlowFile, given: Sequence[str], configured: Sequence[Path]) -> list[str]:
    """Where the file's Python modules may be: which of the folders above it will be a flow folder is not known here."""
    beside = Path.cwd() if file.path == STDIN_NAME else Path(file.path).absolute().parent
    tops = {Path.cwd(), *(Path(path).absolute() for path in given)}
    above = [folder for folder in beside.parents if tops & {folder, *folder.parents}]
    return [*dict.fromkeys(str(folder) for folder in [*configured, beside, *above])]
