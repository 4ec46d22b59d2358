"""Node type `shell`: a command, given its input as JSON on standard input and as environment variables."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import tempfile
from typing import Any, ClassVar

import msgspec

from perdure.base.codec import Json, decode, encode, encode_text
from perdure.base.texts import cut
from perdure.errors import Problem
from perdure.model.failure import Failure
from perdure.nodes.command_size import too_large_failure
from perdure.nodes.interface import Call, NodeFailed, NodeOrphaned
from perdure.nodes.isolation.pipes import PipeLines, close_all, open_pipes
from perdure.nodes.isolation.pool import died_failure, spawn_failure, unkillable_failure
from perdure.nodes.isolation.supervision import Child, Ended, SpawnFailed, surely
from perdure.nodes.isolation.surroundings import attempt_env
from perdure.nodes.local_attempt import context_of
from perdure.nodes.log_level import STREAM_LEVELS
from perdure.nodes.published_folder import publish_folder
from perdure.nodes.runtime import NodeRuntime

TAIL_LIMIT = 64 * 1024
"""Bytes of standard output that become the node's output."""
_STDERR_TAIL = 2 * 1024
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_NO_TEMPLATE = {"type": "string", "minLength": 1, "not": {"pattern": r"\$\{"}}


class ShellNode:
    """The command's text is never rendered: values reach it through `with` and `env` only."""

    name: ClassVar[str] = "shell"
    control: ClassVar[bool] = False
    config_schema: ClassVar[dict[str, Any]] = {
        "description": (
            "A command for `/bin/sh -ec`, or an object. It gets `with` as JSON on standard input and `env` as "
            "variables; its text is no template, `${` is refused in it (write $NAME and give NAME in `env`). Its "
            "environment holds PATH, HOME, LANG, LC_ALL, TZ and TMPDIR of the engine, `env`, and PERDURE_EXECUTION_ID, "
            "PERDURE_NODE, PERDURE_ATTEMPT, PERDURE_ATTEMPT_ID and PERDURE_ARTIFACTS: a folder whose files are "
            "published when it ends. It starts in the first flow folder. The output is `{exit_code, stdout, json}`: "
            "the last 64 KiB of standard output, and what it parses to or null. Any exit code but 0 fails it, unless "
            "it is listed."
        ),
        "anyOf": [
            _NO_TEMPLATE,
            {
                "type": "object",
                "properties": {
                    "run": _NO_TEMPLATE,
                    "shell": {
                        "description": "A shell that takes -ec, or program and arguments before the command.",
                        "anyOf": [_NO_TEMPLATE, {"type": "array", "items": _NO_TEMPLATE, "minItems": 1}],
                    },
                    "cwd": {"type": "string", "minLength": 1},
                    "ok_exit_codes": {
                        "type": "array",
                        "items": {"type": "integer", "minimum": 0, "maximum": 255},
                    },
                },
                "required": ["run"],
                "additionalProperties": False,
            },
        ],
    }
    examples: ClassVar[list[Any]] = [
        'echo "hello $NAME"',
        {"run": "grep -c error -", "ok_exit_codes": [1]},
        {"run": "set -o pipefail; sort | uniq -c", "shell": "bash"},
    ]

    def __init__(self, runtime: NodeRuntime) -> None:
        self._runtime = runtime

    def check(self, config: Any) -> list[Problem]:
        """What is wrong with a config beyond its schema, with pointers relative to the config."""
        parts = {"": config} if isinstance(config, str) else {"/run": config.get("run"), "/shell": config.get("shell")}
        return [
            Problem(
                code="template_in_command",
                detail='a command\'s text is no template; write $NAME and give it as env: {NAME: "${…}"}',
                pointer=pointer,
            )
            for pointer, part in parts.items()
            if any("${" in text for text in ([part] if isinstance(part, str) else part or []))
        ]

    async def run(self, call: Call) -> Json:
        config = call.config if isinstance(call.config, dict) else {"run": call.config}
        async with self._runtime.shell_slots.place(call.sink):
            try:
                folder = await asyncio.to_thread(self._runtime.scratch_folder)
            except OSError as error:
                raise NodeFailed(spawn_failure(error, "the command")) from None
            try:
                return await self._run(call, config, folder)
            finally:
                await surely(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    async def _run(self, call: Call, config: dict[str, Any], folder: str) -> Json:
        env = {
            **self._base_env(),
            **_checked_env(call.env),
            **attempt_env(context_of(call)),
            "PERDURE_ARTIFACTS": folder,
        }
        running = await Running.start(self._runtime, call, argv=_argv(config), cwd=self._cwd(config), env=env)
        try:
            ended = await running.end()
        except asyncio.CancelledError:
            await surely(running.stop(call.grace_us), again=lambda: running.hurry(call.grace_us))
            raise
        await publish_folder(folder, storage=self._runtime.storage, sink=call.sink)
        return _outcome(ended, running, {0, *config.get("ok_exit_codes", ())})

    def _base_env(self) -> dict[str, str]:
        names = (*_INHERITED, *self._runtime.settings.pass_env)
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        return {"PATH": os.defpath, "LANG": "C.UTF-8", **inherited}

    def _cwd(self, config: dict[str, Any]) -> str:
        """Relative ones are meant from the first flow folder, else from the engine's directory."""
        start = next(iter(self._runtime.flow_folders), os.getcwd())
        cwd = config.get("cwd") or ""
        if not isinstance(cwd, str):
            message = f"cwd is a folder, not {cut(encode_text(cwd), 80)}"
            raise NodeFailed(
                Failure(code="invalid_config", message=message, retryable=False, error_types=("invalid_config",))
            )
        return os.path.join(start, cwd)


class Running:
    """A command that was started: its process, what it says, the end of what it printed."""

    def __init__(self, call: Call, child: Child, out: int, err: int) -> None:
        self.stdout = Tail(TAIL_LIMIT)
        self.stderr = Tail(_STDERR_TAIL)
        self._call = call
        self._child = child
        self._pipes = [self._listen(out, "stdout", self.stdout), self._listen(err, "stderr", self.stderr)]

    @classmethod
    async def start(
        cls, runtime: NodeRuntime, call: Call, *, argv: list[str], cwd: str, env: dict[str, str]
    ) -> Running:
        try:
            stdin = _readable_file(encode(call.with_))
            try:
                (out, out_end), (err, err_end) = open_pipes(2)
                try:
                    child = await runtime.supervision.spawn(argv, env=env, cwd=cwd, fds=[stdin, out_end, err_end])
                except BaseException:
                    close_all(out, err)
                    raise
                finally:
                    close_all(out_end, err_end)
            finally:
                os.close(stdin)
        except (SpawnFailed, OSError) as error:
            if isinstance(error, SpawnFailed) and error.errno == errno.E2BIG:
                raise NodeFailed(too_large_failure(argv, env)) from None
            raise NodeFailed(spawn_failure(error, "the command")) from None
        return cls(call, child, out, err)

    async def end(self) -> Ended:
        """Returns when everything is dead and said."""
        ended = await self._child.ended()
        await self._finish()
        return ended

    async def stop(self, grace_us: int) -> None:
        """Raises NodeOrphaned."""
        ended = await self._child.stop(grace_us)
        if ended is None:
            for pipe in self._pipes:
                pipe.close()
            raise NodeOrphaned(unkillable_failure(self._child.unkillable), lives=None)
        await self._finish()

    def hurry(self, grace_us: int) -> None:
        self._child.hurry(grace_us)

    async def _finish(self) -> None:
        for pipe in self._pipes:
            await pipe.finish()

    def _listen(self, fd: int, stream: str, tail: Tail) -> PipeLines:
        sink, level = self._call.sink, STREAM_LEVELS[stream]

        def emit(lines: list[str]) -> None:
            for line in lines:
                sink.log(level, line, stream=stream)

        return PipeLines(fd, emit=emit, ready=sink.ready, keep=tail.add)


class Tail:
    """The last bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = bytearray()
        self.is_whole = True

    def add(self, chunk: bytes) -> None:
        self._bytes += chunk
        if len(self._bytes) > self._limit:
            del self._bytes[: -self._limit]
            self.is_whole = False

    def text(self) -> str:
        """Invalid UTF-8 is replaced; a character that the limit cut in two is left out."""
        data = bytes(self._bytes)
        if not self.is_whole:
            start = next((index for index in range(min(4, len(data))) if data[index] & 0xC0 != 0x80), 0)
            data = data[start:]
        return data.decode(errors="replace")


def _outcome(ended: Ended, running: Running, ok_codes: set[int]) -> Json:
    if ended.code is None:
        raise NodeFailed(died_failure(ended, "while the command ran"))
    text = running.stdout.text()
    if ended.code in ok_codes:
        return {"exit_code": ended.code, "stdout": text, "json": _parsed(text) if running.stdout.is_whole else None}
    stderr = running.stderr.text()
    last = stderr.strip().rpartition("\n")[2][:500]
    raise NodeFailed(
        Failure(
            code="exit_code",
            message=f"the command ended with exit code {ended.code}" + (f": {last}" if last else ""),
            details={"exit_code": ended.code, "stderr": stderr},
            error_types=("exit_code",),
        )
    )


def _parsed(text: str) -> Json:
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _argv(config: dict[str, Any]) -> list[str]:
    shell = config.get("shell", "/bin/sh")
    before = [shell, "-ec"] if isinstance(shell, str) else list(shell)
    return [*before, config["run"]]


def _checked_env(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            what = "a name with = or NUL" if name else "an empty name"
            raise NodeFailed(
                Failure(
                    code="invalid_env",
                    message=f"env {name!r} cannot be a variable: {what if chr(0) not in value else 'its value holds NUL'}",
                    retryable=False,
                    error_types=("invalid_env",),
                )
            )
    return env


def _readable_file(data: bytes) -> int:
    """A descriptor from which the data can be read: no writer has to stay for it."""
    try:
        fd = os.memfd_create("stdin")
    except (AttributeError, OSError):
        with tempfile.TemporaryFile(buffering=0) as file:
            fd = os.dup(file.fileno())
    with contextlib.suppress(BlockingIOError):
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
