"""What `perdure doctor` looks at: each check is one function with one finding."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import click
import msgspec

from perdure.cli.findings import finding_lines
from perdure.cli.flow_files import read_flow_file
from perdure.cli.output import size
from perdure.cli.session import Session
from perdure.client.errors import ClientError
from perdure.client.local import running_owner
from perdure.errors import StoreIncompatible
from perdure.flows.checking import check_document
from perdure.flows.folder import flow_paths, looks_like_flow
from perdure.nodes.interface import NodeType
from perdure.nodes.isolation import linux
from perdure.settings import ServerSettings
from perdure.stores import integrity_problems, refuse_unsafe_library, sqlite_version

OK, WARN, FAIL = "ok", "warn", "fail"
LEAST_PYTHON = (3, 11)
TIGHT_BYTES, TOO_FEW_BYTES = 1024**3, 100 * 1024**2
SLOW_FSYNC_MS = 20.0
FSYNCS = 15


class Finding(msgspec.Struct, frozen=True):
    """`state` is ok, warn or fail; `advice` says what to do about the latter two."""

    check: str
    state: str
    detail: str
    advice: str | None = None


def check_python() -> Finding:
    detail = f"{platform.python_version()} on {platform.platform()}"
    if sys.version_info < LEAST_PYTHON:
        return Finding("python", FAIL, detail, "install Python 3.11 or newer")
    return Finding("python", OK, detail)


def check_sqlite() -> Finding:
    try:
        refuse_unsafe_library()
    except StoreIncompatible as error:
        return Finding("sqlite", FAIL, error.message, "pip install --upgrade apsw")
    return Finding("sqlite", OK, f"{sqlite_version()} (carried by apsw)")


def check_home(settings: ServerSettings) -> Finding:
    """The home, or where it will be made, can be written to, and others have no part in it."""
    home = settings.home
    nearest = _nearest(home)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("home", FAIL, f"{home} cannot be written to", "choose another with --home or PERDURE_HOME")
    where = str(home.absolute())
    if not home.exists():
        return Finding("home", OK, f"{where} (made at the first start)")
    ours = [home] if settings.shared_store() is not None else [home, settings.store_path()]
    opened = [path for path in ours if path.exists() and path.stat().st_mode & stat.S_IRWXO]
    if opened:
        told = ", ".join(f"{path} (mode {stat.S_IMODE(path.stat().st_mode):o})" for path in opened)
        advice = shlex.join(["chmod", "o-rwx", *map(str, opened)])
        return Finding("home", WARN, f"open to every user of this machine: {told}", advice)
    return Finding("home", OK, where)


def check_space(settings: ServerSettings) -> Finding:
    free = shutil.disk_usage(_nearest(settings.home)).free
    advice = "free some space, or move the home to a larger disk"
    if free < TOO_FEW_BYTES:
        return Finding("disk space", FAIL, f"{size(free)} free", advice)
    return Finding("disk space", WARN if free < TIGHT_BYTES else OK, f"{size(free)} free", advice)


def check_fsync(settings: ServerSettings) -> Finding:
    """The middle time of a few durable writes: what every commit waits for."""
    spans = []
    with tempfile.NamedTemporaryFile(dir=_nearest(settings.home), prefix=".perdure-doctor-") as file:
        for _ in range(FSYNCS):
            os.write(file.fileno(), bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            spans.append((time.perf_counter() - began) * 1000)
    middle_ms = statistics.median(spans)
    detail = f"{middle_ms:.2f} ms for a durable write"
    if middle_ms > SLOW_FSYNC_MS:
        return Finding("fsync", WARN, detail, "every commit waits for this: put the home on a faster disk")
    return Finding("fsync", OK, detail)


def check_store(settings: ServerSettings) -> Finding:
    """Every page and every index of the database; it may be in use meanwhile."""
    path = settings.store_path()
    if not path.exists():
        return Finding("store", OK, f"{path} is made at the first start")
    problems = integrity_problems(path)
    if problems:
        detail = f"{path} is damaged: {'; '.join(problems[:3])}"
        return Finding("store", FAIL, detail, "stop the server, keep a copy of the file, and restore a backup")
    return Finding("store", OK, f"{path} is sound ({size(path.stat().st_size)})")


def check_owner(settings: ServerSettings) -> Finding:
    owner = running_owner(settings.store_path())
    if owner is None:
        return Finding("owner", OK, "no process holds the store")
    return Finding(
        "owner", OK, f"process {owner.pid} holds the store" + (f" and answers at {owner.url}" if owner.url else "")
    )


def check_supervisor() -> Finding:
    """Whether what is cancelled can be proven dead here."""
    if not linux.IS_LINUX:
        detail = f"{sys.platform}: grandchildren in sessions of their own may outlive a cancellation"
        return Finding("supervisor", WARN, detail, "run on Linux where nodes start daemons")
    return Finding("supervisor", OK, f"what is cancelled is proven dead: {linux.containment()}")


def check_flow_folders(settings: ServerSettings, node_types: Mapping[str, NodeType]) -> Iterator[Finding]:
    """Every flow file of the folders that are configured here."""
    for folder in settings.flows:
        if not folder.is_dir():
            yield Finding("flows", FAIL, f"{folder} is no folder", "correct --flows, PERDURE_FLOWS or perdure.toml")
            continue
        files = [file for file in map(read_flow_file, flow_paths(folder)) if looks_like_flow(file.data)]
        lines: list[str] = []
        for file in files:
            checked = check_document(file.data, media_type=file.media_type, node_types=node_types)
            lines += finding_lines(file.path, checked.problems)
            lines += finding_lines(file.path, checked.warnings, are_warnings=True)
        if lines:
            yield Finding(
                "flows", WARN, "\n".join(lines), f"perdure flow validate {folder} shows them with their source"
            )
        else:
            yield Finding("flows", OK, f"{folder}: {len(files)} files without problems")


async def check_server(session: Session, *, expected: bool) -> Sequence[Finding]:
    """The server that commands would talk to; one that nobody `expected` may be absent."""
    target = session.target
    where = f"{target.url} (from {target.source})"
    try:
        async with session.client() as client:
            ready = await client.system.ready()
            info = await client.system.info()
    except (ClientError, click.UsageError) as error:
        if not expected:
            return [Finding("server", OK, "none runs here; start one with `perdure serve`")]
        return [Finding("server", FAIL, f"{where}: {error}", "start it with `perdure serve`, or name another one")]
    findings = [Finding("server", OK, f"{where} is {ready.status}, version {info.version}, up {info.uptime_s:.0f} s")]
    own = version("perdure")
    if info.version != own:
        findings.append(
            Finding("version", WARN, f"the server is {info.version}, this command {own}", "upgrade the older")
        )
    if info.open:
        detail = "the server is open to every user of this machine: no token was made yet"
        findings.append(Finding("access", OK, detail))
    for source in info.sources:
        lines = [line for file in source.broken for line in finding_lines(file.path, file.errors)]
        if lines:
            findings.append(
                Finding("flows", WARN, "\n".join(lines), "the last good versions stay until they are mended")
            )
    return findings


def _nearest(path: Path) -> Path:
    """The path, or the closest folder above it that is there."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path
